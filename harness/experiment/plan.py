"""From a request to the cells it asks for and the trainings they need. Pure: touches no disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from harness import registry
from harness.attacks.protocol import Plants, ReadsNetwork, Resolves
from harness.data import ood
from harness.data.dataset import Dataset
from harness.data.quarters import Quarters, quarters
from harness.defenses.protocol import Certifies, Checks, Defense
from harness.defenses.shared.defender import trusted_index
from harness.defenses.stack import Stack
from harness.experiment import presets
from harness.experiment.attackers import RECIPE, Attacker, attackers, route
from harness.experiment.request import Request
from harness.experiment.tuning_plan import Settled, Tuner, Tuning, label
from harness.games.auxiliary import num_held
from harness.games.by_risk import GAMES
from harness.games.game import Setting, Wanted
from harness.results import Cell, Method, Value
from harness.seeds import derive, seeded
from harness.training.job import Job, check_data
from harness.types import Aux, NotApplicableError, Regime, Risk, ThreatModel, UnfitError
from zoo import nets
from zoo.entry import ModelEntry
from zoo.files import digest
from zoo.recipe import Recipe

FINE_TUNING = Recipe(optimizer="sgd", lr=0.01, momentum=0.9, epochs=3, batch_size=128)
"""How a published model is trained further, unless the request changes it."""

NOBODY = Quarters(**{one.name: torch.arange(0) for one in fields(Quarters)})
"""Who holds what of data that cannot be shared out."""

SEEDS = {Regime.FROM_SCRATCH: 12, Regime.FINE_TUNED: 12, Regime.PUBLISHED: 1}
"""How many seeds there are, unless the request says. A published model is judged on all its test
data at once; more seeds than one are about the attack's randomness alone."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Planned:
    """One cell and how to get its target.

    Attributes:
        cell: What to measure.
        entry: The catalog's record of the model.
        job: The training it needs; None for a published model as downloaded.
        refusal: Why it cannot be; this is stored as its result.
        others: Trainings of the other models that the game needs, by purpose.
        settled: How the model is trained; None for a published model as downloaded.
        target_seconds: Trainings of the second models of the target's guards, by guard.
        seconds: The same of the other models that are guarded, by `Wanted.key`.
    """

    cell: Cell
    entry: ModelEntry
    job: Job | None
    refusal: NotApplicableError | None = None
    others: Mapping[str, tuple[Job, ...]] = field(default_factory=dict)
    settled: Settled | None = None
    target_seconds: Mapping[str, Job] = field(default_factory=dict)
    seconds: Mapping[str, Mapping[str, Job]] = field(default_factory=dict)

    @property
    def refused(self) -> str | None:
        """`refusal` in words."""
        return None if self.refusal is None else str(self.refusal)

    @property
    def jobs(self) -> Iterator[Job]:
        """Every training that this cell needs."""
        if self.job is not None:
            yield self.job
        for jobs in self.others.values():
            yield from jobs
        for jobs in (self.target_seconds, *self.seconds.values()):
            yield from jobs.values()


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """Everything a request asks for.

    Attributes:
        wanted: Every cell, in a fixed order.
        missing: Those that are not done.
        jobs: The distinct trainings that missing cells need and that are not done.
        tunings: What has to be tuned first. Until then cells and trainings are those without
            tuning, and only their number is known.
        tuning_jobs: The distinct trainings that these need and that are not done.
    """

    wanted: tuple[Planned, ...]
    missing: tuple[Planned, ...]
    jobs: tuple[Job, ...]
    tunings: tuple[Tuning, ...] = ()
    tuning_jobs: tuple[Job, ...] = ()


