"""Stored evaluations with the measures that installed packages add to their risks."""

from __future__ import annotations

from collections.abc import Sequence

from harness import registry
from harness.experiment.store import EvaluationStore
from harness.metrics.further import Metric, added, left_out
from harness.results import Evaluation


def with_further(
    evaluations: Sequence[Evaluation | None], store: EvaluationStore
) -> tuple[list[Evaluation | None], list[Metric]]:
    """Evaluations of a store, in their order, with the further measures of their risks.

    Returns:
        The evaluations, and the metrics whose values they have now. A metric with the name of one
        of the cells' own is left out with a warning.
    """
    present = [one for one in evaluations if one is not None]
    metrics = _usable(present)
    if not metrics:
        return list(evaluations), []
    risks = {metric.risk for metric in metrics}
    with store.reading_samples() as samples:
        found = [
            one
            if one is None or one.cell.risk not in risks
            else added(one, samples(one.cell.key), metrics)
            for one in evaluations
        ]
    return found, metrics


def _usable(evaluations: Sequence[Evaluation]) -> list[Metric]:
    """The metrics of installed packages that have anything to measure, sorted by name."""
    found: list[Metric] = []
    for kind in registry.known("metric").values():
        of_risk = [one for one in evaluations if one.cell.risk is kind.risk]
        if any(kind.name in one.metrics for one in of_risk):
            left_out(kind(), f"cells of {kind.risk} have a metric of that name. Rename it.")
        elif of_risk:
            found.append(kind())
    return found
