"""Distribution inference by comparing a victim's answers with those of the attacker's models.

References:
    Suri, Lu, Chen and Evans (2023). Dissecting Distribution Inference. SaTML.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.shared.distribution_attack import FLOOR, Suspects, TrainsModels, suspects
from harness.target import BlackBox
from harness.types import Access


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of answers, (a, b) in nats.

    Args:
        p: (a, n, classes) log-probabilities, the reference.
        q: (b, n, classes) log-probabilities.
    """
    # sum p log p - sum p log q; the second sum is one product of matrices for all pairs.
    weights = p.exp()
    own = (weights * p).sum((1, 2))
    return (own[:, None] - weights.flatten(1) @ q.flatten(1).T) / p.shape[1]


@dataclass(frozen=True, kw_only=True)
class KLDivergence(TrainsModels):
    """Let every pair of own models, one of each world, vote for the one the victim is nearer to.

    A vote is cast on the examples of each world. Nearness is the divergence of the victim's class
    probabilities from the own model's, over all classes.

    Attributes:
        attribute: An example has the property if this attribute of it ...
        value: ... has this value. None for the dataset's first attribute, and its last value.
        ratio0: Share of the training examples with the property in world 0, in [0, 1].
        ratio1: Likewise in world 1.
        train_size: Examples that every model is trained on; None for 1,000, or the most there are.
        victims: Models of each world that the attack is judged on.
        models: The attacker's own models of each world.
    """

    name: ClassVar[str] = "distribution-kl"
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    reference: ClassVar[str] = "Suri et al. (2023), https://arxiv.org/abs/2212.07591"

    def run(self, target: BlackBox, data: Suspects, *, seed: int) -> Tensor:
        """Share of the votes for world 1 less half of all; ``seed`` has no effect.

        Returns:
            (1 + victims,) float64 in [-.5, .5], the target first; positive says world 1.
        """
        votes = []
        for test in data.tests:
            asked = _answers(suspects(target, data), test.x)
            zeros, ones = (divergence(_answers(world, test.x), asked) for world in data.own)
            # (own models of world 0, of world 1, suspects); a draw is half a vote for each.
            votes.append(((zeros[:, None] - ones[None]).sign() / 2).mean((0, 1)))
        return torch.stack(votes).mean(0)


def _answers(boxes: Iterable[BlackBox], x: Tensor) -> Tensor:
    """Log-probabilities (boxes, n, classes) float64; none is 0 before the logarithm."""
    scores = torch.stack([box.scores(x) for box in boxes]).double().clamp_min(FLOOR)
    return (scores / scores.sum(2, keepdim=True)).log()
