"""Training many small models together against one by one: CPU seconds and their ratio.

Run: python tests/benchmarks/cohort.py [--models 6]. One thread, both ways in one process, the
order alternating; the ratio is what to compare between machines.
"""

import argparse
import statistics
import time

import torch

from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.quarters import quarters
from harness.training import cohort
from harness.training.job import Job
from harness.training.single import train_alone
from harness.types import Regime
from zoo.recipe import Recipe

ARCHITECTURES = ["mlp-128", "cnn-small", "resnet8", "vit-tiny-patch2"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = datasets.load("digits", DataLocation())
    print(f"torch {torch.__version__}, {arguments.models} models, 3 epochs of 449 digits")
    print("architecture     alone s  together s  ratio")
    for architecture in ARCHITECTURES:
        jobs = [
            Job(
                dataset=data.name,
                fingerprint=data.fingerprint,
                index=quarters(data, seed, Regime.FROM_SCRATCH).target_train,
                architecture=architecture,
                input_shape=(1, 8, 8),
                num_classes=10,
                mean=(0.0,),
                std=(1.0,),
                recipe=Recipe(epochs=3, batch_size=32),
                seed=seed,
            )
            for seed in range(arguments.models)
        ]
        seconds: dict[str, list[float]] = {"alone": [], "together": []}
        for repeat in range(arguments.repeats + 1):
            for way in ("alone", "together") if repeat % 2 else ("together", "alone"):
                begin = time.process_time()
                if way == "together":
                    cohort.train_together(jobs, data.all, {})
                else:
                    for job in jobs:
                        train_alone(job, data.all.take(job.index), None)
                if repeat:  # the first round warms up
                    seconds[way].append(time.process_time() - begin)
        alone, together = (statistics.median(seconds[way]) for way in ("alone", "together"))
        print(f"{architecture:15s} {alone:8.2f} {together:11.2f} {alone / together:6.2f}")


if __name__ == "__main__":
    main()
