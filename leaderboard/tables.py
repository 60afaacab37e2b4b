"""Evaluations and interactions become the tables of the site. Pure: order of input is ignored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.results import Cell, Evaluation, Interaction
from harness.types import Risk
from leaderboard.command import commands
from leaderboard.findings import Finding, by_regime, findings, in_order
from leaderboard.matrix import Block, block
from leaderboard.model_page import ModelPage, model_page
from leaderboard.words import SYMBOLS


@dataclass(frozen=True, kw_only=True)
class Site:
    """All tables of the site.

    Attributes:
        blocks: The interaction matrix, one block for each dataset and regime.
        pages: One for each model that has an evaluation or an interaction.
        findings: All of them, in the order shown.
        evaluations: Number of evaluations behind them.
        outdated: Number of stored evaluations whose numbers have an earlier meaning, not shown.
        renewing: The commands that measure those again.
    """

    blocks: tuple[Block, ...]
    pages: tuple[ModelPage, ...]
    findings: tuple[Finding, ...]
    evaluations: int
    outdated: int
    renewing: tuple[str, ...]

    @property
    def choices(self) -> dict[str, list[str]]:
        """By what the matrices can be filtered, and the values that occur."""
        records = [finding.record for finding in self.findings]
        return {
            "model": sorted({record.model for record in records}),
            "defense": sorted({record.defense for record in records}),
            "risk": [risk for risk in Risk if any(record.risk == risk for record in records)],
            "verdict": [
                verdict for verdict in SYMBOLS if any(r.verdict == verdict for r in records)
            ],
        }


def tables(
    interactions: Iterable[Interaction],
    evaluations: Iterable[Evaluation],
    facts: Mapping[str, Mapping[str, object]],
    pictures: Mapping[str, Mapping[str, bytes]] | None = None,
    outdated: Sequence[Cell] = (),
) -> Site:
    """Everything that the site shows.

    Args:
        interactions: To be shown, in any order.
        evaluations: Behind the interactions, and those that have no counterpart yet.
        facts: For each model what the catalog says, field by field.
        pictures: PNG files by key of the cell, then by name.
        outdated: Cells whose stored numbers have an earlier meaning.
    """
    measured = in_order(evaluations)
    found = findings(interactions, measured)
    models = sorted({f.record.model for f in found} | {e.cell.model_label for e in measured})
    return Site(
        blocks=tuple(block(*group) for group in by_regime(found, measured)),
        pages=tuple(
            model_page(
                model,
                facts.get(model, {}),
                [f for f in found if f.record.model == model],
                [e for e in measured if e.cell.model_label == model],
                pictures or {},
            )
            for model in models
        ),
        findings=tuple(found),
        evaluations=len(measured),
        outdated=len(outdated),
        renewing=tuple(commands(outdated)),
    )
