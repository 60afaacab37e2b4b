"""The command line that measures something again."""

import shlex
from collections.abc import Sequence

from harness.results import Cell


def command(cells: Sequence[Cell]) -> str:
    """``harness eval …`` for cells that differ in their seeds only.

    Every setting is written out, so that the command still means the same after a default changes.
    """
    cell = cells[0]
    words = ["harness", "eval", "--model", cell.model]
    words += ["--defense", "+".join(method.name for method in cell.stack) or "none"]
    words += ["--risk", cell.risk, "--attack", cell.attack.name]
    words += ["--access", cell.threat.access, "--aux", cell.threat.aux]
    words += ["--seeds", str(1 + max(one.seed for one in cells))]
    for method in (*cell.stack, cell.attack):
        for name, value in method.params:
            words += ["--set", f"{name}={value}"]
    return shlex.join(words)
