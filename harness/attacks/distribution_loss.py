"""Distribution inference without own models: a victim does best on what it was trained on.

References:
    Suri and Evans (2022). Formalizing and Estimating Distribution Inference Risks. PoPETs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.shared.distribution_attack import (
    DistributionAttack,
    Suspects,
    losses,
    suspects,
)
from harness.target import BlackBox
from harness.types import Access


@dataclass(frozen=True, kw_only=True)
class LossTest(DistributionAttack):
    """Say the world on whose examples the model's loss is smaller.

    It fails where the examples of one world are easier for every model: the difference may then
    still tell the models apart, as the AUC shows, but 0 is not where they differ.

    Attributes:
        attribute: An example has the property if this attribute of it ...
        value: ... has this value. None for the dataset's first attribute, and its last value.
        ratio0: Share of the training examples with the property in world 0, in [0, 1].
        ratio1: Likewise in world 1.
        train_size: Examples that every model is trained on; None for 1,000, or the most there are.
        victims: Models of each world that the attack is judged on.
    """

    name: ClassVar[str] = "distribution-loss"
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS, Access.SCORES)
    reference: ClassVar[str] = "Suri and Evans (2022), https://arxiv.org/abs/2109.06024"

    def run(self, target: BlackBox, data: Suspects, *, seed: int) -> Tensor:
        """How much larger each model's loss is in world 0 than in world 1; ``seed`` has no effect.

        Returns:
            (1 + victims,) float64, the target first; positive says world 1.
        """
        found = torch.stack([losses(box, data.tests) for box in suspects(target, data)])
        return found[:, 0] - found[:, 1]
