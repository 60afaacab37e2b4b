"""Interactions in the order the site shows them, each joined to the evaluations behind it."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from harness.results import Cell, Evaluation, Interaction, OtherMeasure, Value
from harness.types import Regime, Risk
from leaderboard.command import command
from leaderboard.pages import page_of
from zoo.files import canonical_json, digest

RISKS = list(Risk)
REGIMES = list(Regime)

ColumnKey = tuple[int, str, str, str]
"""Position of the risk, attack, threat model, and the attack's settings as JSON."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One interaction, and where a reader finds it.

    Attributes:
        record: The interaction.
        page: File of the model's page, relative to the site.
        anchor: Of its row on that page.
        command: Measures it again; None if none of its evaluations is at hand.
    """

    record: Interaction
    page: str
    anchor: str
    command: str | None


def findings(
    interactions: Iterable[Interaction], evaluations: Iterable[Evaluation]
) -> list[Finding]:
    """Every interaction and its place, by dataset, regime, model, defense and attacker."""
    defended: dict[str, list[Cell]] = defaultdict(list)
    for evaluation in evaluations:
        defended[_condition_of_cell(evaluation.cell)].append(evaluation.cell)
    found: list[Finding] = []
    seen: dict[str, int] = defaultdict(int)
    for interaction in sorted(interactions, key=_order):
        condition = _condition(interaction)
        seen[condition] += 1
        # A model that was trained anew under its old name has two interactions of one condition.
        repeated = f"-{seen[condition]}" if seen[condition] > 1 else ""
        cells = defended.get(condition)
        found.append(
            Finding(
                record=interaction,
                page=page_of(interaction.model),
                anchor=f"i-{condition[:12]}{repeated}",
                command=command(cells) if cells else None,
            )
        )
    return found


def in_order(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """Evaluations by dataset, regime, model, attacker, defense (the baseline first) and seed."""

    def order(evaluation: Evaluation) -> tuple[object, ...]:
        cell = evaluation.cell
        return (
            cell.dataset,
            REGIMES.index(cell.regime),
            cell.model_label,
            RISKS.index(cell.risk),
            str(cell.attack),
            str(cell.threat),
            bool(cell.stack),
            cell.defense,
            cell.seed,
            cell.key,
        )

    return sorted(evaluations, key=order)


def by_regime(
    found: Sequence[Finding], evaluations: Sequence[Evaluation]
) -> list[tuple[str, Regime, list[Finding], list[Evaluation]]]:
    """Everything of one dataset and one regime together, since nothing else is comparable.

    Where datasets of one name differ in their contents, as a table does that was edited, each is by
    itself and its name says which it is.
    """
    records = [f.record for f in found]
    keys = {(r.dataset, r.fingerprint, r.regime) for r in records}
    cells = [e.cell for e in evaluations]
    keys |= {(c.dataset, c.fingerprint, c.regime) for c in cells}
    contents = Counter(name for name, _ in {key[:2] for key in keys})
    return [
        (
            f"{name} (contents {fingerprint[:8]})" if contents[name] > 1 else name,
            regime,
            [f for f, r in zip(found, records, strict=True) if _where(r) == key],
            [e for e, c in zip(evaluations, cells, strict=True) if _where(c) == key],
        )
        for key in sorted(keys, key=lambda key: (*key[:2], REGIMES.index(key[2])))
        for name, fingerprint, regime in [key]
    ]


def _where(one: Interaction | Cell) -> tuple[str, str, Regime]:
    return one.dataset, one.fingerprint, one.regime


def column_key(interaction: Interaction) -> ColumnKey:
    """Equal for interactions of one column of the matrix; sorts columns."""
    return (
        RISKS.index(interaction.risk),
        interaction.attack,
        interaction.threat_model,
        canonical_json(jsonable(_settings(interaction.attack_params, interaction.source_weights))),
    )


def row_key(interaction: Interaction) -> tuple[str, str, str]:
    """Equal for interactions of one row of the matrix; sorts rows."""
    settings = canonical_json(jsonable(interaction.defense_params))
    return interaction.model, interaction.defense, settings


def export(interaction: Interaction) -> dict[str, Any]:
    """An interaction as JSON values, field by field."""
    return {field.name: jsonable(getattr(interaction, field.name)) for field in fields(interaction)}


def jsonable(value: object) -> Any:
    """``value`` as JSON; a number that JSON cannot write becomes its name, as ``"inf"``."""
    match value:
        case Mapping():
            return {str(key): jsonable(value[key]) for key in value}
        case OtherMeasure():
            return jsonable(asdict(value))
        case list() | tuple():
            return [jsonable(item) for item in value]
        case float() if not math.isfinite(value):
            return str(value)
        case _:
            return value


def _order(interaction: Interaction) -> tuple[object, ...]:
    return (
        interaction.dataset,
        REGIMES.index(interaction.regime),
        row_key(interaction),
        column_key(interaction),
        canonical_json(export(interaction)),
    )


def _settings(params: Mapping[str, Value], source_weights: str | None) -> dict[str, Value]:
    """The settings of an attack, and the weights that it starts from if there are any."""
    weights: dict[str, Value] = {"source_weights": source_weights} if source_weights else {}
    return {**params, **weights}


def _condition(i: Interaction) -> str:
    """Equal for an interaction and the evaluations of its defended side."""
    where = [i.model, i.dataset, i.fingerprint, i.regime, i.defense_params]
    attack = [i.risk, i.attack, _settings(i.attack_params, i.source_weights)]
    return digest(jsonable([*where, *attack, i.threat_model]))


def _condition_of_cell(cell: Cell) -> str:
    defenses = {method.name: dict(method.params) for method in cell.stack}
    where = [cell.model_label, cell.dataset, cell.fingerprint, cell.regime, defenses]
    settings = _settings(dict(cell.attack.params), cell.source_weights)
    attack = [cell.risk, str(cell.attack), settings]
    return digest(jsonable([*where, *attack, str(cell.threat)]))
