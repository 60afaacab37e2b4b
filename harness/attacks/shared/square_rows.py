"""The moves of the Square attack on rows of a table, which have no squares.

Columns beside each other have nothing to do with each other. Instead of a square, some of a row's
numbers are changed, other ones for each row: as large a share of them as the square is of an image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.attacks.shared import perturbation

PAIR = 2
"""Fewest numbers of an L2 move: with one, the perturbation could not turn a little."""

OPPOSITE = 1e-4
"""Length of the sum of two directions below which one is the other turned round."""


def signs(*shape: int, stream: torch.Generator, like: Tensor) -> Tensor:
    """Up or down at random, of ``shape``."""
    return (torch.randint(2, shape, generator=stream) * 2 - 1).to(like)


def some(n: int, least: int, share: float, movable: Tensor, stream: torch.Generator) -> Tensor:
    """A share of the movable numbers of each of ``n`` rows, (n, features) bool.

    Of ``movable``, (n, features) or (features,), a row without any gets none.
    """
    luck = torch.rand(n, movable.shape[-1], generator=stream).to(movable.device)
    luck = luck.masked_fill(~movable, -1)
    most = movable.expand_as(luck).sum(1)
    count = (share * most).round().clamp_min(least).minimum(most)
    place = luck.argsort(1, descending=True).argsort(1)
    return place < count[:, None]


def corner(origin: Tensor, epsilon: float, stream: torch.Generator, *, movable: Tensor) -> Tensor:
    """Every number by ``epsilon`` up or down."""
    moved = origin + epsilon * signs(*origin.shape, stream=stream, like=origin)
    return torch.where(movable, moved.clamp(*perturbation.PIXELS), origin)


def turn(
    best: Tensor,
    origin: Tensor,
    epsilon: float,
    share: float,
    stream: torch.Generator,
    *,
    movable: Tensor,
) -> Tensor:
    """Some numbers of ``best`` moved to a corner of the ball, each by itself."""
    here = some(len(best), 1, share, movable, stream)
    return torch.where(here, corner(origin, epsilon, stream, movable=movable), best)


def sphere(origin: Tensor, epsilon: float, stream: torch.Generator, *, movable: Tensor) -> Tensor:
    """Every number up or down by the same, ``epsilon`` in all."""
    delta = signs(*origin.shape, stream=stream, like=origin) * movable
    delta = epsilon * perturbation.direction(delta, "l2")
    return perturbation.project(origin + delta, origin, epsilon, "l2")


def swap(
    best: Tensor,
    origin: Tensor,
    epsilon: float,
    share: float,
    stream: torch.Generator,
    *,
    movable: Tensor,
) -> Tensor:
    """The perturbation of some numbers taken away, and its length put into some others."""
    here, there = (some(len(best), PAIR, share, movable, stream) for _ in range(2))
    delta = best - origin
    unused = (epsilon**2 - perturbation.norms(delta) ** 2).clamp_min(0)
    available = (perturbation.norms(delta * (here | there)) ** 2 + unused).sqrt()
    fresh = perturbation.direction(signs(*best.shape, stream=stream, like=best) * here, "l2")
    new = fresh + perturbation.direction(delta * here, "l2")
    new = torch.where(perturbation.norms(new) < OPPOSITE, fresh, new)
    delta = torch.where(here, available * perturbation.direction(new, "l2"), delta * ~there)
    return perturbation.project(origin + delta, origin, epsilon, "l2")