def plan(
    request: Request,
    datasets: Mapping[str, Dataset],
    bases: Mapping[str, str],
    *,
    is_done: Callable[[str], bool],
    is_trained: Callable[[Job], bool],
    tuned: Callable[[str], Mapping[str, Any] | None] = {}.get,
) -> Plan:
    """All cells of a request, baselines included, and what is still to do.

    Args:
        request: What the user asks for.
        datasets: By name: every model's dataset and, if asked for, the attacker's.
        bases: sha256 of every published model's weights, by model name.
        is_done: Whether the cell with this key is stored.
        is_trained: Whether this job's model is stored.
        tuned: From a tuning's key to the record of what was chosen; None if it is still to be done.

    Raises:
        ZooError: The request cannot be carried out as a whole; nothing was started.
    """
    settings = route(request)
    faced = attackers(request, settings)
    preset = presets.get(request.preset)
    stacks = [
        tuple(
            registry.make(
                "defense", name, {**preset.defenses.get(name, {}), **settings.get(name, {})}
            )
            for name in names
        )
        for names in request.stacks
    ]
    wanted: dict[str, Planned] = {}
    for entry in request.models:
        for item in _for_model(request, entry, stacks, faced, settings, datasets, bases, tuned):
            wanted.setdefault(item.cell.key, item)
    missing = tuple(item for key, item in wanted.items() if not is_done(key))
    jobs = {job.key: job for item in missing if not item.refused for job in item.jobs}
    tunings = {
        item.settled.missing.key: item.settled.missing
        for item in wanted.values()
        if not item.refused and item.settled and item.settled.missing
    }
    tried = {job.key: job for tuning in tunings.values() for job in tuning.jobs}
    return Plan(
        wanted=tuple(wanted.values()),
        missing=missing,
        jobs=tuple(job for job in jobs.values() if not is_trained(job)),
        tunings=tuple(tunings.values()),
        tuning_jobs=tuple(job for job in tried.values() if not is_trained(job)),
    )


def _for_model(
    request: Request,
    entry: ModelEntry,
    stacks: Sequence[tuple[Defense, ...]],
    attacks: Sequence[Attacker],
    settings: Mapping[str, Mapping[str, str]],
    datasets: Mapping[str, Dataset],
    bases: Mapping[str, str],
    tuned: Callable[[str], Mapping[str, Any] | None],
) -> list[Planned]:
    dataset = datasets[entry.dataset]
    check_data(entry, dataset)
    recipe, changed = _recipe(entry, settings.get(RECIPE, {}))
    tuner = None
    if request.tuning:
        tuner = Tuner(
            entry=entry,
            dataset=dataset,
            recipe=recipe,
            base=bases.get(entry.name),
            budget=request.tuning,
            fixed=_fixed(request, settings),
            known=tuned,
        )
        changed = ", ".join(filter(None, (changed, label(request.tuning))))
    found = []
    tried: set[tuple[Regime, Method, int]] = set()
    for regime, given in _with_baselines(entry, stacks):
        defenses = given
        refused: NotApplicableError | None = None
        # Labels show what the user changed, not what the dataset filled in.
        labels = {d.name: registry.describe(d).label for d in given}
        try:
            defenses = tuple(d.resolve(dataset) if isinstance(d, Resolves) else d for d in given)
            Stack.of(defenses)
        except NotApplicableError as error:
            refused = error
        trained = regime is not Regime.PUBLISHED
        plain = settled = Settled(recipe=recipe, defenses=()) if trained else None
        if tuner and trained:
            try:
                plain = settled = tuner.settle(regime, ())
            except NotApplicableError as error:
                refused = error
        if tuner and trained and not refused:
            settled = tuner.settle(regime, defenses)
            defenses = settled.defenses
            labels |= {name: _tuned(labels[name], request.tuning) for name in settled.names}
        stack = Stack(tuple(sorted(defenses, key=lambda d: d.name)))
        methods = tuple(replace(registry.describe(d), label=labels[d.name]) for d in stack.defenses)
        for seed in range(request.seeds or SEEDS[regime]):
            try:
                splits = {
                    shadow: quarters(dataset, seed, regime, shadow=shadow)
                    for shadow in (False, True)
                }
            except NotApplicableError as error:
                splits, refused = dict.fromkeys((False, True), NOBODY), error
            base = None if regime is Regime.FROM_SCRATCH else bases[entry.name]
            make = partial(_job, entry, dataset, plain, settled, base=base)
            # Defenses that only guard, inspect or prove do not change the training, so such models
            # are trained once for all.
            makes = tuple(map(registry.describe, stack.makes_model))
            for defense in () if refused else defenses:
                if isinstance(defense, Checks):
                    defense.check(
                        len(splits[False].target_train), settled.recipe if settled else recipe
                    )
            for wanted in attacks:
                split = splits[wanted.threat.aux is Aux.SHADOW]
                attack, unfit = _resolved(wanted.attack, dataset, bases, regime)
                other = datasets[wanted.threat.ood] if wanted.threat.ood else None
                ood_size = len(other) if other is not None else 0
                threat = _with_share(wanted, split, ood_size)
                game = GAMES[attack.risk]
                setting = Setting(
                    dataset=dataset,
                    quarters=split,
                    ood_size=ood_size,
                    threat=threat,
                    stack=stack,
                    regime=regime,
                    seed=seed,
                )
                if idle := stack.only_inspects(attack.risk):
                    unfit = unfit or UnfitError(idle)
                unfit = refused or unfit
                try:
                    if not unfit:
                        if other is not None:
                            ood.check(other, dataset)
                        if isinstance(attack, ReadsNetwork):
                            attack.check_network(_network(entry))
                        game.check(attack, setting)
                except NotApplicableError as error:
                    unfit = error
                poison = None
                if not unfit and isinstance(attack, Plants) and attack.rate > 0:
                    poison = registry.describe(attack)
                    if (regime, poison, seed) not in tried:
                        tried.add((regime, poison, seed))
                        _try_poison(attack, dataset, split, seed)
                job = None
                if trained or makes:
                    job = make(split.target_train, stack=makes, seed=seed, poison=poison)
                cell = Cell(
                    model=entry.name + (f"({changed})" if changed and trained else ""),
                    model_key=_model_key(
                        entry,
                        plain.recipe if plain is not None else None,
                        bases,
                        untuned=recipe if tuner and trained else None,
                        budget=request.tuning,
                    ),
                    dataset=dataset.name,
                    fingerprint=dataset.fingerprint,
                    regime=regime,
                    stack=methods,
                    risk=attack.risk,
                    attack=replace(registry.describe(attack), label=wanted.label),
                    threat=threat,
                    seed=seed,
                    tuned=settled.settings if settled else (),
                    ood_fingerprint=other.fingerprint if other is not None else None,
                    constants=_constants(attack.risk, stack, dataset),
                )
                others, target_seconds, seconds = {}, {}, {}
                if not unfit:
                    needed = game.needs(attack, setting)
                    if trained and job is not None and stack.learning:
                        target_seconds = _seconds(job, stack)
                        seconds = {
                            model.key: _seconds(
                                make(model.index, stack=makes, seed=model.seed), stack
                            )
                            for models in needed.values()
                            for model in models
                            if model.guarded
                        }
                    others = _others(
                        needed,
                        make if trained else None,
                        makes,
                        partial(Job.stolen, dataset),
                        entry.architecture,
                    )
                found.append(
                    Planned(
                        cell=cell,
                        entry=entry,
                        job=job,
                        refusal=unfit,
                        others=others,
                        settled=settled,
                        target_seconds=target_seconds,
                        seconds=seconds,
                    )
                )
    return found


