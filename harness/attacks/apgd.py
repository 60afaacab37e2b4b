"""Auto-PGD: projected gradient descent that chooses its step by itself.

The step starts at the diameter of the ball and is halved at checkpoints where the loss did not
rise often enough or its best value is stuck; the climb then goes on from the best point so far.

References:
    Croce and Hein (2020). Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks. ICML. Algorithm 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared import perturbation
from harness.attacks.shared.ball import WithinBall
from harness.attacks.shared.perturbation import Loss, Norm
from harness.attacks.shared.redraws import Finds
from harness.data.examples import Split
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Aux, Risk

MOMENTUM = 0.75  # alpha: share of the new step, the rest is the last move
ENOUGH = 0.75  # rho: share of steps of a period that have to raise the loss


@dataclass(frozen=True, kw_only=True)
class APGDCE(WithinBall):
    """Auto-PGD on the cross-entropy of the true label.

    An example that is broken is left where it is.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        steps: Gradient steps of each restart; the length of a step needs no setting.
        restarts: Independent attempts; each starts at a random point of the ball.
        batch_size: Inputs on the device at once.
    """

    name: ClassVar[str] = "apgd-ce"
    risk: ClassVar[Risk] = Risk.EVASION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Croce and Hein (2020), https://arxiv.org/abs/2003.01690"

    steps: int = 100
    restarts: int = 1
    batch_size: int = 256

    def __post_init__(self) -> None:
        perturbation.check_counts(self, "steps", "restarts", "batch_size")

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """Perturbed inputs, the shape of ``data.points.x``."""
        attempt = partial(self._attempt, target.model, generator(self.name, seed))
        return perturbation.try_in_turn(
            target.model,
            data.points,
            [attempt] * self.restarts,
            batch_size=self.batch_size,
            device=target.device,
        )

    def _attempt(self, model: nn.Module, starts: torch.Generator, points: Split) -> Tensor:
        assert self.epsilon is not None, "resolve() first"
        return climb(
            model,
            points,
            points.y,
            perturbation.random_start(points, self.epsilon, self.norm, starts),
            perturbation.cross_entropy,
            epsilon=self.epsilon,
            norm=self.norm,
            steps=self.steps,
        )


def checkpoints(steps: int) -> list[int]:
    """After how many steps the length of a step is reconsidered: ceil(p_j * steps)."""
    found, before, share = [], 0.0, 0.22
    while share < 1:
        # Rounded first: 0.57 * 100 is a little more than 57 in floating point.
        found.append(math.ceil(round(share * steps, 6)))
        before, share = share, share + max(share - before - 0.03, 0.06)
    return found


@dataclass
class _Climb:
    """Examples that still stand, row by row."""

    row: Tensor  # in the batch
    origin: Tensor
    y: Tensor
    goal: Tensor
    last: Tensor  # the point before the present one
    x: Tensor
    gradient: Tensor
    loss: Tensor
    best_x: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    step: Tensor
    rises: Tensor  # steps of this period that raised the loss
    best_before: Tensor  # best loss at the last checkpoint
    halved: Tensor  # whether the step was halved there

    def keep(self, rows: Tensor) -> _Climb:
        return _Climb(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def climb(
    model: nn.Module,
    points: Split,
    goal: Tensor,
    start: Tensor,
    loss: Loss,
    *,
    epsilon: float,
    norm: Norm,
    steps: int,
) -> Tensor:
    """One run of Auto-PGD.

    Args:
        model: In eval mode, on the device of ``points``.
        points: Centres of the balls, and true labels.
        goal: Classes (n,), for the loss.
        start: Where to start, inside the balls.
        loss: What to raise.
        epsilon: Radius.
        norm: Of the ball.
        steps: How many.

    Returns:
        Of each example the first misclassified point, or that which is so in most draws of a guard
        that draws; if there was none, that of highest loss.
    """
    logits, value, gradient = perturbation.logits_loss_gradient(
        model, start, lambda z: loss(z, points.y, goal)
    )
    out, zeros = start.clone(), torch.zeros_like(value)
    finds, row = Finds(model, start, points.y), torch.arange(len(points), device=start.device)
    c = _Climb(
        row=row,
        origin=points.x,
        y=points.y,
        goal=goal,
        last=start,
        x=start,
        gradient=gradient,
        loss=value,
        best_x=start,
        best_gradient=gradient,
        best_loss=value,
        step=perturbation.per_example(zeros + 2 * epsilon, start),
        rises=zeros,
        best_before=value,
        halved=torch.ones_like(points.y, dtype=torch.bool),
    ).keep(finds.going(row, start, perturbation.decided(model, start, logits) == points.y))
    due, period = checkpoints(steps), 0
    for k in range(1, steps + 1):
        if not len(c.row):
            break
        x = perturbation.project(
            c.x + c.step * perturbation.direction(c.gradient, norm), c.origin, epsilon, norm
        )
        if k > 1:
            x = c.x + MOMENTUM * (x - c.x) + (1 - MOMENTUM) * (c.x - c.last)
            x = perturbation.project(x, c.origin, epsilon, norm)
        logits, value, gradient = perturbation.logits_loss_gradient(
            model, x, lambda z, y=c.y, goal=c.goal: loss(z, y, goal)
        )
        c.rises = c.rises + (value > c.loss)
        c.last, c.x, c.gradient, c.loss = c.x, x, gradient, value
        _remember_best(c)
        period += 1
        if k in due:
            _reconsider(c, period)
            period = 0
        standing = perturbation.decided(model, x, logits) == c.y
        out[c.row] = torch.where(perturbation.per_example(standing, x), c.best_x, x)
        c = c.keep(finds.going(c.row, x, standing))
    return finds.best(out)


def _remember_best(c: _Climb) -> None:
    better = c.loss > c.best_loss
    here = perturbation.per_example(better, c.x)
    c.best_x = torch.where(here, c.x, c.best_x)
    c.best_gradient = torch.where(here, c.gradient, c.best_gradient)
    c.best_loss = torch.where(better, c.loss, c.best_loss)


def _reconsider(c: _Climb, period: int) -> None:
    """Halve the step where the climb is stuck, and go on from the best point."""
    stuck = c.rises < ENOUGH * period  # condition 1
    stuck = stuck | (~c.halved & (c.best_loss <= c.best_before))  # condition 2
    here = perturbation.per_example(stuck, c.x)
    c.step = torch.where(here, c.step / 2, c.step)
    c.x = torch.where(here, c.best_x, c.x)
    c.gradient = torch.where(here, c.best_gradient, c.gradient)
    c.loss = torch.where(stuck, c.best_loss, c.loss)
    c.rises, c.best_before, c.halved = torch.zeros_like(c.rises), c.best_loss, stuck
