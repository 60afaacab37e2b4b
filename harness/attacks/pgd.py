"""Projected gradient descent: many small steps along the loss's gradient, inside a ball.

References:
    Madry et al. (2018). Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from harness.attacks import perturbation
from harness.attacks.protocol import AttackerData
from harness.datasets import Dataset
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Aux, Risk, Split
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class PGD:
    """Raise the loss of the true label within a ball around each input.

    An example that one restart has broken is left alone by the next ones.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        steps: Gradient steps of each restart.
        step_size: Length of a step; 2.5 * epsilon / steps if not given, so that the steps can
            cross the ball (Madry et al. 2018).
        restarts: Independent attempts; each starts at a random point of the ball.
        random_start: Whether to start there, or at the input itself.
        batch_size: Inputs on the device at once.
    """

    name: ClassVar[str] = "pgd"
    risk: ClassVar[Risk] = Risk.EVASION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Madry et al. (2018), https://arxiv.org/abs/1706.06083"

    epsilon: float | None = None
    norm: perturbation.Norm = "linf"
    steps: int = 20
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True
    batch_size: int = 256

    def __post_init__(self) -> None:
        for name in ("steps", "restarts", "batch_size"):
            if getattr(self, name) < 1:
                raise ZooError(f"pgd wants {name} of at least 1, found {getattr(self, name)}.")
        if self.restarts > 1 and not self.random_start:
            raise ZooError(
                "pgd with random_start=false does the same in every restart; use restarts=1."
            )

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the dataset's customary radius and the step that goes with it."""
        epsilon = dataset.epsilon[self.norm] if self.epsilon is None else self.epsilon
        perturbation.check_epsilon(self.name, epsilon, self.norm)
        step_size = 2.5 * epsilon / self.steps if self.step_size is None else self.step_size
        return replace(self, epsilon=epsilon, step_size=step_size)

    def run(self, target: BlackBox, data: AttackerData, *, seed: int) -> Tensor:
        """Perturbed inputs, the shape of ``data.points.x``: of each the last restart it had."""
        assert data.points is not None
        model, points = target.model, data.points
        starts = generator("pgd", seed)
        out = points.x.clone()
        for index in torch.arange(len(points), device=points.x.device).split(self.batch_size):
            for _ in range(self.restarts):
                standing = index[perturbation.correct(model, Split(out[index], points.y[index]))]
                if len(standing):
                    out[standing] = self._ascend(model, points.take(standing), starts)
        return out

    def _ascend(self, model: nn.Module, points: Split, starts: torch.Generator) -> Tensor:
        assert self.epsilon is not None, "resolve() first"
        assert self.step_size is not None, "resolve() first"
        x = points.x
        if self.random_start:
            x = perturbation.random_start(x, self.epsilon, self.norm, starts)
        for _ in range(self.steps):
            gradient = perturbation.input_gradient(model, x, points.y)
            x = x + self.step_size * perturbation.direction(gradient, self.norm)
            x = perturbation.project(x, points.x, self.epsilon, self.norm)
        return x
