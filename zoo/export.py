"""The catalog as files for others: Parquet or CSV tables, described by one Croissant document."""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from zoo.catalog import open_catalog
from zoo.croissant import NAME, Column, ExportedTable, Written, croissant
from zoo.database import one_line
from zoo.errors import ZooError, unknown
from zoo.files import DISK_FULL, sha256_file
from zoo.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

KINDS = ("parquet", "csv")

TABLES = (
    "datasets",
    "families",
    "papers",
    "architectures",
    "networks",
    "metrics",
    "exclusions",
    "annotations",
    "codings",
    "adjudications",
    "sources",
    "codes",
)
"""What is written beside the models, whole."""

DESCRIPTION = "croissant.json"

_STAGING = ".zoo-export"


_COPY = {
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "csv": "FORMAT csv, HEADER, NULLSTR ''",
}


def export(
    home: Home,
    folder: Path,
    *,
    kind: str = "parquet",
    where: str | None = None,
    all: bool = False,
    url: str | None = None,
    published: "date | None" = None,
) -> list[Written]:
    """Write the catalog as files that need no zoo to be read, and say what was written.

    The same catalog gives the same bytes, with one version of DuckDB. An earlier export in the
    folder is replaced once all of the new one is written; other files there are left alone.

    Args:
        home: The store whose catalog it is.
        folder: Where the files go; made if it is not there.
        kind: One of `KINDS`. Parquet keeps types; in CSV, lists are JSON texts.
        where: SQL expression over the columns of ``v_models``: only the models that match.
        all: Also the models that ``v_models`` leaves out.
        url: Page that the files will be published at; by default the folder they lie in.
        published: When they were first published there.

    Raises:
        ZooError: The folder holds something else, the expression is wrong, or no model matches.
        OSError: The folder cannot be written, or the disk is full; what was there is as it was.
    """
    if kind not in KINDS:
        raise unknown("kind of file", kind, KINDS)
    _check_replaceable(folder)
    catalog = open_catalog(home)
    names = None
    if where is not None:
        names = [name for (name,) in catalog.list(["name"], where, all=all)[1]]
        if not names:
            raise ZooError(f"No model matches --where {where!r}. See `zoo list`.")
    with home.lock("export"), _staged(folder.absolute()) as staging:
        with _opened(home, staging) as con:
            tables = _tables(con, "v_all_models" if all else "v_models")
            files = [_copy(con, table, staging, kind, names) for table in tables]
            facts = dict(con.execute("SELECT key, value FROM build").fetchall())
        document = croissant(
            tables,
            files,
            kind=kind,
            version=_version(facts["codebook_version"], facts["content_hash"]),
            selection=_selection(where, all),
            url=url,
            published=published,
        )
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        (staging / DESCRIPTION).write_text(f"{text}\n", encoding="utf-8", newline="\n")
        written = [_written(staging / DESCRIPTION, None), *files]
        _publish(staging, folder, [file.file for file in written])
    return written


def _version(codebook: str, content_hash: str) -> str:
    """Version of the codebook in three parts, as Croissant wants it, and the catalog's hash."""
    return ".".join([*codebook.split("."), "0", "0"][:3]) + f"+{content_hash}"


def _selection(where: str | None, all: bool) -> str:
    kept = "All models of the catalog are here, whatever speaks against them"
    if not all:
        kept = "Backdoored, corrupt, duplicate and nearly useless models are left out"
    return f"{kept}." if where is None else f"{kept}; only those where {' '.join(where.split())}."


