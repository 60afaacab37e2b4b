"""Files are whole or not there, and anybody may read them whom the umask lets."""

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo.files import new_folder, write_atomic, write_json


@pytest.fixture(params=[0o022, 0o007])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_as_readable_as_any_other(tmp_path: Path, umask: int) -> None:
    write_atomic(tmp_path / "file", b"content")
    assert mode(tmp_path / "file") == 0o666 & ~umask


def test_a_folder_is_as_readable_as_any_other(tmp_path: Path, umask: int) -> None:
    for _ in range(2):  # the second takes the place of the first
        with new_folder(tmp_path / "folder") as folder:
            (folder / "file").write_text("content")
        assert mode(tmp_path / "folder") == 0o777 & ~umask
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError("full")

    write_atomic(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_no_json_is_not_written(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"mean": [number]})
    assert list(tmp_path.iterdir()) == []
