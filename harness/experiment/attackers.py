"""From a request to its attackers: which attacks, with which settings, granted what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from harness import registry
from harness.attacks.protocol import UsesShadows
from harness.data.datasets import OOD_DEFAULT
from harness.experiment import presets
from harness.experiment.request import ALL, Request
from harness.games.by_risk import GAMES
from harness.types import Access, Aux, Risk, ThreatModel
from zoo.errors import ZooError, unknown
from zoo.recipe import Recipe

RECIPE = "recipe"
"""Prefix of settings that change the training recipe: ``recipe.epochs=5``."""

ON_TABLES = {"badnets": "feature-trigger"}
"""Standard attacks that only images can suffer, and what stands for each where there are tables."""

SHARED = frozenset({"attribute"})
"""Settings that say what the request is about, so that a bare one is meant for every method."""


def _attack_names(request: Request) -> list[str]:
    """The attacks that are named, else the preset's, else the standard ones; some for each risk."""
    known = registry.known("attack")
    preset = presets.get(request.preset)
    names = [name for name in request.attacks if name != ALL]
    if not request.attacks and preset.attacks is None:
        names = [
            name
            for risk in request.risks
            for standard in registry.STANDARD.get(risk, ())
            for name in _standard(standard, request)
        ]
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


def _standard(name: str, request: Request) -> list[str]:
    """A standard attack, or what stands for it on tables; both if there are images as well."""
    tables = {len(entry.input_shape) == 1 for entry in request.models}
    return list(dict.fromkeys(ON_TABLES.get(name, name) if t else name for t in sorted(tables)))


def route(request: Request) -> dict[str, dict[str, str]]:
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
        if dot and name not in methods[method]:
            raise unknown(f"setting of {method}", name, methods[method])
        if not owners:
            raise unknown("setting", key, {f"{m}.{f}" for m in methods for f in methods[m]})
        families = {m for m in owners if m in registry.known("attack")} or set(owners)
        if set(owners) != families and name not in SHARED:
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
class Attacker:
    """An attack, what it is granted, and how people call it.

    Attributes:
        attack: With its settings.
        threat: What is granted.
        label: For people.
        share: Query budget as a share of what the attacker holds; None if the threat model says.
    """

    attack: Any
    threat: ThreatModel
    label: str
    share: float | None = None


def attackers(request: Request, settings: Mapping[str, Mapping[str, str]]) -> list[Attacker]:
    """The attacks that what is granted suffices for, each with its threat model.

    Raises:
        ZooError: It does not suffice for an attack that was named, or for any on some risk.
    """
    preset = presets.get(request.preset)
    found: list[Attacker] = []
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
                        Attacker(attack, replace(threat, adaptive=adaptive), label, share)
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