def _check_replaceable(folder: Path) -> None:
    """Refuse a folder with files that are no earlier export; hidden ones, as git's, are fine."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ZooError(f"{folder} is not a folder. Name one, or one that is yet to be made.")
    if all(path.name.startswith(".") for path in folder.iterdir()):
        return
    try:
        found = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))["name"]
    except (FileNotFoundError, IsADirectoryError, ValueError, KeyError, TypeError):
        found = None
    if found != NAME:
        raise ZooError(
            f"{folder} holds files that `zoo export` did not write. Name an empty folder, or one "
            "that is yet to be made."
        )


@contextmanager
def _staged(folder: Path) -> "Iterator[Path]":
    """A hidden folder in ``folder`` to write in, so that what is done can be renamed into place."""
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / _STAGING
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _opened(home: Home, staging: Path) -> "Iterator[duckdb.DuckDBPyConnection]":
    """The catalog, open for reading, from where files can be written below ``staging`` only.

    Raises:
        ZooError: The catalog cannot be read.
        OSError: The disk is full.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "threads": 1,  # the order of rows and the cut into row groups depend on nothing else
    }
    try:
        with duckdb.connect(str(home.database), read_only=True, config=config) as con:
            con.execute(f"SET allowed_directories = [{_text(str(staging))}]")
            con.execute("SET enable_external_access = false")
            con.execute("SET lock_configuration = true")
            yield con
    except duckdb.Error as problem:
        for number in DISK_FULL:
            if os.strerror(number) in str(problem):
                raise OSError(number, os.strerror(number), str(staging.parent)) from problem
        raise ZooError(f"The catalog could not be exported: {one_line(problem)}") from problem


def _tables(con: duckdb.DuckDBPyConnection, models: str) -> list[ExportedTable]:
    """What to export: the models as the view ``models`` has them, then `TABLES`."""
    keys = dict(
        con.execute(
            "SELECT table_name, constraint_column_names FROM duckdb_constraints() "
            "WHERE constraint_type = 'PRIMARY KEY'"
        ).fetchall()
    )
    comments = dict(
        con.execute(
            "SELECT table_name, comment FROM duckdb_tables() UNION ALL "
            "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
    )
    return [
        ExportedTable(
            name, relation, comments[relation], tuple(keys.get(name, ())), _columns(con, name)
        )
        for name, relation in [("models", models), *((name, name) for name in TABLES)]
    ]


def _columns(con: duckdb.DuckDBPyConnection, table: str) -> tuple[Column, ...]:
    """The columns of an exported table; both views of the models have those of ``v_models``."""
    found = con.execute(
        "SELECT column_name, data_type, comment FROM duckdb_columns() "
        "WHERE table_name = ? ORDER BY column_index",
        ["v_models" if table == "models" else table],
    ).fetchall()
    return tuple(Column(*row) for row in found)


def _copy(
    con: duckdb.DuckDBPyConnection,
    table: ExportedTable,
    staging: Path,
    kind: str,
    names: Sequence[str] | None,
) -> Written:
    """Write a table; of the models only those with the given names, if any are given."""
    path = staging / f"{table.name}.{kind}"
    query = f"SELECT {', '.join(_expression(c, kind) for c in table.columns)} FROM {table.relation}"
    if table.name == "models" and names is not None:
        # A parameter cannot stand in COPY.
        con.execute(
            "CREATE TEMP TABLE chosen AS SELECT unnest(?::VARCHAR[]) AS name", [list(names)]
        )
        query += " WHERE name IN (FROM chosen)"
    copied = con.execute(
        f"COPY ({query} ORDER BY ALL) TO {_text(str(path))} ({_COPY[kind]})"
    ).fetchall()
    return _written(path, copied[0][0])


def _expression(column: Column, kind: str) -> str:
    """How a column is written: JSON as text, and in CSV also lists, as JSON."""
    name = '"' + column.name.replace('"', '""') + '"'
    if column.type == "JSON":
        return f"{name}::VARCHAR AS {name}"
    if column.type.endswith("[]") and kind == "csv":
        return f"to_json({name})::VARCHAR AS {name}"
    return name


def _text(value: str) -> str:
    """A text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def _written(path: Path, rows: int | None) -> Written:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return Written(path.name, rows, path.stat().st_size, sha256_file(path))


def _publish(staging: Path, folder: Path, names: Sequence[str]) -> None:
    """Move files into place, the description first: by it the next export knows the folder.

    Until the last one is there, its hashes do not match, so nobody takes half an export for one.
    """
    for name in names:
        os.replace(staging / name, folder / name)
    for table in ("models", *TABLES):
        for kind in KINDS:
            if f"{table}.{kind}" not in names:
                (folder / f"{table}.{kind}").unlink(missing_ok=True)
