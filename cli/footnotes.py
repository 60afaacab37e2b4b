"""What is said below the tables of ``harness``: privacy budgets, and cells that are old."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from harness.experiment.store import EvaluationStore


def say_budgets(measured: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
    """Say on stderr what each private stack of a model spent, and what that is without."""
    from harness.games.privacy import stated

    lines = {
        f"{defense} on {model}: "
        + ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in said.items())
        for model, defense, evidence in measured
        if (said := stated(evidence))
    }
    for line in sorted(lines):
        typer.echo(line, err=True)


def say_outdated(store: EvaluationStore) -> None:
    """Say on stderr how many stored cells are not shown because their numbers are old."""
    from leaderboard.command import commands

    cells = store.outdated()
    if cells:
        first, *others = commands(cells)
        typer.echo(
            f"{len(cells)} stored cells are old and not shown: their numbers were made when they "
            f"meant something else. To measure them again: {first}"
            + (f" (and {len(others)} more, listed by `leaderboard build`)" if others else ""),
            err=True,
        )
