"""What a store holds, compared."""

from __future__ import annotations

from harness.analysis.compare import compare
from harness.experiment.store import Store
from harness.results import Evaluation, Interaction
from zoo.home import Home


def load(home: Home) -> tuple[list[Interaction], list[Evaluation]]:
    """Every interaction and every evaluation of a store."""
    store = Store(home)
    evaluations = store.evaluations()
    with store.reading_samples() as samples:
        return compare(evaluations, samples), evaluations
