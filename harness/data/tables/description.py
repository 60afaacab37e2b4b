r"""What a table's TOML file says of it. The files beside this one are examples of the format.

``<data-dir>/<name>.toml`` makes the dataset ``<name>``. Only ``label``, ``classes`` and where the
rows are have to be there::

    about = "Loans of 2019"               # for `harness list datasets --long`
    like = "adult"                        # take what is not said here from this built-in table

    file = "loans.csv"                    # or, if there is an official split, both of:
    train = "loans-train.csv"
    test = "loans-test.csv"

    separator = ","                       # of cells; a tab is "\t"
    encoding = "utf-8"                    # or "utf-16", "windows-1252", "latin-1", ...
    quote = '"'                           # around a cell that has a separator in it; "" for none
    decimal = "."                         # or ",": what stands before a number's decimals
    header = true                         # whether the first line has the names
    columns = ["age", "sex", "..."]       # the names, if not
    comment = "|"                         # lines that begin like this are left out
    missing = ["?", "NA"]                 # cells that say nothing, besides empty ones

    label = "approved"
    classes = ["no", ["yes", "yes, later"]]   # the labels of class 0, 1, ...; any number of them

    categorical = ["job", "region"]       # everything else is numbers; or say
    numbers = ["age", "income"]           # and everything else is categorical
    ignored = ["id"]                      # columns that nobody sees

    sensitive_in_features = false         # whether the model is told the sensitive attributes
    epsilon = { linf = 0.1, l2 = 0.5 }    # customary perturbation radius

    [sensitive.region]                    # a column with few values: each is a group

    [sensitive.age]
    bins = [25, 60]                       # below 25, from 25 to below 60, from 60
    names = ["other", "25 to 59", "other"]    # optional; equal names make one group

    [sensitive.sex]
    column = "personal_status"            # if it is not the attribute's own name
    groups = { female = ["A92", "A95"], male = ["A91", "A93", "A94"] }

    # A cell that says nothing puts nobody in a group, unless groups has one with "" or that word.

    [openml]                              # where else the rows are, if there is a network
    id = 31
    columns = { class = "approved" }      # our names for OpenML's columns
    values.approved = { good = "yes" }    # by column, our words for OpenML's
    train = [0, 500]                      # the rows that are the official training rows

A file is a CSV, as it is or in ``.gz``, or a ``.parquet``. It is looked for beside the description,
that is below the data folder, and then in ``<mirror>/tabular``; built-in tables are looked for
likewise. Values are compared as text as `canonical` writes it, so ``1``, ``1.0`` and ``"1"`` are
the same, and so are ``true`` and ``"True"``.

Columns of row numbers that programs write beside the data are left out, with a warning (see
`harness.data.tables.row_numbers`).

With ``images``, ``image`` and ``resize`` it is a table about images, or about none but those of a
folder: see `harness.data.image_sets.own`.

A column that says a sensitive attribute is never among the features as it stands. If
``sensitive_in_features`` is true, the attribute's groups are there in its place, under the
attribute's name.
"""

from __future__ import annotations

import codecs
import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, isfinite
from pathlib import Path
from typing import Any

from harness.data.tables.fields import Fields, cell, text_of
from zoo.errors import ZooError, unknown

FOLDER = Path(__file__).parent
"""Where the built-in descriptions are."""

UTF_8 = "utf-8"

EPSILON = {"linf": 0.1, "l2": 0.5}
"""Perturbation radius where a description does not say."""


