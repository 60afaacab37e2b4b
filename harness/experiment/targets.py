"""A model of the catalog under a stack of defenses: how it is trained, and what cells call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from harness import registry
from harness.attacks.protocol import Resolves
from harness.data import label_spaces
from harness.data.dataset import Dataset
from harness.data.quarters import Quarters, quarters
from harness.defenses.protocol import Checks, Defense
from harness.defenses.stack import Stack
from harness.experiment.attackers import RECIPE, Methods
from harness.experiment.tuning_plan import Settled, Tuner
from harness.games.game import ModelRequest
from harness.results import Method, Value, tuned_label
from harness.seeds import seeded
from harness.training.job import Job
from harness.types import NotApplicableError, Regime, UnfitError
from zoo import nets
from zoo.entry import ModelEntry
from zoo.files import digest
from zoo.recipe import Recipe

FINE_TUNING = Recipe(optimizer="sgd", lr=0.01, momentum=0.9, epochs=3, batch_size=128)
"""How a published model is trained further, unless the request changes it."""

NOBODY = Quarters(**{one.name: torch.arange(0) for one in fields(Quarters)})
"""Who holds what of data that cannot be shared out."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Target:
    """A model of the catalog under one stack, before any seed.

    Attributes:
        entry: The catalog's record of the model.
        dataset: Its data.
        regime: How it comes to its weights.
        given: The stack as the request has it.
        stack: With every setting decided: by the user, the preset, the dataset or tuning.
        methods: The stack as records.
        recipe: How the model is trained where nothing was tuned.
        plain: How the undefended model is trained; None for a published model as downloaded.
        settled: How it is trained with the stack; likewise.
        base: sha256 of the weights to start from; None to start at random.
        changes: The settings of the recipe that the request changed; none where nothing is trained.
        budget: How many candidates tuning tries; 0 where nothing is tuned.
        model_key: Digest of what determines the undefended model, the data aside.
        refusal: Why there can be no such target; this is stored as the result of its cells.
    """

    entry: ModelEntry
    dataset: Dataset
    regime: Regime
    given: tuple[Defense, ...]
    stack: Stack
    methods: tuple[Method, ...]
    recipe: Recipe
    plain: Settled | None
    settled: Settled | None
    base: str | None
    changes: tuple[tuple[str, Value], ...]
    budget: int
    model_key: str
    refusal: NotApplicableError | None

    @cached_property
    def makes(self) -> tuple[Method, ...]:
        """The defenses that the weights depend on.

        Those that only guard, inspect or prove do not change the training, so that such models are
        trained once for all.
        """
        return tuple(map(registry.describe, self.stack.makes_model))

    @cached_property
    def network(self) -> nn.Module:
        """The network without memory for its weights."""
        with seeded("network"):
            return nets.skeleton(
                self.entry.architecture, self.entry.input_shape, self.entry.num_classes
            )

    def quarters(self, seed: int, *, shadow: bool) -> Quarters:
        """Who holds which examples; see `harness.data.quarters.quarters`.

        Raises:
            NotApplicableError: The data cannot be shared out.
        """
        return quarters(self.dataset, seed, self.regime, shadow=shadow)

    def job(
        self, index: Tensor, *, seed: int, defended: bool = True, poison: Method | None = None
    ) -> Job:
        """The training of this model on other examples, or of the undefended one.

        Args:
            index: (n,) int64, rows of the dataset.
            seed: Of the training.
            defended: Whether with the stack.
            poison: The attack that changes the training data; None if nobody does.
        """
        stack = self.makes if defended else ()
        how = self.settled if stack else self.plain
        return Job.of(
            self.entry,
            self.dataset,
            index,
            recipe=how.recipe if how is not None else None,
            seed=seed,
            stack=stack,
            base=self.base,
            poison=poison,
        )

    def own_job(self, index: Tensor, *, seed: int, poison: Method | None) -> Job | None:
        """The training of the target itself; None for a published model as downloaded."""
        if self.regime is Regime.PUBLISHED and not self.makes:
            return None
        return self.job(index, seed=seed, poison=poison)

    def other_jobs(
        self, needed: Mapping[str, Sequence[ModelRequest]]
    ) -> dict[str, tuple[Job, ...]]:
        """The trainings of the models that a game needs besides the target, by purpose.

        Nobody trains models like a published one; a thief trains what it likes.
        """
        found = {
            purpose: tuple(job for model in models if (job := self._other_job(model)) is not None)
            for purpose, models in needed.items()
        }
        return {purpose: jobs for purpose, jobs in found.items() if jobs}

    def _other_job(self, model: ModelRequest) -> Job | None:
        if model.thief is not None:
            return Job.stolen(
                self.dataset,
                model.index,
                architecture=model.thief.surrogate or self.entry.architecture,
                thief=model.thief,
                seed=model.seed,
            )
        if self.regime is Regime.PUBLISHED:
            return None
        return self.job(model.index, seed=model.seed, defended=model.defended)

    def second_jobs(self, job: Job | None) -> dict[str, Job]:
        """The trainings of the second models of an owner's guards, by guard.

        Args:
            job: Of the owner's model; None where nothing is trained, so that there are none.
        """
        if job is None or self.regime is Regime.PUBLISHED:
            return {}
        return {
            guard.name: replace(job, stack=(), second=registry.describe(guard))
            for guard in self.stack.learning
        }

    def seconds_of_others(
        self, needed: Mapping[str, Sequence[ModelRequest]]
    ) -> dict[str, dict[str, Job]]:
        """The same of the other models that are guarded, by `ModelRequest.key`."""
        if self.regime is Regime.PUBLISHED or not self.stack.learning:
            return {}
        return {
            model.key: self.second_jobs(self.job(model.index, seed=model.seed))
            for models in needed.values()
            for model in models
            if model.guarded
        }

    def check_defenses(self) -> None:
        """Refuse settings that do not fit the number of training examples.

        Raises:
            ZooError: Such a setting has to be changed.
        """
        index = self.quarters(0, shadow=False).target_train
        recipe = self.settled.recipe if self.settled else self.recipe
        for defense in self.stack.defenses:
            if isinstance(defense, Checks):
                defense.check(len(index), recipe)


