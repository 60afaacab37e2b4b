"""What every game is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from harness.attacks.protocol import AttackerData
from harness.datasets import Dataset, Quarters
from harness.games.holdings import pool_index
from harness.seeds import derive
from harness.stack import Stack
from harness.target import BlackBox
from harness.types import Access, Aux, Regime, Split, ThreatModel
from harness.workshop import Workshop, trusted_index


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting:
    """What is known of a game before any work.

    Attributes:
        dataset: The target's.
        quarters: Who holds which examples.
        ood_size: How many inputs the attacker's other dataset has; 0 if there is none.
        threat: What the attacker is granted.
        stack: The defenses.
        regime: How the target comes to its weights.
        seed: Of the cell.
    """

    dataset: Dataset
    quarters: Quarters
    ood_size: int
    threat: ThreatModel
    stack: Stack
    regime: Regime
    seed: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Wanted:
    """One more model of the target's architecture, trained by its recipe.

    Attributes:
        index: (n,) int64, rows of the dataset to train on.
        defended: Whether with the target's defenses.
        seed: Of the training.
    """

    index: Tensor
    defended: bool
    seed: int


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
        replicate: The seed of the cell, from which the data were split.
        device: Where to compute.
        stack: The defenses.
        unguarded: The target before its output defenses.
        shop: The owner's means.
        poison_seed: What the attacker poisoned the training data with, if anybody did.
        regime: How the target came to its weights.
        evidence: What the defenses said when the target was made, as `harness.privacy` allows.
        source: The attacker's other model of the catalog; None if there is none.
        others: Models that the game asked for with ``needs``, by purpose; see `Game.needs`.
    """

    model: nn.Module
    dataset: Dataset
    quarters: Quarters
    ood: Split | None
    architecture: str
    threat: ThreatModel
    seed: int
    replicate: int
    device: str
    stack: Stack
    unguarded: nn.Module
    shop: Workshop
    poison_seed: int
    regime: Regime
    evidence: Mapping[str, Any] = field(default_factory=dict)
    source: nn.Module | None = None
    others: Mapping[str, Sequence[nn.Module]] = field(default_factory=dict)

    @property
    def setting(self) -> Setting:
        """What was known of this game before any work."""
        return Setting(
            dataset=self.dataset,
            quarters=self.quarters,
            ood_size=len(self.ood) if self.ood is not None else 0,
            threat=self.threat,
            stack=self.stack,
            regime=self.regime,
            seed=self.replicate,
        )

    def hold(self, index: Any) -> Split:
        """The examples at ``index``, on the device."""
        return self.dataset.all.take(index).to(self.device)

    def attacker(self, *, points: Split | None = None, aux: Split | None = None) -> AttackerData:
        """What the attacker is handed."""
        return AttackerData(
            points=points,
            aux=aux,
            num_classes=self.dataset.num_classes,
            architecture=self.architecture,
            input_shape=self.dataset.input_shape,
            columns=self.dataset.columns,
            source=self.source,
        )

    def aux(self) -> Split | None:
        """What the attacker holds besides, on the device; None if the threat model grants none."""
        if self.threat.aux is Aux.OOD:
            assert self.ood is not None
            return self.ood.to(self.device)
        if self.threat.aux is Aux.NONE:
            return None
        return self.hold(pool_index(self.quarters, self.threat))

    def guarded(self, model: nn.Module, wanted: Wanted) -> nn.Module:
        """A model that was made like the target, with output defenses that are its own.

        They are made from its training data and its seed: they know nothing of the target's.
        """
        held = self.hold(wanted.index)
        trusted = held.take(trusted_index(len(held), wanted.seed).to(self.device))
        shop = replace(self.shop, data=held, trusted=trusted, seed=derive("train", wanted.seed))
        return self.stack.guard(model, shop).to(self.device).eval()

    def target(self) -> BlackBox:
        """The target as this threat model shows it."""
        return BlackBox(self.model, self.threat.access, budget=self.threat.queries)

    def bare_target(self) -> BlackBox:
        """The same, but an attacker with the weights leaves the output defenses behind."""
        if self.threat.access is Access.WEIGHTS:
            return BlackBox(self.unguarded, Access.WEIGHTS)
        return self.target()


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """What a game found.

    Attributes:
        metrics: Raw values by name; None where one is not defined.
        samples: Per-example columns of one length, from which the metrics can be made again.
        notes: Facts for the result's evidence.
        images: By name, (height, width) or (height, width, 3) uint8, for people to look at.
    """

    metrics: dict[str, float | None]
    samples: Mapping[str, np.ndarray]
    notes: Mapping[str, Any]
    images: Mapping[str, np.ndarray] = field(default_factory=dict)


class Game(Protocol):
    """A risk's game; each is a module with these three functions."""

    def check(self, attack: Any, setting: Setting) -> None:
        """Refuse before any work what cannot be played.

        Raises:
            NotApplicableError: It is not defined here; the reason is a result.
            ZooError: The request has to be changed.
        """
        ...

    def needs(self, attack: Any, setting: Setting) -> Mapping[str, tuple[Wanted, ...]]:
        """The trainings whose models the game wants in `Table.others`, by purpose."""
        ...

    def play(self, attack: Any, table: Table) -> Outcome:
        """Run the attack and judge what it ends up with."""
        ...
