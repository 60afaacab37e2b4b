"""HAMP: less confident answers, by training and by what is shown of them.

References:
    Chen and Pattabiraman (2024). Overconfidence is a Dangerous Thing: Mitigating Membership
    Inference Attacks by Enforcing Less Confident Prediction. NDSS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.data.examples import Split
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.rewritten_scores import Rewritten, secret, uniform
from harness.types import Covered, Part, Risk
from zoo.errors import ZooError

if TYPE_CHECKING:
    from harness.learning.fit import LossOf


@dataclass(frozen=True, kw_only=True)
class HAMP:
    """Train on labels of high entropy, then show scores of noise in the order of the true ones.

    Each answer shows the scores that the model gives a random input, put into the order of the
    scores of the input that was asked about, so the ranking is all that is left of them. The random
    input follows from the one that was asked about. Attackers with the weights are not hindered by
    this part.

    Attributes:
        gamma: Entropy of a label, as a share of the largest there is; the label keeps the largest
            probability that allows it and the other classes share the rest.
        alpha: Weight of the answer's entropy, which is rewarded. The authors average the rest of
            their loss over the classes too: their 0.001 for CIFAR-10 is 0.01 here.
    """

    name: ClassVar[str] = "hamp"
    guards: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.LOSS, Part.OUTPUT})
    looks_at: ClassVar[Covered] = Covered.PER_EXAMPLE
    reference: ClassVar[str] = "Chen and Pattabiraman (2024), https://arxiv.org/abs/2307.01610"

    gamma: float = 0.95
    alpha: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.gamma < 1:
            raise ZooError(f"hamp wants gamma between 0 and 1, found {self.gamma}.")
        if not self.alpha >= 0:
            raise ZooError(f"hamp wants alpha of at least 0, found {self.alpha}.")

    def loss_for(self, defender: DefenderData) -> LossOf:
        """The same in every training."""
        return self.loss

    def loss(self, model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
        """The loss of each example (b,)."""
        logs, y = model(batch.x).log_softmax(1), batch.y
        own = confidence(self.gamma, logs.shape[1])
        labels = torch.full_like(logs, (1 - own) / (logs.shape[1] - 1)).scatter(1, y[:, None], own)
        divergence = F.kl_div(logs, labels, reduction="none").sum(1)
        return divergence + self.alpha * (logs.exp() * logs).sum(1)

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        """``model`` with the scores of random inputs."""
        key = secret(self.name, defender)

        def rewrite(x: Tensor, scores: Tensor) -> Tensor:
            random = model(uniform(key, x, *x.shape[1:])).softmax(1)
            order = scores.argsort(dim=1, stable=True)
            return torch.empty_like(scores).scatter(1, order, random.sort(dim=1).values)

        return Rewritten(model, rewrite)


@lru_cache
def confidence(gamma: float, classes: int) -> float:
    """The largest probability of one class with which the entropy is ``gamma * log(classes)``.

    Args:
        gamma: Between 0 and 1.
        classes: At least 2; the others share the rest evenly.
    """

    def entropy(own: float) -> float:
        rest = (1 - own) / (classes - 1)
        return -own * math.log(own) - (classes - 1) * rest * math.log(rest)

    # From an even share to certainty the entropy falls, so bisection finds the only place.
    low, high = 1 / classes, 1 - 1e-12
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if entropy(middle) > gamma * math.log(classes) else (low, middle)
    return low
