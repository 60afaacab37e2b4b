"""Answers that are changed before anybody sees them: what output defenses share.

References:
    Athalye, Carlini and Wagner (2018). Obfuscated Gradients Give a False Sense of Security. ICML.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from harness.seeds import generator

FLOOR = 1e-12
"""Stands for a score of 0, whose logarithm no loss could take."""

LEAD = 1e-5
"""How much the decided class's score is ahead, relatively, where rewriting made it a tie."""


class Rewritten(nn.Module):
    """A model whose scores are rewritten and whose decisions stay.

    The softmax of what it returns is what the caller may see. Whoever differentiates the answer by
    the input has the weights, and would leave a guard away that changes no decision: such a caller
    gets the model's own logits. A straight-through gradient would not do: the loss of an answer
    that is rounded to certainty is flat already before the guard.
    """

    def __init__(self, model: nn.Module, rewrite: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Put ``rewrite`` over ``model``: from inputs (b, ...) and scores (b, k) to scores."""
        super().__init__()
        self.model = model
        self._rewrite = rewrite

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, k)."""
        logits = self.model(x)
        if differentiates(x):
            return logits
        decided = logits.argmax(1, keepdim=True)
        scores = self._rewrite(x, logits.softmax(1)).clamp_min(FLOOR)
        others = scores.scatter(1, decided, 0.0).amax(1, keepdim=True)
        own = torch.maximum(scores.gather(1, decided), others * (1 + LEAD))
        return to_logits(scores.scatter(1, decided, own))


def differentiates(x: Tensor) -> bool:
    """Whether the caller takes the gradient of the answer by ``x``."""
    return torch.is_grad_enabled() and x.requires_grad


def to_logits(scores: Tensor) -> Tensor:
    """Logits whose softmax are these scores (b, k), scaled to sum to 1."""
    scores = scores.clamp_min(FLOOR)
    return (scores / scores.sum(1, keepdim=True)).log()


def noise(name: str, x: Tensor, *shape: int) -> Tensor:
    """Standard Gaussian noise (b, *shape) for inputs (b, ...), on their device.

    It depends on ``name`` and the input alone: the same input gets the same noise, in any batch.
    """
    found = torch.empty(len(x), *shape)
    for row, example in zip(found, x.detach().cpu().numpy(), strict=True):
        row.normal_(generator=generator(name, hashlib.sha256(example.tobytes()).hexdigest()))
    return found.to(x.device)


def uniform(name: str, x: Tensor, *shape: int) -> Tensor:
    """Uniform noise in [0, 1], otherwise like `noise`."""
    return torch.special.ndtr(noise(name, x, *shape))
