"""STRIP: reject an input whose label survives having other images laid over it.

A trigger decides the answer whatever else the image shows. So each input is blended with several
clean images; where the answers stay as sure as they were, the entropy is low, and the input is
held to carry a trigger. How low is too low is read off clean images that are treated the same way.

References:
    Gao et al. (2019). STRIP: A Defence Against Trojan Attacks on Deep Neural Networks. ACSAC.
    https://arxiv.org/abs/1902.06531
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.batches import at_once
from harness.defenses.shared.defender import DefenderData
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, NotApplicableError, Part, Risk
from zoo.errors import ZooError

AT_ONCE = 4096
"""Blended images that are made at a time, about."""


@dataclass(frozen=True, kw_only=True)
class STRIP:
    """Reject inputs whose predictions stay certain under clean images laid over them.

    Attributes:
        overlays: Clean images that every input is blended with (SecurityNet: 10; the paper: 100).
        false_rejection: Share of clean inputs that may be rejected (the paper: 0.01).
    """

    name: ClassVar[str] = "strip"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.INSPECTION})
    looks_at: ClassVar[str] = "the checked examples, which are laid over inputs and set its limit"
    reference: ClassVar[str] = "Gao et al. (2019), https://arxiv.org/abs/1902.06531"

    overlays: int = 10
    false_rejection: float = 0.01

    def __post_init__(self) -> None:
        if self.overlays < 1:
            raise ZooError(f"strip wants overlays of at least 1, found {self.overlays}.")
        if not 0 <= self.false_rejection < 1:
            raise ZooError(
                f"strip wants false_rejection in [0, 1), found {self.false_rejection:g}."
            )

    def suspicious(self, model: nn.Module, x: Tensor, defender: DefenderData) -> Tensor:
        """Which of ``x`` (n, ...) are rejected, (n,) bool.

        All inputs get the same overlays, so the verdict on one does not depend on the others.

        Raises:
            NotApplicableError: Too few trusted images to lay over others and to judge by.
        """
        trusted = defender.trusted.x
        if len(trusted) < 2 * self.overlays:
            raise NotApplicableError(
                f"strip wants {2 * self.overlays} trusted images, {self.overlays} to lay over "
                f"inputs and as many to judge by, found {len(trusted)}. Lower overlays."
            )
        order = torch.randperm(len(trusted), generator=generator("strip", defender.seed))
        order = order.to(trusted.device)
        overlays, clean = trusted[order[: self.overlays]], trusted[order[self.overlays :]]
        limit = threshold(entropies(model, clean, overlays), self.false_rejection)
        return entropies(model, x, overlays) < limit


def entropies(model: nn.Module, x: Tensor, overlays: Tensor) -> Tensor:
    """Mean entropy in bits (n,) of the predictions for each of ``x`` under every overlay."""
    box = BlackBox(model, Access.SCORES)
    found = []
    for part in x.split(max(1, at_once(x, AT_ONCE) // len(overlays))):
        # Halves: a sum that is cut off at white, as in the authors' code, spoils dark triggers.
        blended = (part[:, None] + overlays.to(x.device)) / 2
        scores = box.scores(blended.flatten(0, 1))
        bits = -torch.special.xlogy(scores, scores).sum(1) / math.log(2)
        found.append(bits.view(len(part), -1).mean(1))
    return torch.cat(found)


def threshold(clean: Tensor, false_rejection: float) -> Tensor:
    """The entropy below which no more than that share of the clean entropies (m,) lie."""
    return clean.sort().values[int(false_rejection * len(clean))]
