"""The group that an input itself states: for defenses that must know it when the model answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.data.examples import UNKNOWN, Column
from harness.types import UnfitError


def stating(attribute: str, columns: Sequence[Column], *, name: str) -> tuple[Column, ...]:
    """The columns of a model's input that state an attribute.

    Args:
        attribute: Of one, or of several joined by ``+``.
        columns: Of the input.
        name: Of the defense, for the message.

    Raises:
        NotApplicableError: The input does not state it.
    """
    known = {column.name: column for column in columns if column.values}
    found = []
    for part in attribute.split("+"):
        if part not in known:
            raise UnfitError(
                f"{name} asks each input for its group, but the model's input does not say the "
                f"{part}. Choose a dataset whose features do, such as adult-aware."
            )
        found.append(known[part])
    return tuple(found)


def groups_in(x: Tensor, columns: Sequence[Column]) -> Tensor:
    """The group that each row states, (n,) int64 from 0; `UNKNOWN` where it states none.

    Args:
        x: Rows (n, features).
        columns: Those of `stating`; several are crossed.
    """
    group = torch.zeros(len(x), dtype=torch.long, device=x.device)
    unknown = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for column in columns:
        shown, value = x[:, column.start : column.stop].max(1)
        group = group * len(column.values) + value
        unknown |= shown <= 0
    return group.masked_fill(unknown, UNKNOWN)
