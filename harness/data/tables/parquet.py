"""Parquet files as rows of text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.tables.description import Description
from zoo.errors import ZooError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MAGIC = b"PAR1"
_NO_CELLS = ("array", "blob", "geometry", "list", "map", "struct", "union", "variant")
"""Types that DuckDB calls like this hold more than one number, word or time in a row."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Stored:
    """What a Parquet file holds.

    Attributes:
        names: Of the columns.
        rows: Of text, or None where a cell says nothing.
        index: Columns that are no data but the index of the pandas frame that was stored.
    """

    names: list[str]
    rows: list[tuple[str | None, ...]]
    index: frozenset[str]


def is_one(file: Path) -> bool:
    """Whether a file is Parquet, or means to be by its name."""
    with file.open("rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC or file.suffix == ".parquet"


def read(file: Path, description: Description) -> Stored:
    """All rows of a file.

    Raises:
        ZooError: It is no Parquet file, or a column that somebody is to see holds no plain cells.
    """
    import duckdb

    from zoo.database import NO_EXTENSIONS, one_line, only

    with file.open("rb") as opened:
        head = opened.read(8)
    if not head.startswith(_MAGIC):
        raise ZooError(
            f"{file} cannot be read as Parquet: it begins with {head!r}. If it is text, give it "
            f"the ending .csv in {description.path} too; else get the file again."
        )
    path = only(file)
    try:
        with duckdb.connect(config=dict(NO_EXTENSIONS)) as database:
            names = _names(database, path)
            # Of a file in a folder ``sex=f``, DuckDB would make a column of that.
            table = database.read_parquet(path, hive_partitioning=False)
            texts = []
            for name, column, kind in zip(names, table.columns, table.types, strict=True):
                texts.append("NULL" if name in description.ignored else _as_text(column, str(kind)))
                if kind.id in _NO_CELLS and name not in description.ignored:
                    raise ZooError(
                        f"{file}: column {name!r} holds {kind} in each row, which is no cell of a "
                        f"table. List it under ignored in {description.path}, or write a column "
                        f"for each of its parts."
                    )
            rows = table.project(", ".join(texts)).fetchall() if texts else []
            return Stored(names=names, rows=rows, index=_index(database, path))
    except duckdb.Error as error:
        raise ZooError(
            f"{file} cannot be read as Parquet: {one_line(error)} Get the file again."
        ) from error


def _names(database: DuckDBPyConnection, path: str) -> list[str]:
    """The columns as the file has them: DuckDB itself renames those that differ only in case."""
    nodes = database.execute(
        "SELECT name, coalesce(num_children, 0) FROM parquet_schema(?)", [path]
    ).fetchall()
    names: list[str] = []
    inside = 0  # how many nodes are still to come below a column
    for name, children in nodes[1:]:  # the first is the table
        if inside:
            inside -= 1
        else:
            names.append(name)
        inside += children
    return names


def _index(database: DuckDBPyConnection, path: str) -> frozenset[str]:
    """What pandas notes of the index of a frame, where that is stored as a column."""
    notes = database.execute(
        "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = 'pandas'", [path]
    ).fetchall()
    try:
        columns = json.loads(notes[0][0])["index_columns"] if notes else []
        return frozenset(name for name in columns if isinstance(name, str))
    except (ValueError, KeyError, TypeError):
        return frozenset()  # of another program


def _as_text(column: str, kind: str) -> str:
    """SQL for a column as text: whole numbers without a point, NaN as nothing."""
    column = '"' + column.replace('"', '""') + '"'
    if kind in ("FLOAT", "DOUBLE"):
        return (
            f"CASE WHEN isnan({column}) THEN NULL WHEN {column} = trunc({column}) AND "
            f"abs({column}) < 1e15 THEN {column}::BIGINT::VARCHAR ELSE {column}::VARCHAR END"
        )
    return f"{column}::VARCHAR"
