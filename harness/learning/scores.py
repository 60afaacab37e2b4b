"""Scores as logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

FLOOR = 1e-12
"""Stands for a score of 0, whose logarithm no loss could take."""


def to_logits(scores: Tensor) -> Tensor:
    """Logits whose softmax are these scores (b, k), scaled to sum to 1."""
    scores = scores.clamp_min(FLOOR)
    return (scores / scores.sum(1, keepdim=True)).log()


class Redecides(nn.Module):
    """A guard whose decisions are not those of what it shows to whoever differentiates.

    Votes, thresholds and draws have no gradient to follow, so such a guard shows a stand-in. An
    attack may follow that, but what it has reached is told by the answers alone: it has to ask.
    Every guard that heeds `differentiates` and may change a decision is one of these.
    """


def differentiates(x: Tensor) -> bool:
    """Whether the caller takes the gradient of the answer by ``x``."""
    return torch.is_grad_enabled() and x.requires_grad


class Draws(Redecides):
    """A guard whose decisions are draws by the input and a key.

    The same input gets the same answer, so nobody learns more by asking again. How likely each
    answer was shows in other draws; see `drawn_again`.
    """

    def __init__(self, key: str) -> None:
        """Draw by ``key``."""
        super().__init__()
        self._key = key
        self.draw = ""

    @property
    def key(self) -> str:
        """What this draw is made by, together with the input."""
        return f"{self._key} {self.draw}" if self.draw else self._key

    @property
    def is_random(self) -> bool:
        """Whether any decision depends on the draw."""
        return True


def is_random(model: nn.Module) -> bool:
    """Whether some guard in ``model`` may decide otherwise in another draw."""
    return any(isinstance(part, Draws) and part.is_random for part in model.modules())


@contextmanager
def drawn_again(model: nn.Module, draw: str) -> Iterator[None]:
    """Let all guards in ``model`` answer as if they had another key, the one called ``draw``."""
    guards = [part for part in model.modules() if isinstance(part, Draws)]
    try:
        for guard in guards:
            guard.draw = draw
        yield
    finally:
        for guard in guards:
            guard.draw = ""
