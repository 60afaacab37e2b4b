"""Memory and speed of photographs that stay on disk.

Run: python tests/benchmarks/photographs.py MIRROR [--images N]

MIRROR has imagenet-sample, 1,000 photographs, which are gone through again and again until there were
N of them: 50,000 as in ImageNet's validation part, if not given. They are prepared for 224x224 pixels
and given to a network that takes hardly any time. Prints images per second of the wall clock and of
CPU time, and the largest resident memory of the process, whose imports alone take most of it.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import nn

from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.memory import peak_mb
from harness.target import BlackBox
from harness.types import Access
from zoo.entry import Preparation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mirror", type=Path)
    parser.add_argument("--images", type=int, default=50_000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sample = datasets.load("imagenet-1k", DataLocation(mirror=asked.mirror))
    assert sample.photographs is not None
    rows = [k % len(sample) for k in range(asked.images)]
    data = Dataset.of_photographs(
        "imagenet-1k",
        num_classes=1000,
        places=[sample.photographs.places[k] for k in rows],
        hashes=[sample.hashes[k] for k in rows],
        y=sample.y[rows],
        preparation=Preparation(size=(224, 224), resize=256, interpolation="bicubic"),
    )
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))
    before, wall, cpu = peak_mb(), time.perf_counter(), time.process_time()
    labels = BlackBox(model, Access.LABELS).labels(data.all.x)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{len(labels)} images: {len(labels) / wall:.0f}/s, {len(labels) / cpu:.0f}/CPU s")
    print(f"resident: {before:.0f} MiB before, {peak_mb():.0f} MiB at most")


if __name__ == "__main__":
    main()
