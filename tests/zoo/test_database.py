"""Publishing replaces the database whole; reading reaches nothing but the database."""

import errno
import resource
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from zoo.database import connect, publish
from zoo.errors import ZooError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one number in it."""
    with publish(tmp_path / "zoo.duckdb") as con:
        con.execute("CREATE TABLE t AS SELECT 1 AS a")
    return tmp_path / "zoo.duckdb"


def number(path: Path) -> int:
    with connect(path) as con:
        ((found,),) = con.execute("FROM t").fetchall()
    return found


def leftovers(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()} - {path.name, "locks"}


def test_publishing_starts_empty_or_from_a_copy(path: Path) -> None:
    with publish(path, edit=True) as con:
        con.execute("UPDATE t SET a = a + 1")
    assert number(path) == 2
    with publish(path) as con:
        assert con.execute("SHOW TABLES").fetchall() == []
        con.execute("CREATE TABLE t AS SELECT 7 AS a")
    assert number(path) == 7
    assert leftovers(path) == set()


def test_a_reader_keeps_what_it_opened(path: Path) -> None:
    with connect(path) as con:
        with publish(path, edit=True) as new:
            new.execute("UPDATE t SET a = 2")
        assert con.execute("FROM t").fetchall() == [(1,)]
    assert number(path) == 2


def test_a_block_that_fails_changes_nothing(path: Path) -> None:
    def spoil() -> None:
        with publish(path, edit=True) as con:
            con.execute("UPDATE t SET a = 2")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoil()
    assert number(path) == 1
    assert leftovers(path) == set()


def test_what_a_killed_process_left_is_cleared_away(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from zoo.database import publish\n"
        "with publish(Path(sys.argv[1]), edit=True) as con:\n"
        "    con.execute('UPDATE t SET a = 2'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert leftovers(path) != set()
    assert number(path) == 1
    with publish(path, edit=True) as con:
        con.execute("UPDATE t SET a = 3")
    assert number(path) == 3
    assert leftovers(path) == set()


def test_two_processes_publish_one_after_the_other(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from zoo.database import publish\n"
        "for _ in range(10):\n"
        "    with publish(Path(sys.argv[1]), edit=True) as con:\n"
        "        con.execute('UPDATE t SET a = a + 1')"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    assert number(path) == 21


def test_a_full_disk_is_an_os_error_and_changes_nothing(path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=str(path)) as caught, publish(path) as con:
            con.execute("CREATE TABLE t AS SELECT random() AS a FROM range(1000000)")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.ENOSPC
    assert number(path) == 1
    assert leftovers(path) == set()


def test_the_file_can_be_read_by_the_oldest_supported_duckdb(path: Path) -> None:
    with duckdb.connect(str(path), read_only=True) as con:
        ((tags,),) = con.execute(
            "SELECT tags FROM duckdb_databases() WHERE path IS NOT NULL"
        ).fetchall()
    assert tags["storage_version"].startswith("v1.4")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE t SET a = 2",
        "CREATE TABLE u (a INTEGER)",
        "COPY t TO '{folder}/stolen.csv'",
        "EXPORT DATABASE '{folder}/stolen'",
        "ATTACH '{folder}/other.duckdb' AS other",
        "FROM read_text('{folder}/secret.txt')",
        "FROM read_csv('{folder}/secret.txt')",
        "FROM '{folder}/secret.txt'",
        "FROM glob('{folder}/*')",
        "FROM read_parquet('https://example.org/a.parquet')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET autoinstall_known_extensions = true",
        "FROM secret",
    ],
)
def test_a_read_only_connection_reaches_nothing_else(path: Path, statement: str) -> None:
    folder = path.parent
    (folder / "secret.txt").write_text("secret\n")
    secret = pd.DataFrame({"a": ["a Python variable"]})
    before = {file.name for file in folder.iterdir()}
    with connect(path) as con, pytest.raises(duckdb.Error):
        con.execute(statement.format(folder=folder))
    assert {file.name for file in folder.iterdir()} == before
    assert number(path) == 1
    assert len(secret) == 1


def test_a_missing_or_foreign_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="delete it and run `zoo build`"):
        connect(tmp_path / "missing.duckdb")
    (tmp_path / "junk.duckdb").write_text("junk" * 1000)
    with pytest.raises(ZooError, match=r"junk\.duckdb cannot be opened"):
        connect(tmp_path / "junk.duckdb")


def test_who_has_it_open_elsewhere_is_told_and_nobody_to_delete_it(path: Path) -> None:
    code = (
        "import sys, duckdb; con = duckdb.connect(sys.argv[1]); print('open', flush=True); "
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(ZooError, match=f"is open for writing in .*PID {holder.pid}") as caught:
            connect(path)
        assert "Close it there, or wait" in str(caught.value)
        assert "delete" not in str(caught.value)
    finally:
        holder.communicate()
    assert number(path) == 1


def test_nobody_is_told_to_delete_what_could_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="cannot be opened") as caught:
        connect(tmp_path / "nowhere/zoo.duckdb", read_only=False)
    assert "zoo build" not in str(caught.value)
    with pytest.raises(ZooError, match="delete it and run `zoo build`"):
        connect(tmp_path / "nowhere/zoo.duckdb")
