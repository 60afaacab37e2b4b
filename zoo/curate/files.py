"""Annotation files as a program rewrites them: same columns, same order, same bytes."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from annotations.cells import write_cell
from annotations.record import Table
from zoo.files import write_atomic


def write_rows(folder: Path, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Write one file of annotations whose provenance stands in ``sources.toml``.

    Args:
        folder: Of annotations.
        table: Whose file it is.
        rows: Values by column; a column that is left out is empty. Any order.
    """
    cells = [{name: write_cell(row.get(name)) for name in table.fields} for row in rows]
    cells.sort(key=lambda row: " ".join(row[name] for name in table.key))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table.fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    write_atomic(folder / table.file, text.getvalue().encode())
