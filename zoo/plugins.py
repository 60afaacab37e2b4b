"""What other packages add by entry points. What is broken is left out, and nothing else with it.

Groups: ``harness.attacks``, ``harness.defenses``, ``harness.metrics``, ``harness.datasets``,
``zoo.networks`` and ``zoo.sources``.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any


@dataclass(frozen=True)
class LeftOut:
    """A plugin that cannot be used.

    Attributes:
        kind: What it would be: ``attack``.
        name: Of its entry point.
        package: That brings it.
        reason: Why not, in one line.
    """

    kind: str
    name: str
    package: str
    reason: str

    def __str__(self) -> str:
        return f"The {self.kind} {self.name!r} of {self.package} is left out: {self.reason}"


@dataclass(frozen=True)
class Plugins:
    """What the installed packages add to one group.

    Attributes:
        found: The objects that the entry points name, by the names of these.
        packages: Where each is from, by the same names.
        left_out: What cannot be used.
    """

    found: Mapping[str, Any]
    packages: Mapping[str, str]
    left_out: tuple[LeftOut, ...]


def find(
    group: str,
    kind: str,
    *,
    taken: Container[str] = (),
    wrong: Callable[[str, Any], str | None] = lambda name, found: None,
) -> Plugins:
    """Import what the installed packages add to a group, and warn of what cannot be used.

    Args:
        group: Of entry points.
        kind: What its members are, in the singular.
        taken: Names that are not to be had.
        wrong: From a name and the object to why it is none of that kind; None if it is one.
    """
    found: dict[str, Any] = {}
    packages: dict[str, str] = {}
    left_out = []
    for point in entry_points(group=group):
        package = f"the package {point.dist.name}" if point.dist else point.value
        made, reason = None, None
        if point.name in taken:
            reason = "the name is taken by one of ours. Rename it."
        elif point.name in found:
            reason = f"{packages[point.name]} has one of that name, too."
        else:
            made, reason = _loaded(point, wrong)
        if reason is not None:
            left_out.append(LeftOut(kind, point.name, package, reason))
            continue
        found[point.name], packages[point.name] = made, package
    if multiprocessing.parent_process() is None:  # workers do not say it again
        for one in left_out:
            warnings.warn(str(one), stacklevel=3)
    return Plugins(dict(sorted(found.items())), packages, tuple(left_out))


def _loaded(point: EntryPoint, wrong: Callable[[str, Any], str | None]) -> tuple[Any, str | None]:
    """What an entry point names, and why it cannot be used; None if it can."""
    try:
        made = point.load()
        return made, wrong(point.name, made)
    except (Exception, SystemExit) as error:  # whatever somebody else's code does on import
        return None, f"{type(error).__name__}: {' '.join(str(error).split())}"