def _seconds(job: Job, stack: Stack) -> dict[str, Job]:
    """The trainings of the second models of an owner's guards, by guard.

    Args:
        job: Of the owner's model.
        stack: Its defenses.
    """
    return {
        guard.name: replace(job, stack=(), second=registry.describe(guard))
        for guard in stack.learning
    }


def _job(
    entry: ModelEntry,
    dataset: Dataset,
    plain: Settled | None,
    settled: Settled | None,
    index: Tensor,
    *,
    stack: tuple[Method, ...],
    seed: int,
    base: str | None,
    poison: Method | None = None,
) -> Job:
    """The training of a model with ``stack``, or of one without any.

    Args:
        entry: The catalog's record of the model.
        dataset: Its data.
        plain: How the undefended model is trained; None if nothing is.
        settled: How it is trained with the stack.
        index: (n,) int64, the examples to train on.
        stack: The defenses that the weights depend on; empty for the undefended model.
        seed: Of the training.
        base: sha256 of the weights to start from; None to start at random.
        poison: The attack that changes the training data; None if nobody does.
    """
    how = settled if stack else plain
    return Job.of(
        entry,
        dataset,
        index,
        recipe=how.recipe if how is not None else None,
        seed=seed,
        stack=stack,
        base=base,
        poison=poison,
    )


def _fixed(
    request: Request, settings: Mapping[str, Mapping[str, str]]
) -> dict[str, frozenset[str]]:
    """By method, or ``recipe``, the settings that the request or its preset decides."""
    preset = presets.get(request.preset).defenses
    return {
        name: frozenset({*settings.get(name, {}), *preset.get(name, {})})
        for name in {*settings, *preset}
    }


def _tuned(name: str, budget: int) -> str:
    """The label of a tuned defense: ``dpsgd(dp_epsilon=8.0, tuned)``."""
    return f"{name[:-1]}, {label(budget)})" if name.endswith(")") else f"{name}({label(budget)})"


