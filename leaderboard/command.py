"""The command line that measures something again."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness import registry
from harness.registry import Kind
from harness.results import STANDARD_BUDGET, Cell, Method, Value
from harness.types import Aux, Regime, ThreatModel


def commands(cells: Iterable[Cell]) -> list[str]:
    """``harness eval …`` for any cells, sorted; those that differ in their seeds share one."""
    groups: dict[Cell, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[replace(cell, seed=0)].append(cell)
    return sorted({command(group) for group in groups.values()})


def command(cells: Sequence[Cell]) -> str:
    """``harness eval …`` for cells that differ in their seeds only.

    Every setting is written out, so that the command still means the same after a default changes.
    Tuning chooses again what it has chosen.
    """
    cell, threat = cells[0], cells[0].threat
    words = ["harness", "eval", "--model", cell.model]
    words += ["--defense", "+".join(method.name for method in cell.stack) or "none"]
    if cell.regime is Regime.FINE_TUNED:
        words += ["--regime", cell.regime]
    words += ["--risk", cell.risk, "--attack", cell.attack.name]
    words += ["--access", threat.access, "--aux", _auxiliary(threat)]
    if threat.queries is not None:
        words += ["--queries", str(threat.queries)]
    if cell.examples is not None:
        words += ["--examples", str(cell.examples)]
    if not threat.adaptive:
        words += ["--adversary", "naive"]
    words += ["--seeds", str(1 + max(one.seed for one in cells))]
    chosen = dict(cell.tuned)
    for name, value in cell.recipe:
        words += ["--set", f"recipe.{name}={value}"]
    tuning = {0: "none", STANDARD_BUDGET: "standard"}.get(cell.budget, str(cell.budget))
    if cell.regime is not Regime.PUBLISHED:
        words += ["--tuning", tuning]
    methods: list[tuple[Kind, Method]] = [("defense", method) for method in cell.stack]
    methods.append(("attack", cell.attack))
    for kind, method in methods:
        for name, value in method.params:
            if f"{method.name}.{name}" not in chosen and _counts(kind, method, name, value):
                words += ["--set", f"{method.name}.{name}={_text(value)}"]
    return shlex.join(words)


def _auxiliary(threat: ThreatModel) -> str:
    """What ``--aux`` grants such an attacker."""
    detail = threat.ood if threat.aux is Aux.OOD else threat.partial
    return f"{threat.aux}:{detail}" if detail is not None else threat.aux


def _counts(kind: Kind, method: Method, name: str, value: Value) -> bool:
    """Whether a setting has to be written: all but those that nobody gave."""
    return value is not None or registry.default(kind, method.name, name) is not None


def _text(value: Value) -> str:
    """A value as ``--set`` reads it."""
    text = str(value)
    return f'"{text}"' if "," in text else text