@dataclass(frozen=True, kw_only=True)
class Sensitive:
    """How a column says a sensitive attribute.

    Attributes:
        name: Of the attribute.
        column: Of the table.
        bins: For a column of numbers: where one group ends and the next begins, ascending.
        names: Of the groups between the bins, one more than there are bins.
        groups: For other columns, which values make a group; empty if each is its own.
    """

    name: str
    column: str
    bins: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OpenML:
    """A table's copy on openml.org.

    Attributes:
        id: Of the data there.
        columns: Our names by OpenML's.
        values: By our columns, our words by OpenML's.
        train: First of the official training rows, and behind the last; None without a split.
    """

    id: int
    columns: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]]
    train: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a TOML file says of a table; the fields are those of the file.

    Attributes:
        path: The TOML file.
        files: Of all rows, or of the training rows and the test rows; empty if only OpenML has it.
        columns: Names for a file without a header, in its order; empty for one with a header.
        classes: For every class the labels that mean it.
        categorical: None if ``numbers`` says what is what.
        numbers: None if ``categorical`` does.
        epsilon: Of a table by every norm; of images by those that the file says.
    """

    path: Path
    about: str
    files: tuple[str, ...]
    separator: str
    encoding: str
    quote: str
    decimal: str
    columns: tuple[str, ...]
    comment: str | None
    missing: tuple[str, ...]
    label: str
    classes: tuple[tuple[str, ...], ...]
    categorical: tuple[str, ...] | None
    numbers: tuple[str, ...] | None
    ignored: tuple[str, ...]
    sensitive: tuple[Sensitive, ...]
    sensitive_in_features: bool
    epsilon: Mapping[str, float]
    openml: OpenML | None
    images: str | None
    image: str | None
    resize: int | None

    @property
    def name(self) -> str:
        """Of the dataset."""
        return self.path.stem

    @property
    def named(self) -> dict[str, str]:
        """Every column that the table must have, and which field wants it."""
        wanted = {self.label: "label"}
        wanted |= {name: "ignored" for name in self.ignored}
        wanted |= {name: "categorical" for name in self.categorical or ()}
        wanted |= {name: "numbers" for name in self.numbers or ()}
        wanted |= {self.image: "image"} if self.image is not None else {}
        return wanted | {one.column: f"sensitive.{one.name}" for one in self.sensitive}

    def is_number(self, column: str) -> bool:
        """Whether the cells of a column have to be numbers."""
        if self.numbers is not None:
            return column in self.numbers
        return column not in (self.categorical or ())

    def is_measured(self, column: str) -> bool:
        """Whether the cells of a column are read as numbers, as a feature or into bins."""
        kinds = [bool(one.bins) for one in self.sensitive if one.column == column]
        if column == self.label or column in self.ignored:
            return False
        return any(kinds) if kinds else self.is_number(column)


def builtin() -> dict[str, Path]:
    """The descriptions that come with this program, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


_TELLING = ("label", "classes", "like", "file", "train", "test", "sensitive", "openml", "images")


def is_meant(path: Path) -> bool:
    """Whether a TOML file is a description, if perhaps a wrong one, and not about something else.

    It is if it has a field that says what a table is, or one that is almost called so.
    """
    try:
        text = "\n" + text_of(path)
    except (OSError, ValueError):
        return True  # whoever reads it is told why it cannot be
    found = re.findall(r"^\s*([\w-]+)\s*=", text.partition("\n[")[0], re.MULTILINE)
    found += re.findall(r"^\[([\w-]+)", text, re.MULTILINE)
    return any(difflib.get_close_matches(name, _TELLING, n=1, cutoff=0.75) for name in found)


def read(path: Path) -> Description:
    """What a TOML file says of a table.

    Raises:
        ZooError: It cannot be read, has a field that does not exist, lacks one, or contradicts
            itself.
    """
    return _described(path, _merged(path))


def _merged(path: Path) -> dict[str, Any]:
    """The fields of a file, behind them those of the table that it is like."""
    try:
        said = tomllib.loads(text_of(path))
    except (OSError, ValueError) as error:
        raise ZooError(f"{path} cannot be read: {error}.".replace("\n", " ")) from error
    like = said.pop("like", None)
    if like is None:
        return said
    known = builtin()
    if like not in known:
        raise unknown(f"built-in table that {path} could be like", str(like), known)
    other = _merged(known[like])
    # Whoever says where the rows are, or what is a number, does not mean the other table's.
    for one, others in _INSTEAD:
        if one & said.keys():
            other = {key: value for key, value in other.items() if key not in others}
    return {**other, **said}


_ROWS = {"file", "train", "test"}
_KINDS = {"categorical", "numbers"}
_INSTEAD = ((_ROWS, _ROWS | {"openml"}), (_KINDS, _KINDS))


LONGEST = 40
"""Characters of a cell that a message shows whole."""


def shown(cell: str) -> str:
    """A cell as a message has it: of a long one, its beginning and its length."""
    if len(cell) <= LONGEST:
        return repr(cell)
    return f"{cell[: LONGEST - 10] + '…'!r} ({len(cell)} characters)"


