"""From a request to the cells it asks for and the trainings they need. Pure: touches no disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, get_type_hints

from harness import presets, registry
from harness.attacks.protocol import Plants, Resolves, UsesShadows
from harness.datasets import OOD_DEFAULT, Dataset, Quarters, quarters
from harness.evaluate import GAMES
from harness.games.game import Setting, Wanted
from harness.games.holdings import num_held
from harness.results import Cell, Method
from harness.seeds import derive
from harness.stack import Checks, Defense, NotApplicableError, Stack
from harness.training import Job
from harness.types import Access, Aux, Regime, Risk, ThreatModel
from harness.workshop import trusted_index
from zoo.entry import ModelEntry
from zoo.errors import ZooError, unknown
from zoo.files import digest
from zoo.recipe import Recipe

FINE_TUNING = Recipe(optimizer="sgd", lr=0.01, momentum=0.9, epochs=3, batch_size=128)
"""How a published model is trained further, unless the request changes it."""

RECIPE = "recipe"
"""Prefix of settings that change the training recipe: ``recipe.epochs=5``."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for.

    Attributes:
        models: The targets.
        stacks: Names of the defenses of each stack; an empty tuple is the undefended model.
        risks: Which risks to measure.
        attacks: Names, or ``all``; empty for the standard ones on those risks.
        access: What is granted at most; None for all.
        aux: Kind of auxiliary data; None for each attack's default.
        ood: The attacker's dataset if ``aux`` is ``ood``.
        queries: Query budgets, each measured by itself; empty for no limit.
        adversaries: Whether shadow models have the target's defenses, each measured by itself.
        preset: Name of a paper's settings; None for this project's own.
        seeds: Number of seeds, from 0.
        settings: ``field`` or ``method.field`` to its text.
    """

    models: tuple[ModelEntry, ...]
    stacks: tuple[tuple[str, ...], ...]
    risks: tuple[Risk, ...]
    attacks: tuple[str, ...] = ()
    access: Access | None = None
    aux: Aux | None = None
    ood: str | None = None
    queries: tuple[int, ...] = ()
    adversaries: tuple[bool, ...] = (True, False)
    preset: str | None = None
    seeds: int = 12
    settings: Mapping[str, str] = field(default_factory=dict)


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
    settings = _route(request)
    attacks = _attacks(request, settings)
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
        for item in _for_model(request, entry, stacks, attacks, settings, datasets, bases):
            wanted.setdefault(item.cell.key, item)
    missing = tuple(item for key, item in wanted.items() if not is_done(key))
    jobs = {job.key: job for item in missing if not item.refused for job in item.jobs}
    return Plan(
        wanted=tuple(wanted.values()),
        missing=missing,
        jobs=tuple(job for job in jobs.values() if not is_trained(job)),
    )


ALL = "all"
"""In place of an attack's name: every one on the requested risks."""


def _attack_names(request: Request) -> list[str]:
    """The attacks that are named, else the preset's, else the standard ones; some for each risk."""
    known = registry.known("attack")
    preset = presets.get(request.preset)
    names = [name for name in request.attacks if name != ALL]
    if not request.attacks and preset.attacks is None:
        names = [name for risk in request.risks for name in registry.STANDARD.get(risk, ())]
    elif not request.attacks or ALL in request.attacks:
        names += [
            name for risk in request.risks for name, kind in known.items()
            if kind.risk is risk and preset.rows(name) and name not in names
        ]  # fmt: skip
    for name in names:
        if not preset.rows(name):
            raise ZooError(
                f"The preset {request.preset} has no attack {name!r}. It has: "
                f"{', '.join(preset.attacks or ())}."
            )
        risk = registry.get("attack", name).risk
        if risk not in request.risks:
            raise ZooError(
                f"Attack {name!r} is on {risk}, which is not among the requested risks "
                f"({', '.join(request.risks)})."
            )
    for risk in request.risks:
        if risk not in GAMES or not any(known[name].risk is risk for name in names):
            raise ZooError(
                f"No attack on {risk} is available. Risks with attacks: "
                f"{', '.join(sorted({kind.risk for kind in known.values()}))}."
            )
    return names


