"""Agreement between predicted and true, or between two models' predictions."""

from __future__ import annotations

from torch import Tensor


def accuracy(predicted: Tensor, y: Tensor) -> float:
    """Share of equal entries of two label tensors (n,), in [0, 1]."""
    if len(predicted) != len(y) or not len(y):
        raise ValueError(
            f"accuracy wants two label tensors of one length above 0, found {len(predicted)} "
            f"and {len(y)}"
        )
    return (predicted == y).double().mean().item()