def targets(
    entry: ModelEntry,
    dataset: Dataset,
    methods: Methods,
    *,
    budget: int,
    fine_tuned: bool,
    bases: Mapping[str, str],
    tuned: Callable[[str], Mapping[str, Any] | None],
) -> list[Target]:
    """Every stack on one model, and the undefended model of each regime that they make of it.

    Args:
        entry: The catalog's record of the model.
        dataset: Its data.
        methods: Of the request.
        budget: How many settings are tried for a training; 0 for no tuning.
        fine_tuned: Whether a published model is fine-tuned also where no defense needs it.
        bases: sha256 of every published model's weights, by model name.
        tuned: From a tuning's key to the record of what was chosen; None if it is still to be done.

    Raises:
        ZooError: A setting does not fit.
    """
    recipe, changed = _recipe(entry, methods.recipe)
    tuner = None
    if budget:
        tuner = Tuner(
            entry=entry,
            dataset=dataset,
            recipe=recipe,
            base=bases.get(entry.name),
            budget=budget,
            fixed=methods.decided,
            known=tuned,
        )
    return [
        _target(entry, dataset, regime, given, recipe, changed, tuner, bases)
        for regime, given in _with_baselines(entry, methods.stacks, fine_tuned)
    ]


def _target(
    entry: ModelEntry,
    dataset: Dataset,
    regime: Regime,
    given: tuple[Defense, ...],
    recipe: Recipe,
    changed: tuple[tuple[str, Value], ...],
    tuner: Tuner | None,
    bases: Mapping[str, str],
) -> Target:
    trained = regime is not Regime.PUBLISHED
    defenses = given
    refusal: NotApplicableError | None = None
    # Labels show what the user changed, not what the dataset filled in.
    labels = {d.name: registry.describe(d).label for d in given}
    plain = settled = Settled(recipe=recipe, defenses=()) if trained else None
    try:
        defenses = tuple(d.resolve(dataset) if isinstance(d, Resolves) else d for d in given)
        Stack.of(defenses)
        if label_spaces.logits(entry, dataset) is not None and trained:
            raise UnfitError(
                f"{entry.name} has {entry.num_classes:,} classes, of which the photographs of "
                f"{dataset.name} show {dataset.num_classes}: it is measured as it is published."
            )
    except NotApplicableError as error:
        refusal = error
    try:
        if tuner and trained:
            plain = settled = tuner.settle(regime, ())
            if not refusal:
                settled = tuner.settle(regime, defenses)
                defenses = settled.defenses
                labels |= {name: _tuned(labels[name], tuner.budget) for name in settled.names}
    except NotApplicableError as error:
        refusal = error
    stack = Stack(tuple(sorted(defenses, key=lambda d: d.name)))
    return Target(
        entry=entry,
        dataset=dataset,
        regime=regime,
        given=given,
        stack=stack,
        methods=tuple(replace(registry.describe(d), label=labels[d.name]) for d in stack.defenses),
        recipe=recipe,
        plain=plain,
        settled=settled,
        base=None if regime is Regime.FROM_SCRATCH else bases[entry.name],
        changes=changed if trained else (),
        budget=tuner.budget if tuner and trained else 0,
        model_key=_model_key(
            entry,
            plain.recipe if plain is not None else None,
            bases,
            untuned=recipe if tuner and trained else None,
            budget=tuner.budget if tuner else 0,
        ),
        refusal=refusal,
    )