def _described(path: Path, said: dict[str, Any]) -> Description:
    fields = Fields(path, said)
    header = fields.flag("header", True)
    columns = fields.words("columns") or ()
    if header == bool(columns):
        raise ZooError(
            f"{path}: columns has the names of the columns if, and only if, header is false."
        )
    sensitive = _sensitive(path, fields.take("sensitive", dict, "a table of attributes", {}))
    openml = fields.take("openml", dict, "a table with an id")
    images = fields.text("images")
    found = Description(
        path=path,
        about=fields.text("about", ""),
        files=_files(fields),
        separator=fields.character("separator", ","),
        encoding=_encoding(fields),
        quote=fields.character("quote", '"', optional=True),
        decimal=fields.character("decimal", ".", ".,"),
        columns=columns,
        comment=fields.text("comment"),
        missing=fields.cells("missing", fields.take("missing", list, "a list", [])),
        label=fields.text("label"),
        classes=_classes(fields),
        categorical=fields.words("categorical"),
        numbers=fields.words("numbers"),
        ignored=fields.words("ignored") or (),
        sensitive=sensitive,
        sensitive_in_features=fields.flag("sensitive_in_features", False),
        epsilon=_epsilon(fields) if images is not None else {**EPSILON, **_epsilon(fields)},
        openml=None if openml is None else _openml(path, openml),
        images=images,
        image=fields.text("image"),
        resize=fields.take("resize", int, "a number of pixels"),
    )
    fields.done()
    _check(found)
    return found


def _files(fields: Fields) -> tuple[str, ...]:
    file, train, test = (fields.text(name) for name in ("file", "train", "test"))
    if (train is None) != (test is None) or (file is not None and train is not None):
        raise ZooError(f"{fields.path}: give either file, or both train and test.")
    return tuple(name for name in (file, train, test) if name is not None)


def _classes(fields: Fields) -> tuple[tuple[str, ...], ...]:
    given = fields.take("classes", list, "a list of the labels of class 0, 1, ...", [])
    classes = tuple(
        fields.cells("classes", labels if isinstance(labels, list) else [labels])
        for labels in given
    )
    fields.cells("classes", [label for labels in classes for label in labels])
    return classes


def _encoding(fields: Fields) -> str:
    """The name by which Python knows an encoding."""
    name = fields.text("encoding", UTF_8)
    try:
        "a".encode(name)  # what `codecs.lookup` knows need not make text
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        known = ", ".join(map(repr, ("utf-8", "utf-16", "windows-1252", "latin-1")))
        raise fields.fail("encoding", f"one that Python knows, such as {known}", name) from None


def _epsilon(fields: Fields) -> dict[str, float]:
    given = fields.take("epsilon", dict, "a table of norms", {})
    for norm, radius in given.items():
        if norm not in EPSILON:
            raise unknown(f"norm of epsilon in {fields.path}:", norm, EPSILON)
        if not isinstance(radius, int | float) or isinstance(radius, bool) or not 0 < radius < inf:
            raise fields.fail(f"epsilon.{norm}", "a number above 0", radius)
    return {norm: float(radius) for norm, radius in given.items()}


def _sensitive(path: Path, said: Mapping[str, Any]) -> tuple[Sensitive, ...]:
    found = []
    for name, given in said.items():
        if "+" in name or not name:
            raise ZooError(
                f"{path}: sensitive attribute {name!r} needs a name without '+', which joins "
                f"several. Rename it."
            )
        fields = Fields(path, given, f"sensitive.{name}")
        column = fields.text("column", name)
        bins = fields.take("bins", list, "a list of numbers", [])
        names = fields.take("names", list, "a list of words", None)
        groups = fields.mapping("groups", "a table of lists of values")
        fields.done()
        if not all(
            isinstance(b, int | float) and not isinstance(b, bool) and isfinite(b) for b in bins
        ) or any(not low < high for low, high in pairwise(bins)):
            raise fields.fail("bins", "a list of ascending numbers", bins)
        if names is not None and (
            len(names) != len(bins) + 1 or not bins or not all(isinstance(n, str) for n in names)
        ):
            raise fields.fail("names", f"{len(bins) + 1} words, one more than bins", names)
        if bins and groups:
            raise ZooError(f"{path}: sensitive.{name} has bins and groups. Leave one out.")
        for group, values in groups.items():
            if not isinstance(values, list):
                raise fields.fail(f"groups.{group}", "a list of values", values)
        fields.cells("groups", [value for values in groups.values() for value in values])
        found.append(
            Sensitive(
                name=name,
                column=column,
                bins=tuple(map(float, bins)),
                names=tuple(_between(bins) if names is None else names) if bins else (),
                groups={group: fields.cells(group, values) for group, values in groups.items()},
            )
        )
    return tuple(found)


