"""What a defense may use while a model is being made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from harness.data.examples import Split
from harness.seeds import generator
from zoo.recipe import Recipe

TRUSTED = 0.1
"""Share of the training data that the owner has checked by hand. Nobody can poison it."""


def trusted_index(n: int, seed: int) -> Tensor:
    """Which of ``n`` training examples the owner has checked, (m,) int64, sorted."""
    order = torch.randperm(n, generator=generator("trusted", seed))
    return order[: max(1, round(TRUSTED * n))].sort().values


@dataclass(frozen=True, eq=False)
class Second:
    """A second model of the owner's, trained without defenses on part of the data.

    Attributes:
        seed: Of the owner's defenses, which decided on the part.
        model: In eval mode.
    """

    seed: int
    model: nn.Module


@dataclass(frozen=True, eq=False, kw_only=True)
class DefenderData:
    """The owner's means. What a model is judged on is not among them.

    Attributes:
        data: The training data as they were collected, before any defense cleaned them.
        trusted: Training examples that the owner has checked; they are never poisoned.
        num_classes: Labels are 0 .. num_classes - 1.
        train: A fresh network of the model's architecture, trained without defenses on some data
            as the recipe says, in eval mode. Only where models are trained at all.
        recipe: How the model is trained; None for a published model as downloaded.
        seed: Of the defenses' randomness.
        seconds: By guard, the second models that were planned for it.
    """

    data: Split
    trusted: Split
    num_classes: int
    train: Callable[[Split], nn.Module]
    recipe: Recipe | None
    seed: int
    seconds: Mapping[str, Second] = field(default_factory=dict)
