"""Targeted Auto-PGD on the difference of logits ratio, towards each likely class in turn.

The ratio does not change when all logits are shifted or scaled, so a model cannot hide its
gradients by being overconfident.

References:
    Croce and Hein (2020). Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks. ICML. Equations 6 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.attacks.apgd import climb
from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared import perturbation
from harness.attacks.shared.ball import WithinBall
from harness.attacks.shared.perturbation import CLASSES, ratio
from harness.data.examples import Split
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Aux, Risk, UnfitError


@dataclass(frozen=True, kw_only=True)
class APGDT(WithinBall):
    """Auto-PGD towards the most likely other classes, one after the other.

    With three classes the ratio for a target is not defined; the untargeted ratio is used, once.
    With two there is none.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        steps: Gradient steps towards each class; the length of a step needs no setting.
        targets: How many classes are tried, the most likely first.
        batch_size: Inputs on the device at once.
    """

    name: ClassVar[str] = "apgd-t"
    risk: ClassVar[Risk] = Risk.EVASION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Croce and Hein (2020), https://arxiv.org/abs/2003.01690"

    steps: int = 100
    targets: int = 9
    batch_size: int = 256

    def __post_init__(self) -> None:
        perturbation.check_counts(self, "steps", "targets", "batch_size")

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """Perturbed inputs, the shape of ``data.points.x``.

        Raises:
            NotApplicableError: There are fewer than three classes.
        """
        if data.num_classes < CLASSES:
            raise UnfitError(
                f"apgd-t wants at least {CLASSES} classes, found {data.num_classes}: its loss "
                f"compares the true class with two others. Use apgd-ce."
            )
        targeted = data.num_classes > CLASSES
        ranks = range(1, 1 + min(self.targets, data.num_classes - 1)) if targeted else (0,)
        starts = generator(self.name, seed)
        return perturbation.try_in_turn(
            target.model,
            data.points,
            [partial(self._attempt, target.model, starts, rank) for rank in ranks],
            batch_size=self.batch_size,
            device=target.device,
        )

    def _attempt(
        self, model: nn.Module, starts: torch.Generator, rank: int, points: Split
    ) -> Tensor:
        assert self.epsilon is not None, "resolve() first"
        return climb(
            model,
            points,
            perturbation.likely(model, points, rank) if rank else points.y,
            perturbation.random_start(points, self.epsilon, self.norm, starts),
            targeted_ratio if rank else ratio,
            epsilon=self.epsilon,
            norm=self.norm,
            steps=self.steps,
        )


def targeted_ratio(logits: Tensor, y: Tensor, goal: Tensor) -> Tensor:
    """How far the true class is behind ``goal``, by the spread of the first four logits."""
    top = logits.sort(1, descending=True).values
    own, other = (logits.gather(1, c[:, None]).squeeze(1) for c in (y, goal))
    return (other - own) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)
