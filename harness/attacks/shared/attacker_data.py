"""What a membership attacker is handed besides the target, and what an auditor plants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from harness.attacks.protocol import AttackerData, Plants

if TYPE_CHECKING:
    from torch import Tensor

    from harness.target import BlackBox
    from harness.types import Split


@dataclass(frozen=True, eq=False, kw_only=True)
class Shadow:
    """A model that the attacker trained to imitate the target.

    Attributes:
        box: Answers as the target does, without limit.
        members: (points,) bool, which candidates it was trained on.
        aux_members: (aux,) bool, which of the attacker's other examples it was trained on.
    """

    box: BlackBox
    members: Tensor
    aux_members: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidates(AttackerData):
    """A membership attacker's data: ``points`` are the candidates, in random order.

    Attributes:
        aux_member: (aux,) bool, which of ``aux`` the target was trained on; none of them if the
            attacker's data are disjoint from the target's. No candidate is among ``aux``.
        shadows: As many as the attack asked for.
    """

    aux_member: Tensor
    shadows: tuple[Shadow, ...] = ()


@runtime_checkable
class AsksOften(Protocol):
    """An attack on membership for which one question about each candidate is not enough."""

    def check_questions(
        self, *, numbers: int, candidates: int, budget: int | None, shadows: int
    ) -> None:
        """Refuse fewer questions than the attack can do with, before any work.

        Args:
            numbers: In one input.
            candidates: Whose membership is in question.
            budget: Questions in all; None for no limit.
            shadows: Shadow models that the attack learns from.

        Raises:
            ZooError: With what to raise.
        """
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Canaries:
    """Planted examples, in random order.

    Attributes:
        rows: (m,) int64, the training examples that they replace.
        points: What they are.
        included: (m,) bool, which of them are trained on, each with probability 1/2. The examples
            that the others replace are left out of the training data.
    """

    rows: Tensor
    points: Split
    included: Tensor


@runtime_checkable
class PlantsCanaries(Plants, Protocol):
    """An attack that is judged on canaries of its own, which its ``poison`` plants.

    Attributes:
        guessed: Share of the canaries that the auditor says something about.
        dp_delta: Of the privacy budget, where the target's defense claims none.
    """

    @property
    def guessed(self) -> float:
        """Share of the canaries that the auditor says something about."""
        ...

    @property
    def dp_delta(self) -> float:
        """Of the privacy budget, where the target's defense claims none."""
        ...

    def canaries(self, data: Split, *, trusted: Tensor, num_classes: int, seed: int) -> Canaries:
        """The canaries that ``poison`` plants when it is given the same."""
        ...

    def run(self, target: BlackBox, data: AttackerData, *, seed: int) -> Tensor:
        """How likely each of ``data.points`` is among the training data, (m,)."""
        ...
