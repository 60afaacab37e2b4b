"""Count what can be counted on the networks of the catalog, and write it down."""

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from annotations.load import load
from annotations.record import Annotations
from zoo.counting import Counts, count
from zoo.curate.files import write_rows
from zoo.errors import ZooError
from zoo.nets import LIBRARIES, SHAPED, names

Network = tuple[str, tuple[int, ...], int]
"""Architecture, input shape and number of classes."""

_SAVE_EVERY = 50  # networks: what an interrupted run loses at most


def compute(
    folder: Path,
    *,
    library: str | None = None,
    again: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, list[str]]:
    """Count on every network that has no row under ``computed/`` yet.

    Args:
        folder: Of annotations; its files are rewritten.
        library: Only networks of this library, or ``nets`` for the project's own.
        again: Count anew also where there is a row.
        progress: Told how many networks are done, and how many there are.

    Returns:
        How many networks were counted, and what was wrong with those that could not be.

    Raises:
        ZooError: The library is not known.
        AnnotationError: The annotations are not valid.
    """
    annotations = load(folder)
    wanted = [n for n in networks(annotations) if library in (None, _table(n))]
    rows = {name: dict(_counted(annotations, name)) for name in {_table(n) for n in wanted}}
    todo = [n for n in wanted if again or n not in rows[_table(n)]]
    problems: list[str] = []
    for done, network in enumerate(todo):
        if progress is not None:
            progress(done, len(todo))
        try:
            found = count(*network)
        except ZooError as problem:
            problems.append(f"{network[0]}: {problem}")
            continue
        rows[_table(network)][network] = _row(network, found)
        if (done + 1) % _SAVE_EVERY == 0:
            _write(folder, annotations, rows)
    _write(folder, annotations, rows)
    return len(todo) - len(problems), problems


def check(folder: Path, sample: int, seed: int = 0) -> list[str]:
    """Count again on a random sample of the networks that have a row; what differs.

    Args:
        folder: Of annotations.
        sample: How many networks.
        seed: Of the choice.

    Raises:
        AnnotationError: The annotations are not valid.
    """
    annotations = load(folder)
    tables = {_table(n) for n in networks(annotations)}
    known = {k: row for name in tables for k, row in _counted(annotations, name)}
    chosen = random.Random(seed).sample(sorted(known), min(sample, len(known)))
    problems = []
    for network in chosen:
        found = _row(network, count(*network))
        problems += [
            f"{network[0]} {'x'.join(map(str, network[1]))}: {name} is {found[name]}, "
            f"not {known[network][name]}"
            for name in found
            if name != "counted_with" and found[name] != known[network][name]
        ]
    return problems


def networks(annotations: Annotations) -> list[Network]:
    """The networks of all models that there is code for, sorted."""
    own = set(names())
    found = set()
    for row in annotations.of("models"):
        architecture, shape = str(row.values["architecture"]), row.values["input_shape"]
        known = architecture in own or architecture.split("/")[0] in LIBRARIES.keys() | SHAPED
        if shape is not None and known:
            found.add((architecture, shape, row.values["num_classes"]))
    return sorted(found)  # type: ignore[arg-type]


def _table(network: Network) -> str:
    """Whose file of counts a network stands in."""
    library = network[0].split("/")[0]
    return library if library in LIBRARIES else "nets"


def _counted(annotations: Annotations, name: str) -> Iterator[tuple[Network, dict[str, Any]]]:
    if f"computed-{name}" not in annotations.rows:
        raise ZooError(f"The codebook has no table computed-{name}.")
    for row in annotations.rows[f"computed-{name}"]:
        values = dict(row.values)
        yield (values["architecture"], values["input_shape"], values["num_classes"]), values  # type: ignore[misc]


def _row(network: Network, counts: Counts) -> dict[str, Any]:
    named = dict(zip(("architecture", "input_shape", "num_classes"), network, strict=True))
    return named | dataclasses.asdict(counts)


def _write(folder: Path, annotations: Annotations, rows: dict[str, dict[Network, Any]]) -> None:
    for name, known in rows.items():
        table = annotations.codebook.tables[f"computed-{name}"]
        write_rows(folder, table, list(known.values()))