def _route(request: Request) -> dict[str, dict[str, str]]:
    """Settings by method: a bare field goes to the one method that has it."""
    methods: dict[str, set[str]] = {RECIPE: _settings(Recipe)}
    for names in request.stacks:
        methods |= {n: _settings(registry.get("defense", n)) for n in names}
    for name in _attack_names(request):
        methods[name] = _settings(registry.get("attack", name))
    routed: dict[str, dict[str, str]] = {}
    for key, value in request.settings.items():
        method, dot, name = key.rpartition(".")
        if dot and method not in methods:
            raise unknown("method in this request with settings", method, methods)
        # The recipe is never meant by a bare field: it would change the undefended model too.
        owners = [method] if dot else [m for m in methods if m != RECIPE and name in methods[m]]
        if not owners or name not in methods[owners[0]]:
            fields = {f"{m}.{f}" for m in methods for f in methods[m]}
            raise unknown("setting", key, fields)
        families = {m for m in owners if m in registry.known("attack")} or set(owners)
        if set(owners) != families:
            raise ZooError(
                f"Setting {key!r} is a field of {', '.join(owners)}. Write which: "
                f"{owners[0]}.{name}={value}."
            )
        for owner in owners:
            routed.setdefault(owner, {})[name] = value
    return routed


def _settings(method: type[Any]) -> set[str]:
    return {field.name for field in fields(method)}


@dataclass(frozen=True, eq=False)
class _Wanted:
    """An attack, what it is granted, and how people call it."""

    attack: Any
    threat: ThreatModel
    label: str
    share: float | None = None


def _attacks(request: Request, settings: Mapping[str, Mapping[str, str]]) -> list[_Wanted]:
    """The attacks that what is granted suffices for, each with its threat model.

    Raises:
        ZooError: It does not suffice for an attack that was named, or for any on some risk.
    """
    preset = presets.get(request.preset)
    found: list[_Wanted] = []
    refused: dict[Risk, ZooError] = {}
    for name in _attack_names(request):
        for row in preset.rows(name):
            own = settings.get(name, {})
            attack = registry.make("attack", name, {**row.settings, **own})
            # What the preset sets is named by its row, and written out where rows of one name
            # differ; what the user sets is written out.
            shown = {key: row.settings[key] for key in preset.varied(name, row)}
            label = registry.describe(registry.make("attack", name, {**shown, **own})).label
            if row.id:
                label = label.replace(name, f"{name}[{row.id}]", 1)
            for queries in request.queries or (None,):
                try:
                    threat = _threat(attack, request, row, queries)
                except ZooError as error:
                    if request.attacks:
                        raise
                    refused[attack.risk] = error
                else:
                    share = None if queries is not None else row.share
                    found += [
                        _Wanted(attack, replace(threat, adaptive=adaptive), label, share)
                        for adaptive in _adversaries(attack, threat, request)
                    ]
    for risk in request.risks:
        if not any(wanted.attack.risk is risk for wanted in found):
            raise refused[risk]
    return found


def _adversaries(attack: Any, threat: ThreatModel, request: Request) -> tuple[bool, ...]:
    """Whether shadow models have the target's defenses; one answer where there are none."""
    trains = isinstance(attack, UsesShadows) and threat.aux is Aux.SHADOW
    return request.adversaries if trains else (True,)


