"""What a perturbation of a table's row may be: its numbers move, its categories stay.

A row with 0.9 of one category and 0.1 of another is nobody's. Features that are one number of a
person each can be moved a little; a category can only be another one. What stands in for a number
that a row lacks is nobody's number, and stays.

References:
    Ballet et al. (2019). Imperceptible Adversarial Attacks on Tabular Data. arXiv:1911.03274.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from harness.data.examples import Column, Split
from harness.data.random_inputs import lacks
from harness.types import UnfitError

if TYPE_CHECKING:
    from harness.data.dataset import Dataset


def movable(x: Tensor, columns: Sequence[Column]) -> Tensor:
    """Which features of inputs may be moved, of the shape (n, ...) of ``x``, bool.

    All of an image, and of a table what is no category, and is not missing.
    """
    found = torch.ones_like(x, dtype=torch.bool)
    for column in categories(columns):
        found[:, column.start : column.stop] = False
    for column in columns:
        if column.imputed is not None:
            found[:, column.start] = ~lacks(x, column)
    return found


def categories(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns whose features are indicators, one for each value."""
    return tuple(column for column in columns if column.values)


def check(name: str, dataset: Dataset) -> None:
    """Refuse data of which nothing can be moved.

    Raises:
        NotApplicableError: Every column has categories.
    """
    if not movable(dataset.x, dataset.columns).any():
        raise UnfitError(
            f"{name} moves numbers, but all {len(dataset.columns)} columns of {dataset.name} have "
            f"categories. Choose a dataset with numbers."
        )


def snap(x: Tensor, columns: Sequence[Column]) -> Tensor:
    """The nearest inputs with whole categories; images and valid rows are left as they are.

    In each block of indicators the largest becomes 1 if it is above one half and the others 0: a
    row may have no value that is known. No gradient goes back to the indicators, or to a number
    that the row lacks.

    Args:
        x: Inputs (n, ...).
        columns: Where the columns of a table are in them.
    """
    found = x.detach().clone()
    for column in categories(columns):
        block = found[:, column.start : column.stop]
        most, at = block.max(1, keepdim=True)
        block.zero_().scatter_(1, at, (most > 0.5).to(x.dtype))
    return torch.where(movable(x, columns), x, found)


def restored(x: Tensor, data: Split) -> Tensor:
    """Perturbed inputs with what may not be moved as it is in ``data``."""
    return torch.where(movable(x, data.columns), x, data.x)


class Whole(nn.Module):
    """A model that is only ever asked about whole categories."""

    def __init__(self, model: nn.Module, columns: Sequence[Column]) -> None:
        super().__init__()
        self.model = model
        self._columns = tuple(columns)

    def forward(self, x: Tensor) -> Tensor:
        """What the model says of the nearest inputs with whole categories."""
        return self.model(snap(x, self._columns))


def whole(model: nn.Module, columns: Sequence[Column]) -> nn.Module:
    """``model`` as `Whole`; itself where there are no categories."""
    return Whole(model, columns) if categories(columns) else model
