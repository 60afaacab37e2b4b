"""Membership inference from the target's loss: members have been trained to a lower one.

References:
    Yeom et al. (2018). Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.protocol import AttackedPoints
from harness.target import BlackBox
from harness.types import Access, Aux, Risk


@dataclass(frozen=True, kw_only=True)
class LossThreshold:
    """Score a candidate by the log-probability of its label; the metrics sweep the threshold."""

    name: ClassVar[str] = "loss-threshold"
    risk: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Yeom et al. (2018), https://arxiv.org/abs/1709.01604"

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """Minus the cross-entropy of each candidate, (n,); ``seed`` has no effect."""
        # In float64 the sum still holds what the own score lost when it rounded to 1.
        scores = target.scores(data.points.x).double()
        own = scores.gather(1, data.points.y[:, None])[:, 0]
        return (own / scores.sum(1)).clamp_min(torch.finfo(own.dtype).tiny).log()
