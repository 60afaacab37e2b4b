"""Columns that programs write beside the data: the index of a frame, the names of rows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Sequence

from harness.data.tables.description import Description
from zoo.errors import ZooError

_BY_PANDAS = re.compile(r"Unnamed: \d+(\.\d+)*|__index_level_\d+__")
"""What pandas calls an index without a name when it stores it, or reads it as a column."""

_FEW = 10
"""So many consecutive numbers are no chance."""


def meant(
    source: str,
    names: Sequence[str],
    rows: Sequence[Sequence[str | None]],
    index: Collection[str],
    description: Description,
) -> list[int]:
    """Which columns are data; those that are not are left out with a warning.

    These are an index: the first columns, if they have no name, those that pandas has given a name
    for want of one, and ``index``. A later column without name is left out if it is empty, as where
    each line ends in a separator. What the description names is always meant. A column that counts
    the rows is kept, with a warning: it may be a year.

    Args:
        source: Where the rows are from.
        names: Of the columns.
        rows: Of cells.
        index: Columns that are an index, as the file itself says.
        description: Of the table.

    Raises:
        ZooError: A column has no name and is no index.
    """
    named = {*description.named, *description.columns}
    kept, left_out, first = [], [], True
    for k, name in enumerate(names):
        if name in named:
            kept.append(k)
        elif (not name and first) or name in index or _BY_PANDAS.fullmatch(name):
            left_out.append(f"{k + 1} ({name!r})" if name else f"{k + 1} (without a name)")
            continue
        elif name:
            kept.append(k)
            if _counts([row[k] for row in rows]):
                warnings.warn(
                    f"{source}: column {name!r} counts the rows, and is a feature. List it under "
                    f"ignored in {description.path}, or, if it is meant, under numbers or "
                    f"categorical.",
                    stacklevel=2,
                )
        elif all(row[k] in ("", None) for row in rows):
            left_out.append(f"{k + 1} (without a name, and empty)")
        else:
            raise ZooError(
                f"{source}: column {k + 1} has no name. Name it in the first line, or take it out "
                f"of the file."
            )
        first = False
    if left_out:
        warnings.warn(
            f"{source}: column {', '.join(left_out)} is an index, not data, and is left out. If "
            f"it is meant, give it a name and list it in {description.path}.",
            stacklevel=2,
        )
    return kept


def _counts(cells: Sequence[str | None]) -> bool:
    """Whether cells are consecutive whole numbers, from 0 or 1 or any other."""
    if len(cells) < _FEW or not re.fullmatch(r"\d{1,15}", str(cells[0])):
        return False
    start = int(str(cells[0]))
    return all(cell == str(start + k) for k, cell in enumerate(cells))
