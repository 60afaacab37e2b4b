"""Membership inference from whether the target is right.

References:
    Yeom et al. (2018). Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harness.attacks.protocol import AttackedPoints
from harness.target import BlackBox
from harness.types import Access, Aux, Risk


@dataclass(frozen=True, kw_only=True)
class Correctness:
    """Call a candidate a member if the target predicts its label: as good as the overfitting."""

    name: ClassVar[str] = "correctness"
    risk: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Yeom et al. (2018), https://arxiv.org/abs/1709.01604"

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """1.0 where the target is right, else 0.0, (n,); ``seed`` has no effect."""
        return (target.labels(data.points.x) == data.points.y).float()
