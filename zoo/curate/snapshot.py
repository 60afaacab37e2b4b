"""Bring the rows of a source up to date with the package that they are read from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from annotations.load import load
from annotations.record import Annotations
from zoo.curate.files import checked, write_rows
from zoo.curate.listing import Listing, Row
from zoo.errors import ZooError, unknown
from zoo.files import write_atomic

_IDENTITY = (
    "dataset",
    "architecture",
    "input_shape",
    "num_classes",
    "sha1",
    "sha256_prefix",
    "hub_repo",
    "member",
)
"""What may not change under a name: names are never reused."""

_ENUMERATED = {
    "pytorchcv": ("zoo.curate.pytorchcv_models", "pip install pytorchcv requests"),
    "robustbench": ("zoo.curate.robustbench_models", "pip install --no-deps robustbench"),
    "timm": ("zoo.curate.timm_models", "pip install timm"),
    "torchvision": ("zoo.curate.torchvision_models", "pip install torchvision"),
}
SOURCES = tuple(_ENUMERATED)
"""Sources that are read from installed packages."""


@dataclass(frozen=True)
class Update:
    """What a snapshot did, or would do.

    Attributes:
        source: Which was read.
        version: Of the package.
        added: Names of models that are new.
        changed: Names of models of which some value changed.
        withdrawn: Names of models that the package no longer lists; they are kept.
        uncoded: Architectures that ``architectures.csv`` has no row for; their models are left
            out until somebody says which family they are of.
    """

    source: str
    version: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    withdrawn: tuple[str, ...]
    uncoded: tuple[str, ...]


def snapshot(folder: Path, source: str, *, write: bool = True) -> Update:
    """Read a source's models anew and rewrite its files of annotations.

    Models never vanish, values that ``evidence.csv`` speaks of stay as they are, and so do columns
    that the package says nothing about.

    Args:
        folder: Of annotations.
        source: One of `SOURCES`.
        write: Whether to write, or only to tell.

    Raises:
        ZooError: The source is not known, its package is not installed, or it gives an old name
            to other weights.
        AnnotationError: The annotations are not valid.
    """
    if source not in _ENUMERATED:
        raise unknown("source of models", source, _ENUMERATED)
    module, install = _ENUMERATED[source]
    try:
        listing: Listing = import_module(module).list_models()
    except ImportError as problem:
        raise ZooError(f"{source} cannot be read ({problem}). Install it: {install}") from problem
    return update(folder, source, listing, write=write)


def update(folder: Path, source: str, listing: Listing, *, write: bool = True) -> Update:
    """`snapshot` with what the package lists."""
    annotations = load(folder)
    coded = {row.key for row in annotations.of("architectures")}
    uncoded = {m["architecture"] for m in listing.models} - coded
    _use_known_papers(annotations, listing)
    old = {row.key: dict(row.values) for row in annotations.rows[source]}
    new = {m["name"]: m for m in listing.models if m["architecture"] not in uncoded}
    for name in old.keys() & new.keys():
        for column in _IDENTITY:
            was, is_now = old[name].get(column), new[name].get(column)
            if was is not None and is_now is not None and was != is_now:
                raise ZooError(
                    f"{source} now means other weights by {name}: {column} was {was} and is "
                    f"{is_now}. Names are never reused: give the new one a name of its own."
                )
    files: dict[str, Sequence[Row] | None] = {
        source: list(new.values()),
        f"metrics-{source}": _kept(listing.metrics, new.keys() | old.keys(), "model"),
        f"exclusions-{source}": _kept(listing.exclusions, None, "model"),
        f"papers-{source}": listing.papers,
    }
    merged = {
        name: _merged(annotations, name, rows)
        for name, rows in files.items()
        if rows is not None and name in annotations.codebook.tables
    }
    changed = {
        row["name"] for row in merged[source] if row["name"] in old and row != old[row["name"]]
    }
    if write:
        with checked(folder) as copy:
            for name, rows in merged.items():
                write_rows(copy, annotations.codebook.tables[name], rows)
            if listing.version != annotations.origins[source].version:
                _record_version(copy / "sources.toml", source, listing.version)
    return Update(
        source,
        listing.version,
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(changed)),
        tuple(sorted(old.keys() - new.keys())),
        tuple(sorted(uncoded)),
    )


def _record_version(path: Path, source: str, version: str) -> None:
    """Change the one line of ``sources.toml`` that says which version was read."""
    before, head, rest = path.read_text(encoding="utf-8").partition(f"[{source}]\n")
    own, bracket, after = rest.partition("\n[")
    own = re.sub(r'^version = ".*"$', f'version = "{version}"', own, count=1, flags=re.M)
    write_atomic(path, (before + head + own + bracket + after).encode())


def _kept(rows: Sequence[Row] | None, names: set[str] | None, column: str) -> list[Row] | None:
    """Rows about models that there are."""
    if rows is None or names is None:
        return None if rows is None else list(rows)
    return [row for row in rows if row[column] in names]


def _use_known_papers(annotations: Annotations, listing: Listing) -> None:
    """Name a paper as the curated file does, if it has it."""
    known = {row.values["arxiv"]: row.key for row in annotations.rows["papers"]}
    known.pop(None, None)
    renamed = {p["key"]: known[p["arxiv"]] for p in listing.papers or () if p["arxiv"] in known}
    for model in listing.models:
        model["paper"] = renamed.get(model.get("paper"), model.get("paper"))
    if listing.papers is not None:
        listing.papers = [paper for paper in listing.papers if paper["key"] not in renamed]


def _merged(annotations: Annotations, table_name: str, rows: Sequence[Row]) -> list[Row]:
    """The old rows and the new ones, value by value."""
    table = annotations.codebook.tables[table_name]
    own = {
        (str(row.values["id"]), str(row.values["field"]))
        for row in annotations.rows["evidence"]
        if row.values["entity"] == table.entity
    }
    found: dict[str, Row] = {row.key: dict(row.values) for row in annotations.rows[table_name]}
    for row in rows:
        key = " ".join(str(row[name]) for name in table.key)
        old: Mapping[str, object] = found.get(key, {})
        found[key] = {
            column: old.get(column)
            if (key, column) in own or row.get(column) is None
            else row[column]
            for column in table.fields
        }
    return list(found.values())
