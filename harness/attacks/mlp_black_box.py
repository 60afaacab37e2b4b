"""Membership inference by a network on the target's sorted scores and whether it is right.

References:
    Salem et al. (2019). ML-Leaks: Model and Data Independent Membership Inference Attacks and
    Defenses on Machine Learning Models. NDSS.
    Liu et al. (2022). ML-Doctor: Holistic Risk Assessment of Inference Attacks Against Machine
    Learning Models. USENIX Security.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.attacks.shared import perturbation
from harness.attacks.shared.attack_network import AttackNetwork, Branches
from harness.data.examples import Split
from harness.target import BlackBox
from harness.types import Access, Aux


@dataclass(frozen=True, kw_only=True)
class MLPBlackBox(AttackNetwork):
    """Learn from known members how sure a model is of those, and how often it is right.

    With shadow data the members are those of shadow models, with partial data the target's.

    Attributes:
        shadows: Shadow models to learn from, with shadow data.
        lr: Learning rate of Adam. The paper has 1e-5, and many more examples.
        epochs: Passes over the known examples.
        batch_size: Known examples per step. If not given it is 64, or a hundredth of them where
            that is more.
    """

    name: ClassVar[str] = "mlp-black-box"
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW, Aux.PARTIAL)
    reference: ClassVar[str] = "Liu et al. (2022), https://arxiv.org/abs/2102.02551"

    shadows: int = 1  # Salem et al. 2019

    def __post_init__(self) -> None:
        super().__post_init__()
        perturbation.check_counts(self, "shadows")

    def see(self, box: BlackBox, examples: Split) -> Tensor:
        """Scores, largest first, and 1 where the model is right, (n, classes + 1)."""
        scores = box.scores(examples.x)
        right = scores.argmax(1) == examples.y
        return torch.cat([scores.sort(descending=True).values, right[:, None]], 1)

    def build(self, width: int, num_classes: int) -> nn.Module:
        """Two branches: the scores, and whether the model is right."""
        return Branches(num_classes, 1)
