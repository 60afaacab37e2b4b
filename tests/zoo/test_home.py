"""A store is opened only if this program can tell what it is."""

import json
from pathlib import Path

import pytest

from zoo.database import connect, publish
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


def test_a_store_is_where_its_name_says_whatever_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for name, root in (("~/zoo", "me/zoo"), ("md:zoo", "md:zoo"), ("[1]* 模型 é'{a,b}", None)):
        home = Home.open(Path(name))
        assert home.root == tmp_path / (root or name)
        with publish(home.database) as con:
            con.execute("CREATE TABLE t AS SELECT 1 AS a")
        with connect(home.database) as con:
            assert con.execute("FROM t").fetchall() == [(1,)]
        assert (tmp_path / (root or name) / "zoo.duckdb").is_file()


def test_a_store_that_can_keep_no_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="cannot hold a store: .* Choose another folder"):
        Home.open(tmp_path / "what?")
    assert not list(tmp_path.iterdir())
