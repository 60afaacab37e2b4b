"""The cells of a table as its files have them, each with the place that it is from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.tables import delimited, parquet, row_numbers
from harness.data.tables.description import Description, shown
from harness.data.tables.fields import canonical
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


def has(folder: Path, description: Description) -> bool:
    """Whether all files of a table are in a folder."""
    return bool(description.files) and None not in [found(folder, f) for f in description.files]


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
    if not has(folder, description):
        return None
    files = [found(folder, file) for file in description.files]
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
    index: Collection[str] = (),
) -> Part:
    """Rows as columns, with nothing where a cell says nothing.

    A cell is read as `harness.data.tables.description.canonical` has it, whatever file it is from.

    Args:
        source: Where the rows are from.
        unit: `ROW` or `LINE`.
        names: Of the columns.
        rows: Of cells.
        numbers: Of the rows.
        description: Of the table.
        index: Columns that are no data, as the file itself says.

    Raises:
        ZooError: There are no rows, two columns have one name, or a column is missing.
    """
    if not rows:
        raise ZooError(f"{source} has no rows. Get the file again, or correct {description.path}.")
    meant = row_numbers.meant(source, names, rows, index, description)
    kept = [names[k] for k in meant]
    for name in kept:
        if kept.count(name) > 1:
            raise ZooError(f"{source} has two columns {name!r}. Rename one of them.")
    for name, field in description.named.items():
        if name not in kept:
            raise ZooError(
                f"{source} has no column {name!r} (wanted by {field} in {description.path}). Its "
                f"columns: {', '.join(kept)}."
            )
    nothing = {"", *description.missing}
    columns = list(zip(*rows, strict=True))
    cells = {}
    for k in meant:
        known = {cell: None if cell is None else canonical(cell) for cell in set(columns[k])}
        known = {cell: None if text in nothing else text for cell, text in known.items()}
        values = np.empty(len(rows), dtype=object)
        values[:] = [known[cell] for cell in columns[k]]
        cells[names[k]] = values
    found = Part(source=source, unit=unit, numbers=np.asarray(numbers), cells=cells)
    if unit == LINE and description.decimal != ".":
        for name in filter(description.is_measured, kept):
            _pointed(found, name, description)
    return found


def _pointed(part: Part, name: str, description: Description) -> None:
    """Write the numbers of a column with a point.

    Raises:
        ZooError: One has a point already, which may separate thousands.
    """
    values = part.cells[name]
    for row, value in enumerate(values):
        if value is not None and "." in value:
            raise ZooError(
                f"{part.source}, {part.unit} {part.numbers[row]}, column {name!r}: {shown(value)} "
                f"has a point, but {description.path} says that decimals begin with "
                f"{description.decimal!r}. Correct the cell, or decimal."
            )
    values[:] = [value and value.replace(description.decimal, ".") for value in values]


def _part(file: Path, description: Description) -> Part:
    if parquet.is_one(file):
        stored = parquet.read(file, description)
        numbers = range(1, len(stored.rows) + 1)
        return part(str(file), ROW, stored.names, stored.rows, numbers, description, stored.index)
    names, rows, lines = delimited.read(file, description)
    return part(str(file), LINE, names, rows, lines, description)
