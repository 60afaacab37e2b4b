"""The user's own models as they lie in the store: ``models/<slug>/entry.json``."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from annotations.cells import read_cell, write_cell
from annotations.record import Annotations, Codebook, Provenance, Row, Value
from zoo.entry import Artifact
from zoo.errors import ZooError
from zoo.files import slug
from zoo.home import Home

ARTIFACT = tuple(field.name for field in fields(Artifact))
"""Columns of a model that are about its weight file."""

NETWORK = (
    "architecture",
    "input_shape",
    "num_classes",
    "parameters",
    "flops",
    "has_batchnorm",
    "has_dropout",
    "has_dropout_layers",
    "counted_with",
)
"""Columns of what is counted on a model's network."""


def entry_files(home: Home) -> list[Path]:
    """The files of all models that the user added, sorted."""
    return sorted((home.root / "models").glob("*/entry.json"))


def checked(values: Mapping[str, Any], codebook: Codebook) -> dict[str, Value]:
    """The values of an entry, each as the codebook allows it: of a model, and of its network.

    Args:
        values: As in the file; lists where rows have tuples.
        codebook: What the columns mean.

    Raises:
        ValueError: One is missing or wrong; the text names it and says why.
    """
    found: dict[str, Value] = {}
    columns = dict(codebook.tables["published"].fields)
    if "counted_with" in values:
        columns |= codebook.tables["computed-nets"].fields
    for name, field in columns.items():
        if name not in values and field.required:
            raise ValueError(f"{name} is missing")
        text = write_cell(values.get(name))
        if name == "url" and text == "":
            found[name] = None  # a user's own file is published nowhere
            continue
        try:
            text.encode()  # DuckDB has no place for what is not Unicode
            found[name] = read_cell(field, text)
        except ValueError as problem:
            raise ValueError(f"{name} {problem}") from problem
    mean, std, shape = found["mean"], found["std"], found["input_shape"]
    if not (isinstance(mean, tuple) and isinstance(std, tuple) and isinstance(shape, tuple)):
        raise ValueError("mean, std and input_shape must all be given")
    if not len(mean) == len(std) == shape[0]:
        raise ValueError(f"mean and std need {shape[0]} numbers, one per channel")
    if min(float(number) for number in std) <= 0:
        raise ValueError(f"std {min(std)} is not above 0")
    return found


def read_added(home: Home, annotations: Annotations) -> list[Row]:
    """The models that the user added.

    Raises:
        ZooError: A file is damaged, or names what the annotations do not have.
    """
    codebook, rows = annotations.codebook, []
    known: dict[str, set[str]] = {}
    for table in codebook.tables.values():
        known.setdefault(table.entity, set()).update(r.key for r in annotations.rows[table.name])
    for path in entry_files(home):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            values = checked(entry["values"], codebook)
            provenance = {
                k: str(read_cell(f, entry["provenance"][k])) for k, f in codebook.provenance.items()
            }
            if path.parent.name != slug(str(values["name"])):
                raise ValueError(f"it is of {values['name']}")
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise ZooError(
                f"{path} is not an entry that `zoo add` wrote ({problem}). Remove it and add the "
                "model again."
            ) from problem
        if values["name"] in known["models"]:
            raise ZooError(
                f"{path} is of {values['name']}, but the annotations have a model of that name "
                "now. Remove the file and add your model under another name."
            )
        for name, field in codebook.tables["published"].fields.items():
            if field.ref and values[name] is not None and values[name] not in known[field.ref]:
                raise ZooError(
                    f"{path}: {name}: no row {values[name]!r} among the {field.ref} of the "
                    "annotations. Remove the file, or `zoo build` with annotations that have it."
                )
        rows.append(
            Row(
                table="added",
                key=str(values["name"]),
                values=values,
                provenance=Provenance(**provenance),
                file=path.relative_to(home.root).as_posix(),
                line=1,
            )
        )
    return rows
