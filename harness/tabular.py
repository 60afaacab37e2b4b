"""Rows of a table as numbers in [0, 1] that a model takes: how Adult is read and encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.types import Attribute, Column
from zoo.errors import ZooError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

# pandas is imported where it is used: image data need none of it.


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the columns of a table mean.

    Attributes:
        columns: Names in the order of the file.
        numbers: Columns of numbers; every other one has categories.
        label: The column to predict.
        labels: Its values for class 0 and class 1.
        sensitive: Columns that become attributes; the model does not see them.
        ignored: Columns that nobody sees.
    """

    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    label: str
    labels: tuple[str, str]
    sensitive: tuple[str, ...]
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoded:
    """A table as tensors.

    Attributes:
        x: (n, features) float32 in [0, 1].
        y: (n,) int64, 0 or 1.
        z: The sensitive attributes by name.
        columns: Where the columns of the table are in ``x``.
    """

    x: Tensor
    y: Tensor
    z: dict[str, Attribute]
    columns: tuple[Column, ...]


ADULT = Description(
    columns=(
        "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
        "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week",
        "native-country", "income",
    ),
    numbers=(
        "age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week",
    ),
    label="income",
    labels=("<=50K", ">50K"),
    sensitive=("sex", "race"),
    # The sampling weight of the census, and the words for the years of education.
    ignored=("fnlwgt", "education"),
)  # fmt: skip
"""The census income data of Becker and Kohavi (1996), https://doi.org/10.24432/C5XW20."""


def read_adult(folder: Path) -> tuple[pd.DataFrame, int] | None:
    """The rows of both official parts, and how many are training rows; None if it is not there.

    A missing value is the value ``?`` of its column, as in the files.

    Raises:
        ZooError: A file holds something else.
    """
    import pandas as pd

    files = [
        next(filter(Path.is_file, (folder / f"adult.{part}{end}" for end in ("", ".gz"))), None)
        for part in ("data", "test")
    ]
    if None in files:
        return None
    train, test = (_read(file, ADULT) for file in files if file is not None)
    return pd.concat([train, test], ignore_index=True), len(train)


def _read(file: Path, description: Description) -> pd.DataFrame:
    """One file of comma-separated values without a header, as UCI gives it."""
    import pandas as pd

    try:
        rows = pd.read_csv(
            file,
            names=list(description.columns),
            skipinitialspace=True,
            comment="|",
            na_filter=False,
        )
    except (ValueError, OSError, EOFError) as error:  # no table, or a broken archive
        raise _other(file, description) from error
    label = rows[description.label].astype(str).str.rstrip(".")  # as in Adult's test part
    numeric = all(rows[name].dtype.kind in "iuf" for name in description.numbers)
    if not (len(rows) and numeric and label.isin(description.labels).all()):
        raise _other(file, description)
    return rows.assign(**{description.label: label})


def _other(file: Path, description: Description) -> ZooError:
    return ZooError(
        f"{file} is not the table that was expected: rows of {len(description.columns)} values, "
        f"of which {', '.join(description.numbers)} are numbers and the last is "
        f"{' or '.join(description.labels)}. Get the file again."
    )


def encode(rows: pd.DataFrame, description: Description, n_train: int) -> Encoded:
    """Turn a table into numbers; what it takes is learnt from the first ``n_train`` rows.

    Numbers are scaled so that the training rows fill [0, 1], and clipped to that. Every other
    column becomes one indicator per value that the training rows have, sorted; a row with a value
    that they do not have has none.

    Args:
        rows: One column per name of the description.
        description: What they mean.
        n_train: How many of the first rows may be looked at.
    """
    parts: list[np.ndarray] = []
    columns: list[Column] = []
    start = 0
    hidden = {description.label, *description.sensitive, *description.ignored}
    for name in description.columns:
        if name in hidden:
            continue
        values = rows[name]
        if name in description.numbers:
            low, high = float(values[:n_train].min()), float(values[:n_train].max())
            scaled = (values.to_numpy(dtype=np.float64) - low) / ((high - low) or 1.0)
            part = scaled.clip(0, 1)[:, None]
            column = Column(name, start, start + 1, low=low, high=high)
        else:
            known = sorted(values[:n_train].unique())
            part = values.to_numpy()[:, None] == np.array(known, dtype=object)[None]
            column = Column(name, start, start + len(known), values=tuple(known))
        parts.append(part.astype(np.float32))
        columns.append(column)
        start = column.stop
    return Encoded(
        x=torch.from_numpy(np.concatenate(parts, axis=1)),
        y=torch.from_numpy((rows[description.label] == description.labels[1]).to_numpy(np.int64)),
        z={name: attribute(rows[name]) for name in description.sensitive},
        columns=tuple(columns),
    )


def attribute(values: Sequence[str] | pd.Series) -> Attribute:
    """A sensitive attribute; its values are numbered by name."""
    names, codes = np.unique(np.asarray(values, dtype=str), return_inverse=True)
    return Attribute(torch.from_numpy(codes.astype(np.int64)), tuple(map(str, names)))
