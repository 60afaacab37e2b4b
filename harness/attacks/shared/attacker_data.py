"""What a membership attacker is handed besides the target, and what an auditor plants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from harness.attacks.protocol import AttackedPoints, AttackerData, AuxiliaryData, PoisonsData
from harness.data.examples import Split
from harness.target import BlackBox
from harness.types import Attack


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
class Candidates(AttackedPoints, AuxiliaryData):
    """A membership attacker's data: ``points`` are the candidates, in random order.

    Attributes:
        aux_member: (aux,) bool, which of ``aux`` the target was trained on; none of them if the
            attacker's data are disjoint from the target's. No candidate is among ``aux``.
        shadows: As many as the attack asked for.
    """

    aux_member: Tensor
    shadows: tuple[Shadow, ...] = ()


class InfersMembership(Attack, Protocol):
    """An attack on membership."""

    def run(self, target: BlackBox, data: Candidates, *, seed: int) -> Tensor:
        """How likely each candidate is a member, (n,): the larger, the likelier."""
        ...


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
class PlantsCanaries(PoisonsData, Protocol):
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

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """How likely each of ``data.points`` is among the training data, (m,)."""
        ...


Knowledge = Literal["nothing", "label", "features"]
"""What is known of a record without the model; ``features`` are all of them and the label."""


def granted(points: Split, knows: Knowledge) -> Split:
    """Of ``points`` only what is known: without features or labels there are none, or all are 0."""
    return Split(
        points.x if knows == "features" else points.x.flatten(1)[:, :0],
        torch.zeros_like(points.y) if knows == "nothing" else points.y,
        columns=points.columns if knows == "features" else (),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Records(AttackedPoints, AuxiliaryData):
    """An attribute attacker's data: ``points`` are the records whose attribute is in question.

    Of these it holds what it knows, as `granted` has it, and what the target shows of them.
    Whoever does not know a record was not the one who asked about it.

    Attributes:
        seen: What `InfersAttribute.see` gives of the records in question.
        aux_z: (aux,) int64, the attribute of the attacker's own records.
        num_values: Attributes are 0 .. num_values - 1.
    """

    seen: Tensor
    aux_z: Tensor
    num_values: int


@runtime_checkable
class InfersAttribute(Attack, Protocol):
    """An attack on an attribute of records, which can also be carried out without the model.

    Attributes:
        attribute: Which one.
        knows: What the attacker knows of each record.
        samples: How many of its own records the attacker uses; None for all.
    """

    @property
    def attribute(self) -> str | None:
        """Which one."""
        ...

    @property
    def knows(self) -> Knowledge:
        """What the attacker knows of each record."""
        ...

    @property
    def samples(self) -> int | None:
        """How many of its own records the attacker uses; None for all."""
        ...

    def see(self, target: BlackBox, x: Tensor) -> Tensor:
        """What the target gives away of inputs ``x`` (n, ...), (n, ...)."""
        ...

    def run(self, target: BlackBox, data: Records, *, seed: int) -> Tensor:
        """How likely each record has each value, (points, num_values); each row sums to 1."""
        ...

    def impute(self, data: Records, *, knows: Knowledge, seed: int) -> Tensor:
        """The same without ``data.seen``: what is known of each record alone."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Released(AttackerData):
    """Gradients of training steps that start from the target's weights, after its defenses.

    Attributes:
        gradients: Of each parameter in the model's order, (observed, *its shape).
        labels: Of each step's examples, (observed, batch) int64; None if the attacker infers them.
    """

    gradients: tuple[Tensor, ...]
    labels: Tensor | None = None


@runtime_checkable
class InvertsGradients(Attack, Protocol):
    """An attack on the examples of single training steps.

    Attributes:
        batch: Examples in a step.
        observed: Steps that it sees.
        labels: ``given`` if it is told the examples' labels.
    """

    @property
    def batch(self) -> int:
        """Examples in a step."""
        ...

    @property
    def observed(self) -> int:
        """Steps that it sees."""
        ...

    @property
    def labels(self) -> str:
        """``given`` if it is told the examples' labels."""
        ...

    def run(self, target: BlackBox, data: Released, *, seed: int) -> Tensor:
        """Reconstructed inputs (observed, batch, *input_shape) in [0, 1]."""
        ...
