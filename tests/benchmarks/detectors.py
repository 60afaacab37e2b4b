"""False alarms and seconds of the backdoor detectors on public models: SecurityNet's Table 1.

Every model of the mirror on one of the datasets is inspected by Neural Cleanse and asked by STRIP
and NEO about test images as they are, and with the grid of BadNets (target class 5), which is the
trigger of the one model that is known to be backdoored. A line per model is appended to the file;
models that are there already are left out, so the same command again goes on where it was.

    python tests/benchmarks/detectors.py --mirror /data/mirror --out detectors.csv
"""

import argparse
import csv
import time
from pathlib import Path

import torch
from torch import nn

from harness.attacks.badnets import BadNets
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Split
from harness.data.quarters import quarters
from harness.defenses.neo import NEO
from harness.defenses.neural_cleanse import NeuralCleanse
from harness.defenses.shared.defender import DefenderData, trusted_index
from harness.defenses.strip import STRIP
from harness.types import Regime
from zoo.catalog import open_catalog
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model

TRIGGER = BadNets(pattern="grid", size=3, target=5)


def _no_training(data: Split) -> nn.Module:
    raise AssertionError("a detector trains no model")


def measure(model: nn.Module, data: Dataset, images: int, samples: int) -> dict[str, object]:
    """What the three detectors say of one model, and the CPU seconds they take."""
    split = quarters(data, 0, Regime.PUBLISHED)
    held = split.target_train
    defender = DefenderData(
        data=data.all.take(held),
        trusted=data.all.take(held[trusted_index(len(held), 0)]),
        num_classes=data.num_classes,
        train=_no_training,
        recipe=None,
        seed=0,
    )
    test = data.all.take(split.target_test[:images])
    applies = TRIGGER.applies(test.y)
    triggered = TRIGGER.trigger(test.x, seed=0)[applies]
    found: dict[str, object] = {}
    with torch.no_grad():
        hits = model(triggered).argmax(1) == TRIGGER.target
        found["attack_success_rate"] = hits.float().mean().item()
    begin = time.process_time()
    verdict = NeuralCleanse(samples=samples).inspect(model, defender)
    found |= {
        "flagged": verdict.flagged,
        "anomaly": verdict.score,
        "suspected_class": verdict.notes["suspected_class"],
        "neural_cleanse_seconds": time.process_time() - begin,
    }
    for name, detector in (("strip", STRIP()), ("neo", NEO())):
        begin = time.process_time()
        found[f"{name}_fpr"] = detector.suspicious(model, test.x, defender).float().mean().item()
        found[f"{name}_seconds"] = time.process_time() - begin
        found[f"{name}_tpr"] = detector.suspicious(model, triggered, defender).float().mean().item()
    return found


def main() -> None:
    """Measure what is missing in the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dataset", nargs="+", default=["mnist", "cifar10"])
    parser.add_argument("--images", type=int, default=200, help="test images of each model")
    parser.add_argument("--samples", type=int, default=128, help="per epoch of Neural Cleanse")
    options = parser.parse_args()
    torch.set_num_threads(1)
    home = Home.open()
    done = set()
    if options.out.exists():
        with options.out.open(newline="") as file:
            done = {row["model"] for row in csv.DictReader(file)}
    catalog = open_catalog(home)
    for name in options.dataset:
        data = datasets.load(name, DataLocation(mirror=options.mirror))
        # All models: those that are known to be backdoored are left out of the other view.
        _, names = catalog.sql(
            f"SELECT name FROM v_all_models WHERE dataset = '{name}' AND mirror_path IS NOT NULL "
            "ORDER BY backdoored DESC, flops"
        )
        for (model_name,) in names:
            if model_name in done:
                continue
            entry = catalog.entry(model_name)
            made = fetch(entry, home, mirror=options.mirror)
            model = load_model(entry, home.blobs / made.sha256).eval().requires_grad_(False)
            row = {"dataset": name, "model": entry.name, "backdoored": entry.backdoored}
            row |= measure(model, data, options.images, options.samples)
            with options.out.open("a", newline="") as file:
                writer = csv.DictWriter(file, list(row))
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
            print(row, flush=True)


if __name__ == "__main__":
    main()
