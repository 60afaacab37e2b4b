"""Rows of a table as numbers in [0, 1] that a model takes, and what they say of people.

What the encoding takes is learnt from the first `Encoded.n_fitted` rows only, and
`harness.data.quarters.quarters` keeps those out of the part on which a model is judged. They are
the official training rows. Without an official split all rows are put in a random order, always the
same, and the first half is learnt from. A quarter of all rows is left in any case; where the
official test rows are fewer, the training rows are put in such an order too.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.data.examples import UNKNOWN, Attribute, Column
from harness.data.tables.cells import Cells
from harness.data.tables.description import LONGEST, Description, Sensitive, shown
from harness.seeds import derive
from zoo.errors import ZooError

if TYPE_CHECKING:
    from torch import Tensor

MISSING = "?"
"""The category of cells that say nothing."""

MOST_GROUPS = 10
"""A sensitive column of numbers with more values than this needs bins."""

MOST_WORDS = 50
"""One of words with more values than this needs groups: so many are dates, or names."""

MOST_CATEGORIES = 1000
"""A column with more values than this says who somebody is, not what kind."""

LARGEST = 2**53
"""Up to here, and down to its negative, every whole number is one of its own as a float64."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoded:
    """A table as tensors.

    Attributes:
        x: (n, features) float32 in [0, 1].
        y: (n,) int64, 0 .. number of classes - 1.
        z: The sensitive attributes by name.
        columns: Where the columns of the table are in ``x``.
        n_train: How many of the first rows are the official training rows; 0 without a split.
        n_fitted: How many of the first rows the encoding was learnt from.
        places: Where each row is in the files; see `harness.data.tables.cells.Cells.places`.
    """

    x: Tensor
    y: Tensor
    z: dict[str, Attribute]
    columns: tuple[Column, ...]
    n_train: int
    n_fitted: int
    places: dict[str, np.ndarray]


def encode(cells: Cells, description: Description) -> Encoded:
    """Turn a table into numbers.

    A number is scaled so that the rows that are learnt from fill [0, 1], and clipped to that. One
    that is missing is their median; if any of them lacks it, a category says of every row whether
    it does. Every other column becomes one indicator per value that those rows have, sorted, a
    missing one being a value; a row with a value that they do not have has none. Whoever does not
    say a sensitive attribute is in no group, unless the description names one for what is missing.

    Raises:
        ZooError: A cell is not what the description says, or an attribute says nothing of anybody.
    """
    cells, n_fitted = _arranged(cells)
    y, z = labels_and_groups(cells, description)
    parts: list[np.ndarray] = []
    columns: list[Column] = []
    for values, column in _features(cells, description, z, n_fitted):
        start = columns[-1].stop if columns else 0
        if column.name in (before.name for before in columns):
            raise ZooError(
                f"{cells.source}: two columns of the features would be called {column.name!r}. "
                f"Rename one, or the sensitive attribute, in {description.path}."
            )
        parts.append(values.astype(np.float32))
        columns.append(replace(column, start=start, stop=start + values.shape[1]))
    if not parts:
        raise ZooError(
            f"{description.path} leaves no column of {cells.source} for the features. Take some "
            f"out of ignored or sensitive."
        )
    return Encoded(
        x=torch.from_numpy(np.concatenate(parts, axis=1)),
        y=y,
        z=z,
        columns=tuple(columns),
        n_train=cells.n_train,
        n_fitted=n_fitted,
        places=cells.places,
    )


def labels_and_groups(
    cells: Cells, description: Description
) -> tuple[Tensor, dict[str, Attribute]]:
    """The label of every row, (n,) int64, and the sensitive attributes by name.

    Raises:
        ZooError: A cell is not what the description says, or an attribute says nothing of anybody.
    """
    y = torch.from_numpy(_labels(cells, description))
    z = {one.name: _attribute(cells, one, description) for one in description.sensitive}
    for name, attribute in z.items():
        _check_groups(name, attribute, cells)
    return y, z


