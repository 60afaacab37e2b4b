"""The interaction matrix: defended models against ways of measuring a risk."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.games.privacy import stated
from harness.results import Evaluation, Interaction
from harness.types import Regime, Risk
from leaderboard.findings import RISKS, ColumnKey, Finding, column_key, row_key
from leaderboard.pages import page_of
from leaderboard.scale import Scale


@dataclass(frozen=True, kw_only=True)
class Column:
    """One way of measuring a risk.

    Attributes:
        risk: What is measured.
        attack: By which attack.
        threat_model: By which attacker.
        metrics: The primary metrics measured so; one, unless the harness changed it.
    """

    risk: Risk
    attack: str
    threat_model: str
    metrics: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Utility:
    """What a stack does to accuracy.

    Attributes:
        baseline: Mean accuracy without the stack.
        defended: Mean accuracy with it.
        delta: Mean paired change.
        n_seeds: Number of pairs.
        risks: The risks that these pairs were measured with.
    """

    baseline: float | None
    defended: float | None
    delta: float | None
    n_seeds: int
    risks: tuple[Risk, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One defended model against every column of its block.

    Attributes:
        model: Name in the catalog.
        page: File of the model's page, relative to the site.
        defense: The stack, for people.
        guards: The risks the stack is meant for.
        budget: What the stack spent of (dp_epsilon, dp_delta), and what that is without; empty if
            it is not private.
        utilities: One for each distinct result; more than one if risks were measured on
            different seeds or on differently trained models.
        cells: For each column what was found: usually one finding, none if it was not measured.
    """

    model: str
    page: str
    defense: str
    guards: tuple[Risk, ...]
    budget: Mapping[str, object]
    utilities: tuple[Utility, ...]
    cells: tuple[tuple[Finding, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Undefended:
    """A model whose risks were measured, but not yet with any defense.

    Attributes:
        model: Name in the catalog.
        page: File of the model's page, relative to the site.
        risks: In the order of `Risk`.
    """

    model: str
    page: str
    risks: tuple[Risk, ...]


@dataclass(frozen=True, kw_only=True)
class Block:
    """The interaction matrix of one dataset and one regime; regimes are never mixed.

    Attributes:
        dataset: Name of the dataset.
        regime: How every model of the block came to its weights.
        columns: Sorted by risk, in the order of `Risk`.
        rows: Sorted by model, then defense.
        scale: Shared by every drawing of the block.
        undefended: Models with risks that no defense was measured against.
        unmeasured: Risks that nothing was measured for.
    """

    dataset: str
    regime: Regime
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    scale: Scale
    undefended: tuple[Undefended, ...]
    unmeasured: tuple[Risk, ...]

    @property
    def risks(self) -> list[tuple[Risk, int]]:
        """Each risk of the columns and how many columns it has, in their order."""
        return [
            (risk, len(list(group)))
            for risk, group in groupby(self.columns, key=lambda column: column.risk)
        ]

    @property
    def models(self) -> list[tuple[str, list[Row]]]:
        """Each model of the rows with its rows, in their order."""
        return [
            (model, list(group)) for model, group in groupby(self.rows, key=lambda row: row.model)
        ]


def block(
    dataset: str,
    regime: Regime,
    findings: Sequence[Finding],
    evaluations: Sequence[Evaluation],
) -> Block:
    """The matrix of ``findings``, sorted and all of one dataset and regime."""
    columns = sorted({column_key(finding.record) for finding in findings})
    compared = {(finding.record.model, finding.record.risk) for finding in findings}
    alone: dict[str, set[Risk]] = defaultdict(set)
    for evaluation in evaluations:
        cell = evaluation.cell
        if (cell.model_label, cell.risk) not in compared and evaluation.status == "ok":
            alone[cell.model_label].add(cell.risk)
    seen = {risk for _, risk in compared}.union(*alone.values())
    return Block(
        dataset=dataset,
        regime=regime,
        columns=tuple(_column(key, [finding.record for finding in findings]) for key in columns),
        rows=tuple(
            _row(list(group), columns)
            for _, group in groupby(findings, key=lambda finding: row_key(finding.record))
        ),
        scale=Scale.over(finding.record for finding in findings),
        undefended=tuple(
            Undefended(
                model=model,
                page=page_of(model),
                risks=tuple(risk for risk in RISKS if risk in alone[model]),
            )
            for model in sorted(alone)
        ),
        unmeasured=tuple(risk for risk in RISKS if risk not in seen),
    )


def _column(key: ColumnKey, interactions: Sequence[Interaction]) -> Column:
    metrics = {i.metric for i in interactions if i.metric and column_key(i) == key}
    return Column(
        risk=RISKS[key[0]], attack=key[1], threat_model=key[2], metrics=tuple(sorted(metrics))
    )


def _row(findings: list[Finding], columns: Sequence[ColumnKey]) -> Row:
    first = findings[0].record
    cells: dict[ColumnKey, list[Finding]] = {column: [] for column in columns}
    for finding in findings:
        cells[column_key(finding.record)].append(finding)
    return Row(
        model=first.model,
        page=findings[0].page,
        defense=first.defense,
        guards=first.guards,
        budget=_budget([finding.record for finding in findings]),
        utilities=_utilities([finding.record for finding in findings]),
        cells=tuple(tuple(cells[column]) for column in columns),
    )


def _budget(interactions: Sequence[Interaction]) -> Mapping[str, object]:
    for interaction in interactions:
        if budget := stated(interaction.evidence):
            return budget
    return {}


def _utilities(interactions: Sequence[Interaction]) -> tuple[Utility, ...]:
    risks: dict[tuple[float | None, float | None, float, int], list[Risk]] = defaultdict(list)
    for i in interactions:
        if i.utility_delta is not None:
            risks[i.baseline_utility, i.defended_utility, i.utility_delta, i.n_seeds].append(i.risk)
    return tuple(
        Utility(
            baseline=baseline,
            defended=defended,
            delta=delta,
            n_seeds=n_seeds,
            risks=tuple(dict.fromkeys(measured)),
        )
        for (baseline, defended, delta, n_seeds), measured in sorted(
            risks.items(), key=lambda item: RISKS.index(item[1][0])
        )
    )
