"""What a store holds, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.analysis.compare import compare
from harness.experiment.further_metrics import with_further
from harness.experiment.store import EvaluationStore
from harness.results import Evaluation, Interaction
from zoo.errors import ZooError
from zoo.home import Home


def load(home: Home) -> tuple[list[Interaction], list[Evaluation]]:
    """Every interaction and every evaluation of a store."""
    store = EvaluationStore(home)
    found, metrics = with_further(store.evaluations(), store)
    evaluations = [one for one in found if one is not None]
    with store.reading_samples() as samples:
        return compare(evaluations, samples, metrics), evaluations


FIELDS = ("model", "dataset", "regime", "defense", "risk", "attack")
"""By which interactions are found."""


def compared(home: Home, wanted: Mapping[str, Sequence[str]]) -> list[Interaction]:
    """The interactions of a store that agree with all that is wanted; see `matching`.

    Raises:
        ZooError: There are none at all, or none that agree.
    """
    rows, _ = load(home)
    if not rows and (old := len(EvaluationStore(home).outdated())):
        raise ZooError(
            f"Nothing to compare: all {old} stored cells are of an earlier version. Run the "
            "commands that measured them again."
        )
    return matching(rows, wanted)


def matching(rows: Sequence[Interaction], wanted: Mapping[str, Sequence[str]]) -> list[Interaction]:
    """The interactions that agree with all that is wanted.

    Args:
        rows: Of a store.
        wanted: By ``model``, ``dataset``, ``regime``, ``defense``, ``risk`` or ``attack`` what it
            may be; empty for any. A stack is wanted by one of its defenses, too, a model or an
            attack whose settings were changed by its plain name, and a row of a preset by its id.

    Raises:
        ZooError: There are none at all, or none that agree.
    """
    if not rows:
        raise ZooError("Nothing to compare yet; run `harness eval --defense … --risk …` first.")
    kept = [
        row
        for row in rows
        if all(not some or _names(row, key) & set(some) for key, some in wanted.items())
    ]
    if not kept:
        shown = {k: sorted({str(getattr(row, k)) for row in rows}) for k in FIELDS}
        raise ZooError(
            "No interaction matches. There are: "
            + "; ".join(f"{k} {', '.join(values)}" for k, values in shown.items())
            + "."
        )
    return kept


def _names(row: Interaction, key: str) -> set[str]:
    """What the part of an interaction may be called."""
    ids = (row.attack_row, f"{row.attack_name}[{row.attack_row}]") if row.attack_row else ()
    plain = {
        "model": {row.model_name},
        "attack": {row.attack_name, *ids},
        "defense": set(row.defense_params),
    }
    return {str(getattr(row, key)), *plain.get(key, ())}
