"""From a request to the cells it asks for and the trainings they need. Pure: touches no disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import get_type_hints

from harness import registry
from harness.attacks.protocol import Attack, Resolves
from harness.datasets import Dataset, quarters
from harness.evaluate import GAMES
from harness.results import Cell
from harness.stack import Checks, Defense, NotApplicableError, Stack
from harness.training import Job
from harness.types import Access, Aux, Regime, Risk, ThreatModel
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
        attacks: Names; empty for every attack on those risks.
        access: What is granted at most; None for all.
        aux: Kind of auxiliary data; None for each attack's default.
        ood: The attacker's dataset if ``aux`` is ``ood``.
        queries: Query budget; None for no limit.
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
    queries: int | None = None
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
    """

    cell: Cell
    entry: ModelEntry
    job: Job | None
    refused: str | None = None


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
    stacks = [
        tuple(registry.make("defense", name, settings.get(name, {})) for name in names)
        for names in request.stacks
    ]
    wanted: dict[str, Planned] = {}
    for entry in request.models:
        for item in _for_model(request, entry, stacks, attacks, settings, datasets, bases):
            wanted.setdefault(item.cell.key, item)
    missing = tuple(item for key, item in wanted.items() if not is_done(key))
    jobs = {item.job.key: item.job for item in missing if item.job and not item.refused}
    return Plan(
        wanted=tuple(wanted.values()),
        missing=missing,
        jobs=tuple(job for job in jobs.values() if not is_trained(job)),
    )


def _attack_names(request: Request) -> list[str]:
    """The attacks on the requested risks, or those named; each risk has to have one."""
    known = registry.known("attack")
    names = list(request.attacks) or [
        name for risk in request.risks for name, kind in known.items() if kind.risk is risk
    ]
    for name in names:
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
    methods: dict[str, set[str]] = {RECIPE: set(Recipe.__dataclass_fields__)}
    for names in request.stacks:
        methods |= {n: set(registry.get("defense", n).__dataclass_fields__) for n in names}
    for name in _attack_names(request):
        methods[name] = set(registry.get("attack", name).__dataclass_fields__)
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


def _attacks(
    request: Request, settings: Mapping[str, Mapping[str, str]]
) -> list[tuple[Attack, ThreatModel]]:
    """The attacks that what is granted suffices for, each with its threat model.

    Raises:
        ZooError: It does not suffice for an attack that was named, or for any on some risk.
    """
    found, refused = [], {}
    for name in _attack_names(request):
        attack = registry.make("attack", name, settings.get(name, {}))
        try:
            found.append((attack, _threat(attack, request)))
        except ZooError as error:
            if request.attacks:
                raise
            refused[attack.risk] = error
    for risk in request.risks:
        if not any(attack.risk is risk for attack, _ in found):
            raise refused[risk]
    return found


def _threat(attack: Attack, request: Request) -> ThreatModel:
    """No more than is granted, and no more than the attack uses."""
    granted = request.access or Access.WEIGHTS
    usable = [level for level in attack.access if granted.grants(level)]
    if not usable:
        raise ZooError(
            f"Attack {attack.name!r} wants access to {attack.access[0]}, but {granted} is granted. "
            f"Grant more with --access, or choose another attack with --attack."
        )
    aux = attack.aux[0] if request.aux is None else request.aux
    if aux not in attack.aux:
        if Aux.NONE not in attack.aux or request.attacks:
            raise ZooError(
                f"Attack {attack.name!r} uses auxiliary data of kind {' or '.join(attack.aux)}, "
                f"but {aux} is granted with --aux."
            )
        aux = Aux.NONE
    return ThreatModel(
        access=usable[-1],
        aux=aux,
        ood=request.ood if aux is Aux.OOD else None,
        # Whoever has the weights asks nobody.
        queries=None if usable[-1] is Access.WEIGHTS else request.queries,
    )


def _for_model(
    request: Request,
    entry: ModelEntry,
    stacks: Sequence[tuple[Defense, ...]],
    attacks: Sequence[tuple[Attack, ThreatModel]],
    settings: Mapping[str, Mapping[str, str]],
    datasets: Mapping[str, Dataset],
    bases: Mapping[str, str],
) -> list[Planned]:
    dataset = datasets[entry.dataset]
    recipe, changed = _recipe(entry, settings.get(RECIPE, {}))
    found = []
    for regime, defenses in _with_baselines(entry, stacks):
        refused = None
        try:
            Stack.of(defenses)
        except NotApplicableError as error:
            refused = str(error)
        stack = Stack(tuple(sorted(defenses, key=lambda d: d.name)))
        methods = tuple(map(registry.describe, stack.defenses))
        # Output defenses do not change the training, so such models are trained once for all.
        trained_with = tuple(map(registry.describe, stack.trained_with))
        for seed in range(request.seeds):
            split = quarters(dataset, seed, regime)
            job = None
            if regime is not Regime.PUBLISHED:
                job = Job.of(
                    entry,
                    dataset,
                    split.target_train,
                    recipe=recipe,
                    stack=trained_with,
                    seed=seed,
                    base=bases[entry.name] if regime is Regime.FINE_TUNED else None,
                )
                for defense in defenses:
                    if isinstance(defense, Checks):
                        defense.check(len(job.index), recipe)
            for attack, threat in attacks:
                label = registry.describe(attack).label
                if isinstance(attack, Resolves):
                    attack = attack.resolve(dataset)
                ood_size = len(datasets[threat.ood]) if threat.ood else 0
                GAMES[attack.risk].check(threat, split, ood_size)
                cell = Cell(
                    model=entry.name + (f"({changed})" if changed and job else ""),
                    model_key=_model_key(entry, recipe if job else None, bases),
                    dataset=dataset.name,
                    fingerprint=dataset.fingerprint,
                    regime=regime,
                    stack=methods,
                    risk=attack.risk,
                    # The label shows what the user changed, not what the dataset filled in.
                    attack=replace(registry.describe(attack), label=label),
                    threat=threat,
                    seed=seed,
                )
                found.append(Planned(cell=cell, entry=entry, job=job, refused=refused))
    return found


def _with_baselines(
    entry: ModelEntry, stacks: Sequence[tuple[Defense, ...]]
) -> list[tuple[Regime, tuple[Defense, ...]]]:
    """Each stack with the regime it makes of this model, and that regime's undefended model."""
    found: list[tuple[Regime, tuple[Defense, ...]]] = []
    for defenses in stacks:
        if entry.recipe is not None:
            regime = Regime.FROM_SCRATCH
        elif Stack(defenses).trained_with:
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
