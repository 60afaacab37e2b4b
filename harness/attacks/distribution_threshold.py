"""Distribution inference by a threshold on the loss that the attacker's own models set.

References:
    Suri and Evans (2022). Formalizing and Estimating Distribution Inference Risks. PoPETs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.shared.distribution_attack import Suspects, TrainsModels, losses, suspects
from harness.target import BlackBox
from harness.types import Access


@dataclass(frozen=True, eq=False, kw_only=True)
class Rule:
    """A threshold on one number.

    Attributes:
        at: The threshold.
        sign: 1 if numbers above it say world 1, -1 if those below do.
        accuracy: Mean of both worlds' recall on the numbers it was learnt from.
        gap: Distance of the threshold from the nearest of them.
    """

    at: float
    sign: int
    accuracy: float
    gap: float


def best_rule(zeros: Tensor, ones: Tensor) -> Rule:
    """The threshold that tells two sets of numbers apart best; of equally good ones the widest gap.

    Args:
        zeros: (m,) numbers of world 0.
        ones: (k,) numbers of world 1.
    """
    values = torch.cat([zeros, ones]).unique()
    if len(values) == 1:
        return Rule(at=float(values), sign=1, accuracy=0.5, gap=0.0)
    at, gaps = (values[1:] + values[:-1]) / 2, (values[1:] - values[:-1]) / 2
    above = (ones > at[:, None]).double().mean(1), (zeros < at[:, None]).double().mean(1)
    accuracy = (above[0] + above[1]) / 2
    accuracy, sign = torch.maximum(accuracy, 1 - accuracy), torch.where(accuracy >= 0.5, 1, -1)
    best = torch.argmax(torch.where(accuracy >= accuracy.max() - 1e-12, gaps, -1))
    return Rule(
        at=float(at[best]),
        sign=int(sign[best]),
        accuracy=float(accuracy[best]),
        gap=float(gaps[best]),
    )


@dataclass(frozen=True, kw_only=True)
class ThresholdTest(TrainsModels):
    """Compare the model's loss in one world with what separates the attacker's own models best.

    The own models also say in which of the two worlds the loss is looked at, and on which side of
    the threshold world 1 is.

    Attributes:
        attribute: An example has the property if this attribute of it ...
        value: ... has this value. None for the dataset's first attribute, and its last value.
        ratio0: Share of the training examples with the property in world 0, in [0, 1].
        ratio1: Likewise in world 1.
        train_size: Examples that every model is trained on; None for 1,000, or the most there are.
        victims: Models of each world that the attack is judged on.
        models: The attacker's own models of each world.
    """

    name: ClassVar[str] = "distribution-threshold"
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS, Access.SCORES)
    reference: ClassVar[str] = "Suri and Evans (2022), https://arxiv.org/abs/2109.06024"

    def run(self, target: BlackBox, data: Suspects, *, seed: int) -> Tensor:
        """How far each model's loss is on world 1's side of the threshold; no effect of ``seed``.

        Returns:
            (1 + victims,) float64, the target first; positive says world 1.
        """
        own = [torch.stack([losses(box, data.tests) for box in world]) for world in data.own]
        rules = [best_rule(own[0][:, test], own[1][:, test]) for test in range(len(data.tests))]
        test = max(range(len(rules)), key=lambda i: (rules[i].accuracy, rules[i].gap))
        found = torch.stack([losses(box, data.tests)[test] for box in suspects(target, data)])
        return rules[test].sign * (found - rules[test].at)
