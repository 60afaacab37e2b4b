"""Model extraction by distillation: fit a surrogate to the target's answers.

The attacker sends inputs of its own to the target and trains a model of its own choosing to
reproduce what comes back. No true labels are used, and every input is asked once.

References:
    Tramèr et al. (2016). Stealing Machine Learning Models via Prediction APIs. USENIX Security.
    Orekondy, Schiele and Fritz (2019). Knockoff Nets. CVPR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import nn

from harness.attacks.protocol import AuxiliaryData
from harness.attacks.shared import convergence, surrogate
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.learning.fit import fit
from harness.seeds import derive
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Train a surrogate on the answers to the attacker's inputs.

    With access to scores the surrogate reproduces the probabilities, with access to labels the
    predicted classes. The query budget is the threat model's; without one, all inputs are asked.

    Attributes:
        surrogate: Architecture of the surrogate; the target's own if not given.
        loss: ``cross-entropy``, or ``mse`` between the probabilities of both.
        optimizer: ``adam`` or ``sgd``.
        lr: Learning rate.
        momentum: Of SGD.
        epochs: Passes over the answered queries.
        batch_size: Queries per step.
    """

    name: ClassVar[str] = "distillation"
    risk: ClassVar[Risk] = Risk.EXTRACTION
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS, Access.SCORES)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW, Aux.PARTIAL, Aux.OOD)
    reference: ClassVar[str] = "Tramèr et al. (2016), https://arxiv.org/abs/1609.02943"

    surrogate: str | None = None
    loss: Literal["cross-entropy", "mse"] = "cross-entropy"
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = 1e-3
    momentum: float = 0.0
    epochs: int = 40
    batch_size: int = 64

    def __post_init__(self) -> None:
        _ = self.recipe

    @property
    def recipe(self) -> Recipe:
        """How the surrogate is trained."""
        return Recipe(
            optimizer=self.optimizer,
            lr=self.lr,
            momentum=self.momentum,
            epochs=self.epochs,
            batch_size=self.batch_size,
        )

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse a surrogate that does not fit the dataset.

        Raises:
            ZooError: It is unknown, or its input or its classes do not fit.
        """
        surrogate.check(self.surrogate, dataset)
        return self

    def run(self, target: BlackBox, data: AuxiliaryData, *, seed: int) -> nn.Module:
        """Steal ``target`` and return the surrogate, in eval mode."""
        asked = surrogate.choice(len(data.aux), target.budget, seed)
        x = data.aux.x[asked.to(data.aux.x.device)]
        return self._learn(Split(x, surrogate.ask(target, x)), data, seed)

    def unasked(self, data: AuxiliaryData, *, seed: int) -> nn.Module:
        """The same surrogate if it learns the true labels of the attacker's inputs instead."""
        return self._learn(data.aux, data, seed)

    def _learn(self, known: Split, data: AuxiliaryData, seed: int) -> nn.Module:
        copy = fit(
            surrogate.build(self.surrogate, data, seed).to(known.x.device),
            known,
            self.recipe,
            seed=derive("surrogate", seed),
            loss=surrogate.squared_error if self.loss == "mse" else None,
        )
        convergence.classifies(data, "the surrogate", copy, known.x, known.y)
        return copy
