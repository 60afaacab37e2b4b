"""The fast gradient sign method: one step of full length along the loss's gradient.

References:
    Goodfellow, Shlens and Szegedy (2015). Explaining and Harnessing Adversarial Examples. ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from harness.attacks import perturbation
from harness.attacks.protocol import AttackerData
from harness.datasets import Dataset
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class FGSM:
    """Move every input by ``epsilon`` in the direction that raises its loss fastest.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        batch_size: Inputs on the device at once.
    """

    name: ClassVar[str] = "fgsm"
    risk: ClassVar[Risk] = Risk.EVASION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Goodfellow et al. (2015), https://arxiv.org/abs/1412.6572"

    epsilon: float | None = None
    norm: perturbation.Norm = "linf"
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ZooError(f"fgsm wants batch_size of at least 1, found {self.batch_size}.")

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the dataset's customary radius."""
        epsilon = dataset.epsilon[self.norm] if self.epsilon is None else self.epsilon
        perturbation.check_epsilon(self.name, epsilon, self.norm)
        return replace(self, epsilon=epsilon)

    def run(self, target: BlackBox, data: AttackerData, *, seed: int) -> Tensor:
        """Perturbed inputs, the shape of ``data.points.x``; ``seed`` has no effect."""
        assert self.epsilon is not None, "resolve() first"
        assert data.points is not None
        model, out = target.model, []
        for x, y in zip(
            data.points.x.split(self.batch_size), data.points.y.split(self.batch_size), strict=True
        ):
            step = perturbation.direction(perturbation.input_gradient(model, x, y), self.norm)
            out.append(perturbation.project(x + self.epsilon * step, x, self.epsilon, self.norm))
        return torch.cat(out)
