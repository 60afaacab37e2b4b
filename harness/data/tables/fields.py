"""The fields of a TOML file that describes a dataset."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zoo.errors import ZooError, unknown


def text_of(path: Path) -> str:
    """A description's text; a byte-order mark says nothing."""
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is text in UTF-16; save it in UTF-8")
    return content.decode("utf-8-sig").replace("\r\n", "\n")


class Fields:
    """The fields of one table of a TOML file, each taken out once.

    Raises:
        ZooError: A field is of another type, or is none of those that are taken.
    """

    def __init__(self, path: Path, said: Any, where: str = "") -> None:
        self.path, self.where = path, where
        if not isinstance(said, dict):
            raise ZooError(f"{path}: {where} has to be a table of fields, found {said!r}.")
        self.left, self.known = dict(said), set[str]()

    def fail(self, name: str, wanted: str, found: object) -> ZooError:
        """What is wrong with a field."""
        full = ".".join(filter(None, (self.where, name)))
        return ZooError(f"{self.path}: {full} has to be {wanted}, found {found!r}.")

    def take(self, name: str, kind: type, wanted: str, default: Any = None) -> Any:
        """A field of a kind, else ``default``."""
        self.known.add(name)
        if name not in self.left:
            return default
        value = self.left.pop(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.fail(name, wanted, value)
        return value

    def text(self, name: str, default: str | None = None) -> Any:
        """A field that is text."""
        return self.take(name, str, "text", default)

    def flag(self, name: str, default: bool) -> bool:
        """A field that is true or false."""
        return self.take(name, bool, "true or false", default)

    def words(self, name: str) -> tuple[str, ...] | None:
        """A list of names without repetition, as text."""
        values = self.take(name, list, "a list")
        return None if values is None else self.different(name, map(cell, values), values)

    def cells(self, name: str, values: Iterable[Any]) -> tuple[str, ...]:
        """Values of cells without repetition, as `canonical` writes them."""
        values = list(values)
        texts = [None if text is None else canonical(text) for text in map(cell, values)]
        return self.different(name, texts, values)

    def different(
        self, name: str, texts: Iterable[str | None], values: Iterable[Any]
    ) -> tuple[str, ...]:
        """``texts``, if they are different words; ``values`` are what the file says."""
        found = tuple(texts)
        if None in found or len(set(found)) < len(found):
            raise self.fail(name, "a list of different words or numbers", list(values))
        return found  # type: ignore[return-value]

    def character(self, name: str, default: str, known: str = "", optional: bool = False) -> str:
        """One character, perhaps one of those that are known, or none if that may be."""
        value = self.text(name, default)
        if not (optional and not value) and (len(value) != 1 or (known and value not in known)):
            wanted = " or ".join(map(repr, known)) if known else "one character"
            raise self.fail(name, wanted, value)
        return value

    def mapping(self, name: str, wanted: str) -> dict[str, Any]:
        """A field that is a table."""
        return self.take(name, dict, wanted, {})

    def done(self) -> None:
        """Refuse what nobody has taken."""
        for name in self.left:
            kind = f"field [{self.where}]" if self.where else "field"
            raise unknown(f"{kind} in {self.path}:", name, self.known)


def cell(value: object) -> str | None:
    """A value of a description as a file has it; None if no cell can be like this."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else None


def canonical(text: str) -> str:
    """A cell of any file as it is compared with others.

    Whole numbers have no decimals and truth values are small, whichever program wrote them; blanks
    around a text say nothing.
    """
    text = text.strip()
    if _WHOLE.fullmatch(text):
        return text.partition(".")[0]
    return text.lower() if text.lower() in ("true", "false") else text


_WHOLE = re.compile(r"[+-]?\d+\.0+", re.ASCII)
