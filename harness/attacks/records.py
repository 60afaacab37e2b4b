"""What an attribute attacker is handed besides the target, and what the game asks of the attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from harness.attacks.protocol import AttackerData
from harness.target import BlackBox

Knowledge = Literal["nothing", "label", "features"]
"""What is known of a record without the model; ``features`` are all of them and the label."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Records(AttackerData):
    """An attribute attacker's data: ``points`` are the records whose attribute is in question.

    Attributes:
        aux_z: (aux,) int64, the attribute of the attacker's own records.
        num_values: Attributes are 0 .. num_values - 1.
    """

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

    def run(self, target: BlackBox, data: Records, *, seed: int) -> Tensor:
        """How likely each record has each value, (points, num_values); each row sums to 1."""
        ...

    def impute(self, data: Records, *, knows: Knowledge, seed: int) -> Tensor:
        """The same from what is known of each record alone: the attack without the model."""
        ...
