"""Evaluations over seeds, as one row per model, stack and attack. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from statistics import mean, stdev
from typing import Any

from harness.results import Evaluation

HEADER = [
    "model", "regime", "defense", "risk", "attack", "threat_model", "seeds", "metric", "mean",
    "sd", "susceptibility", "accuracy", "status",
]  # fmt: skip


def rows(evaluations: Iterable[Evaluation | None]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names, and the mean over seeds of each group in the order of its first member.

    Args:
        evaluations: None stands for one that is not there.

    Returns:
        ``mean`` and ``sd`` are of the raw primary metric; ``status`` counts what is not ok.
    """
    groups: dict[tuple[str, ...], list[Evaluation]] = defaultdict(list)
    for found in evaluations:
        if found is not None:
            cell = found.cell
            words = (cell.regime, cell.defense, cell.risk, cell.attack, cell.threat)
            # One label may stand for several settings of one attack: they are not one group.
            groups[cell.model, *map(str, words), repr(cell.attack.params)].append(found)
    return HEADER, [(*key[:-1], *_numbers(group)) for key, group in groups.items()]


def _numbers(group: list[Evaluation]) -> tuple[Any, ...]:
    measured = [e for e in group if e.status == "ok"]
    values = [e.metrics[e.primary] for e in measured if e.primary]
    known = [value for value in values if value is not None]
    levels = [e.susceptibility for e in measured if e.susceptibility is not None]
    utility = [e.utility for e in measured if e.utility is not None]
    other = Counter(e.status for e in group if e.status != "ok")
    return (
        len(measured),
        measured[0].primary if measured else None,
        mean(known) if known else None,
        stdev(known) if len(known) > 1 else None,
        mean(levels) if levels else None,
        mean(utility) if utility else None,
        ", ".join(f"{n} {status}" for status, n in other.items()) or "ok",
    )
