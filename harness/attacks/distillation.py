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

import torch
from torch import nn

from harness.attacks import surrogate
from harness.attacks.protocol import AttackerData
from harness.datasets import Dataset
from harness.seeds import derive, generator
from harness.target import BlackBox
from harness.training import fit
from harness.types import Access, Aux, Risk, Split
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

    def run(self, target: BlackBox, data: AttackerData, *, seed: int) -> nn.Module:
        """Steal ``target`` and return the surrogate, in eval mode."""
        assert data.aux is not None
        x = data.aux.x
        if target.budget is not None:
            order = torch.randperm(len(x), generator=generator("queries", seed))
            x = x[order[: target.budget].to(x.device)]
        return fit(
            surrogate.build(self.surrogate, data, seed).to(x.device),
            Split(x, surrogate.ask(target, x)),
            self.recipe,
            seed=derive("surrogate", seed),
            loss=surrogate.squared_error if self.loss == "mse" else None,
        )
