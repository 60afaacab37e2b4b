"""LiRA: how likely is the target's confidence in an example, had it been trained on it or not?

The confidences of shadow models in the same example tell what to expect: those trained on it (IN)
and those that were not (OUT) give one normal distribution each, and the likelihood ratio of the
two at the target's confidence is the score.

References:
    Carlini et al. (2022). Membership Inference Attacks From First Principles. IEEE S&P.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from harness.attacks.shared.attacker_data import Candidates
from harness.data.dataset import Dataset
from harness.data.images import moved
from harness.target import BlackBox
from harness.types import Access, Aux, NotApplicableError, Risk
from zoo.errors import ZooError

SMALLEST_SCORE = 1e-45
"""About the smallest float32 above 0, in place of scores that are 0."""

SMALLEST_DEVIATION = 1e-6
"""Of confidences; where shadow models differ by less, it is rounding."""

FURTHEST = 2
"""Pixels that queries are shifted by at most, per axis."""

Variance = Literal["global", "per-sample"]


@dataclass(frozen=True, kw_only=True)
class LiRA:
    """Score a candidate by the likelihood ratio of the target's confidence in it.

    Attributes:
        shadows: How many shadow models; each candidate is IN one of four.
        online: Whether shadow models trained on the candidates are used. Without, the score is how
            improbable so large a confidence is under OUT alone.
        variance: ``global``, one for all candidates, as the paper advises for fewer than 64 shadow
            models, or ``per-sample``.
        queries: Questions per candidate: itself, then shifted by one pixel and by two, the edges
            repeated. A query budget may allow fewer.
        flip: Whether each of these is asked mirrored, too. Only for images that mean the same so.
    """

    name: ClassVar[str] = "lira"
    risk: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW,)
    reference: ClassVar[str] = "Carlini et al. (2022), https://arxiv.org/abs/2112.03570"

    shadows: int = 32
    online: bool = True
    variance: Variance = "global"
    queries: int = 1
    flip: bool = False

    def __post_init__(self) -> None:
        # Two IN and two OUT of each candidate, else there is no deviation to estimate.
        least, mode = (8, "online") if self.online else (4, "offline")
        if self.shadows < least:
            raise ZooError(
                f"lira wants at least {least} shadow models {mode}, found shadows={self.shadows}: "
                f"each candidate is in the training data of one of four. Raise lira.shadows"
                f"{', or set lira.online=false' if self.online else ''}."
            )
        most = (2 * FURTHEST + 1) ** 2 * (2 if self.flip else 1)
        if not 1 <= self.queries <= most:
            raise ZooError(
                f"lira wants queries from 1 to {most}{'' if self.flip else ' without flip'}, found "
                f"{self.queries}."
            )

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse to shift what is no image.

        Raises:
            ZooError: More than one query per candidate on tabular data.
        """
        if self.queries > 1 and len(dataset.input_shape) == 1:
            raise ZooError(
                f"lira shifts images to ask more than once, but {dataset.name} is tabular. Set "
                f"lira.queries=1."
            )
        return self

    def run(self, target: BlackBox, data: Candidates, *, seed: int) -> Tensor:
        """Log likelihood ratio of each candidate, (n,) float64; ``seed`` has no effect.

        With several queries it is the mean over them, the sum under a diagonal covariance up to a
        constant factor.
        """
        x, y = data.points.x, data.points.y
        count = self.queries
        if target.budget is not None:
            count = max(1, min(count, target.budget // len(y)))
        members = torch.stack([shadow.members for shadow in data.shadows])
        found = torch.zeros(len(y), dtype=torch.float64, device=x.device)
        for view in views(x, count, flip=self.flip):
            expected = [confidence(shadow.box.scores(view), y) for shadow in data.shadows]
            observed = confidence(target.scores(view), y)
            found += score(
                observed,
                torch.stack(expected),
                members,
                online=self.online,
                variance=self.variance,
            )
        return found / count


def confidence(scores: Tensor, y: Tensor) -> Tensor:
    """Log of the true class's score over the sum of all others', (n,) float64.

    Its distribution over trainings is close to a normal one, which that of the score is not. The
    others are added up, since a score that rounded to 1 has forgotten its distance to 1.

    Args:
        scores: (n, classes) probabilities.
        y: (n,) labels.
    """
    scores = scores.double()
    own = scores.gather(1, y[:, None])[:, 0]
    others = scores.scatter(1, y[:, None], 0).sum(1)
    return own.clamp_min(SMALLEST_SCORE).log() - others.clamp_min(SMALLEST_SCORE).log()


def views(x: Tensor, count: int, *, flip: bool) -> Iterator[Tensor]:
    """The first ``count`` of: ``x`` itself, then shifted, the nearest shifts first.

    Args:
        x: (n, channels, height, width), or anything if ``count`` is 1.
        count: How many are given.
        flip: Whether each is followed by its mirror image.
    """
    steps = range(-FURTHEST, FURTHEST + 1)
    shifts = sorted(
        ((down, right) for down in steps for right in steps),
        key=lambda shift: (max(map(abs, shift)), sum(map(abs, shift)), shift),
    )
    for position in range(count):
        down, right = shifts[position // 2 if flip else position]
        view = x
        if down or right:
            rows, columns = (torch.full((len(x),), -by) for by in (down, right))
            view = moved(x, rows, columns, repeat_edges=True)
        yield view.flip(-1) if flip and position % 2 else view


def score(
    observed: Tensor, expected: Tensor, members: Tensor, *, online: bool, variance: Variance
) -> Tensor:
    """The log likelihood ratio, or minus the log of the tail probability if offline, (n,).

    Args:
        observed: (n,) float64, the target's confidences.
        expected: (shadows, n) float64, the shadow models'.
        members: (shadows, n) bool, whether the shadow model was trained on the example.
        online: Whether to use the models that were.
        variance: See `LiRA`.

    Raises:
        NotApplicableError: Too few of them were, or were not, to tell what training does.
    """
    inside, outside = members.any(0), ~members.all(0)
    if (online or not outside.all()) and not (inside & outside).any():
        raise NotApplicableError(
            f"lira compares shadow models that were trained on a candidate with others that were "
            f"not, but of {len(members)} shadows no candidate has both kinds. Raise lira.shadows."
        )
    pairs = (members.sum(0) - 1).clamp_min(0).sum(), ((~members).sum(0) - 1).clamp_min(0).sum()
    if not max(pairs):
        raise NotApplicableError(
            f"lira wants two shadow models that were trained on a candidate, or two that were not, "
            f"but of {len(members)} shadows no candidate has two of a kind. Raise lira.shadows."
        )
    center, deviation = _normal(expected, ~members, variance)
    center_in, deviation_in = _normal(expected, members, variance)
    # Where one side has no example with two models, models differ there as on the other side.
    deviation = deviation if pairs[1] else deviation_in
    deviation_in = deviation_in if pairs[0] else deviation
    # Splitting into four may leave a few examples over, which no shadow model was trained on, and
    # one that the data have many times may be in all of them: to these training does what it does
    # to the others on average.
    effect = (center_in - center)[inside & outside].mean()
    center = torch.where(outside, center, center_in - effect)
    center_in = torch.where(inside, center_in, center + effect)
    distance = (observed - center) / deviation
    if not online:
        return -torch.special.log_ndtr(-distance)
    distance_in = (observed - center_in) / deviation_in
    return (distance**2 - distance_in**2) / 2 + (deviation / deviation_in).log()


def _normal(expected: Tensor, chosen: Tensor, variance: Variance) -> tuple[Tensor, Tensor]:
    """Means (n,), 0 where nothing is chosen, and deviations (n,) of the chosen (shadows, n)."""
    count = chosen.sum(0)
    center = torch.where(chosen, expected, 0).sum(0) / count.clamp_min(1)
    squares = torch.where(chosen, expected - center, 0).square().sum(0)
    pooled = squares.sum() / (count - 1).clamp_min(0).sum()
    found = pooled.expand_as(squares)
    if variance == "per-sample":
        found = torch.where(count > 1, squares / (count - 1).clamp_min(1), found)
    return center, found.sqrt().clamp_min(SMALLEST_DEVIATION)