def _arranged(cells: Cells) -> tuple[Cells, int]:
    """The table with the rows to learn from in front, and how many those are."""
    n, n_train = len(cells), cells.n_train
    most = n - -(-n // 4)
    if 0 < n_train <= most:
        return cells, n_train
    shuffled = np.arange(n)
    first = n_train or n
    shuffled[:first] = np.random.default_rng(derive("rows of a table")).permutation(first)
    return replace(cells, order=cells.order[shuffled]), min(n_train or n // 2, most)


def _labels(cells: Cells, description: Description) -> np.ndarray:
    """(n,) int64 class of every row."""
    numbers = {label: k for k, labels in enumerate(description.classes) for label in labels}
    values = cells.column(description.label)
    for row, value in enumerate(values):
        if value not in numbers:
            raise ZooError(
                f"{cells.place(row, description.label)}: the label is {_shown(value)}, but "
                f"{description.path} knows {', '.join(numbers)}. Correct the cell, or classes."
            )
    y = np.array([numbers[value] for value in values], dtype=np.int64)
    for k, labels in enumerate(description.classes):
        if not (y == k).any():
            raise ZooError(
                f"{cells.source}: no row has the label {' or '.join(labels)} in column "
                f"{description.label!r}. Take it out of classes in {description.path}."
            )
    return y


def _numbers(cells: Cells, name: str, description: Description) -> np.ndarray:
    """(n,) float64 of a column, NaN where a cell says nothing."""
    values = cells.column(name)
    known = {value: _number(value) for value in set(values)}
    if None in known.values():
        row = next(row for row, value in enumerate(values) if known[value] is None)
        raise _no_number(cells.place(row, name), values[row], description)
    _check_apart(cells, name, known, description)
    return np.array([known[value] for value in values], dtype=np.float64)


def _check_apart(
    cells: Cells, name: str, known: dict[str | None, float | None], description: Description
) -> None:
    """Warn of whole numbers that are one and the same to a float, as long identifiers are."""
    seen: dict[float, int] = {}
    for text, number in known.items():
        if text is None or number is None or abs(number) < LARGEST or not _WHOLE.fullmatch(text):
            continue
        if seen.setdefault(number, int(text)) != int(text):
            row = next(row for row, value in enumerate(cells.column(name)) if value == text)
            warnings.warn(
                f"{cells.place(row, name)}: {shown(text)} is the same as {seen[number]} to a "
                f"float, which tells whole numbers apart up to 2^53. If they are names, list the "
                f"column under ignored or categorical in {description.path}.",
                stacklevel=2,
            )
            return


_WHOLE = re.compile(r"[+-]?\d{1,400}", re.ASCII)


def _no_number(place: str, value: str, description: Description) -> ZooError:
    """What is wrong with a cell of a column of numbers, and what to do."""
    what = "is no number"
    it = shown(value) if len(value) <= LONGEST else "it"
    advice = f"list {it} under missing or make the column categorical in {description.path}"
    if re.fullmatch(r"[+-]?(inf|infinity)", value, re.IGNORECASE):
        what = "is no finite number"
    elif re.fullmatch(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", value, re.IGNORECASE | re.ASCII):
        what = "is too large a number for a float"
    elif re.fullmatch(r"[+-]?\d*,\d+", value):
        advice = f'if its comma begins the decimals, say decimal = "," in {description.path}'
    elif re.match(r"\d{4}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d{2,4}", value):
        advice = (
            f"write times as numbers, say of days, or list the column under ignored in "
            f"{description.path}"
        )
    return ZooError(f"{place}: {shown(value)} {what}. Correct the cell, or {advice}.")


def _number(value: str | None) -> float | None:
    """NaN for nothing, None for what is no finite number."""
    if value is None:
        return np.nan
    try:
        number = float(value)
    except ValueError:
        return None
    written = value.isascii() and "_" not in value  # Python reads 1_000 and other scripts' digits
    return number if written and np.isfinite(number) else None


def _shown(value: str | None) -> str:
    return "missing" if value is None else shown(value)


def _attribute(cells: Cells, sensitive: Sensitive, description: Description) -> Attribute:
    """A sensitive attribute of every row."""
    if sensitive.bins:
        return _binned(_numbers(cells, sensitive.column, description), sensitive)
    values = cells.column(sensitive.column)
    if sensitive.groups:
        return _grouped(cells, values, sensitive, description)
    for row, value in enumerate(values):
        if value is not None and value.lower().lstrip("+-") == "nan":
            raise ZooError(
                f"{cells.place(row, sensitive.column)}: {value!r} is what programs write for a "
                f"missing value. List it under missing in {description.path}, and who has it is in "
                f"no group; or name its group in sensitive.{sensitive.name}.groups."
            )
    known = sorted({value for value in values if value is not None})
    if len(known) > MOST_GROUPS and all(_number(value) is not None for value in known):
        raise ZooError(
            f"{cells.source}: sensitive column {sensitive.column!r} has {len(known)} different "
            f"numbers. Say in {description.path} where one group ends and the next begins: "
            f"sensitive.{sensitive.name}.bins = [{float(np.median(list(map(float, known)))):g}]."
        )
    if len(known) > MOST_WORDS:
        raise ZooError(
            f"{cells.source}: sensitive column {sensitive.column!r} has {len(known)} different "
            f"values, such as {shown(known[0])}, and at most {MOST_WORDS} can be groups. Join them "
            f"in sensitive.{sensitive.name}.groups in {description.path}, or leave the attribute "
            f"out."
        )
    return _coded(list(values), known)


def _coded(groups: Sequence[str | None], names: Sequence[str]) -> Attribute:
    """An attribute; its values are numbered as in ``names``, and of None it is unknown."""
    number = {name: k for k, name in enumerate(names)}
    codes = np.array(
        [UNKNOWN if group is None else number[group] for group in groups], dtype=np.int64
    )
    return Attribute(torch.from_numpy(codes), tuple(names))


def _binned(values: np.ndarray, sensitive: Sensitive) -> Attribute:
    names = list(dict.fromkeys(sensitive.names))
    where = np.digitize(values, sensitive.bins)
    groups = [
        None if missing else sensitive.names[k]
        for k, missing in zip(where, np.isnan(values), strict=True)
    ]
    return _coded(groups, names)


def _grouped(
    cells: Cells, values: np.ndarray, sensitive: Sensitive, description: Description
) -> Attribute:
    group_of = {value: group for group, known in sensitive.groups.items() for value in known}
    nothing = next(
        (group_of[mark] for mark in ("", *description.missing) if mark in group_of), None
    )
    groups = []
    for row, value in enumerate(values):
        if value is not None and value not in group_of:
            raise ZooError(
                f"{cells.place(row, sensitive.column)}: {shown(value)} is in none of the groups of "
                f"sensitive.{sensitive.name} in {description.path}. Add it to one."
            )
        groups.append(nothing if value is None else group_of[value])
    return _coded(groups, list(sensitive.groups))


def _check_groups(name: str, attribute: Attribute, cells: Cells) -> None:
    """Refuse an attribute that tells nobody apart, or has a group that nobody is in.

    A group may be so small that no training row, or no test row, is in it. Whatever is about the
    groups looks at those it finds in its own examples.
    """
    known = attribute.values[attribute.values != UNKNOWN]
    counts = known.bincount(minlength=len(attribute.names))
    if not len(known):
        raise ZooError(f"{cells.source}: nobody's {name} is known. Take it out of sensitive.")
    if (counts > 0).sum() < 2:
        group = attribute.names[int(counts.argmax())]
        raise ZooError(
            f"{cells.source}: everybody's {name} is {group!r}, so there are no groups to compare. "
            f"Take it out of sensitive, or change its bins or groups."
        )
    for group, count in zip(attribute.names, counts, strict=True):
        if not count:
            raise ZooError(
                f"{cells.source}: no row has the {name} {group!r}. Take it out of bins or groups."
            )


def _features(
    cells: Cells, description: Description, z: dict[str, Attribute], n_fitted: int
) -> list[tuple[np.ndarray, Column]]:
    """For each column of the features (n, width) values, and what they mean but for the place."""
    hidden = {description.label, *description.ignored}
    found = []
    for name in cells.names:
        said = [one.name for one in description.sensitive if one.column == name]
        if name in hidden or (said and not description.sensitive_in_features):
            continue
        if said:
            for attribute in said:
                names = np.array([*z[attribute].names, None], dtype=object)
                values = names[z[attribute].values.numpy()]  # None is last, as of `UNKNOWN`
                found.append(_categories(attribute, values, n_fitted, cells))
        elif description.is_number(name):
            found += _scaled(name, _numbers(cells, name, description), n_fitted, cells)
        else:
            values = cells.column(name)
            values[[value is None for value in values]] = MISSING
            found.append(_categories(name, values, n_fitted, cells))
    return found


def _categories(
    name: str, values: np.ndarray, n_fitted: int, cells: Cells
) -> tuple[np.ndarray, Column]:
    known = sorted(set(values[:n_fitted]) - {None})
    if not known:
        raise ZooError(
            f"{cells.source}: no training row has a value in column {name!r}. List it under "
            f"ignored, or take it out of sensitive."
        )
    if len(known) > MOST_CATEGORIES:
        raise ZooError(
            f"{cells.source}: column {name!r} has {len(known)} different values, too many for "
            f"categories. List it under ignored, or as a number."
        )
    number = {value: k for k, value in enumerate(known)}
    codes = np.array([number.get(value, -1) for value in values])
    part = codes[:, None] == np.arange(len(known))
    return part, Column(name, 0, len(known), values=tuple(known))


def _scaled(
    name: str, values: np.ndarray, n_fitted: int, cells: Cells
) -> list[tuple[np.ndarray, Column]]:
    missing = np.isnan(values)
    known = values[:n_fitted][~missing[:n_fitted]]
    if not len(known):
        raise ZooError(
            f"{cells.source}: no training row has a value in column {name!r}. List it under "
            f"ignored."
        )
    low, high = float(known.min()), float(known.max())
    middle = np.median(known)
    filled = np.where(missing, middle, values)
    scaled = ((filled - low) / ((high - low) or 1.0)).clip(0, 1)
    told = bool(missing[:n_fitted].any())
    imputed = float((middle - low) / ((high - low) or 1.0)) if told else None
    found = [(scaled[:, None], Column(name, 0, 1, low=low, high=high, imputed=imputed))]
    if told:
        lacks = np.stack([~missing, missing], axis=1)
        found.append((lacks, Column(f"{name} missing", 0, 2, values=("no", "yes"))))
    return found
