"""The same work by Amulet 0.6.0 and by this project: CPU seconds, and what came of it.

    python tests/benchmarks/amulet.py [--amulet PYTHON] [--rows bcdefghijklmn] [--repeats 1] [--json FILE]

PYTHON is that of an environment with Amulet 0.6.0 (`amuletml`); if none is given, one is made
under build/amulet, for which Python 3.11 and 6 GB are wanted. Both sides are given the same arrays,
the same network (a CNN of 311,418 parameters), the same weights to start from and the same
settings: scikit-learn's digits at 28x28 with a tint on some, 1,297 for training and 500 for
testing, Adam at 0.001, batches of 64, one thread. A repeat has a seed of its own, which changes the
weights and the order of the batches; the side that goes first alternates.

Seconds are of CPU, of the process and its children, for the work alone: without imports, without
reading the data and without judging. Where a figure depends on how it is taken, such as robust
accuracy, both sides' models or images are judged by the same code here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import amulet_fairness
import amulet_privacy
import amulet_security
import numpy as np
import torch
from amulet_common import Common, Numbers

AMULET = "0.6.0"
SIDE = Path(__file__).with_name("amulet_side.py")
ROWS = dict(sorted({**amulet_security.ROWS, **amulet_privacy.ROWS, **amulet_fairness.ROWS}.items()))


def by_zoo(row: str, common: Common) -> tuple[float, Numbers]:
    """CPU seconds and numbers of one workload, done by this project."""
    work, judge = ROWS[row][1](common)
    begin = os.times()
    found = work()
    end = os.times()
    return sum(end[:4]) - sum(begin[:4]), judge(found)


def by_amulet(row: str, common: Common, python: Path) -> tuple[float, Numbers, dict[str, str]]:
    """The same, done by Amulet in its own environment, and the versions of what is in there."""
    done = subprocess.run(
        [python, "-P", SIDE, common.folder, row, str(common.seed)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        sys.exit(f"Amulet failed at row {row}:\n{done.stderr[-2000:]}")
    answer = json.loads((common.folder / "answer.json").read_text())
    numbers = answer["numbers"]
    if row == "b":
        found = torch.from_numpy(np.load(common.folder / "answer.npy"))
        numbers = {"robust accuracy": common.robust(common.model("target"), found)} | numbers
    if row == "l":
        found = torch.from_numpy(np.load(common.folder / "answer.npy"))
        numbers = amulet_privacy.judged(found, common) | numbers
    if row == "c":
        made = common.model("answer")
        numbers["robust accuracy"] = common.robust(made, common.evade(made))
    if row == "n":
        numbers |= amulet_fairness.gaps(common.model("answer").eval(), common)
    return answer["seconds"], numbers, answer["versions"]


def environment() -> Path:
    """The Python of an environment with Amulet, made if there is none."""
    folder = Path(__file__).parents[2] / "build" / "amulet"
    python, done = folder / "bin" / "python", folder / "done"
    if done.exists():
        return python
    found = shutil.which("python3.11")
    if found is None:
        sys.exit(
            f"Amulet {AMULET} wants Python 3.11, and there is no python3.11 here. Install it, or "
            "name the Python of an environment that has amuletml with --amulet."
        )
    print(f"Installing Amulet {AMULET} to {folder}, once; it takes 6 GB and some minutes.")
    subprocess.run([found, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", f"amuletml=={AMULET}"], check=True)
    done.touch()
    return python


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--amulet", type=Path, metavar="PYTHON")
    parser.add_argument("--rows", default="".join(ROWS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"no row {sorted(unknown)[0]}; choose among {''.join(ROWS)}")
    python = given.amulet or environment()
    torch.set_num_threads(1)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    here = {"torch": version("torch"), "numpy": version("numpy")}
    versions: dict[str, str] = {}
    record = []
    with tempfile.TemporaryDirectory() as folder:
        commons = [Common(Path(folder) / str(seed), seed) for seed in range(given.repeats)]
        for row in given.rows:
            sides: dict[str, list[tuple[float, Numbers]]] = {"amulet": [], "zoo": []}
            for common in commons:
                for side in sorted(sides, reverse=bool(common.seed % 2)):
                    if side == "amulet":
                        seconds, numbers, versions = by_amulet(row, common, python)
                    else:
                        seconds, numbers = by_zoo(row, common)
                    sides[side].append((seconds, numbers))
            ratio = show(row, sides)
            workload = ROWS[row][0]
            record.append({"row": row, "workload": workload, "ratio": ratio, "runs": sides})
    print(f"\n{machine}, one thread, repeats: {given.repeats}")
    for side, found in (("Amulet", versions), ("Zoo", here)):
        print(f"{side:6} ", ", ".join(f"{name} {number}" for name, number in found.items()))
    if given.json:
        facts = {"machine": machine, "amulet": versions, "zoo": here, "rows": record}
        given.json.write_text(json.dumps(facts, indent=2) + "\n")


def show(row: str, sides: dict[str, list[tuple[float, Numbers]]]) -> float:
    """Print what both sides did, and give the ratio of their CPU seconds."""
    what, _, remark = ROWS[row]
    means = {side: mean(runs) for side, runs in sides.items()}
    ratio = means["amulet"][0] / means["zoo"][0]
    print(f"\n{row}  {what}: Amulet takes {ratio:.1f} times the CPU time")
    for side, (seconds, numbers) in means.items():
        shown = ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())
        print(f"   {side:6} {seconds:7.1f} s   {shown}")
    print(f"   {remark}", flush=True)
    return ratio


def mean(runs: list[tuple[float, Numbers]]) -> tuple[float, Numbers]:
    """Mean seconds and mean numbers over the repeats."""
    names = runs[0][1]
    return statistics.mean(seconds for seconds, _ in runs), {
        name: statistics.mean(numbers[name] for _, numbers in runs) for name in names
    }


if __name__ == "__main__":
    main()
