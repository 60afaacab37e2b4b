"""The command line that measures something again."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.results import Cell
from harness.types import Regime


def commands(cells: Iterable[Cell]) -> list[str]:
    """``harness eval …`` for any cells, sorted; those that differ in their seeds share one."""
    groups: dict[Cell, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[replace(cell, seed=0)].append(cell)
    return sorted({command(group) for group in groups.values()})


def command(cells: Sequence[Cell]) -> str:
    """``harness eval …`` for cells that differ in their seeds only.

    Every setting is written out, so that the command still means the same after a default changes.
    A setting of None is one that was not given, and tuning chooses again what it has chosen.
    """
    cell = cells[0]
    model, _, recipe = cell.model.partition("(")
    words = ["harness", "eval", "--model", model]
    words += ["--defense", "+".join(method.name for method in cell.stack) or "none"]
    words += ["--risk", cell.risk, "--attack", cell.attack.name]
    aux = f"{cell.threat.aux}:{cell.threat.ood}" if cell.threat.ood else cell.threat.aux
    words += ["--access", cell.threat.access, "--aux", aux]
    if cell.threat.queries is not None:
        words += ["--queries", str(cell.threat.queries)]
    words += ["--seeds", str(1 + max(one.seed for one in cells))]
    tuning, chosen = "none", dict(cell.tuned)
    for change in recipe.removesuffix(")").split(", ") if recipe else []:
        name, _, value = change.partition("=")
        if name == "tuned":
            tuning = value or "standard"
        else:
            words += ["--set", f"recipe.{change}"]
    if cell.regime is not Regime.PUBLISHED:
        words += ["--tuning", tuning]
    for method in (*cell.stack, cell.attack):
        for name, value in method.params:
            if value is not None and f"{method.name}.{name}" not in chosen:
                words += ["--set", f"{method.name}.{name}={value}"]
    return shlex.join(words)
