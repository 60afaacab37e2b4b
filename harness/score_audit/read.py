"""Files of a model's answers: a row for each person or image, a probability for each class."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from zoo.errors import ZooError, unknown

LABEL = "label"
"""The column with the true labels, if nobody says otherwise."""

SUM = 1e-3
"""How far the probabilities of a row may be from 1 in sum, besides what rounding makes of it."""

MOST_OFF = 0.05
"""What rounding may make of it at most: more is of no distribution."""

FEWEST = 2
"""Rows of which something can be said."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Answers:
    """What a model answered.

    Attributes:
        source: The file.
        classes: Names of the columns of probabilities.
        scores: (n, classes) float64, rows of sum 1.
        y: (n,) int64 true labels; None if the file has none.
        groups: By name of a column, (n,) the group of each as text.
        digits: Decimals to which the probabilities are given, at most.
    """

    source: str
    classes: tuple[str, ...]
    scores: np.ndarray
    y: np.ndarray | None
    groups: Mapping[str, np.ndarray]
    digits: int

    def __len__(self) -> int:
        return len(self.scores)


def read(path: Path, *, label: str = LABEL, groups: Sequence[str] = ()) -> Answers:
    """The answers in a file.

    Every column is the probability of a class but ``label`` and ``groups``. One such column alone
    is the probability of the second of two classes.

    Args:
        path: A CSV, or Parquet.
        label: The column with true labels, which are names of the classes' columns or their numbers
            from 0; a file may have none.
        groups: Columns that say which group somebody is in.

    Raises:
        ZooError: It is not there, or holds something else; the row is named.
    """
    table = _table(path)
    for name in groups:
        if name not in table.columns:
            raise unknown(f"column in {path}", name, [str(one) for one in table.columns])
    if label != LABEL and label not in table.columns:
        raise unknown(f"column in {path}", label, [str(one) for one in table.columns])
    names = [str(one) for one in table.columns if one != label and one not in groups]
    if not names:
        raise ZooError(f"{path} has no column of probabilities, besides {label} and groups.")
    digits = _decimals(table[names])
    scores = _numbers(path, table, names)
    if len(names) == 1:
        scores, names = (
            np.column_stack([1 - scores[:, 0], scores[:, 0]]),
            [f"not {names[0]}", *names],
        )
    _check(path, scores, min(SUM + len(names) * 0.5 * 10.0**-digits, MOST_OFF))
    y = _labels(path, table[label], names) if label in table.columns else None
    return Answers(
        source=str(path),
        classes=tuple(names),
        scores=scores / scores.sum(1, keepdims=True),
        y=y,
        groups={name: _group(path, table[name]) for name in groups},
        digits=digits,
    )


def check_alike(members: Answers, others: Answers) -> Answers:
    """The second file's answers with the classes in the order of the first one's.

    Raises:
        ZooError: They are about other classes, or only one has labels.
    """
    if set(members.classes) != set(others.classes):
        raise ZooError(
            f"{members.source} has probabilities of {', '.join(members.classes)}, but "
            f"{others.source} of {', '.join(others.classes)}. Both have to be of one model."
        )
    if (members.y is None) != (others.y is None):
        lacking = members if members.y is None else others
        raise ZooError(f"{lacking.source} has no column of labels, and the other has. Add it.")
    order = [others.classes.index(one) for one in members.classes]
    y = None if others.y is None else np.argsort(order)[others.y]
    return replace(others, classes=members.classes, scores=others.scores[:, order], y=y)


def _table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except FileNotFoundError:
        raise ZooError(f"There is no file {path}.") from None
    except Exception as error:  # of readers of files of any content
        reason = " ".join(str(error).split())
        raise ZooError(f"{path} cannot be read as a table ({reason}). Give a CSV.") from error
    if len(table) < FEWEST:
        few = "no rows" if table.empty else f"{len(table)} row, and at least {FEWEST} are wanted"
        raise ZooError(f"{path} has {few}. Give the model's answers, one in a row.")
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise ZooError(f"{path} has two columns {twice!r}. Rename one.")
    if str(table.columns[0]).startswith("Unnamed:"):
        warnings.warn(
            f"{path}: the first column has no name, as row numbers have; it is left out.",
            stacklevel=3,
        )
        table = table.iloc[:, 1:]
    table.columns = [str(one) for one in table.columns]
    return table


def _numbers(path: Path, table: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    found = table[list(names)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    bad = np.argwhere(~np.isfinite(found))
    if len(bad):
        row, column = bad[0]
        value = table[names[column]].iloc[row]
        value = float(value) if isinstance(value, float) else value  # NumPy's says that it is that
        raise ZooError(
            f"{path}, row {row + 1}, column {names[column]!r}: wanted a probability, found "
            f"{value!r}{f' ({len(bad)} such cells)' if len(bad) > 1 else ''}. Correct it, or name "
            f"the column with --label or --group."
        )
    return found


def _decimals(table: pd.DataFrame) -> int:
    texts = (str(one) for one in table.head(1000).to_numpy().ravel())
    return max((len(t.partition(".")[2]) if "e" not in t else 17 for t in texts), default=0)


def _check(path: Path, scores: np.ndarray, tolerance: float) -> None:
    outside = np.flatnonzero(((scores < 0) | (scores > 1)).any(1))
    if len(outside):
        row = outside[0]
        raise ZooError(
            f"{path}, row {row + 1}: {scores[row][(scores[row] < 0) | (scores[row] > 1)][0]:g} is "
            f"no probability ({len(outside):,} such rows). Give the softmax of logits."
        )
    sums = scores.sum(1)
    off = np.flatnonzero(np.abs(sums - 1) > tolerance)
    if len(off):
        raise ZooError(
            f"{path}, row {off[0] + 1}: the probabilities sum to {sums[off[0]]:g} ({len(off):,} "
            f"such rows). Give one for each class, or name other columns with --label or --group."
        )


def _labels(path: Path, column: pd.Series, names: Sequence[str]) -> np.ndarray:
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0]) + 1
        raise ZooError(f"{path}, row {row}: there is no label. Leave out the row, or the column.")
    by_name = {name: k for k, name in enumerate(names)}
    texts = [_plain(one) for one in column]
    if all(one in by_name for one in texts):
        return np.array([by_name[one] for one in texts], dtype=np.int64)
    by_number = {str(k): k for k in range(len(names))}
    wrong = next((k for k, one in enumerate(texts) if one not in by_number), None)
    if wrong is None:
        return np.array([by_number[one] for one in texts], dtype=np.int64)
    hint = ""
    if set(texts) <= {str(k) for k in range(1, len(names) + 1)}:
        hint = " They seem to start at 1: subtract 1."
    raise ZooError(
        f"{path}, row {wrong + 1}: the label {texts[wrong]!r} is none of the columns "
        f"{', '.join(names[:10])}{', ...' if len(names) > 10 else ''}, and no number of 0 to "
        f"{len(names) - 1}.{hint}"
    )


def _plain(value: object) -> str:
    """A label as text: ``1.0`` is what programs make of ``1``."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _group(path: Path, column: pd.Series) -> np.ndarray:
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0]) + 1
        raise ZooError(
            f"{path}, row {row}: {column.name} says no group. Write one, such as unknown."
        )
    found = np.array([_plain(one) for one in column], dtype=object)
    kinds = len(set(found))
    if not 2 <= kinds <= 50:
        raise ZooError(
            f"{path}: column {column.name!r} has {kinds} different values; groups are 2 to 50. "
            f"Leave it out of --group, or join some."
        )
    return found
