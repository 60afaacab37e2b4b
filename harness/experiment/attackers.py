"""From a request to its attackers: which attacks, with which settings, granted what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

from harness import registry
from harness.attacks.protocol import UsesShadows
from harness.data.datasets import OOD_DEFAULT
from harness.experiment import presets
from harness.experiment.presets import Preset, Row
from harness.experiment.request import ALL, Request
from harness.games.by_risk import GAMES
from harness.types import Access, Attack, Aux, Defense, Risk, ThreatModel
from zoo.errors import ZooError, unknown
from zoo.recipe import Recipe

RECIPE = "recipe"
"""Prefix of settings that change the training recipe: ``recipe.epochs=5``."""

ON_TABLES = {"badnets": "feature-trigger"}
"""Standard attacks that only images can suffer, and what stands for each where there are tables."""

SHARED = frozenset({"attribute"})
"""Settings that say what the request is about, so that a bare one is meant for every method."""


@dataclass(frozen=True, eq=False)
class Attacker:
    """An attack, what it is granted, and how people call it.

    Attributes:
        attack: With its settings.
        threat: What is granted.
        label: For people.
        row: Id of the row of the preset that it is; empty if it is none.
        share: Query budget as a share of what the attacker holds; None if the threat model says.
        chosen: Whether the user named the attack or a setting of it, and so has to hear if it fits
            no model.
    """

    attack: Attack
    threat: ThreatModel
    label: str
    row: str = ""
    share: float | None = None
    chosen: bool = True


@dataclass(frozen=True, eq=False, kw_only=True)
class Methods:
    """What the names of a request stand for.

    Attributes:
        stacks: The defenses of each stack with the settings of the request and its preset.
        attackers: The attacks that what is granted suffices for.
        recipe: Settings of the training recipe, as texts.
        decided: By method, or ``recipe``, the settings that the request or its preset decides.
    """

    stacks: tuple[tuple[Defense, ...], ...]
    attackers: tuple[Attacker, ...]
    recipe: Mapping[str, str]
    decided: Mapping[str, frozenset[str]]


def resolve(request: Request, chosen: Mapping[str, str]) -> Methods:
    """The methods of a request.

    Args:
        request: What the user asks for.
        chosen: Of each of its settings one text.

    Raises:
        ZooError: A setting is unknown or does not fit, an attack is on no requested risk, or what
            is granted does not suffice for an attack that was named, or for any on some risk.
    """
    preset = presets.get(request.preset)
    attacks = _attacks(request, preset)
    defenses = {name: registry.get("defense", name) for names in request.stacks for name in names}
    settings = _route(chosen, attacks, defenses)
    stacks = tuple(
        tuple(
            registry.make(
                "defense", name, {**preset.defenses.get(name, {}), **settings.get(name, {})}
            )
            for name in names
        )
        for names in request.stacks
    )
    return Methods(
        stacks=stacks,
        attackers=tuple(_attackers(request, preset, attacks, settings)),
        recipe=settings.get(RECIPE, {}),
        decided={
            name: frozenset({*settings.get(name, {}), *preset.defenses.get(name, {})})
            for name in {*settings, *preset.defenses}
        },
    )


def _attacks(request: Request, preset: Preset) -> dict[str, type[Attack]]:
    """The attacks that are named, else the preset's, else the standard ones; some for each risk."""
    known = registry.known("attack")
    ids = preset.ids()
    names = [ids.get(name, name) for name in request.attacks if name != ALL]
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
    attacks: dict[str, type[Attack]] = {}
    for name in names:
        if name not in known:
            raise _unknown_attack(name, [*known, *ids])
        attacks[name] = registry.get("attack", name)
        if not preset.rows(name):
            raise ZooError(
                f"The preset {request.preset} has no attack {name!r}. It has: "
                f"{', '.join([*(preset.attacks or ()), *ids])}."
            )
        risk = attacks[name].risk
        if risk not in request.risks:
            raise ZooError(
                f"Attack {name!r} is on {risk}, which is not among the requested risks "
                f"({', '.join(request.risks)})."
            )
    for risk in request.risks:
        if risk in GAMES and any(attack.risk is risk for attack in attacks.values()):
            continue
        if preset.attacks is not None:
            has = sorted({known[name].risk for name in preset.attacks})
            if request.every_risk:
                continue
            raise ZooError(
                f"The preset {request.preset} has no attack on {risk}. It has attacks on: "
                f"{', '.join(has)}."
            )
        raise ZooError(
            f"No attack on {risk} is available. Risks with attacks: "
            f"{', '.join(sorted({kind.risk for kind in known.values()}))}."
        )
    return attacks


def _unknown_attack(name: str, known: Iterable[str]) -> ZooError:
    for preset, rows in presets.PRESETS.items():
        if name in rows.ids():
            return ZooError(f"{name} is a row of a preset: give --preset {preset}, too.")
    return unknown("attack", name, known)


