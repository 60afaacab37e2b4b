"""Whether numbers are numbers: NaN and infinity in weights, and in records that become JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def tensor_not_finite(state: Mapping[str, Tensor]) -> str | None:
    """The first tensor of ``state`` that holds NaN or infinity, in words; None if none does."""
    for name, value in state.items():
        if value.is_floating_point():
            wrong = int((~value.isfinite()).sum())
            if wrong:
                return f"{name} holds {wrong} of {value.numel()} values that are not finite"
    return None


def value_not_finite(value: Any, name: str = "") -> str | None:
    """Where a record holds NaN or infinity, as ``name.key``; None if nowhere.

    Args:
        value: A number, a text, or mappings and lists of them.
        name: Of the record.
    """
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{name} = {value}"
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    else:
        return None
    for key, part in parts:
        if found := value_not_finite(part, f"{name}.{key}" if name else str(key)):
            return found
    return None
