"""Text files with a row on each line: comma-separated values, or separated by something else."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.tables.description import UTF_8, Description
from zoo.errors import ZooError
from zoo.loading import is_web_page

if TYPE_CHECKING:
    from _csv import Reader

_GZIP = b"\x1f\x8b"
_NO_TEXT = {
    b"PK\x03\x04": ("an Excel workbook or another zip archive", "Save or unpack it as CSV."),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "Save it as CSV."),
    b"\xfd7zXZ": ("compressed with xz", "Unpack it, or compress it with gzip."),
    b"BZh91AY&SY": ("compressed with bzip2", "Unpack it, or compress it with gzip."),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "Unpack it, or compress it with gzip."),
    b"SQLite format 3": ("an SQLite database", "Write the table as CSV."),
    b"\x89HDF": ("an HDF5 file", "Write the table as CSV or Parquet."),
    b"ARROW1": ("a Feather file", "Write the table as CSV or Parquet."),
    **dict.fromkeys(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        ("a Python pickle", "It was not executed. Write the table as CSV or Parquet."),
    ),
}
"""What a file is that begins like this, and what to do."""

_MARKED = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""Encodings by their byte-order marks, the longer ones first."""

_SEPARATORS = (",", ";", "\t", "|", " ")

Rows = tuple[list[str], list[list[str]], list[int]]
"""The names of the columns, the cells of each row, and the line that each row ends on, from 1."""


def read(file: Path, description: Description) -> Rows:
    """All rows of a file; blanks around cells are left out.

    Raises:
        ZooError: It is no such text, in another encoding or with another separator than described,
            or a row is not like the others.
    """
    text = _text(file, _content(file, description), description)
    names = list(description.columns)
    rows: list[list[str]] = []
    numbers: list[int] = []
    lines = _uncommented(io.StringIO(text, newline=""), description.comment)
    reader = _reader(lines, description.separator, description)
    begin = 1
    try:
        for row in reader:
            row = [cell.strip() for cell in row]
            if any(row) or len(row) > 1:
                if not names:
                    names = row
                    _check_separator(file, begin, text, names, description)
                else:
                    if len(row) != len(names):
                        raise _uneven(file, reader.line_num, text, names, row, description)
                    rows.append(row)
                    numbers.append(reader.line_num)
            begin = reader.line_num + 1
    except csv.Error as error:
        raise ZooError(
            f"{file}, line {begin}: the quotation marks of the row that begins here do not pair "
            f"({error}). Write a cell that has one in quotation marks, its own ones doubled; if "
            f'they mean nothing in this file, say quote = "" in {description.path}.'
        ) from error
    return names, rows, numbers


def _content(file: Path, description: Description) -> bytes:
    """The bytes of a file, unpacked.

    Raises:
        ZooError: It is of a kind that is no text, or its archive is damaged.
    """
    content = file.read_bytes()
    if content.startswith(_GZIP):
        try:
            return gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ZooError(
                f"{file} cannot be read to its end: {error}. Get the file again."
            ) from error
    if file.suffix == ".gz":
        raise ZooError(
            f"{file} cannot be read as gzip: it begins with {content[:8]!r}. Get the file again, "
            f"or, if this is the table itself, take .gz off its name."
        )
    for begin, (what, advice) in _NO_TEXT.items():
        if content.startswith(begin):
            raise ZooError(f"{file} is {what}, not text with a row on each line. {advice}")
    if is_web_page(content[:512]):
        raise ZooError(
            f"{file} is a web page, not text with a row on each line. Get the file again."
        )
    return content


