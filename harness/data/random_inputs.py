"""Inputs that nobody is behind, and that could still be among the data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from harness.data.examples import Column


def uniform(
    n: int, shape: Sequence[int], columns: Sequence[Column], stream: torch.Generator
) -> Tensor:
    """Inputs drawn evenly from all there could be.

    Pixels and numbers are uniform in [0, 1], and a category has each of its values as often. A row
    that lacks a number has what stands in for it.

    Args:
        n: How many.
        shape: Of one input.
        columns: Where the columns of a table are in it; empty for images.
        stream: CPU generator.

    Returns:
        (n, *shape) float32, on the CPU.
    """
    x = torch.rand((n, *shape), generator=stream)
    for column in columns:
        if column.values:
            block = x[:, column.start : column.stop]
            # The largest of independent numbers is each of them as often.
            block.copy_(F.one_hot(block.argmax(1), block.shape[1]))
    return with_imputed(x, columns)


def lacks(x: Tensor, column: Column) -> Tensor:
    """Which rows (n, features) lack the number of ``column``, (n,) bool; see `Column.imputed`."""
    return x[:, column.stop + 1] > 0.5


def with_imputed(x: Tensor, columns: Sequence[Column]) -> Tensor:
    """Rows (n, features) with `Column.imputed` in place of the numbers that they say they lack."""
    found = x.clone()
    for column in columns:
        if column.imputed is not None:
            found[lacks(x, column), column.start] = column.imputed
    return found
