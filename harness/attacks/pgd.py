"""Projected gradient descent: many small steps along the loss's gradient, inside a ball.

References:
    Madry et al. (2018). Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared import perturbation
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class PGD:
    """Raise the loss of the true label within a ball around each input.

    An example that is broken is left where it is, by the other steps and by the next restarts.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        steps: Gradient steps of each restart.
        step_size: Length of a step; 2.5 * epsilon / steps if not given, so that the steps can
            cross the ball (Madry et al. 2018).
        restarts: Independent attempts; each starts at a random point of the ball.
        targets: If not 0, each attempt is made towards this many of the most likely other classes
            in turn, lowering the loss of that class.
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
    targets: int = 0
    random_start: bool = True
    batch_size: int = 256

    def __post_init__(self) -> None:
        perturbation.check_counts(self, "restarts", "batch_size")
        perturbation.check_steps(self.name, self.steps, self.step_size)
        if self.targets < 0:
            raise ZooError(f"pgd wants targets of at least 0, found {self.targets}.")
        if self.restarts > 1 and not self.random_start:
            raise ZooError(
                "pgd with random_start=false does the same in every restart; use restarts=1."
            )

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the dataset's customary radius and the step that goes with it."""
        epsilon = perturbation.radius(self.name, self.epsilon, self.norm, dataset)
        step_size = perturbation.step_length(
            self.name, self.step_size, epsilon, 2.5 * epsilon / self.steps
        )
        return replace(self, epsilon=epsilon, step_size=step_size)

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """Perturbed inputs, the shape of ``data.points.x``: of each the last attempt it had."""
        starts = generator("pgd", seed)
        ranks = range(1, 1 + min(self.targets, data.num_classes - 1)) if self.targets else (0,)
        return perturbation.try_in_turn(
            target.model,
            data.points,
            [
                partial(self._attempt, target.model, starts, rank)
                for rank in ranks
                for _ in range(self.restarts)
            ],
            batch_size=self.batch_size,
            device=target.device,
        )

    def _attempt(
        self, model: nn.Module, starts: torch.Generator, rank: int, points: Split
    ) -> Tensor:
        assert self.epsilon is not None, "resolve() first"
        assert self.step_size is not None, "resolve() first"
        start = points.x
        if self.random_start:
            start = perturbation.random_start(points, self.epsilon, self.norm, starts)
        return perturbation.ascend(
            model,
            points,
            start,
            epsilon=self.epsilon,
            norm=self.norm,
            steps=self.steps,
            step_size=self.step_size,
            goal=perturbation.likely(model, points, rank) if rank else None,
        )
