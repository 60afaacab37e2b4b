"""What an attribute attacker is handed besides the target, and what the game asks of the attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from harness.attacks.protocol import AttackerData
from harness.target import BlackBox
from harness.types import Split

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
class Records(AttackerData):
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
class InfersAttribute(Protocol):
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
