"""A watermark: the model learns labels for made-up inputs that nobody can guess.

The labels are drawn independently of everything else. Whatever a model does that was made without
them, each of its answers is right with probability 1 / num_classes, so the number of right answers
is binomial and the p-value is exact.

References:
    Adi et al. (2018). Turning Your Weakness Into a Strength: Watermarking Deep Neural Networks by
    Backdooring. USENIX Security.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from harness.data.examples import Split
from harness.data.random_inputs import uniform
from harness.defenses.protocol import Cleaned
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.ownership import Owner
from harness.metrics.classification import accuracy
from harness.metrics.ownership import Verification
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Covered, Part, Risk
from zoo.errors import ZooError

GRAIN = 4
"""Triggers are drawn at this height and width and enlarged: large shapes, unlike those of data, are
learned by networks that pool."""


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """Train on a set of made-up inputs with random labels, and ask a suspect for these labels.

    A made-up image has few large shapes; a made-up row of a table has random values.

    Attributes:
        triggers: How many inputs there are.
        per_batch: How many of them a batch holds at least, on average over an epoch; they are
            repeated as often as that takes (Adi et al. 2018 use 2).
        independents: How many independent models the false claims are counted on.
    """

    name: ClassVar[str] = "watermark"
    guards: ClassVar[Risk] = Risk.EXTRACTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA, Part.EVIDENCE})
    looks_at: ClassVar[Covered] = Covered.INDEPENDENT
    reference: ClassVar[str] = "Adi et al. (2018), https://arxiv.org/abs/1802.04633"

    triggers: int = 30
    per_batch: int = 2
    independents: int = 20

    def __post_init__(self) -> None:
        for name in ("triggers", "per_batch", "independents"):
            if getattr(self, name) < 1:
                raise ZooError(
                    f"watermark wants {name} of at least 1, found {getattr(self, name)}."
                )

    def clean(self, data: Split, defender: DefenderData) -> Cleaned:
        """``data`` and behind it the triggers."""
        marks = self.marks(data.x, defender)
        repeats = 1
        if defender.recipe is not None:
            batches = math.ceil(len(data) / defender.recipe.batch_size)
            repeats = math.ceil(self.per_batch * batches / self.triggers)
        return Cleaned(
            data=data.with_rows(torch.cat([marks.x] * repeats), torch.cat([marks.y] * repeats)),
            notes={"triggers": self.triggers, "trigger_repeats": repeats},
        )

    def verifier(self, owner: Owner) -> Callable[[BlackBox], Verification]:
        """Counts the suspect's right answers to the triggers; ``statistic`` is their share."""
        from scipy.stats import binom

        marks = self.marks(owner.unseen.x, owner.defender)

        def verify(suspect: BlackBox) -> Verification:
            share = accuracy(suspect.labels(marks.x), marks.y)
            right = round(share * self.triggers)
            chance = 1 / owner.defender.num_classes
            return Verification(
                p_value=float(binom.sf(right - 1, self.triggers, chance)), statistic=share
            )

        return verify

    def marks(self, like: Tensor, defender: DefenderData) -> Split:
        """The triggers, the shape of ``like`` (n, ...) and on its device."""
        stream = generator("watermark", defender.seed)
        channels, *size = like.shape[1:]
        if size:
            coarse = [min(GRAIN, side) for side in size]
            x = uniform(self.triggers, (channels, *coarse), (), stream)
            x = F.interpolate(x, tuple(size), mode="nearest")
        else:
            x = uniform(self.triggers, like.shape[1:], defender.data.columns, stream)
        y = torch.randint(defender.num_classes, (self.triggers,), generator=stream)
        return Split(x.to(like.device), y.to(like.device))
