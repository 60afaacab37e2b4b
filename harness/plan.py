"""From a request to the cells it asks for and the trainings they need. Pure: touches no disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, get_type_hints

import torch
from torch import nn

from harness import foreign, presets, registry
from harness.attackers import RECIPE, Attacker, attackers, route
from harness.attacks.protocol import Plants, ReadsNetwork, Resolves
from harness.datasets import Dataset, Quarters, quarters
from harness.defenses.protocol import Checks, Defense
from harness.evaluate import GAMES
from harness.games.game import Setting, Wanted
from harness.games.holdings import num_held
from harness.request import Request
from harness.results import Cell, Method
from harness.seeds import derive, seeded
from harness.stack import Stack
from harness.training import Job, check_data
from harness.types import NotApplicableError, Regime, Risk, ThreatModel
from harness.workshop import trusted_index
from zoo import nets
from zoo.entry import ModelEntry
from zoo.files import digest
from zoo.recipe import Recipe

FINE_TUNING = Recipe(optimizer="sgd", lr=0.01, momentum=0.9, epochs=3, batch_size=128)
"""How a published model is trained further, unless the request changes it."""

NOBODY = Quarters(**{one.name: torch.arange(0) for one in fields(Quarters)})
"""Who holds what of data that cannot be shared out."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Planned:
    """One cell and how to get its target.

    Attributes:
        cell: What to measure.
        entry: The catalog's record of the model.
        job: The training it needs; None for a published model as downloaded.
        refused: Why it cannot be; the reason is stored as its result.
        others: Trainings of the other models that the game needs, by purpose.
    """

    cell: Cell
    entry: ModelEntry
    job: Job | None
    refused: str | None = None
    others: Mapping[str, tuple[Job, ...]] = field(default_factory=dict)

    @property
    def jobs(self) -> Iterator[Job]:
        """Every training that this cell needs."""
        if self.job is not None:
            yield self.job
        for jobs in self.others.values():
            yield from jobs


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """Everything a request asks for.

    Attributes:
        wanted: Every cell, in a fixed order.
        missing: Those that are not done.
        jobs: The distinct trainings that missing cells need and that are not done.
    """

    wanted: tuple[Planned, ...]
    missing: tuple[Planned, ...]
    jobs: tuple[Job, ...]


def plan(
    request: Request,
    datasets: Mapping[str, Dataset],
    bases: Mapping[str, str],
    *,
    is_done: Callable[[str], bool],
    is_trained: Callable[[Job], bool],
) -> Plan:
    """All cells of a request, baselines included, and what is still to do.

    Args:
        request: What the user asks for.
        datasets: By name: every model's dataset and, if asked for, the attacker's.
        bases: sha256 of every published model's weights, by model name.
        is_done: Whether the cell with this key is stored.
        is_trained: Whether this job's model is stored.

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
        for item in _for_model(request, entry, stacks, faced, settings, datasets, bases):
            wanted.setdefault(item.cell.key, item)
    missing = tuple(item for key, item in wanted.items() if not is_done(key))
    jobs = {job.key: job for item in missing if not item.refused for job in item.jobs}
    return Plan(
        wanted=tuple(wanted.values()),
        missing=missing,
        jobs=tuple(job for job in jobs.values() if not is_trained(job)),
    )


def _for_model(
    request: Request,
    entry: ModelEntry,
    stacks: Sequence[tuple[Defense, ...]],
    attacks: Sequence[Attacker],
    settings: Mapping[str, Mapping[str, str]],
    datasets: Mapping[str, Dataset],
    bases: Mapping[str, str],
) -> list[Planned]:
    dataset = datasets[entry.dataset]
    check_data(entry, dataset)
    recipe, changed = _recipe(entry, settings.get(RECIPE, {}))
    found = []
    tried: set[tuple[Regime, Method, int]] = set()
    for regime, given in _with_baselines(entry, stacks):
        defenses, refused = given, None
        # Labels show what the user changed, not what the dataset filled in.
        labels = {d.name: registry.describe(d).label for d in given}
        try:
            defenses = tuple(d.resolve(dataset) if isinstance(d, Resolves) else d for d in given)
            Stack.of(defenses)
        except NotApplicableError as error:
            refused = str(error)
        stack = Stack(tuple(sorted(defenses, key=lambda d: d.name)))
        methods = tuple(replace(registry.describe(d), label=labels[d.name]) for d in stack.defenses)
        for seed in range(request.seeds):
            try:
                split = quarters(dataset, seed, regime)
            except NotApplicableError as error:
                split, refused = NOBODY, str(error)
            trained = regime is not Regime.PUBLISHED
            make = partial(
                Job.of,
                entry,
                dataset,
                recipe=recipe if trained else None,
                base=None if regime is Regime.FROM_SCRATCH else bases[entry.name],
            )
            # Defenses that only guard, inspect or prove do not change the training, so such models
            # are trained once for all.
            makes = tuple(map(registry.describe, stack.makes_model))
            for defense in () if refused else defenses:
                if isinstance(defense, Checks):
                    defense.check(len(split.target_train), recipe)
            for wanted in attacks:
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
                unfit = refused or unfit or stack.only_inspects(attack.risk)
                try:
                    if not unfit:
                        if other is not None:
                            foreign.check(other, dataset)
                        if isinstance(attack, ReadsNetwork):
                            attack.check_network(_network(entry))
                        game.check(attack, setting)
                except NotApplicableError as error:
                    unfit = str(error)
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
                    model_key=_model_key(entry, recipe if trained else None, bases),
                    dataset=dataset.name,
                    fingerprint=dataset.fingerprint,
                    regime=regime,
                    stack=methods,
                    risk=attack.risk,
                    attack=replace(registry.describe(attack), label=wanted.label),
                    threat=threat,
                    seed=seed,
                )
                others = {}
                if not unfit:
                    others = _others(
                        game.needs(attack, setting),
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
                        refused=unfit,
                        others=others,
                    )
                )
    return found


def _resolved(
    attack: Any, dataset: Dataset, bases: Mapping[str, str], regime: Regime
) -> tuple[Any, str | None]:
    """The attack as it is carried out on this dataset and in this regime, or why it is not."""
    changes: dict[str, Any] = {}
    if isinstance(attack, Resolves):
        try:
            attack = attack.resolve(dataset)
        except NotApplicableError as error:
            return attack, str(error)
    if attack.risk is Risk.POISONING and regime is Regime.PUBLISHED:
        changes["rate"] = 0.0
    if source := getattr(attack, "source", None):
        changes["source"] = f"{source}@{bases[source][:12]}"
    return replace(attack, **changes), None


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


def _model_key(entry: ModelEntry, recipe: Recipe | None, bases: Mapping[str, str]) -> str:
    """Digest of what determines the undefended model, the data aside."""
    mean, std = entry.scaling
    return digest(
        {
            "architecture": entry.architecture,
            "input_shape": list(entry.input_shape),
            "num_classes": entry.num_classes,
            "mean": list(mean),
            "std": list(std),
            "recipe": asdict(recipe) if recipe else None,
            "base": bases.get(entry.name),
        }
    )
