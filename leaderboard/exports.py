"""The interactions as files that other programs read: exactly what the site shows."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import fields

from harness.results import Interaction
from leaderboard.findings import export
from zoo.files import canonical_json


def as_json(interactions: Iterable[Interaction]) -> bytes:
    """A list of objects, one for each interaction. Effects are in susceptibility, not in points."""
    records = [export(interaction) for interaction in interactions]
    text = json.dumps(records, indent=1, sort_keys=True, ensure_ascii=False)
    return (text + "\n").encode()


def as_csv(interactions: Iterable[Interaction]) -> bytes:
    """One line for each interaction; unknown is empty, and nested values are JSON."""
    names = [field.name for field in fields(Interaction)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for interaction in interactions:
        record = export(interaction)
        writer.writerow([_cell(record[name]) for name in names])
    return text.getvalue().encode()


def _cell(value: object) -> object:
    return canonical_json(value) if isinstance(value, dict | list | bool) else value
