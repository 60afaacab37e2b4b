"""The DuckDB file: opened for reading without any reach beyond it, replaced whole when written."""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from zoo.errors import ZooError
from zoo.files import canonical_json, lock, share

CATALOG_TABLES = (
    "sources",
    "papers",
    "families",
    "architectures",
    "networks",
    "datasets",
    "models",
    "artifacts",
    "metrics",
    "exclusions",
    "annotations",
    "codings",
    "adjudications",
    "codes",
    "words",
)
"""What is built from the annotations, in an order in which references always point backwards."""

_DERIVED = ("words",)
"""Tables that follow from the others, so that `content_hash` need not cover them."""

_Settings = dict[str, str | bool | int | float | list[str]]

NO_EXTENSIONS: _Settings = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
# A query may come from anybody: no files, no network, no variables of this program.
_SANDBOX: _Settings = NO_EXTENSIONS | {
    "enable_external_access": False,
    "lock_configuration": True,
}
_INDEX = "It is only an index: delete it and run `zoo build`."
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "File too large")


# Also read by DuckDB 1.4, the oldest version that this program supports.
_WRITABLE: _Settings = NO_EXTENSIONS | {"storage_compatibility_version": "v1.4.0"}


def connect(path: Path, *, read_only: bool = True) -> duckdb.DuckDBPyConnection:
    """An open database; use it in a ``with``, which closes it.

    Keep it short: DuckDB gives a process the file that it already holds open, even after another
    process has published a newer one. A read-only connection can reach nothing but the file.

    Raises:
        ZooError: The file is missing or not a database that the installed DuckDB can read.
    """
    try:
        return duckdb.connect(
            str(path), read_only=read_only, config=_SANDBOX if read_only else _WRITABLE
        )
    except duckdb.Error as problem:
        advice = f" {_INDEX}" if read_only else ""
        raise not_opened(path, problem, advice) from problem


def not_opened(path: Path, problem: duckdb.Error, advice: str = "") -> ZooError:
    """Why a database cannot be opened, and what to do: ``advice``, unless it is open elsewhere."""
    if "Conflicting lock" in str(problem):
        found = re.search(r"held in (.+? \(PID \d+\))", str(problem))
        return ZooError(
            f"{path} is open for writing in {found[1] if found else 'another program'}. Close it "
            "there, or wait until that is done; nothing is wrong with the file."
        )
    return ZooError(f"{path} cannot be opened: {one_line(problem)}{advice}")


@contextmanager
def publish(path: Path, *, edit: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Write a new database that takes the place of ``path`` when the block ends well.

    Readers are never kept waiting and see the old database or the new one, whole. One process
    publishes at a time; the others wait for it.

    Args:
        path: The live database; it need not exist.
        edit: Start from a copy of the live database instead of an empty one.

    Raises:
        OSError: The disk is full; the live database is as it was.
    """
    new = path.with_name(f".{path.name}.new")
    with lock(path.parent / "locks" / f"{path.name}.lock"):
        _remove(new)  # of a process that was killed
        try:
            if edit and path.exists():
                shutil.copyfile(path, new)
            with connect(new, read_only=False) as con:
                yield con
                con.execute("CHECKPOINT")
            with new.open("rb") as file:
                os.fsync(file.fileno())
            share(new)
            os.replace(new, path)
        except duckdb.Error as problem:
            if any(text in str(problem) for text in _DISK_FULL):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from problem
            raise
        finally:
            _remove(new)


def content_hash(con: duckdb.DuckDBPyConnection) -> str:
    """Hex sha256 over every row of the catalog's tables, in order; the same on every machine."""
    sha = hashlib.sha256()
    for table in (name for name in CATALOG_TABLES if name not in _DERIVED):
        result = con.execute(f"SELECT * FROM {table} ORDER BY ALL")
        sha.update(f"{table} {canonical_json([c[0] for c in result.description or []])}\n".encode())
        for row in result.fetchall():
            sha.update(f"{canonical_json(row)}\n".encode())
    return sha.hexdigest()


def quoted(path: Path) -> str:
    """A path as a text in SQL, where no parameter can stand.

    It is absolute: DuckDB reads more into a beginning such as ``~/`` or ``md:``.
    """
    return "'" + str(path.absolute()).replace("'", "''") + "'"


def only(path: Path) -> str:
    """A path for DuckDB's readers, which take every path for a pattern: it matches this file alone.

    Raises:
        ZooError: No pattern can say it.
    """
    text = path.absolute().as_posix()
    marked = re.sub(r"[*?\[]", r"[\g<0>]", text)
    if marked != text and "\\" in text:
        raise ZooError(
            f"{path} cannot be read: its name has a backslash and one of *, ? and [. Rename it."
        )
    return marked


def one_line(problem: duckdb.Error) -> str:
    """What DuckDB says is wrong, without its picture of the query."""
    text = " ".join(str(problem).split("\n\nLINE ")[0].split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _remove(path: Path) -> None:
    for leftover in (path, path.with_name(f"{path.name}.wal")):
        leftover.unlink(missing_ok=True)
