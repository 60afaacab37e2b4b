"""What can be chosen, as rows: made from the registry and the methods' own docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from annotations.load import load_taxonomy
from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.image_sets import celeba_task
from harness.data.tables import description as table_description
from harness.metrics.susceptibility import DIRECTIONS, FORMULAS, PRIMARY
from harness.registry import AttackOrDefense, Kind
from harness.types import Risk
from zoo.errors import ZooError, unknown

Rows = tuple[list[str], list[tuple[Any, ...]]]


def rows(kind: str, source: DataLocation = DataLocation()) -> Rows:
    """Column names and rows: risks, attacks, defenses, metrics or datasets.

    Args:
        kind: Of these.
        source: Where the user's own datasets are.

    Raises:
        UnknownNameError: There is no such kind.
    """
    listed: dict[str, Callable[[], Rows]] = {
        "risks": _risks,
        "attacks": _attacks,
        "defenses": _defenses,
        "metrics": _metrics,
        "datasets": lambda: _datasets(source),
    }
    if kind not in listed:
        raise unknown("kind to list", kind, listed)
    return listed[kind]()


def long_rows(kind: str, source: DataLocation = DataLocation()) -> Rows:
    """As `rows`, with everything that is known: of methods what they say of themselves.

    Attacks and defenses have two more columns: ``description``, the docstrings of file and class,
    and ``settings``, the defaults by name.
    """
    if kind == "datasets":
        return _described_datasets(source)
    header, found = rows(kind, source)
    if kind not in ("attacks", "defenses"):
        return header, found
    known = registry.known("attack" if kind == "attacks" else "defense")
    return [*header, "description", "settings"], [
        (*row, _docstrings(method), _settings(method))
        for row, method in zip(found, known.values(), strict=True)
    ]


def description(kind: Kind, name: str) -> str:
    """Everything a method says of itself: docstring of its file and class, facts, settings."""
    method = registry.get(kind, name)
    settings = "\n".join(f"  {name} = {value!r}" for name, value in _settings(method).items())
    return (
        f"{_docstrings(method)}\n\nReference: {method.reference}\n\n"
        f"Settings and their defaults:\n{settings or '  none'}"
    )


def _docstrings(method: Any) -> str:
    module = inspect.getdoc(inspect.getmodule(method)) or ""
    return f"{module}\n\n{inspect.getdoc(method)}"


def _settings(method: Any) -> dict[str, Any]:
    return {field.name: field.default for field in fields(method)}


def _first_line(method: type[AttackOrDefense]) -> str:
    return (inspect.getdoc(method) or "").splitlines()[0]


def _risks() -> Rows:
    taxonomy = load_taxonomy()
    attacks = registry.known("attack")
    found = []
    for risk in Risk:
        names = ", ".join(n for n, kind in attacks.items() if kind.risk is risk)
        found.append((str(risk), taxonomy.risks[risk].definition, names or None))
    return ["risk", "what it is", "attacks"], found


def _attacks() -> Rows:
    return (
        ["attack", "risk", "standard", "access", "aux", "what it does", "reference"],
        [
            (name, str(kind.risk), "yes" if name in registry.STANDARD.get(kind.risk, ()) else "no",
             " or ".join(kind.access), " or ".join(kind.aux), _first_line(kind), kind.reference)
            for name, kind in registry.known("attack").items()
        ],
    )  # fmt: skip


def _defenses() -> Rows:
    return (
        ["defense", "guards", "acts on", "what it does", "reference"],
        [
            (name, str(kind.guards), ", ".join(sorted(kind.acts_on)), _first_line(kind),
             kind.reference)
            for name, kind in registry.known("defense").items()
        ],
    )  # fmt: skip


def _metrics() -> Rows:
    return (
        ["risk", "metric", "primary", "direction", "susceptibility", "reference"],
        [
            *((str(risk), m, "yes", DIRECTIONS[m], FORMULAS[risk], None)
              for risk, m in PRIMARY.items()),
            *((str(kind.risk), name, "no", kind.direction, None, kind.reference)
              for name, kind in registry.known("metric").items()),
        ],
    )  # fmt: skip


def _datasets(source: DataLocation) -> Rows:
    """All datasets, where each was found, and which files are looked for."""

    def where(name: str) -> datasets.Whereabouts:
        try:
            return datasets.where(name, source)
        except ZooError as error:
            return datasets.Whereabouts(None, str(error))

    found = [(name, where(name)) for name in datasets.names(source)]
    return ["dataset", "found in", "files that are looked for"], [
        (name, str(one.found) if one.found else "built in" if one.is_here else None,
         one.wanted or None)
        for name, one in found
    ]  # fmt: skip


def _described_datasets(source: DataLocation) -> Rows:
    """All datasets, and what the descriptions of tables say without a look at the rows."""
    builtin, own = table_description.builtin(), datasets.own_tables(source)
    paths = {**{k: path for k, path in own.items() if k not in datasets.DATASETS}, **builtin}
    (first, *others), found = _datasets(source)
    header = [first, "sensitive attributes", "among the features", "what it is", *others]
    return header, [(name, *_said(name, paths.get(name)), *where) for name, *where in found]


def _said(name: str, path: Path | None) -> tuple[str | None, str | None, str | None]:
    if path is None:
        return ", ".join(datasets.ATTRIBUTES.get(name, ())) or None, None, None
    try:
        if celeba_task.is_one(path):
            return ", ".join(celeba_task.sensitive(path)) or None, None, "a task on CelebA"
        said = table_description.read(path)
    except ZooError as error:
        return None, None, str(error)
    attributes = ", ".join(one.name for one in said.sensitive)
    told = ("yes" if said.sensitive_in_features else "no") if attributes else None
    return attributes or None, told, said.about or None