def _threat(attack: Any, request: Request, row: presets.Row, queries: int | None) -> ThreatModel:
    """No more than is granted, and no more than the attack uses."""
    granted = request.access or row.access or Access.WEIGHTS
    usable = [level for level in attack.access if granted.grants(level)]
    if not usable:
        raise ZooError(
            f"Attack {attack.name!r} wants access to {attack.access[0]}, but {granted} is granted. "
            f"Grant more with --access, or choose another attack with --attack."
        )
    aux = request.aux or row.aux or attack.aux[0]
    if getattr(attack, "source", None):  # whoever has another model trains none
        aux = Aux.NONE
    elif aux not in attack.aux:
        if Aux.NONE not in attack.aux or request.attacks:
            raise ZooError(
                f"Attack {attack.name!r} uses auxiliary data of kind {' or '.join(attack.aux)}, "
                f"but {aux} is granted with --aux."
            )
        aux = Aux.NONE
    return ThreatModel(
        access=usable[-1],
        aux=aux,
        ood=(request.ood or OOD_DEFAULT) if aux is Aux.OOD else None,
        # Whoever has the weights asks nobody.
        queries=None if usable[-1] is Access.WEIGHTS else queries,
        partial=row.partial if aux is Aux.PARTIAL else None,
    )


def _for_model(
    request: Request,
    entry: ModelEntry,
    stacks: Sequence[tuple[Defense, ...]],
    attacks: Sequence[_Wanted],
    settings: Mapping[str, Mapping[str, str]],
    datasets: Mapping[str, Dataset],
    bases: Mapping[str, str],
) -> list[Planned]:
    dataset = datasets[entry.dataset]
    recipe, changed = _recipe(entry, settings.get(RECIPE, {}))
    found = []
    tried: set[tuple[Regime, Method, int]] = set()
    for regime, given in _with_baselines(entry, stacks):
        defenses = tuple(d.resolve(dataset) if isinstance(d, Resolves) else d for d in given)
        # Labels show what the user changed, not what the dataset filled in.
        labels = {d.name: registry.describe(d).label for d in given}
        refused = None
        try:
            Stack.of(defenses)
        except NotApplicableError as error:
            refused = str(error)
        stack = Stack(tuple(sorted(defenses, key=lambda d: d.name)))
        methods = tuple(replace(registry.describe(d), label=labels[d.name]) for d in stack.defenses)
        for seed in range(request.seeds):
            split = quarters(dataset, seed, regime)
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
            for defense in defenses:
                if isinstance(defense, Checks):
                    defense.check(len(split.target_train), recipe)
            for wanted in attacks:
                attack, unfit = _resolved(wanted.attack, dataset, bases, regime)
                ood_size = len(datasets[wanted.threat.ood]) if wanted.threat.ood else 0
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
                        game.check(attack, setting)
                except NotApplicableError as error:
                    unfit = str(error)
                poison = None
                if isinstance(attack, Plants) and attack.rate > 0 and not unfit:
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
                if trained and not unfit:
                    others = _others(game.needs(attack, setting), make, makes)
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


def _try_poison(attack: Plants, dataset: Dataset, split: Quarters, seed: int) -> None:
    """Refuse a rate that these training data cannot bear."""
    held = dataset.all.take(split.target_train)
    attack.poison(
        held,
        trusted=trusted_index(len(held), seed),
        num_classes=dataset.num_classes,
        seed=derive("poison", seed),
    )


def _with_share(wanted: _Wanted, split: Quarters, ood_size: int) -> ThreatModel:
    """The threat model with a budget that was given as a share of the attacker's data."""
    if wanted.share is None:
        return wanted.threat
    held = num_held(wanted.threat, split, ood_size)
    return replace(wanted.threat, queries=max(1, round(wanted.share * held)))


def _others(
    needed: Mapping[str, Sequence[Wanted]], make: Callable[..., Job], stack: tuple[Method, ...]
) -> dict[str, tuple[Job, ...]]:
    """The trainings of the models that a game needs besides the target."""
    return {
        purpose: tuple(
            make(model.index, stack=stack if model.defended else (), seed=model.seed)
            for model in models
        )
        for purpose, models in needed.items()
        if models
    }


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
