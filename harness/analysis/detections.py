"""How often detectors of backdoors are right, over the models that were measured. Pure.

A detector that inspects models is judged by models: how many clean ones it flags, and how many
backdoored ones. A filter is judged by inputs: which it rejects of clean models and of backdoored
ones. Everything is counted over different weights, whatever the number of seeds they were inspected
with.

References:
    Zhang et al. (2024). SecurityNet: Assessing Machine Learning Vulnerabilities on Public Models.
    USENIX Security. https://arxiv.org/abs/2310.12665 (table 1)
    Clopper and Pearson (1934). The Use of Confidence or Fiducial Limits Illustrated in the Case of
    the Binomial. Biometrika. (the intervals)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from statistics import mean
from typing import Any

from harness.metrics.proportions import interval
from harness.results import Evaluation
from harness.types import Regime, Risk

SUCCESS = 0.5
"""Attack success rate from which a poisoned model counts as backdoored."""

HEADER = [
    "detector", "dataset", "attack", "clean_models", "fpr", "fpr_low", "fpr_high",
    "backdoored_models", "tpr", "tpr_low", "tpr_high", "filter_fpr", "filter_tpr",
    "failed_backdoors", "not_measured", "seconds_low", "seconds_high",
]  # fmt: skip


def rows(
    evaluations: Iterable[Evaluation], *, detectors: Collection[str], backdoored: Collection[str]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names, and a row for each stack with a detector, dataset and attack.

    Args:
        evaluations: Those of stacks without a detector, and of other risks, are left out.
        detectors: Names of the defenses that inspect models or filter inputs.
        backdoored: Names of the published models that the catalog lists as backdoored.

    Returns:
        ``fpr`` and ``tpr`` are shares of models, with 95 % Clopper-Pearson intervals; None for a
        filter. ``filter_fpr`` is the share of clean inputs that is rejected, over clean models, and
        ``filter_tpr`` that of triggered inputs over backdoored models; None for an inspection.
        ``failed_backdoors`` counts models whose backdoor did not take, which are neither.
        ``seconds_low`` and ``seconds_high`` are the shortest and the longest wall time of a
        measurement: models differ in size, so that their mean would be of none of them.
    """
    groups: dict[tuple[str, str, str], list[Evaluation]] = defaultdict(list)
    for found in evaluations:
        cell = found.cell
        if cell.risk is Risk.POISONING and any(m.name in detectors for m in cell.stack):
            groups[cell.defense, cell.dataset, str(cell.attack)].append(found)
    return HEADER, [(*key, *_numbers(groups[key], backdoored)) for key in sorted(groups)]


def is_backdoored(evaluation: Evaluation, backdoored: Collection[str]) -> bool | None:
    """The truth about the model of an evaluation; None where a backdoor did not take.

    A published model as it was downloaded is what the catalog says. One that was poisoned, or made
    from a backdoored one, is backdoored if its trigger works.

    Args:
        evaluation: A measured one.
        backdoored: Names of the published models that the catalog lists as backdoored.
    """
    cell, metrics = evaluation.cell, evaluation.metrics
    listed = cell.model in backdoored
    if listed and cell.regime is Regime.PUBLISHED and "artifact" not in evaluation.provenance:
        return True
    if not listed and not dict(cell.attack.params).get("rate"):
        return False
    rate = metrics.get("success_rate_without_filter", metrics["attack_success_rate"])
    return True if rate is not None and rate >= SUCCESS else None


def _numbers(group: Sequence[Evaluation], backdoored: Collection[str]) -> tuple[Any, ...]:
    measured = [e for e in group if e.status == "ok"]
    models: dict[bool | None, dict[Any, list[Evaluation]]] = {
        truth: defaultdict(list) for truth in (False, True, None)
    }
    for found in measured:
        cell = found.cell
        which = found.provenance.get("weights") or (cell.model_label, cell.model_key, cell.seed)
        models[is_backdoored(found, backdoored)][which].append(found)
    clean, dirty = list(models[False].values()), list(models[True].values())
    return (
        len(clean),
        *_share(clean),
        len(dirty),
        *_share(dirty),
        _mean(clean, "filter_fpr"),
        _mean([_triggered(model) for model in dirty], "filter_tpr"),
        len(models[None]),
        len(group) - len(measured),
        min((e.seconds for e in measured), default=None),
        max((e.seconds for e in measured), default=None),
    )


def _triggered(model: Sequence[Evaluation]) -> list[Evaluation]:
    """Those in which the trigger works: a backdoored model need not know a foreign one."""
    return [e for e in model if (e.metrics.get("success_rate_without_filter") or 0) >= SUCCESS]


def _known(models: Iterable[Sequence[Evaluation]], metric: str) -> list[float]:
    """The mean of a metric over the evaluations of each model that has it."""
    values = [[e.metrics[metric] for e in model if metric in e.metrics] for model in models]
    known = [[v for v in model if v is not None] for model in values]
    return [mean(model) for model in known if model]


def _mean(models: Iterable[Sequence[Evaluation]], metric: str) -> float | None:
    known = _known(models, metric)
    return mean(known) if known else None


def _share(models: Iterable[Sequence[Evaluation]]) -> tuple[float | None, ...]:
    """The share of models that most of their inspections flag, and its interval."""
    flags = [value > 0.5 for value in _known(models, "flagged")]
    if not flags:
        return None, None, None
    return sum(flags) / len(flags), *interval(sum(flags), len(flags))
