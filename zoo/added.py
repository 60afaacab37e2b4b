"""The user's own models as they lie in the store: ``models/<slug>/entry.json``."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from annotations.cells import read_cell, write_cell
from annotations.record import Annotations, Codebook, Provenance, Row, Value
from zoo.entry import Artifact
from zoo.errors import ZooError
from zoo.files import DAMAGE, slug
from zoo.home import Home
from zoo.recipe import Recipe

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

BROUGHT = ("datasets", "families", "architectures")
"""What an entry may describe because the annotations do not have it."""

_NEEDED = ("key", "name", "num_classes", "family")
"""What it has to say of those; a user does not code them, so that the rest may be unknown."""


@dataclass(frozen=True)
class Added:
    """What the user's entries add to the annotations.

    Attributes:
        models: One row each.
        brought: Rows of each kind in `BROUGHT` that the annotations do not have.
        recipes: Of the models that are trained, by their names.
    """

    models: list[Row]
    brought: dict[str, list[Row]]
    recipes: dict[str, dict[str, str | int | float]]


def entry_file(home: Home, name: str) -> Path:
    """Where the entry of a model is if the user added it."""
    return home.model(name) / "entry.json"


def entry_files(home: Home) -> list[Path]:
    """The files of all models that the user added, sorted."""
    return sorted((home.root / "models").glob("*/entry.json"))


def checked(values: Mapping[str, Any], codebook: Codebook) -> dict[str, Value]:
    """The values of an entry, each as the codebook allows it: of a model, and of its network.

    Args:
        values: As in the file; lists where rows have tuples. With a ``recipe``, the name of one, it
            is a model to be trained, else one with a weight file.
        codebook: What the columns mean.

    Raises:
        ValueError: One is missing or wrong; the text names it and says why.
    """
    found: dict[str, Value] = {}
    kind = "selftrained" if "recipe" in values else "published"
    columns = dict(codebook.tables[kind].fields)
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
    channels = shape[0] if len(shape) == 3 else 1
    if not len(mean) == len(std) == channels:
        raise ValueError(f"mean and std need {channels} numbers, one per channel")
    if min(float(number) for number in std) <= 0:
        raise ValueError(f"std {min(std)} is not above 0")
    return found


def described(kind: str, values: Mapping[str, Any], codebook: Codebook) -> dict[str, Value]:
    """What an entry says of a dataset or an architecture; what it does not say is unknown.

    Args:
        kind: One of `BROUGHT`.
        values: As in the file.
        codebook: What the columns mean.

    Raises:
        ValueError: One is missing or wrong; the text names it and says why.
    """
    found: dict[str, Value] = {}
    for name, field in codebook.tables[kind].fields.items():
        text = write_cell(values.get(name))
        try:
            text.encode()
            # Files of the user's are called as the user likes.
            free = replace(field, required=name in _NEEDED, pattern=None)
            found[name] = read_cell(free, text)
        except ValueError as problem:
            raise ValueError(f"{name} of {kind} {problem}") from problem
    return found


def read_added(home: Home, annotations: Annotations) -> Added:
    """The models that the user added, and what they bring along.

    What is damaged, or names what the annotations do not have, is left out with a warning.
    """
    codebook, added = annotations.codebook, Added([], {kind: [] for kind in BROUGHT}, {})
    known: dict[str, set[str]] = {}
    for table in codebook.tables.values():
        known.setdefault(table.entity, set()).update(r.key for r in annotations.rows[table.name])
    for path in entry_files(home):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            values = checked(entry["values"], codebook)
            brought = {
                kind: described(kind, entry["brings"][kind], codebook)
                for kind in BROUGHT
                if kind in entry.get("brings", {})
            }
            recipe = asdict(Recipe(**entry["recipe"])) if "recipe" in values else None
            provenance = Provenance(
                **{
                    k: str(read_cell(f, entry["provenance"][k]))
                    for k, f in codebook.provenance.items()
                }
            )
            if path.parent.name != slug(str(values["name"])):
                raise ValueError(f"it is of {values['name']}")
        except (*DAMAGE, ZooError) as problem:
            _left_out(
                f"{path} is not an entry that `zoo add` wrote ({problem}). Remove it and add the "
                "model again."
            )
            continue

        def row(table: str, key: Value, values: Mapping[str, Value]) -> Row:
            return Row(
                table=table,
                key=str(key),
                values=values,
                provenance=provenance,  # noqa: B023 - used before the next entry
                file=path.relative_to(home.root).as_posix(),  # noqa: B023
                line=1,
            )

        if values["name"] in known["models"]:
            _left_out(
                f"{path} is of {values['name']}, but the annotations have a model of that name "
                "now. Remove the file and add your model under another name."
            )
            continue
        for kind, facts in brought.items():
            if facts["key"] not in known[kind]:
                known[kind].add(str(facts["key"]))
                added.brought[kind].append(row(kind, facts["key"], facts))
        references = {n: f.ref for n, f in codebook.tables["published"].fields.items() if f.ref}
        missing = [
            f"{name}: no row {values[name]!r} among the {kind} of the annotations"
            for name, kind in references.items()
            if values[name] is not None and values[name] not in known[kind]
        ]
        if missing:
            _left_out(
                f"{path}: {missing[0]}. Remove the file, or `zoo build` with annotations that "
                "have it."
            )
            continue
        if recipe is not None:
            added.recipes[str(values["name"])] = recipe
        added.models.append(row("added", values["name"], values))
    return added


def _left_out(why: str) -> None:
    warnings.warn(f"A model is left out of the catalog: {why}", stacklevel=3)
