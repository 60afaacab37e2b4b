"""From a request to the cells it asks for and the trainings they need. Pure: touches no disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness import registry
from harness.attacks.protocol import PoisonsData, ReadsNetwork, Resolves
from harness.data import ood
from harness.data.dataset import Dataset
from harness.data.quarters import Quarters
from harness.defenses.protocol import Certifies
from harness.defenses.shared.defender import trusted_index
from harness.defenses.stack import Stack
from harness.experiment.attackers import Attacker, Methods, resolve
from harness.experiment.request import Request
from harness.experiment.targets import NOBODY, Target, targets
from harness.experiment.tuning_plan import Settled, Tuning
from harness.games.auxiliary import num_auxiliary
from harness.games.by_risk import GAMES
from harness.games.game import ModelRequest, ScenarioSpec
from harness.results import Cell, Value
from harness.seeds import derive
from harness.training.job import Job, check_data
from harness.types import Attack, Aux, NotApplicableError, Regime, Risk, ThreatModel, UnfitError
from zoo.entry import ModelEntry
from zoo.errors import ZooError

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
        seconds: The same of the other models that are guarded, by `ModelRequest.key`.
    """

    cell: Cell
    entry: ModelEntry
    job: Job | None
    refusal: NotApplicableError | None = None
    others: Mapping[str, tuple[Job, ...]] = field(default_factory=dict[str, tuple[Job, ...]])
    settled: Settled | None = None
    target_seconds: Mapping[str, Job] = field(default_factory=dict[str, Job])
    seconds: Mapping[str, Mapping[str, Job]] = field(default_factory=dict[str, Mapping[str, Job]])

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
        cells: Every cell, in a fixed order.
        missing: Those that are not done.
        jobs: The distinct trainings that missing cells need and that are not done.
        tunings: What has to be tuned first. Until then cells and trainings are those without
            tuning, and only their number is known.
        tuning_jobs: The distinct trainings that these need and that are not done.
    """

    cells: tuple[Planned, ...]
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
    tuned: Callable[[str], Mapping[str, Any] | None] = lambda key: None,
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
    cells: dict[str, Planned] = {}
    for settings in request.sweep():
        methods = resolve(request, settings)
        drafts = [
            draft
            for entry in request.models
            for target in _targets(request, entry, methods, datasets, bases, tuned)
            for draft in _drafts(target, request.seeds, methods.attackers, datasets, bases)
        ]
        _refuse_misfits(drafts, () if request.every_risk else request.risks)
        for draft in drafts:
            cells.setdefault(draft.item.cell.key, draft.item)
    missing = tuple(item for key, item in cells.items() if not is_done(key))
    jobs = {job.key: job for item in missing if not item.refused for job in item.jobs}
    tunings = {
        item.settled.missing.key: item.settled.missing
        for item in cells.values()
        if not item.refused and item.settled and item.settled.missing
    }
    tried = {job.key: job for tuning in tunings.values() for job in tuning.jobs}
    return Plan(
        cells=tuple(cells.values()),
        missing=missing,
        jobs=tuple(job for job in jobs.values() if not is_trained(job)),
        tunings=tuple(tunings.values()),
        tuning_jobs=tuple(job for job in tried.values() if not is_trained(job)),
    )


@dataclass(frozen=True, eq=False)
class _Draft:
    """A planned cell, and what the user would have to change if it does not fit.

    Attributes:
        item: The cell.
        owner: What does not fit: the attacker, or the stack as it was asked for.
        misfit: Why; None if it fits.
        chosen: Whether the user chose the owner.
    """

    item: Planned
    owner: Any = None
    misfit: ZooError | None = None
    chosen: bool = True


def _refuse_misfits(drafts: Sequence[_Draft], named: Collection[Risk]) -> None:
    """Refuse a request of which something that the user named fits nowhere.

    What fits some of the models is not applicable to the others.

    Args:
        drafts: All cells of the request.
        named: The risks that the user named.

    Raises:
        ZooError: The first of the reasons.
    """
    fits = {id(draft.owner) for draft in drafts if draft.misfit is None}
    measured = {draft.item.cell.risk for draft in drafts if draft.misfit is None}
    for draft in drafts:
        risk = draft.item.cell.risk
        alone = draft.chosen and id(draft.owner) not in fits
        if draft.misfit is not None and (alone or (risk in named and risk not in measured)):
            raise draft.misfit


def _targets(
    request: Request,
    entry: ModelEntry,
    methods: Methods,
    datasets: Mapping[str, Dataset],
    bases: Mapping[str, str],
    tuned: Callable[[str], Mapping[str, Any] | None],
) -> list[Target]:
    dataset = datasets[entry.dataset].prepared(entry.preparation).limited(request.examples)
    check_data(entry, dataset)
    return targets(
        entry,
        dataset,
        methods,
        budget=request.tuning,
        fine_tuned=request.fine_tuned,
        bases=bases,
        tuned=tuned,
    )


def _drafts(
    target: Target,
    seeds: int | None,
    attackers: Sequence[Attacker],
    datasets: Mapping[str, Dataset],
    bases: Mapping[str, str],
) -> Iterator[_Draft]:
    """Every cell of one target."""
    try:
        if not target.refusal:
            target.check_defenses()
        defenses_misfit = None
    except NotApplicableError as error:
        target, defenses_misfit = replace(target, refusal=error), None
    except ZooError as error:
        target, defenses_misfit = replace(target, refusal=UnfitError(str(error))), error
    fitted = [_fitted(attacker, target, datasets, bases) for attacker in attackers]
    for seed in range(seeds or SEEDS[target.regime]):
        try:
            splits = {shadow: target.quarters(seed, shadow=shadow) for shadow in (False, True)}
        except NotApplicableError:  # the target is refused for it
            splits = dict.fromkeys((False, True), NOBODY)
        for one in fitted:
            split = splits[one.attacker.threat.aux is Aux.SHADOW]
            item, misfit = _planned(target, one, split, seed)
            if defenses_misfit is not None:
                yield _Draft(item, target.given, defenses_misfit)
            else:
                misfit = one.misfit or misfit
                yield _Draft(item, one.attacker, misfit, one.attacker.chosen)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Fitted:
    """An attacker on one target, whatever the seed.

    Attributes:
        attacker: As the request has it.
        attack: With the settings that depend on the dataset filled in.
        other: The attacker's other dataset; None if there is none.
        source_weights: See `harness.results.Cell`.
        refusal: Why it cannot be.
        misfit: If that is something the user could change.
    """

    attacker: Attacker
    attack: Attack
    other: Dataset | None
    source_weights: str | None
    refusal: NotApplicableError | None = None
    misfit: ZooError | None = None


def _fitted(
    attacker: Attacker,
    target: Target,
    datasets: Mapping[str, Dataset],
    bases: Mapping[str, str],
) -> _Fitted:
    """Everything about an attacker on a target that does not depend on the seed."""
    attack = attacker.attack
    threat = attacker.threat
    risk: Risk = attack.risk
    other = datasets[threat.ood] if threat.ood else None
    refusal, misfit = target.refusal, None
    try:
        if isinstance(attack, Resolves):
            attack = attack.resolve(target.dataset)
        if idle := target.stack.only_inspects(risk):
            refusal = refusal or UnfitError(idle)
        if not refusal:
            if other is not None:
                ood.check(other, target.dataset)
            if isinstance(attack, ReadsNetwork):
                attack.check_network(target.network)
    except NotApplicableError as error:
        refusal = refusal or error
    except ZooError as error:
        refusal, misfit = refusal or UnfitError(str(error)), error
    changes: dict[str, Value] = {}
    if risk is Risk.POISONING and target.regime is Regime.PUBLISHED:
        changes["rate"] = 0.0
    source = getattr(attack, "source", None)
    return _Fitted(
        attacker=attacker,
        attack=registry.changed(attack, changes),
        other=other,
        source_weights=bases[source][:12] if source else None,
        refusal=refusal,
        misfit=misfit,
    )


def _planned(
    target: Target, fitted: _Fitted, split: Quarters, seed: int
) -> tuple[Planned, ZooError | None]:
    """One cell, and why it does not fit if the user could change that."""
    attack, refusal, misfit = fitted.attack, fitted.refusal, None
    ood_size = len(fitted.other) if fitted.other is not None else 0
    threat = _threat(fitted.attacker, target, split, ood_size)
    game = GAMES[attack.risk]
    scenario = ScenarioSpec(
        dataset=target.dataset,
        quarters=split,
        ood_size=ood_size,
        threat=threat,
        stack=target.stack,
        regime=target.regime,
        seed=seed,
    )
    poison = None
    try:
        if not refusal:
            game.check(attack, scenario)
            if isinstance(attack, PoisonsData) and attack.rate:
                poison = registry.describe(attack)
                _try_poison(attack, target, split, seed)
    except NotApplicableError as error:
        refusal = error
    except ZooError as error:
        refusal, misfit = UnfitError(str(error)), error
    job = target.own_job(split.target_train, seed=seed, poison=None if refusal else poison)
    needed = game.needs(attack, scenario) if not refusal else dict[str, list[ModelRequest]]()
    return Planned(
        cell=Cell(
            model=target.entry.name,
            recipe=target.changes,
            budget=target.budget,
            source_weights=fitted.source_weights,
            model_key=target.model_key,
            dataset=target.dataset.name,
            fingerprint=target.dataset.fingerprint,
            regime=target.regime,
            stack=target.methods,
            risk=attack.risk,
            attack=replace(
                registry.describe(attack), label=fitted.attacker.label, row=fitted.attacker.row
            ),
            threat=threat,
            seed=seed,
            tuned=target.settled.settings if target.settled else (),
            ood_fingerprint=fitted.other.fingerprint if fitted.other is not None else None,
            examples=target.dataset.most,
            constants=_constants(attack.risk, target.stack, target.dataset),
        ),
        entry=target.entry,
        job=job,
        refusal=refusal,
        others=target.other_jobs(needed),
        settled=target.settled,
        target_seconds={} if refusal else target.second_jobs(job),
        seconds=target.seconds_of_others(needed),
    ), misfit


def _constants(risk: Risk, stack: Stack, dataset: Dataset) -> tuple[tuple[str, Value], ...]:
    """What the dataset says besides its contents that the metrics of these cells are made with.

    The radii of attacks and defenses are among their settings.
    """
    certifies = any(isinstance(defense, Certifies) for defense in stack.defenses)
    return (("epsilon.l2", dataset.epsilon["l2"]),) if risk is Risk.EVASION and certifies else ()


def _try_poison(attack: PoisonsData, target: Target, split: Quarters, seed: int) -> None:
    """Refuse a rate that these training data cannot bear."""
    held = target.dataset.all.take(split.target_train)
    attack.poison(
        held,
        trusted=trusted_index(len(held), seed),
        num_classes=target.dataset.num_classes,
        seed=derive("poison", seed),
    )


def _threat(attacker: Attacker, target: Target, split: Quarters, ood_size: int) -> ThreatModel:
    """The threat model with a budget that was given as a share of the attacker's data.

    What the attacker's own models have of an empty stack is nothing, so there is one of them.
    """
    threat = attacker.threat if target.given else replace(attacker.threat, adaptive=True)
    if attacker.share is None:
        return threat
    held = num_auxiliary(threat, split, ood_size)
    return replace(threat, queries=max(1, round(attacker.share * held)))
