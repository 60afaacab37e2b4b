"""Files are whole or not there, and anybody may read them whom the umask lets."""

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo.files import lock, new_folder, read_record, write_atomic, write_json


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


def test_where_a_group_may_write_it_may_write_to_all_that_is_made(
    tmp_path: Path, umask: int
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o2775)
    write_atomic(tmp_path / "shared/a/b/file", b"content")
    with new_folder(tmp_path / "shared/folder") as folder:
        (folder / "file").write_text("content")
    with lock(tmp_path / "shared/locks/one"):
        pass
    for path in (tmp_path / "shared").rglob("*"):
        wanted = 0o2777 & ~umask | 0o070 if path.is_dir() else 0o666 & ~umask | 0o060
        assert mode(path) == wanted, path


@pytest.mark.parametrize("around", [0o755, 0o1777])
def test_nothing_is_shared_elsewhere(tmp_path: Path, umask: int, around: int) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine").chmod(around)
    write_atomic(tmp_path / "mine/file", b"content")
    with lock(tmp_path / "mine/lock"):
        pass
    assert mode(tmp_path / "mine/file") == 0o666 & ~umask
    assert mode(tmp_path / "mine/lock") == 0o666 & ~umask


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"1", b"\xff\xfe", b"[" * 100_000, b'{"b": 1}', b'{"a": "x"}']
)
def test_a_damaged_record_is_none_and_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="record.json is damaged and left out. Make it anew."):
        assert read_record(path, "Make it anew.", lambda record: record["a"] > 0) is None
    assert path.read_bytes() == content


def test_a_record_is_read_and_a_missing_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert read_record(path, "") is None
    write_json(path, {"a": 1})
    assert read_record(path, "", lambda record: record["a"] > 0) == {"a": 1}
