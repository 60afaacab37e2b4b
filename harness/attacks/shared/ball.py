"""What every attack within a ball has: its radius and its norm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from harness.attacks.shared import perturbation
from harness.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class WithinBall:
    """An attack that moves inputs by at most ``epsilon``.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
    """

    name: ClassVar[str]

    epsilon: float | None = None
    norm: perturbation.Norm = "linf"

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the dataset's customary radius."""
        epsilon = perturbation.radius(self.name, self.epsilon, self.norm, dataset)
        return replace(self, epsilon=epsilon)
