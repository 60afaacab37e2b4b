"""What every game is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from harness.attacks.protocol import AttackerData, LearnsLabels
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.data.quarters import Quarters
from harness.defenses.shared.defender import DefenderData, trusted_index
from harness.defenses.stack import Stack
from harness.games.auxiliary import pool_index
from harness.seeds import derive
from harness.target import BlackBox
from harness.types import Access, Aux, Regime, ThreatModel
from zoo.files import digest

A = TypeVar("A", contravariant=True)
"""The attacks that a game is for."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ScenarioSpec:
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
class ModelRequest:
    """One more model of the target's architecture, trained by its recipe, or by a thief.

    Attributes:
        index: (n,) int64, rows of the dataset to train on.
        defended: Whether with the target's defenses.
        seed: Of the training.
        thief: The attack, of `harness.attacks.protocol.LearnsLabels`, whose surrogate it is, with
            the architecture and the recipe of that; None for a model like the target.
        guarded: Whether it answers through output defenses of its own; see `Scenario.guarded`.
    """

    index: Tensor
    defended: bool
    seed: int
    thief: LearnsLabels | None = None
    guarded: bool = False

    @property
    def key(self) -> str:
        """Digest of what it is trained on and by which seed."""
        return digest([self.index.tolist(), self.seed])


def attack_seed(attack: str, replicate: int) -> int:
    """What an attack draws from in the cells of one seed.

    The same for every stack: defended and undefended models face the same luck, so it cancels in
    their difference.
    """
    return derive("attack", attack, replicate)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scenario:
    """What a game is played on: the target, the data, and what everybody knows and may do.

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
        defender: The owner's means.
        poison_seed: What the attacker poisoned the training data with, if anybody did.
        regime: How the target came to its weights.
        evidence: What the defenses said when the target was made, as `harness.games.privacy`
            allows.
        source: The attacker's other model of the catalog; None if there is none.
        source_rows: (n,) int64, rows of the dataset that it was trained on.
        others: Models that the game asked for with ``needs``, by purpose; see `Game.needs`.
        left_out: (k,) int64, which of the target's training data it was not fitted to; None if no
            defense decides about that.
        others_left_out: The same of each of ``others``; missing where no defense decides.
        would_leave_out: See `harness.training.single.would_leave_out`: from examples, as the owner
            would have collected them, and which of them are checked, to those the target's defenses
            would have left out, had they been its data; None where they cannot say.
        seconds: Of each model that is guarded, by `ModelRequest.key`, the second models of its
            guards, by guard.
        doubts: Where the attack writes which of its own trainings came to nothing.
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
    defender: DefenderData
    poison_seed: int
    regime: Regime
    evidence: Mapping[str, Any] = field(default_factory=dict)
    source: nn.Module | None = None
    source_rows: Tensor | None = None
    others: Mapping[str, Sequence[nn.Module]] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    left_out: Tensor | None = None
    others_left_out: Mapping[str, Sequence[Tensor | None]] = field(default_factory=dict)
    would_leave_out: Callable[[Split, Tensor | None], Tensor | None] = lambda data, trusted: None
    seconds: Mapping[str, Mapping[str, nn.Module]] = field(default_factory=dict)

    @property
    def trained_on(self) -> Tensor:
        """Rows (n,) int64 of the dataset that the target was fitted to, if nobody poisoned them."""
        return remaining(self.quarters.target_train, self.left_out)

    @cached_property
    def counterparts(self) -> Tensor | None:
        """Rows (n,) int64 of the dataset that correspond to `trained_on` among the others.

        Of the test quarter, those that the defenses would have kept, had the quarter been the
        training data. All of it where no defense decides; None where they cannot say.
        """
        rows = self.quarters.target_test
        if self.left_out is None:
            return rows
        found = self.would_leave_out(self.dataset.collected.take(rows).to(self.device), None)
        return None if found is None else rows[~found.cpu()]

    @property
    def spec(self) -> ScenarioSpec:
        """What was known of this game before any work."""
        return ScenarioSpec(
            dataset=self.dataset,
            quarters=self.quarters,
            ood_size=len(self.ood) if self.ood is not None else 0,
            threat=self.threat,
            stack=self.stack,
            regime=self.regime,
            seed=self.replicate,
        )

    def examples_at(self, index: Any) -> Split:
        """The examples at ``index``, on the device."""
        return self.dataset.all.take(index).to(self.device)

    def attacker(self) -> AttackerData:
        """What every attacker is told; games hand theirs more."""
        return AttackerData(
            num_classes=self.dataset.num_classes,
            architecture=self.architecture,
            input_shape=self.dataset.input_shape,
            columns=self.dataset.columns,
            source=self.source,
            doubts=self.doubts,
        )

    def aux(self) -> Split:
        """What the attacker holds besides, on the device; empty if the threat model grants none."""
        if self.threat.aux is Aux.OOD:
            assert self.ood is not None
            return self.ood.to(self.device)
        return self.examples_at(pool_index(self.quarters, self.threat))

    def defender_of(self, request: ModelRequest) -> DefenderData:
        """The means of somebody who made a model like the target.

        They are its own training data and its own seed: they know nothing of the target's.
        """
        held = self.dataset.collected.take(request.index).to(self.device)
        trusted = held.take(trusted_index(len(held), request.seed).to(self.device))
        seed = derive("train", request.seed)
        seconds = self.stack.seconds(self.seconds.get(request.key, {}), seed)
        return replace(self.defender, data=held, trusted=trusted, seed=seed, seconds=seconds)

    def guarded(self, model: nn.Module, request: ModelRequest) -> nn.Module:
        """A model that was made like the target, with output defenses that are its own."""
        return self.stack.guard(model, self.defender_of(request)).to(self.device).eval()

    def target(self) -> BlackBox:
        """The target as this threat model shows it."""
        return BlackBox(self.model, self.threat.access, budget=self.threat.queries)

    def bare_target(self) -> BlackBox:
        """The same, but an attacker with the weights leaves the output defenses behind."""
        if self.threat.access is Access.WEIGHTS:
            return BlackBox(self.unguarded, Access.WEIGHTS)
        return self.target()


def remaining(index: Tensor, left_out: Tensor | None) -> Tensor:
    """Those of ``index`` (n,) that are not at the positions ``left_out`` (k,); all for None."""
    if left_out is None:
        return index
    kept = torch.ones(len(index), dtype=torch.bool)
    kept[left_out] = False
    return index[kept]


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


class Game(Protocol[A]):
    """A risk's game; each is a module with these three functions."""

    def check(self, attack: A, spec: ScenarioSpec) -> None:
        """Refuse before any work what cannot be played.

        Raises:
            NotApplicableError: It is not defined here; the reason is a result.
            ZooError: The request has to be changed.
        """
        ...

    def needs(self, attack: A, spec: ScenarioSpec) -> Mapping[str, tuple[ModelRequest, ...]]:
        """The trainings whose models the game wants in `Scenario.others`, by purpose."""
        ...

    def play(self, attack: A, scenario: Scenario) -> Outcome:
        """Run the attack and judge what it ends up with."""
        ...
