"""The cells of a table as its files have them, each with the place that it is from."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from harness.tables.description import Description
from zoo.errors import ZooError

ROW, LINE = "row", "line"
"""What the rows of a file are counted as."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """Rows that are in one place.

    Attributes:
        source: A file, or what else they are from.
        unit: `ROW` or `LINE`.
        numbers: (n,) of each row, from 1.
        cells: By column, (n,) of text, or None where a cell says nothing.
    """

    source: str
    unit: str
    numbers: np.ndarray
    cells: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False, kw_only=True)
class Cells:
    """A table.

    Attributes:
        parts: One, or the training rows and the test rows; with the same columns.
        n_train: How many of the first rows are the official training rows; 0 without a split.
        order: (n,) the rows of all parts in the order that is meant.
    """

    parts: tuple[Part, ...]
    n_train: int
    order: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[Part], n_train: int) -> Cells:
        """Rows in the order of the parts."""
        n = sum(len(part.numbers) for part in parts)
        return cls(parts=tuple(parts), n_train=n_train, order=np.arange(n))

    def __len__(self) -> int:
        return len(self.order)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(self.parts[0].cells)

    @property
    def source(self) -> str:
        """Where the rows are from."""
        return " and ".join(part.source for part in self.parts)

    def column(self, name: str) -> np.ndarray:
        """(n,) of text, or None where a cell says nothing."""
        return np.concatenate([part.cells[name] for part in self.parts])[self.order]

    @property
    def places(self) -> dict[str, np.ndarray]:
        """Columns (n,) that say where each row is: ``row`` and, of several parts, ``file``.

        Rows are counted from 0 and as data frames do, without the header, empty lines and comments:
        ``pandas.read_csv(file).iloc[row]`` is the example.
        """
        rows = np.concatenate([np.arange(len(part.numbers)) for part in self.parts])
        if len(self.parts) == 1:
            return {"row": rows[self.order]}
        files = [
            np.full(len(part.numbers), Path(part.source).name, dtype=object) for part in self.parts
        ]
        return {"row": rows[self.order], "file": np.concatenate(files)[self.order]}

    def place(self, row: int, column: str) -> str:
        """Where a cell is, for a message."""
        first, index = self.parts[0], int(self.order[row])
        own = index < len(first.numbers)
        part, index = (first, index) if own else (self.parts[1], index - len(first.numbers))
        return f"{part.source}, {part.unit} {part.numbers[index]}, column {column!r}"


def found(folder: Path, file: str) -> Path | None:
    """A file of a description, or the same with ``.gz``; None if there is neither."""
    return next(filter(Path.is_file, (folder / file, folder / f"{file}.gz")), None)


def read(folder: Path, description: Description) -> Cells | None:
    """All rows of a table, the training rows first.

    Args:
        folder: What the files are named in relation to.
        description: Of the table.

    Returns:
        None if a file is not there.

    Raises:
        ZooError: A file cannot be read as such a table, or lacks a column that the description
            names.
    """
    files = [found(folder, file) for file in description.files]
    if not files or None in files:
        return None
    parts = [_part(file, description) for file in files if file is not None]
    names = parts[0].cells.keys()
    for part in parts[1:]:
        for name in names:
            if name not in part.cells:
                raise ZooError(
                    f"{part.source} has no column {name!r}, which {parts[0].source} has. Both "
                    f"parts of a table need the same columns."
                )
    return Cells.of(parts, len(parts[0].numbers) if len(parts) > 1 else 0)


def part(
    source: str,
    unit: str,
    names: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    numbers: Sequence[int],
    description: Description,
) -> Part:
    """Rows as columns, with nothing where a cell says nothing.

    Raises:
        ZooError: There are no rows, two columns have one name, or a column is missing.
    """
    if not rows:
        raise ZooError(f"{source} has no rows. Get the file again, or correct {description.path}.")
    for name in names:
        if names.count(name) > 1:
            raise ZooError(f"{source} has two columns {name!r}. Rename one of them.")
    for name, field in description.named.items():
        if name not in names:
            raise ZooError(
                f"{source} has no column {name!r} (wanted by {field} in {description.path}). Its "
                f"columns: {', '.join(names)}."
            )
    nothing = {"", None, *description.missing}
    cells = {}
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        values = np.empty(len(column), dtype=object)
        values[:] = [None if value in nothing else value for value in column]
        cells[name] = values
    return Part(source=source, unit=unit, numbers=np.asarray(numbers), cells=cells)


def _part(file: Path, description: Description) -> Part:
    if file.suffix == ".parquet":
        return _parquet(file, description)
    return _csv(file, description)


def _csv(file: Path, description: Description) -> Part:
    """Comma-separated values, or separated by something else."""
    names = list(description.columns)
    rows: list[list[str]] = []
    numbers: list[int] = []
    try:
        with _opened(file) as lines:
            reader = csv.reader(
                _uncommented(lines, description.comment),
                delimiter=description.separator,
                skipinitialspace=True,
                strict=True,
            )
            for row in reader:
                if not row:
                    continue
                row = [text.strip() for text in row]
                if not names:
                    names = row
                    continue
                if len(row) != len(names):
                    raise ZooError(
                        f"{file}, line {reader.line_num}: expected {len(names)} cells "
                        f"({names[0]} to {names[-1]}), found {len(row)}. Check that this is the "
                        f"file that {description.path} describes, and its separator."
                    )
                rows.append(row)
                numbers.append(reader.line_num)
    except (OSError, ValueError, EOFError, csv.Error, zlib.error) as error:
        raise ZooError(
            f"{file} cannot be read as comma-separated values in UTF-8: {error}. Get the file "
            f"again."
        ) from error
    return part(str(file), LINE, names, rows, numbers, description)


def _opened(file: Path) -> IO[str]:
    opened = gzip.open if file.suffix == ".gz" else open
    return opened(file, "rt", encoding="utf-8-sig", newline="")  # type: ignore[return-value]


def _uncommented(lines: IO[str], comment: str | None) -> Iterator[str]:
    """Lines, of which comments are empty: they still count."""
    for line in lines:
        yield "\n" if comment and line.startswith(comment) else line


def _parquet(file: Path, description: Description) -> Part:
    import duckdb

    from zoo.database import NO_EXTENSIONS

    try:
        with duckdb.connect(config=dict(NO_EXTENSIONS)) as database:
            table = database.read_parquet(str(file))
            names = table.columns
            texts = [
                _as_text(name, str(kind)) for name, kind in zip(names, table.types, strict=True)
            ]
            rows = table.project(", ".join(texts)).fetchall()
    except duckdb.Error as error:
        raise ZooError(
            f"{file} cannot be read as Parquet: {str(error).splitlines()[0]}. Get the file again."
        ) from error
    return part(str(file), ROW, names, rows, range(1, len(rows) + 1), description)


def _as_text(name: str, kind: str) -> str:
    """SQL for a column as text: whole numbers without a point, NaN as nothing."""
    column = '"' + name.replace('"', '""') + '"'
    if kind in ("FLOAT", "DOUBLE"):
        return (
            f"CASE WHEN isnan({column}) THEN NULL WHEN {column} = trunc({column}) AND "
            f"abs({column}) < 1e15 THEN {column}::BIGINT::VARCHAR ELSE {column}::VARCHAR END"
        )
    return f"trim({column}::VARCHAR)"
