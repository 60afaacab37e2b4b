"""The evasion attacks on the mirror's models, next to what was measured there and to foolbox.

Run: python tests/benchmarks/evasion.py [--ensemble 200] [MODEL ...]. Needs ZOO_MIRROR. For every
model whose manifest states an accuracy under PGD: that figure, foolbox's PGD with the same steps,
and ours, all on the first 1,000 test images; then FGSM, PGD and AutoAttack on as many as
--ensemble says, with AutoAttack's flags. A figure above the manifest's by more than a point, or an
order other than AutoAttack <= PGD <= FGSM, is marked with an exclamation mark. Seconds are of CPU.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import foolbox
import torch
from torch import nn

from harness.attacks.apgd import APGDCE
from harness.attacks.autoattack import AutoAttack
from harness.attacks.fgsm import FGSM
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints, Evaded
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.examples import Split
from harness.memory import peak_mb
from harness.target import BlackBox
from harness.types import Access
from zoo.catalog import open_catalog
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model

# Keys of the manifest: steps and radius of the PGD that was run there.
MEASURED = {
    "pgd20_eps2_255": (20, 2 / 255),
    "pgd40_eps01_first1000": (40, 0.1),
    "pgd40_eps0.1_first1000": (40, 0.1),
    "pgd40_eps03_first1000": (40, 0.3),
    "pgd40_eps0.3_first1000": (40, 0.3),
}


def robust(model: nn.Module, points: Split, attack) -> tuple[float, float, tuple[str, ...]]:
    """Robust accuracy, CPU seconds and flags of one attack."""
    data = AttackedPoints(
        points=points, num_classes=10, architecture="", input_shape=tuple(points.x.shape[1:])
    )
    begin = time.process_time()
    found = attack.run(BlackBox(model, Access.WEIGHTS), data, seed=0)
    seconds = time.process_time() - begin
    x, flags = (found.x, found.flags) if isinstance(found, Evaded) else (found, ())
    judge = BlackBox(model, Access.LABELS)
    right = (judge.labels(points.x) == points.y) & (judge.labels(x) == points.y)
    return right.double().mean().item(), seconds, flags


def by_foolbox(model: nn.Module, points: Split, steps: int, epsilon: float) -> float:
    """Robust accuracy under foolbox's PGD with the same steps."""
    torch.manual_seed(0)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=2.5 * epsilon / steps, steps=steps)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    judge, right = BlackBox(model, Access.LABELS), 0
    for x, y in zip(points.x.split(250), points.y.split(250), strict=True):
        _, _, broken = attack(wrapped, x, y, epsilons=epsilon)
        right += int((~broken & (judge.labels(x) == y)).sum())
    return right / len(points)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--ensemble", type=int, default=200, help="0 to leave AutoAttack out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    mirror = Path(os.environ["ZOO_MIRROR"])
    files = json.loads((mirror / "MANIFEST.json").read_text())["files"]
    measured = {file["path"]: file.get("measured") or {} for file in files}
    home = Home.open(Path(tempfile.mkdtemp()))
    catalog = open_catalog(home)
    print(
        "model                                        manifest foolbox   pgd     s  apgd-ce     s"
    )
    ensembles = []
    for name in arguments.models or [e.name for e in catalog.entries("source = 'published'")]:
        entry = catalog.entry(name)
        known = measured.get(entry.artifact.mirror_path, {}).items()
        wanted = [(MEASURED[key], value) for key, value in known if key in MEASURED]
        if not wanted:
            continue
        ((steps, epsilon), stated) = wanted[0]
        model = load_model(entry, fetch(entry, home, mirror=mirror, accept_licence=True).path)
        dataset = datasets.load(entry.dataset, DataLocation(mirror=mirror))
        points = dataset.all.take(dataset.n_train + torch.arange(1000))
        pgd = PGD(epsilon=epsilon, steps=steps).resolve(dataset)
        theirs = by_foolbox(model, points, steps, epsilon)
        ours, seconds, _ = robust(model, points, pgd)
        auto, auto_seconds, _ = robust(model, points, APGDCE(epsilon=epsilon))
        mark = "!" if max(ours, auto) > stated + 0.01 else ""
        print(
            f"{name:45s} {stated:7.3f} {theirs:7.3f} {ours:5.3f} {seconds:5.1f}"
            f" {auto:8.3f} {auto_seconds:5.1f} {mark}",
            flush=True,
        )
        if arguments.ensemble:
            few = points.take(torch.arange(arguments.ensemble))
            rates = [robust(model, few, a) for a in (FGSM(epsilon=epsilon), pgd)]
            last = robust(model, few, AutoAttack(epsilon=epsilon))
            rates = [rate for rate, _, _ in (*rates, last)]
            mark = "" if rates == sorted(rates, reverse=True) else "!"
            ensembles.append(
                f"{name:45s} {rates[0]:5.3f} {rates[1]:5.3f} {rates[2]:10.3f} {last[1]:6.1f}"
                f" {mark}{'; '.join(last[2])}"
            )
            print("    " + ensembles[-1], flush=True)
    if ensembles:
        print(f"\non the first {arguments.ensemble} images")
        print("model                                          fgsm   pgd autoattack      s flags")
        print("\n".join(ensembles))
    peak = peak_mb()
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
