"""The rows of a CSV file with their places, and everything that is wrong with its form."""

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path


def read_rows(
    folder: Path, file: str, columns: Collection[str], problems: list[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row stands, ``file:line``, and its cells by column.

    Args:
        folder: Of annotations.
        file: Relative to it.
        columns: Names that the header must have, in any order.
        problems: What is wrong with the file's form is added here; such rows are left out, and a
            file that cannot be told apart into columns has none.

    Raises:
        OSError: The file is there, but cannot be read.
    """
    try:
        content = (folder / file).read_bytes()
    except FileNotFoundError:
        problems.append(f"{file}:1: there is no such file")
        return
    if b"\r" in content:
        problems.append(f"{file}:1: lines end in CR; save the file with LF line ends")
        return
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        problems.append(f"{file}:{line}: is not UTF-8")
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            where, line = f"{file}:{line}", reader.line_num + 1
            if header is None:
                header = cells
                if wrong := _check_header(header, columns, where):
                    problems += wrong
                    return
            elif len(cells) != len(header):
                problems.append(f"{where}: {len(cells)} cells under {len(header)} columns")
            else:
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as problem:
        problems.append(f"{file}:{line}: {problem}")
    if header is None:
        problems.append(f"{file}:1: has no header")


def _check_header(header: list[str], columns: Collection[str], where: str) -> list[str]:
    problems = [f"{where}: unknown column {name!r}" for name in header if name not in columns]
    problems += [f"{where}: no column {name!r}" for name in columns if name not in header]
    problems += [
        f"{where}: column {name!r} twice"
        for name in sorted({n for n in header if header.count(n) > 1})
    ]
    return problems
