"""The trainings that tuning needs, and how a model is trained once the choice is known. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from harness import registry
from harness.data.dataset import Dataset
from harness.data.quarters import quarters
from harness.defenses.protocol import Checks, Defense, Tunable
from harness.defenses.shared.defender import trusted_index
from harness.defenses.stack import Stack
from harness.experiment.attackers import RECIPE
from harness.learning import tuning
from harness.learning.tuning import Settings, splits_wanted
from harness.results import Method, Value
from harness.seeds import derive
from harness.training.job import Job
from harness.types import Part, Regime
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.files import digest
from zoo.recipe import Recipe

TUNING_FORMAT = 1
"""Part of every tuning's key: raise it when the rule of choice or what is judged changes."""

STEPS = frozenset({Part.INPUTS, Part.LOSS, Part.GRADIENTS, Part.SCHEDULE})
"""Parts whose defenses make a training another one, so that it has settings of its own."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Where candidates are tried.

    Attributes:
        seed: Of the trainings.
        train: (n,) int64 rows of the dataset.
        judged: (m,) int64 rows of the dataset, which the owner trusts and does not train on.
    """

    seed: int
    train: Tensor
    judged: Tensor


def splits(dataset: Dataset, regime: Regime) -> tuple[Split, ...]:
    """Splits of no seed, each the training data of one owner with the trusted tenth aside."""
    found: list[Split] = []
    while not found or len(found) < splits_wanted(len(found[0].judged)):
        seed = derive("tuning", len(found))
        held = quarters(dataset, seed, regime).target_train
        aside = torch.zeros(len(held), dtype=torch.bool)
        aside[trusted_index(len(held), seed)] = True
        found.append(Split(seed=seed, train=held[~aside], judged=held[aside]))
    return tuple(found)


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate:
    """Settings to try.

    Attributes:
        settings: The settings.
        jobs: One training for each split; none if it is refused.
        refused: Why it cannot be trained; None if it can.
    """

    settings: Settings
    jobs: tuple[Job, ...]
    refused: str | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Tuning:
    """One choice to make.

    Attributes:
        subject: What is tuned, for people.
        dataset: Name of the dataset.
        candidates: In the order in which they are preferred if they are equally good.
        splits: Where each is tried.
    """

    subject: str
    dataset: str
    candidates: tuple[Candidate, ...]
    splits: tuple[Split, ...]

    @property
    def is_choice(self) -> bool:
        """Whether there is more than one candidate."""
        return len(self.candidates) > 1

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All trainings."""
        return tuple(job for candidate in self.candidates for job in candidate.jobs)

    @cached_property
    def key(self) -> str:
        """Digest of everything that determines the choice."""
        return digest(
            {
                "format": TUNING_FORMAT,
                "candidates": [
                    [dict(one.settings), [job.key for job in one.jobs]] for one in self.candidates
                ],
                "judged": [split.judged.numpy().tolist() for split in self.splits],
            }
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Settled:
    """How a model is trained.

    Attributes:
        recipe: How to train.
        defenses: With the chosen settings.
        names: The defenses that were tuned.
        settings: The chosen settings, sorted by name.
        record: What was tried, for the evidence; None if nothing was, or not yet.
        missing: What is still to be tuned; until then the settings are those without tuning.
    """

    recipe: Recipe
    defenses: tuple[Defense, ...]
    names: tuple[str, ...] = ()
    settings: tuple[tuple[str, Value], ...] = ()
    record: Mapping[str, Any] | None = None
    missing: Tuning | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Tuner:
    """Settles the trainings of one model.

    Attributes:
        entry: The catalog's record of the model.
        dataset: Its data.
        recipe: How it is trained without tuning.
        base: sha256 of the published weights that it is fine-tuned from; None for none.
        budget: How many candidates are tried.
        fixed: By method, or ``recipe``, the settings that the user or a preset decided.
        known: From a tuning's key to its record; None if it is still to be done.
    """

    entry: ModelEntry
    dataset: Dataset
    recipe: Recipe
    base: str | None
    budget: int
    fixed: Mapping[str, frozenset[str]]
    known: Callable[[str], Mapping[str, Any] | None]
    _made: dict[tuple[Regime, tuple[Method, ...]], Tuning] = field(
        default_factory=dict[tuple[Regime, tuple[Method, ...]], Tuning], init=False, repr=False
    )

    def settle(self, regime: Regime, defenses: Sequence[Defense]) -> Settled:
        """How the model is trained with ``defenses``.

        Defenses that change a step of the training are tuned together; with none of those it is
        the undefended model's training, on other data or for another network, and has its settings.

        Args:
            regime: Not the published one, which trains nothing.
            defenses: Of one stack that can be composed.
        """
        steps = tuple(d for d in defenses if d.acts_on & STEPS)
        made = self._tuning(regime, steps)
        settings = made.candidates[0].settings
        record = self.known(made.key) if made.is_choice else None
        if record is not None and record["chosen"] is not None:
            settings = record["chosen"]
        recipe, chosen = _apply(settings, self.recipe, defenses)
        return Settled(
            recipe=recipe,
            defenses=chosen,
            names=tuple(d.name for d in steps) if made.is_choice else (),
            settings=tuple(sorted(settings.items())),
            record=record,
            missing=made if record is None and made.is_choice else None,
        )

    def _tuning(self, regime: Regime, steps: tuple[Defense, ...]) -> Tuning:
        key = regime, tuple(map(registry.describe, steps))
        if key not in self._made:
            self._made[key] = self._make(regime, steps)
        return self._made[key]

    def _make(self, regime: Regime, steps: tuple[Defense, ...]) -> Tuning:
        where = splits(self.dataset, regime)
        tried: list[Candidate] = []
        for settings in tuning.candidates(self._values(steps), self.budget):
            try:
                recipe, defenses = _apply(settings, self.recipe, steps)
                for defense in defenses:
                    if isinstance(defense, Checks):
                        defense.check(len(where[0].train), recipe)
            except ZooError as error:
                tried.append(Candidate(settings=settings, jobs=(), refused=str(error)))
                continue
            stack = Stack(tuple(sorted(defenses, key=lambda d: d.name)))
            jobs = tuple(
                Job.of(
                    self.entry,
                    self.dataset,
                    split.train,
                    recipe=recipe,
                    seed=split.seed,
                    stack=tuple(map(registry.describe, stack.makes_model)),
                    base=self.base if regime is Regime.FINE_TUNED else None,
                )
                for split in where
            )
            tried.append(Candidate(settings=settings, jobs=jobs))
        names = "+".join(registry.describe(d).label for d in steps)
        return Tuning(
            subject=f"{self.entry.name} with {names or 'no defense'}",
            dataset=self.dataset.name,
            candidates=tuple(tried),
            splits=where,
        )

    def _values(self, steps: Sequence[Defense]) -> dict[str, tuple[Value, ...]]:
        """What may be tuned, and over which values: nothing that somebody decided."""
        owners = [(d.name, d.tunable(self.recipe)) for d in steps if isinstance(d, Tunable)]
        return {
            f"{owner}.{name}": tuple(values)
            for owner, found in owners or [(RECIPE, tuning.of_recipe(self.recipe))]
            for name, values in found.items()
            # Whoever decided the recipe's learning rate means it for everybody.
            if name not in self.fixed.get(owner, ()) and name not in self.fixed.get(RECIPE, ())
        }


def _apply(
    settings: Settings, recipe: Recipe, defenses: Sequence[Defense]
) -> tuple[Recipe, tuple[Defense, ...]]:
    """The recipe and the defenses with ``settings``."""
    of: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        owner, _, name = key.rpartition(".")
        of.setdefault(owner, {})[name] = value
    changed = tuple(replace(d, **of.get(d.name, {})) for d in defenses)  # type: ignore[type-var]
    return replace(recipe, **of.get(RECIPE, {})), changed
