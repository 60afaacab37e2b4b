"""Putting a site in place: all of it or nothing."""

import os
import stat
from pathlib import Path

import pytest

from leaderboard.publish import publish
from zoo.errors import ZooError


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_an_older_site_is_replaced_as_a_whole(tmp_path: Path):
    out = tmp_path / "deep" / "site"
    publish({"index.html": b"old", "models/gone.html": b"old"}, out)

    written = publish({"index.html": b"new", "models/a.html": b"a"}, out)

    assert content(out) == {"index.html": b"new", "models/a.html": b"a"}
    assert written == [out / "index.html", out / "models" / "a.html"]
    assert list(out.parent.iterdir()) == [out]


def test_an_empty_folder_is_used(tmp_path: Path):
    out = tmp_path / "site"
    out.mkdir()

    publish({"index.html": b"new"}, out)

    assert content(out) == {"index.html": b"new"}


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_bytes(b"years")

    with pytest.raises(ZooError, match="not a site built by `leaderboard build`"):
        publish({"index.html": b"new"}, tmp_path)

    assert content(tmp_path) == {"thesis.tex": b"years"}


def test_a_file_is_not_a_place_for_a_site(tmp_path: Path):
    file = tmp_path / "site"
    file.write_bytes(b"mine")

    with pytest.raises(ZooError, match="is a file; choose a folder"):
        publish({"index.html": b"new"}, file)
    with pytest.raises(ZooError, match="choose another folder"):
        publish({"index.html": b"new"}, file / "below")

    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize("broken", ["write", "first rename", "second rename"])
def test_a_failure_at_any_point_leaves_the_older_site(tmp_path: Path, monkeypatch, broken: str):
    out = tmp_path / "site"
    publish({"index.html": b"old"}, out)
    renames = iter([broken == "first rename", broken == "second rename", False])
    rename = os.rename

    def failing_rename(source, target):
        if next(renames):
            raise OSError(28, "No space left on device")
        rename(source, target)

    def failing_write(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", failing_rename)
    if broken == "write":
        monkeypatch.setattr(Path, "write_bytes", failing_write)
    with pytest.raises(OSError, match="No space left"):
        publish({"index.html": b"new"}, out)

    assert content(out) == {"index.html": b"old"}
    assert list(tmp_path.iterdir()) == [out]


def test_a_web_server_may_read_the_site(tmp_path: Path):
    mask = os.umask(0o022)
    try:
        publish({"index.html": b"new"}, tmp_path / "site")
    finally:
        os.umask(mask)

    assert stat.S_IMODE((tmp_path / "site").stat().st_mode) == 0o755
