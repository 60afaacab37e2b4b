"""A thief who has the weights trains them further, so that marks of their owner wear off.

The copy needs no extraction; what is in question is whether the owner can still claim it.

References:
    Adi et al. (2018). Turning Your Weakness Into a Strength: Watermarking Deep Neural Networks by
    Backdooring. USENIX Security.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from harness.attacks.protocol import AuxiliaryData
from harness.attacks.shared import convergence
from harness.learning.fit import fit
from harness.seeds import derive
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Train all layers of a stolen model on labelled data of the thief's own.

    Attributes:
        optimizer: ``adam`` or ``sgd``.
        lr: Learning rate.
        momentum: Of SGD.
        epochs: Passes over the thief's data.
        batch_size: Examples per step.
    """

    name: ClassVar[str] = "fine-tuning"
    risk: ClassVar[Risk] = Risk.EXTRACTION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW, Aux.PARTIAL)
    reference: ClassVar[str] = "Adi et al. (2018), https://arxiv.org/abs/1802.04633"

    optimizer: Literal["adam", "sgd"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    epochs: int = 20
    batch_size: int = 64

    def __post_init__(self) -> None:
        _ = self.recipe

    @property
    def recipe(self) -> Recipe:
        """How the model is trained further."""
        return Recipe(
            optimizer=self.optimizer,
            lr=self.lr,
            momentum=self.momentum,
            epochs=self.epochs,
            batch_size=self.batch_size,
        )

    def run(self, target: BlackBox, data: AuxiliaryData, *, seed: int) -> nn.Module:
        """The altered copy, in eval mode; the target is left as it is."""
        stolen = copy.deepcopy(target.model).requires_grad_(True)
        fit(stolen, data.aux, self.recipe, seed=derive("fine-tuning", seed))
        convergence.classifies(data, "the stolen model", stolen, data.aux.x, data.aux.y)
        return stolen
