"""Which models of the catalog can be attacked: with the data at hand, with other data, or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.data import datasets, label_spaces
from harness.data.dataset import DataLocation
from zoo import nets
from zoo.entry import ModelEntry

State = Literal["here", "with data", "no"]
"""The data are here; they have to be got; or something else than data is missing."""


@dataclass(frozen=True)
class Attackable:
    """Whether a model can be attacked.

    Attributes:
        state: See `State`.
        reason: What is missing; empty if nothing is.
    """

    state: State
    reason: str = ""


def attackable(entry: ModelEntry, source: DataLocation) -> Attackable:
    """Whether a model can be attacked, as far as that is known without its weights and its data.

    Args:
        entry: The catalog's record of it.
        source: Where dataset files are.
    """
    if entry.recipe is None and entry.artifact is None:
        return Attackable("no", "no weights are published")
    if entry.recipe is None and (entry.mean is None or entry.std is None):
        return Attackable("no", "its source does not say how its input is scaled")
    if not nets.known(entry.architecture):
        return Attackable("no", f"no code for the architecture {entry.architecture}")
    if entry.dataset not in datasets.names(source):
        return Attackable("no", f"no reader for the dataset {entry.dataset}")
    spaces = label_spaces.OF_DATASETS.get(entry.dataset)
    if spaces is not None and entry.num_classes not in spaces:
        return Attackable("no", f"nobody states what its {entry.num_classes:,} logits stand for")
    if not datasets.is_here(entry.dataset, source):
        return Attackable("with data", f"the files of {entry.dataset} are not here")
    return Attackable("here")
