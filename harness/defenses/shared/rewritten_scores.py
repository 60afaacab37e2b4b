"""Answers that are changed before anybody sees them: what output defenses share.

References:
    Athalye, Carlini and Wagner (2018). Obfuscated Gradients Give a False Sense of Security. ICML.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from harness.defenses.shared.defender import DefenderData
from harness.learning.scores import FLOOR, differentiates, to_logits
from harness.seeds import generator

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


def secret(name: str, defender: DefenderData) -> str:
    """The key of an owner's noise. Whoever makes models like the owner's has another."""
    return f"{name} {defender.seed}"


def noise(key: str, x: Tensor, *shape: int) -> Tensor:
    """Standard Gaussian noise (b, *shape) for inputs (b, ...), on their device.

    It depends on ``key`` and the input alone: the same input gets the same noise, in any batch.
    """
    found = torch.empty(len(x), *shape)
    for row, example in zip(found, x.detach().cpu().numpy(), strict=True):
        row.normal_(generator=generator(key, hashlib.sha256(example.tobytes()).hexdigest()))
    return found.to(x.device)


def uniform(key: str, x: Tensor, *shape: int) -> Tensor:
    """Uniform noise in [0, 1), otherwise like `noise`, and quicker where there is much of it.

    References:
        Steele, Lea and Flood (2014). Fast Splittable Pseudorandom Number Generators. OOPSLA.
    """
    start = hashlib.sha256(key.encode())
    seeds = []
    for example in x.detach().cpu().numpy():
        one = start.copy()
        one.update(example.tobytes())
        seeds.append(int.from_bytes(one.digest()[:8]))
    steps = np.arange(1, math.prod(shape) + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2 ** 64
        mixed = np.array(seeds, dtype=np.uint64)[:, None] + steps * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    found = (mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
    return torch.from_numpy(found).view(len(x), *shape).to(x.device)
