"""A table's copy on openml.org, kept in the store once it was downloaded."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.tables.cells import ROW, Cells, part
from harness.data.tables.description import Description, OpenML
from harness.data.tables.fields import cell
from zoo.errors import ZooError
from zoo.files import share
from zoo.home import Home

if TYPE_CHECKING:
    import pandas as pd


class UnreachableError(ZooError):
    """There is no network, or nothing of that number behind it; part of a message."""


PATIENCE = 30.0
"""Seconds without an answer after which there is no network."""


def fetch(description: Description, openml: OpenML) -> Cells:
    """All rows of a table, the official training rows first, in the words of its description.

    Raises:
        UnreachableError: There is no network, or no table of that number.
        ZooError: The table is another one.
    """
    frame = _frame(openml.id)
    names = [openml.columns.get(str(name), str(name)) for name in frame.columns]
    columns = [
        _texts(frame[theirs], openml.values.get(ours, {}))
        for theirs, ours in zip(frame.columns, names, strict=True)
    ]
    source = f"OpenML {openml.id}"
    n = len(frame)
    rows = list(zip(*columns, strict=True))
    made = part(source, ROW, names, rows, range(1, n + 1), description)
    if openml.train is None:
        return Cells.of([made], 0)
    first, behind = openml.train
    if behind > n:
        raise ZooError(
            f"{source} has {n} rows, but {description.path} says that those up to {behind} are "
            f"training rows. Correct openml.id or openml.train."
        )
    order = np.roll(np.arange(n), -first)
    return Cells(parts=(made,), n_train=behind - first, order=order)


def _frame(number: int) -> pd.DataFrame:
    from sklearn.datasets import fetch_openml

    home = Home.open()
    try:
        with _patient():
            bunch: Any = fetch_openml(
                data_id=number, data_home=str(home.root), as_frame=True, parser="pandas"
            )
        for kept in sorted(home.root.glob("openml/**/*")):  # a folder before what is in it
            share(kept)
        return bunch.frame
    except OSError as error:
        raise UnreachableError(f"it cannot be had from openml.org ({error})") from error
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UnreachableError(
            f"what openml.org has as data {number} is no such table ({reason})"
        ) from error


@contextmanager
def _patient() -> Iterator[None]:
    """No word of what is tried again, and no waiting for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        socket.setdefaulttimeout(before)


def _texts(values: pd.Series, words: Mapping[str, str]) -> list[str | None]:
    """The cells of a column as a file would have them."""
    missing = values.isna()
    texts = [None if lacks else cell(value) for value, lacks in zip(values, missing, strict=True)]
    return [None if text is None else words.get(text.strip(), text.strip()) for text in texts]