def _text(file: Path, content: bytes, description: Description) -> str:
    """The characters of a file.

    Raises:
        ZooError: It is in another encoding than described.
    """
    encoding = description.encoding
    if encoding == UTF_8:
        other = next((name for mark, name in _MARKED.items() if content.startswith(mark)), None)
        zeros = [k % 2 for k, byte in enumerate(content[:200]) if byte == 0]
        if other is None and zeros:
            other = "utf-16-le" if sum(zeros) > len(zeros) / 2 else "utf-16-be"
        if other is not None:
            raise ZooError(
                f"{file}, line 1: this is text in {other.upper()}, not in UTF-8. Say encoding = "
                f'"{other}" in {description.path}.'
            )
    try:
        return content.decode("utf-8-sig" if encoding == UTF_8 else encoding)
    except UnicodeError as error:
        at = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = content.count(b"\n", 0, at) + 1
        advice = f"Correct encoding in {description.path}."
        if encoding == UTF_8:
            advice = (
                f'Say its encoding in {description.path}: that is mostly encoding = "windows-1252"'
                f' if Excel wrote it, and else "latin-1".'
            )
        raise ZooError(
            f"{file}, line {line}: byte {content[at : at + 1].hex() or 'none'} is no "
            f"{encoding.upper()}. {advice}"
        ) from error


def _reader(lines: Iterable[str], separator: str, description: Description) -> Reader:
    return csv.reader(
        lines,
        delimiter=separator,
        quotechar=description.quote or None,
        quoting=csv.QUOTE_MINIMAL if description.quote else csv.QUOTE_NONE,
        skipinitialspace=True,
        strict=True,
    )


def _uncommented(lines: io.StringIO, comment: str | None) -> Iterator[str]:
    """Lines, of which comments are empty: they still count."""
    for line in lines:
        yield "\n" if comment and line.startswith(comment) else line


def _check_separator(
    file: Path, number: int, text: str, names: Sequence[str], description: Description
) -> None:
    """Refuse a first line that has the described columns only if it is separated otherwise.

    Raises:
        ZooError: It is so.
    """
    wanted = description.named.keys()
    if wanted <= set(names):
        return
    line = text.splitlines()[number - 1]
    for other in _SEPARATORS:
        if other != description.separator and wanted <= set(_cells(line, other, description)):
            raise _separated(file, number, other, description)
    if line.lower().startswith("sep="):
        raise ZooError(
            f'{file}, line {number}: {line!r} is a note for Excel. Say comment = "sep=" and '
            f"separator = {_toml(line[4:5])} in {description.path}."
        )


def _uneven(
    file: Path,
    number: int,
    text: str,
    names: Sequence[str],
    row: Sequence[str],
    description: Description,
) -> ZooError:
    """A row that is longer or shorter than it should be."""
    if description.columns and len(row) == 1:
        line = text.splitlines()[number - 1]
        for other in _SEPARATORS:
            if len(_cells(line, other, description)) == len(names):
                return _separated(file, number, other, description)
    advice = "Is it cut off?"
    if len(row) > len(names):
        advice = (
            f"A cell with {description.separator!r} in it, as with a decimal comma, has to be in "
            f"quotation marks; row names, as R writes them, need a name in the first line."
        )
    return ZooError(
        f"{file}, line {number}: expected {len(names)} cells ({names[0]} to {names[-1]}), found "
        f"{len(row)}. {advice} Check that this is the file that {description.path} describes, and "
        f"its separator."
    )


def _separated(file: Path, number: int, separator: str, description: Description) -> ZooError:
    return ZooError(
        f"{file}, line {number}: cells are separated by {_toml(separator)}, not by "
        f"{_toml(description.separator)}. Say separator = {_toml(separator)} in "
        f"{description.path}."
    )


def _cells(line: str, separator: str, description: Description) -> list[str]:
    """The cells of one line; none if it cannot be read so."""
    try:
        return [cell.strip() for row in _reader(iter([line]), separator, description)
                for cell in row]  # fmt: skip
    except csv.Error:
        return []


def _toml(character: str) -> str:
    r"""A separator as a description has it: a tab is ``\t`` there."""
    return '"\\t"' if character == "\t" else f'"{character}"'
