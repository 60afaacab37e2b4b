"""Annotation files as a program rewrites them: same columns, same order, same bytes."""

import csv
import io
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from annotations.cells import write_cell
from annotations.load import load
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


@contextmanager
def checked(folder: Path) -> Iterator[Path]:
    """A copy of a folder of annotations to change; it takes effect if it is valid at the end.

    Raises:
        AnnotationError: It is not; the folder is as it was.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "annotations"
        ignored = shutil.ignore_patterns("*.py", "__pycache__")
        shutil.copytree(folder, copy, ignore=ignored)
        yield copy
        load(copy)
        for path in sorted(copy.rglob("*")):
            target = folder / path.relative_to(copy)
            if path.is_file() and path.read_bytes() != target.read_bytes():
                write_atomic(target, path.read_bytes())
