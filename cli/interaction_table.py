"""Interactions as a table for people: numbers in points, and below it what they need to know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from cli.printing import table
from harness.analysis.verdicts import what_would_resolve
from harness.results import Interaction, OtherMeasure
from zoo.errors import ZooError, unknown

COLUMNS = ["defense", "risk", "attack", "metric", "n_seeds", "baseline", "defended", "effect",
           "ci_low", "ci_high", "q", "verdict", "utility_delta"]  # fmt: skip

SHARED = ["model", "dataset", "regime", "threat_model"]
"""Said once above the table where all rows have the same."""


DROPPABLE = ("utility_delta", "metric", "n_seeds", "baseline", "defended", "q")
"""Columns that a narrow terminal does without, the first one first."""


def show_interactions(rows: Sequence[Interaction], columns: str | None = None) -> None:
    """Print ``rows``; verdicts with a number have a note below.

    Args:
        rows: At least one.
        columns: Names of the columns to print instead of the usual ones, with commas between.

    Raises:
        UnknownNameError: There is no such column.
    """
    if columns is not None:
        _show_chosen(rows, columns)
        return
    vary = [k for k in SHARED if len({str(getattr(r, k)) for r in rows}) > 1]
    for key in SHARED:
        if key not in vary:
            print(f"{key}: {getattr(rows[0], key)}")
    if len({(r.model, r.model_key) for r in rows}) > len({r.model for r in rows}):
        vary.append("model_key")  # a name that stood for several recipes or weights
    if len({(r.dataset, r.fingerprint) for r in rows}) > len({r.dataset for r in rows}):
        vary.append("fingerprint")  # a table that was edited, say
    header = vary + COLUMNS
    notes: dict[str, int] = {}
    lines = []
    for row in rows:
        marks = [notes.setdefault(text, len(notes) + 1) for text in notes_of(row)]
        shown = {name: _text(row, name) for name in header}
        shown["verdict"] = " ".join([row.verdict, *(f"[{mark}]" for mark in marks)])
        lines.append(list(shown.values()))
        lines += [[_other(row, one, name) for name in header] for one in row.other_measures]
    table(header, lines, droppable=DROPPABLE)
    for text, mark in notes.items():
        print(f"[{mark}] {text}")


def _show_chosen(rows: Sequence[Interaction], columns: str) -> None:
    known = [field.name for field in fields(Interaction)]
    header = [name.strip() for name in columns.split(",") if name.strip()]
    if not header:
        raise ZooError(f"--columns names no column. There are: {', '.join(known)}.")
    for name in header:
        if name not in known:
            raise unknown("column of an interaction", name, known)
    table(header, [[_text(row, name) for name in header] for row in rows])


def notes_of(row: Interaction) -> Iterable[str]:
    """What has to be known beside the numbers: why there is no verdict, and reasons for doubt."""
    if row.verdict_note:
        yield row.verdict_note
    if words := what_would_resolve(row):
        yield words
    if row.interval == "seeds" and row.n_seeds > 1:
        yield "the interval is over seeds alone and leaves out what other test examples would give"
    yield from row.flags


def _text(row: Interaction | OtherMeasure, name: str) -> Any:
    value = getattr(row, name)
    if name in ("model_key", "fingerprint"):
        return value[:8]
    if name in ("effect", "ci_low", "ci_high", "utility_delta") and value is not None:
        return f"{100 * value:+.1f}"
    return f"{value:.3f}" if isinstance(value, float) and name != "q" else value


def _other(row: Interaction, measure: OtherMeasure, name: str) -> Any:
    """What stands under ``name`` in the line of another measure below a row."""
    match name:
        case "metric":
            return measure.name
        case "n_seeds" | "baseline" | "defended" | "effect" | "ci_low" | "ci_high":
            return _text(measure, name)
        case "verdict":
            texts = [
                "raw change",
                "" if measure.p is None else f"p {measure.p:.4g}",
                measure.direction,
            ]
            return ", ".join(text for text in texts if text)
        case "q" | "utility_delta":
            return None
        case _:
            return _text(row, name)
