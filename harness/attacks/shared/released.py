"""What an attacker sees of the training itself: the gradients of single steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from harness.attacks.protocol import Attack, AttackerData


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
    """An attack on the examples of single training steps; it is handed `Released`.

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