def _resolved(
    attack: Any, dataset: Dataset, bases: Mapping[str, str], regime: Regime
) -> tuple[Any, NotApplicableError | None]:
    """The attack as it is carried out on this dataset and in this regime, or why it is not."""
    changes: dict[str, Any] = {}
    if isinstance(attack, Resolves):
        try:
            attack = attack.resolve(dataset)
        except NotApplicableError as error:
            return attack, error
    if attack.risk is Risk.POISONING and regime is Regime.PUBLISHED:
        changes["rate"] = 0.0
    if source := getattr(attack, "source", None):
        changes["source"] = f"{source}@{bases[source][:12]}"
    return replace(attack, **changes), None


def _constants(risk: Risk, stack: Stack, dataset: Dataset) -> tuple[tuple[str, Value], ...]:
    """What the dataset says besides its contents that the metrics of these cells are made with.

    The radii of attacks and defenses are among their settings.
    """
    certifies = any(isinstance(defense, Certifies) for defense in stack.defenses)
    return (("epsilon.l2", dataset.epsilon["l2"]),) if risk is Risk.EVASION and certifies else ()


def _network(entry: ModelEntry) -> nn.Module:
    """The entry's network without memory for its weights."""
    with torch.device("meta"), seeded("network"):
        return nets.build(entry.architecture, entry.input_shape, entry.num_classes)


def _try_poison(attack: Plants, dataset: Dataset, split: Quarters, seed: int) -> None:
    """Refuse a rate that these training data cannot bear."""
    held = dataset.all.take(split.target_train)
    attack.poison(
        held,
        trusted=trusted_index(len(held), seed),
        num_classes=dataset.num_classes,
        seed=derive("poison", seed),
    )


def _with_share(wanted: Attacker, split: Quarters, ood_size: int) -> ThreatModel:
    """The threat model with a budget that was given as a share of the attacker's data."""
    if wanted.share is None:
        return wanted.threat
    held = num_held(wanted.threat, split, ood_size)
    return replace(wanted.threat, queries=max(1, round(wanted.share * held)))


def _others(
    needed: Mapping[str, Sequence[Wanted]],
    make: Callable[..., Job] | None,
    stack: tuple[Method, ...],
    steal: Callable[..., Job],
    architecture: str,
) -> dict[str, tuple[Job, ...]]:
    """The trainings of the models that a game needs besides the target.

    Args:
        needed: What the game says.
        make: The job of a model like the target; None where nobody trains any, as of a published
            model. A thief trains what it likes.
        stack: Defenses of those that are to have the target's.
        steal: The job of a thief's surrogate.
        architecture: Of the target.
    """

    def job(model: Wanted) -> Job | None:
        if model.thief is not None:
            return steal(
                model.index,
                architecture=model.thief.surrogate or architecture,
                thief=model.thief,
                seed=model.seed,
            )
        if make is None:
            return None
        return make(model.index, stack=stack if model.defended else (), seed=model.seed)

    found = {
        purpose: tuple(made for model in models if (made := job(model)) is not None)
        for purpose, models in needed.items()
    }
    return {purpose: jobs for purpose, jobs in found.items() if jobs}


def _with_baselines(
    entry: ModelEntry, stacks: Sequence[tuple[Defense, ...]]
) -> list[tuple[Regime, tuple[Defense, ...]]]:
    """Each stack with the regime it makes of this model, and that regime's undefended model."""
    found: list[tuple[Regime, tuple[Defense, ...]]] = []
    for defenses in stacks:
        if entry.recipe is not None:
            regime = Regime.FROM_SCRATCH
        elif Stack(defenses).is_trained:
            regime = Regime.FINE_TUNED
        else:
            regime = Regime.PUBLISHED
        for pair in ((regime, ()), (regime, defenses)):
            if pair not in found:
                found.append(pair)
    return found


def _recipe(entry: ModelEntry, settings: Mapping[str, str]) -> tuple[Recipe, str]:
    """The recipe with the request's changes, and those changes for people."""
    recipe = entry.recipe or FINE_TUNING
    hints = get_type_hints(Recipe)
    values = {k: registry.parse(v, hints[k], f"{RECIPE}.{k}") for k, v in settings.items()}
    changed = replace(recipe, **values)  # type: ignore[arg-type]
    differs = [f"{k}={v}" for k, v in asdict(changed).items() if v != getattr(recipe, k)]
    return changed, ", ".join(differs)


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
