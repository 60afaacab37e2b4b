"""What every game is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import nn

from harness.attacks.protocol import Attack, AttackerData
from harness.datasets import Dataset, Quarters
from harness.target import BlackBox
from harness.types import Split, ThreatModel


@dataclass(frozen=True, eq=False, kw_only=True)
class Table:
    """The table a game is played at.

    Attributes:
        model: The target as it answers, in eval mode, on ``device``.
        dataset: The data it was made for, on the CPU.
        quarters: Who holds which examples.
        ood: The attacker's other dataset, fitted to the target's input; None if there is none.
        architecture: Of the target.
        threat: What the attacker is granted.
        seed: Of the attack's randomness.
        device: Where to compute.
    """

    model: nn.Module
    dataset: Dataset
    quarters: Quarters
    ood: Split | None
    architecture: str
    threat: ThreatModel
    seed: int
    device: str

    def hold(self, index: Any) -> Split:
        """The examples at ``index``, on the device."""
        split = self.dataset.all.take(index)
        return Split(split.x.to(self.device), split.y.to(self.device))

    def attacker(self, *, points: Split | None = None, aux: Split | None = None) -> AttackerData:
        """What the attacker is handed."""
        return AttackerData(
            points=points,
            aux=aux,
            num_classes=self.dataset.num_classes,
            architecture=self.architecture,
            input_shape=self.dataset.input_shape,
        )

    def target(self) -> BlackBox:
        """The target as this threat model shows it."""
        return BlackBox(self.model, self.threat.access, budget=self.threat.queries)


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """What a game found.

    Attributes:
        metrics: Raw values by name; None where one is not defined.
        samples: Per-example columns of one length, from which the metrics can be made again.
        notes: Facts for the result's evidence.
    """

    metrics: dict[str, float | None]
    samples: Mapping[str, np.ndarray]
    notes: Mapping[str, Any]


class Game(Protocol):
    """A risk's game; each is a module with these two functions."""

    def check(self, threat: ThreatModel, quarters: Quarters, ood_size: int) -> None:
        """Raise ZooError before any work if the threat model cannot be played."""
        ...

    def play(self, attack: Attack, table: Table) -> Outcome:
        """Run the attack and judge what it ends up with."""
        ...
