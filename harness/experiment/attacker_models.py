"""A model of the catalog that an attacker brings along: what it may be, and what it was trained on.

It stands for what somebody without access has. So it is not the target, and what it does on the
examples that it was trained on says nothing about those of others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.data.dataset import Dataset
from harness.data.quarters import quarters
from harness.training.job import Job
from harness.types import Regime, UnfitError
from harness.zoo_models.selftrained import SEED, job_of
from zoo.entry import ModelEntry
from zoo.errors import ZooError


def check_fits(entry: ModelEntry, dataset: Dataset) -> None:
    """Refuse a model that cannot answer the target's inputs.

    Raises:
        ZooError: Its input or its classes are not the target's.
    """
    if entry.num_classes != dataset.num_classes or entry.dataset != dataset.name:
        raise ZooError(
            f"The surrogate {entry.name} is for {entry.dataset} ({entry.num_classes} classes), but "
            f"the target is for {dataset.name} ({dataset.num_classes} classes)."
        )


def check_other(
    entry: ModelEntry, dataset: Dataset, *, sha256: str, target: str | None, job: Job
) -> None:
    """Refuse the target itself: crafting on its own weights is what an attacker with them does.

    Args:
        entry: The attacker's model.
        dataset: The target's.
        sha256: Of the attacker's weights.
        target: sha256 of the target's, if they are published ones as downloaded.
        job: What made the target.

    Raises:
        NotApplicableError: It has the same weights, or is the outcome of the same training.
    """
    same = sha256 == target
    if entry.recipe is not None:
        same = same or job_of(entry, dataset).key == job.key
    if same:
        raise UnfitError(
            f"The attacker's {entry.name} is the target itself, which an attacker without the "
            f"weights does not have. Choose another model with transfer.source, or pgd for an "
            f"attacker with the weights."
        )


def trained_on(entry: ModelEntry, dataset: Dataset) -> Tensor:
    """The rows of its dataset that a model of the catalog was trained on, (n,) int64.

    Of a self-trained one they are those of its recipe's own instance, of a published one all of the
    official training data.

    Raises:
        NotApplicableError: It is published, and its dataset has no official training data.
    """
    if entry.recipe is not None:
        return quarters(dataset, SEED, Regime.FROM_SCRATCH).target_train
    if not dataset.n_train:
        raise UnfitError(
            f"Nobody knows what examples of {dataset.name} the attacker's {entry.name} was trained "
            f"on, so they cannot be told from those under attack. Choose a model with a recipe."
        )
    return torch.arange(dataset.n_train)
