"""Membership inference from the entropy of the target's scores, modified to mind the true label.

References:
    Song and Mittal (2021). Systematic Evaluation of Privacy Risks of Machine Learning Models.
    USENIX Security.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.protocol import AttackedPoints
from harness.target import BlackBox
from harness.types import Access, Aux, Risk


def modified_entropy(scores: Tensor, y: Tensor) -> Tensor:
    """-(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i), (n,) in [0, inf).

    Unlike plain entropy, it is 0 only for a confident *right* answer and grows without bound for a
    confident wrong one.

    Args:
        scores: (n, classes) probabilities.
        y: (n,) true labels.
    """
    # A score that rounded to 1 in float32 gets its remainder back from the others, in float64.
    scores = scores.double()
    scores = scores / scores.sum(1, keepdim=True)
    tiny = torch.finfo(scores.dtype).tiny
    rest = 1 - scores
    own = torch.zeros_like(scores).scatter_(1, y[:, None], 1).bool()
    right = -rest * scores.clamp_min(tiny).log()
    wrong = -scores * rest.clamp_min(tiny).log()
    return torch.where(own, right, wrong).sum(1)


@dataclass(frozen=True, kw_only=True)
class ModifiedEntropy:
    """Score a candidate by minus its modified prediction entropy."""

    name: ClassVar[str] = "modified-entropy"
    risk: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Song and Mittal (2021), https://arxiv.org/abs/2003.10595"

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """Minus the modified entropy of each candidate, (n,); ``seed`` has no effect."""
        return -modified_entropy(target.scores(data.points.x), data.points.y)
