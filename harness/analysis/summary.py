"""Evaluations over seeds, as one row per model, stack and attack. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import mean, stdev
from typing import Any

from harness.analysis.verdicts import doubts
from harness.results import Evaluation

HEADER = [
    "model", "regime", "defense", "risk", "attack", "threat_model", "seeds", "of", "metric",
    "mean", "sd", "susceptibility", "accuracy", "status", "why",
]  # fmt: skip


def summary_table(
    evaluations: Iterable[Evaluation | None],
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names, and the mean over seeds of each group in the order of its first member.

    Args:
        evaluations: None stands for one that is not there.

    Returns:
        ``seeds`` of ``of`` were measured and have a susceptibility: the numbers are theirs, but for
        ``accuracy``, which is of all that were measured. ``mean`` and ``sd`` are of the raw primary
        metric; ``status`` counts the others and ``why`` lists, for each kind, what was first, and
        each different reason to doubt what was measured (`flags` of the evidence).
    """
    groups: dict[tuple[str, ...], list[Evaluation]] = defaultdict(list)
    for found in evaluations:
        if found is not None:
            cell = found.cell
            words = (cell.regime, cell.defense, cell.risk, cell.attack, cell.threat)
            # One label may stand for several settings of an attack, recipes or contents of a
            # dataset: they are not one group.
            same = (cell.model_key, cell.fingerprint, repr(cell.attack.params))
            groups[cell.model_label, *map(str, words), *same].append(found)
    return HEADER, [(*key[:-3], *_numbers(group)) for key, group in groups.items()]


def _numbers(group: list[Evaluation]) -> tuple[Any, ...]:
    measured = [e for e in group if e.status == "ok"]
    counted = [e for e in measured if e.susceptibility is not None]
    values = [e.metrics[e.primary] for e in counted if e.primary]
    known = [value for value in values if value is not None]
    levels = [e.susceptibility for e in counted if e.susceptibility is not None]
    utility = [e.utility for e in measured if e.utility is not None]
    other: dict[str, list[Evaluation]] = defaultdict(list)
    for one in group:
        if one not in counted:
            other["undefined" if one.status == "ok" else one.status].append(one)
    why = [f"{kind}: {found[0].reason}" for kind, found in other.items()]
    why += [f"in doubt: {text}" for text in doubts(measured)]
    return (
        len(counted),
        len(group),
        measured[0].primary if measured else None,
        mean(known) if known else None,
        stdev(known) if len(known) > 1 else None,
        mean(levels) if levels else None,
        mean(utility) if utility else None,
        ", ".join(f"{len(found)} {kind}" for kind, found in other.items()) or "ok",
        why or None,
    )
