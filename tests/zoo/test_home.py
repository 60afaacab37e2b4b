"""A store is opened only if this program can tell what it is."""

import json
from pathlib import Path

import pytest

from zoo.errors import ZooError
from zoo.home import FORMAT, Home


def test_a_new_store_is_marked_and_opened_again(tmp_path: Path) -> None:
    assert Home.open(tmp_path / "home") == Home.open(tmp_path / "home")
    assert json.loads((tmp_path / "home/format.json").read_text()) == {"format": FORMAT}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"format": "one"}', b'{"format": true}', b"1", b"\xff\xfe"],
)
def test_a_damaged_marker_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "format.json").write_bytes(content)
    with pytest.raises(ZooError, match=r"format\.json is damaged.* Delete it if no newer"):
        Home.open(tmp_path)
    assert (tmp_path / "format.json").read_bytes() == content


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ZooError, match=r"file is not a folder\. Choose one with ZOO_HOME"):
        Home.open(tmp_path / "file")