def _with_baselines(
    entry: ModelEntry, stacks: Sequence[tuple[Defense, ...]], fine_tuned: bool
) -> list[tuple[Regime, tuple[Defense, ...]]]:
    """Each stack with the regime it makes of this model, and that regime's undefended model."""
    found: list[tuple[Regime, tuple[Defense, ...]]] = []
    for defenses in stacks:
        if entry.recipe is not None:
            regime = Regime.FROM_SCRATCH
        elif fine_tuned or Stack(defenses).is_trained:
            regime = Regime.FINE_TUNED
        else:
            regime = Regime.PUBLISHED
        for pair in ((regime, ()), (regime, defenses)):
            if pair not in found:
                found.append(pair)
    return found


def _recipe(
    entry: ModelEntry, settings: Mapping[str, str]
) -> tuple[Recipe, tuple[tuple[str, Value], ...]]:
    """The recipe with the request's changes, and those changes."""
    recipe = entry.recipe or FINE_TUNING
    hints = get_type_hints(Recipe)
    values = {k: registry.parse(v, hints[k], f"{RECIPE}.{k}") for k, v in settings.items()}
    changed = replace(recipe, **values)  # type: ignore[arg-type]
    differs = tuple((k, v) for k, v in asdict(changed).items() if v != getattr(recipe, k))
    return changed, differs


def _model_key(
    entry: ModelEntry,
    recipe: Recipe | None,
    bases: Mapping[str, str],
    *,
    untuned: Recipe | None,
    budget: int,
) -> str:
    """Digest of what determines the undefended model, the data aside.

    Args:
        entry: The catalog's record of the model.
        recipe: How it is trained; None for a published model as downloaded.
        bases: sha256 of every published model's weights, by model name.
        untuned: The recipe that was tuned, so that no tuned model is ever compared with an untuned
            one, or one that was tuned more; None if none was.
        budget: How many candidates were tried.
    """
    mean, std = entry.scaling
    tuning = {"untuned": asdict(untuned), "budget": budget} if untuned else None
    return digest(
        {
            "architecture": entry.architecture,
            "input_shape": list(entry.input_shape),
            "num_classes": entry.num_classes,
            "mean": list(mean),
            "std": list(std),
            "recipe": asdict(recipe) if recipe else None,
            "base": bases.get(entry.name),
            **({"tuning": tuning} if tuning else {}),
        }
    )


def _tuned(name: str, budget: int) -> str:
    """The label of a tuned defense: ``dpsgd(dp_epsilon=8.0, tuned)``."""
    return (
        f"{name[:-1]}, {tuned_label(budget)})"
        if name.endswith(")")
        else f"{name}({tuned_label(budget)})"
    )