def _between(bins: Sequence[float]) -> list[str]:
    """Names for what lies between bins."""
    inner = [f"from {low:g} to below {high:g}" for low, high in pairwise(bins)]
    return [f"below {bins[0]:g}", *inner, f"from {bins[-1]:g}"]


def _openml(path: Path, said: Mapping[str, Any]) -> OpenML:
    fields = Fields(path, said, "openml")
    number = fields.take("id", int, "the number of the data on openml.org")
    if number is None:
        raise fields.fail("id", "the number of the data on openml.org", None)
    train = fields.take("train", list, "two row numbers")
    if train is not None and not (
        len(train) == 2 and all(type(row) is int for row in train) and 0 <= train[0] < train[1]
    ):
        raise fields.fail("train", "the first training row and the one behind the last", train)
    texts = "a table from OpenML's words to those of the description"
    found = OpenML(
        id=number,
        columns=_texts(fields, "columns", fields.mapping("columns", texts)),
        values={
            column: _texts(fields, f"values.{column}", words)
            for column, words in fields.mapping("values", texts).items()
        },
        train=None if train is None else (train[0], train[1]),
    )
    fields.done()
    return found


def _texts(fields: Fields, name: str, given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or not all(cell(value) for value in given.values()):
        raise fields.fail(name, "a table from OpenML's words to those of the description", given)
    return {key: str(cell(value)) for key, value in given.items()}


def _check(found: Description) -> None:
    """Refuse a description that lacks something or says two things of one column."""
    path = found.path
    if found.images is not None:
        _check_images(found)
        if not found.files:
            return
    elif found.image is not None or found.resize is not None:
        raise ZooError(f"{path} has image or resize, but no images. Give the folder of the images.")
    if not found.files and found.openml is None:
        raise ZooError(f"{path} does not say where the rows are. Give file, or train and test.")
    if found.label is None:
        raise ZooError(f"{path} does not say which column is to be predicted. Give label.")
    if len(found.classes) < 2:
        raise ZooError(
            f"{path}: classes has to list the labels of two classes or more, found "
            f"{len(found.classes)}. Give each label that {found.label!r} has."
        )
    if found.categorical is not None and found.numbers is not None:
        raise ZooError(
            f"{path} has categorical and numbers. Give one; what it does not list is of the other."
        )
    roles = [("label", {found.label}), ("ignored", set(found.ignored)),
             ("sensitive", {one.column for one in found.sensitive}),
             ("image", {found.image} - {None})]  # fmt: skip
    for i, (one, mine) in enumerate(roles):
        for other, its in roles[i + 1 :]:
            for column in sorted(mine & its):
                raise ZooError(
                    f"{path}: column {column!r} is both {one} and {other}. Leave it out of one."
                )


def _check_images(found: Description) -> None:
    """Refuse a description of images that says what only tables have, or too little."""
    path = found.path
    if found.openml is not None or found.categorical is not None or found.numbers is not None:
        raise ZooError(
            f"{path} is about images, whose features are pixels. Leave out openml, categorical and "
            f"numbers."
        )
    if found.resize is not None and not 1 <= found.resize <= 4096:
        raise ZooError(f"{path}: resize has to be 1 to 4096 pixels, found {found.resize}.")
    if found.files and found.image is None:
        raise ZooError(
            f"{path} does not say which column has the images' paths in {found.images}. Give image."
        )
    alone = {"label": found.label, "image": found.image, "sensitive": found.sensitive}
    for name, value in alone.items():
        if not found.files and value:
            raise ZooError(
                f"{path} has {name}, but no table that says it of each image. Give file, or train "
                f"and test."
            )