def _standard(name: str, request: Request) -> list[str]:
    """A standard attack, or what stands for it on tables; both if there are images as well."""
    tables = {len(entry.input_shape) == 1 for entry in request.models}
    return list(dict.fromkeys(ON_TABLES.get(name, name) if t else name for t in sorted(tables)))


def _route(
    settings: Mapping[str, str],
    attacks: Mapping[str, type[Attack]],
    defenses: Mapping[str, type[Defense]],
) -> dict[str, dict[str, str]]:
    """Settings by method: a bare field goes to the one method that has it."""
    methods = {
        name: {field.name for field in fields(method)}
        for name, method in ((RECIPE, Recipe), *defenses.items(), *attacks.items())
    }
    routed: dict[str, dict[str, str]] = {}
    # What is said of one method holds for it, whatever is said of all.
    for key, value in sorted(settings.items(), key=lambda one: "." not in one[0]):
        method, dot, name = key.rpartition(".")
        if dot and method not in methods:
            raise unknown("method in this request with settings", method, methods)
        # The recipe is never meant by a bare field: it would change the undefended model too.
        owners = [method] if dot else [m for m in methods if m != RECIPE and name in methods[m]]
        if dot and name not in methods[method]:
            raise unknown(f"setting of {method}", name, methods[method])
        if not owners:
            raise unknown("setting", key, {f"{m}.{f}" for m in methods for f in methods[m]})
        families = {m for m in owners if m in attacks} or set(owners)
        if set(owners) != families and name not in SHARED:
            raise ZooError(
                f"Setting {key!r} is a field of {', '.join(owners)}. Write which: "
                f"{owners[0]}.{name}={value}."
            )
        free = [owner for owner in owners if name not in routed.get(owner, {})]
        if not free:
            raise ZooError(f"{key} and {owners[0]}.{name} are both given. Give one of them.")
        for owner in free:
            routed.setdefault(owner, {})[name] = value
    return routed


def _attackers(
    request: Request,
    preset: Preset,
    attacks: Mapping[str, type[Attack]],
    settings: Mapping[str, Mapping[str, str]],
) -> list[Attacker]:
    # Beside all others, a name adds nothing.
    asked = () if ALL in request.attacks else request.attacks
    found: list[Attacker] = []
    refused: dict[Risk, ZooError] = {}
    for name, kind in attacks.items():
        for row in preset.rows(name):
            named = name in asked or row.id in asked
            if asked and not named:
                continue
            own = settings.get(name, {})
            attack = registry.make("attack", name, {**row.settings, **own})
            for queries in request.queries or (None,):
                try:
                    threat = _threat(attack, request, row, queries, named=named)
                except ZooError as error:
                    if named:
                        raise
                    refused[kind.risk] = error
                    continue
                row_id = _row_id(attack, threat, request, row)
                plain = registry.describe(attack).label
                label = _label(attack, preset, row, own) if row_id else plain
                share = row.share if queries is None else None
                found += [
                    Attacker(
                        attack,
                        replace(threat, adaptive=adaptive),
                        label,
                        row_id,
                        share,
                        chosen=bool(asked or own),
                    )
                    for adaptive in _adversaries(attack, threat, request)
                ]
    for risk in request.risks:
        measured = any(one.attack.risk is risk for one in found)
        # Of every risk that there is, some cannot be attacked with what is granted.
        if not measured and risk in refused and not (request.every_risk and found):
            raise refused[risk]
    return found


def _row_id(attack: Attack, threat: ThreatModel, request: Request, row: Row) -> str:
    """The id of the row that an attacker is; empty if the request grants something else."""
    plain = replace(request, access=None, aux=None, ood=None, partial=None, queries=())
    return row.id if row.id and threat == _threat(attack, plain, row, None, named=False) else ""


def _label(attack: Attack, preset: Preset, row: Row, own: Mapping[str, str]) -> str:
    """What people call the attacker of a row.

    What the preset sets is named by its row, and written out where rows of one name differ; what
    the user sets is written out.
    """
    shown = {key: row.settings[key] for key in preset.varied(attack.name, row)}
    label = registry.describe(registry.make("attack", attack.name, {**shown, **own})).label
    return label.replace(attack.name, f"{attack.name}[{row.id}]", 1)


def _adversaries(attack: Attack, threat: ThreatModel, request: Request) -> tuple[bool, ...]:
    """Whether shadow models have the target's defenses; one answer where there are none."""
    trains = isinstance(attack, UsesShadows) and threat.aux is Aux.SHADOW
    return request.adversaries if trains else (True,)


def _threat(
    attack: Attack, request: Request, row: Row, queries: int | None, *, named: bool
) -> ThreatModel:
    """No more than is granted, and no more than the attack uses.

    An attack that the user named uses the data that are granted, or hears that it cannot.
    """
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
        if Aux.NONE not in attack.aux or named:
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
        partial=(request.partial or row.partial) if aux is Aux.PARTIAL else None,
    )
