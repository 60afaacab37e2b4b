"""The nouns of the harness: plain data and protocols. Nothing here computes or touches a disk."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from zoo.errors import ZooError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class NotApplicableError(ZooError):
    """An attack, a defense or a combination that cannot be here; the reason is a result."""


class Risk(StrEnum):
    """What can go wrong with a model: the eight risks of Duddu, Szyller and Asokan (2024)."""

    EVASION = "evasion"
    POISONING = "poisoning"
    EXTRACTION = "extraction"
    MEMBERSHIP_INFERENCE = "membership-inference"
    ATTRIBUTE_INFERENCE = "attribute-inference"
    DATA_RECONSTRUCTION = "data-reconstruction"
    DISTRIBUTION_INFERENCE = "distribution-inference"
    DISCRIMINATORY_BEHAVIOR = "discriminatory-behavior"


class Access(StrEnum):
    """What an attacker may read of the target, weakest first."""

    LABELS = "labels"
    SCORES = "scores"
    WEIGHTS = "weights"

    def grants(self, needed: Access) -> bool:
        """Whether an attacker with this access can do what needs ``needed``."""
        order = list(Access)
        return order.index(self) >= order.index(needed)


class Aux(StrEnum):
    """Data the attacker holds besides the points under attack."""

    NONE = "none"
    SHADOW = "shadow"  # same distribution as the training data, disjoint from it
    PARTIAL = "partial"  # a part of the training data itself
    OOD = "ood"  # another dataset


class Regime(StrEnum):
    """How a model came to its weights. Rows of different regimes are never compared."""

    FROM_SCRATCH = "from-scratch"
    FINE_TUNED = "fine-tuned"
    PUBLISHED = "published"


class Part(StrEnum):
    """Where on the pipeline a defense acts."""

    DATA = "data"
    INPUTS = "inputs"
    LOSS = "loss"
    GRADIENTS = "gradients"
    SCHEDULE = "schedule"  # how long the training lasts
    MODEL = "model"
    OUTPUT = "output"
    INSPECTION = "inspection"  # flags models or inputs, changes no answer
    EVIDENCE = "evidence"  # tells later whether a model was made from this one


@dataclass(frozen=True, eq=False)
class Split:
    """Inputs ``x`` float32 in [0, 1] and labels ``y`` (n,) int64.

    Images are (n, channels, height, width), rows of a table (n, features).
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> Split:
        """The rows at ``index`` (n,) int64, in that order."""
        return Split(self.x[index], self.y[index])

    def to(self, device: str | torch.device) -> Split:
        """The same rows on ``device``."""
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, eq=False)
class Attribute:
    """Something about the person or the thing behind each example, which may be sensitive.

    Attributes:
        values: (n,) int64, 0 .. len(names) - 1.
        names: Of the values.
    """

    values: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """Where a column of a table is among the features.

    Attributes:
        name: As in the table.
        start: First feature.
        stop: Behind the last.
        values: Of a categorical column, one feature each; empty for a number.
        low: Of a number, what became 0.
        high: Of a number, what became 1.
    """

    name: str
    start: int
    stop: int
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """What the attacker has.

    Attributes:
        access: Enforced by what the attack is handed.
        aux: Kind of auxiliary data.
        ood: Name of the dataset if ``aux`` is ``ood``.
        queries: How many inputs the target answers; None for no limit.
        adaptive: Whether the attacker's shadow models are trained with the target's defense.
        partial: Share of the target's training data that is held if ``aux`` is ``partial``; None
            for the customary half.
    """

    access: Access
    aux: Aux = Aux.NONE
    ood: str | None = None
    queries: int | None = None
    adaptive: bool = True
    partial: float | None = None

    def __str__(self) -> str:
        words = [str(self.access), f"{self.aux}:{self.ood}" if self.ood else str(self.aux)]
        if self.partial is not None:
            words[-1] += f" {self.partial:.0%}"
        if self.queries is not None:
            words.append(f"{self.queries} queries")
        if not self.adaptive:
            words.append("naive")
        return ", ".join(words)
