"""Models of more classes than the photographs at hand show: ImageNet's 12,000 or 22,000.

Such a model is measured on the photographs of ImageNet-1k whose class it knows, and of its answers
only those for these classes count, as timm evaluates it. Which of its logits they are is what timm
states of each label space, by the names of the classes in WordNet.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import torch
from torch import Tensor

from harness.data.dataset import Dataset
from zoo.entry import ModelEntry
from zoo.errors import ZooError

SPACES: dict[int, str] = {
    11221: "imagenet21k_miil_synsets.txt",
    11821: "imagenet12k_synsets.txt",
    21841: "imagenet22k_synsets.txt",
    21842: "imagenet22k_ms_synsets.txt",
    21843: "imagenet21k_goog_synsets.txt",
}
"""By the number of logits: timm's list of what each stands for."""

OF_DATASETS: dict[str, tuple[int, ...]] = {
    "imagenet-12k": (11821,),
    "imagenet-21k-p": (11221,),
    "imagenet-22k": (21841, 21842, 21843),
}
"""The label spaces of models of a dataset that is not at hand."""


@cache
def classes(num_logits: int) -> tuple[str, ...]:
    """Names of the classes of a label space, in the order of the logits."""
    text = (files("timm.data") / "_info" / SPACES[num_logits]).read_text(encoding="utf-8")
    return tuple(text.split())


def shared(dataset: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the classes ``known`` that every label space of a dataset has."""
    spaces = [set(classes(space)) for space in OF_DATASETS[dataset]]
    return tuple(name for name in known if all(name in space for space in spaces))


def logits(entry: ModelEntry, dataset: Dataset) -> Tensor | None:
    """Which of a model's logits are those of the dataset's classes; None for all, in order.

    Raises:
        ZooError: Nobody states which they are.
    """
    if not dataset.classes or entry.num_classes == dataset.num_classes:
        return None
    if entry.num_classes not in SPACES:
        raise ZooError(
            f"{entry.name} has {entry.num_classes:,} classes, and nobody states which of them are "
            f"those {dataset.num_classes} that the photographs of {dataset.name} show."
        )
    place = {name: k for k, name in enumerate(classes(entry.num_classes))}
    return torch.tensor([place[name] for name in dataset.classes])
