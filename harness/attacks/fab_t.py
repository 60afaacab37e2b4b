"""The fast adaptive boundary attack: walk along the decision boundary to the nearest point of it.

Each step takes the boundary for the plane that the gradient says it is, and goes to where the plane
is nearest, with a pull towards the original input.

References:
    Croce and Hein (2020). Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary
    Attack. ICML.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared import perturbation
from harness.attacks.shared.ball import WithinBall
from harness.attacks.shared.perturbation import Norm
from harness.attacks.shared.redraws import Finds
from harness.data.examples import Split
from harness.target import BlackBox
from harness.types import Access, Aux, Risk

PULL = 0.1  # alpha_max: largest weight of the original input
OVERSHOOT = 1.05  # eta: how far beyond the plane a step goes
BACK = 0.9  # beta: share of the way that is left after a step back from the far side
SATURATED = 50  # rounds after which the set of pixels at their bound is taken as it is


@dataclass(frozen=True, kw_only=True)
class FABT(WithinBall):
    """Look for the nearest misclassified input, towards the most likely other classes in turn.

    An example is done as soon as it is misclassified within the radius. It walks along the boundary
    of what can be followed; behind a guard that decides for itself, whose boundary is elsewhere,
    it finds what the two have in common.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        steps: Steps towards each class.
        targets: How many classes are tried, the most likely first.
        batch_size: Inputs on the device at once.
    """

    name: ClassVar[str] = "fab-t"
    risk: ClassVar[Risk] = Risk.EVASION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Croce and Hein (2020), https://arxiv.org/abs/1907.02044"

    steps: int = 100
    targets: int = 9
    batch_size: int = 256

    def __post_init__(self) -> None:
        perturbation.check_counts(self, "steps", "targets", "batch_size")

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """Perturbed inputs, the shape of ``data.points.x``; an example that withstands stays as is.

        ``seed`` has no effect.
        """
        ranks = range(1, 1 + min(self.targets, data.num_classes - 1))
        return perturbation.try_in_turn(
            target.model,
            data.points,
            [partial(self._attempt, target.model, rank) for rank in ranks],
            batch_size=self.batch_size,
            device=target.device,
        )

    def _attempt(self, model: nn.Module, rank: int, points: Split) -> Tensor:
        assert self.epsilon is not None, "resolve() first"
        goal = perturbation.likely(model, points, rank)
        out, row = points.x.clone(), torch.arange(len(points), device=points.x.device)
        x, origin, y = points.x, points.x, points.y
        finds = Finds(model, x, y)
        for _ in range(self.steps):
            x = self._step(model, x, origin, y, goal)
            broken = ~perturbation.correct(model, Split(x, y))
            near = perturbation.sizes(x - origin, self.norm) <= self.epsilon
            out[row[broken & near]] = x[broken & near]
            going = finds.going(row, x, ~(broken & near))
            back = perturbation.per_example(broken, x)
            x = torch.where(back, origin + BACK * (x - origin), x)
            x, origin, y, goal, row = (t[going] for t in (x, origin, y, goal, row))
            if not len(row):
                break
        return finds.best(out)

    def _step(self, model: nn.Module, x: Tensor, origin: Tensor, y: Tensor, goal: Tensor) -> Tensor:
        def lead(logits: Tensor) -> Tensor:
            return (logits.gather(1, goal[:, None]) - logits.gather(1, y[:, None])).squeeze(1)

        _, ahead, slope = perturbation.logits_loss_gradient(model, x, lead)
        gap = -ahead
        here = to_plane(x, slope, gap, self.norm)
        there = to_plane(origin, slope, gap + (slope * (x - origin)).flatten(1).sum(1), self.norm)
        a, b = (perturbation.sizes(d, self.norm).clamp_min(1e-8) for d in (here, there))
        pull = perturbation.per_example((a / (a + b)).clamp_max(PULL), x)
        x = (1 - pull) * (x + OVERSHOOT * here) + pull * (origin + OVERSHOOT * there)
        return x.clamp(*perturbation.PIXELS)


def to_plane(x: Tensor, slope: Tensor, gap: Tensor, norm: Norm) -> Tensor:
    """The smallest step d with <slope, d> = gap that stays within the pixels.

    Every pixel moves at its own pace until it reaches its bound; d is where the sum is enough.

    Args:
        x: Where to start, (n, ...).
        slope: The plane's normal, the shape of ``x``.
        gap: (n,).
        norm: What is smallest.

    Returns:
        The shape of ``x``; the step as far as the pixels allow where no such step exists.
    """
    towards = slope.flatten(1) * gap.sign()[:, None]
    flat, need = x.flatten(1), gap.abs()
    room = torch.where(towards > 0, 1 - flat, flat)
    weight = towards.abs()
    pace = torch.ones_like(weight) if norm == "linf" else weight
    free, far = weight > 0, torch.zeros_like(need)
    # The sum is concave in how far we go, so Newton's method rises to the solution and stops there.
    for _ in range(SATURATED):
        at_bound = torch.where(free, 0, weight * room).sum(1)
        rate = torch.where(free, weight * pace, 0).sum(1)
        far = ((need - at_bound) / rate.clamp_min(1e-30)).clamp_min(0)
        still = free & (far[:, None] * pace < room)
        if torch.equal(still, free):
            break
        free = still
    step = torch.where(free, far[:, None] * pace, room)
    return (step * towards.sign()).view_as(x)
