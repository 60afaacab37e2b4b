"""Getting a self-trained model means training it from its recipe: a source of the zoo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.quarters import quarters
from harness.metrics.classification import accuracy
from harness.target import BlackBox
from harness.training.job import Job, check_data
from harness.training.single import train_alone
from harness.types import Access, Regime
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.fetch import Fetched
from zoo.files import sha256_file
from zoo.home import Home
from zoo.loading import to_safetensors
from zoo.sources.blobs import (
    check_writable,
    intact,
    keep,
    locked,
    new_blob,
    note,
    recorded,
    remove_altered,
)

SEED = 0
"""The catalog's own instance of a self-trained model is the one of this seed."""


@dataclass(frozen=True)
class SelfTrained:
    """Trains by itself, never in a cohort, so that the same recipe gives the same bytes."""

    def fetch(
        self,
        entry: ModelEntry,
        home: Home,
        *,
        mirror: Path | None = None,
        data_dir: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Fetched:
        """Train ``entry`` on the ``target_train`` quarter of seed 0, unless that was done.

        Args:
            entry: Has a recipe.
            home: Where the weights go: ``blobs/<sha256>``.
            mirror: Where datasets may be; by default ``$ZOO_MIRROR``.
            data_dir: Likewise, in torchvision's formats or described; ``$ZOO_DATA_DIR``.
            progress: Called with steps done and steps in all.

        Returns:
            The weights, and the accuracy on the ``target_test`` quarter.
        """
        dataset = datasets.load(entry.dataset, DataLocation.resolve(data_dir, mirror)).prepared(
            entry.preparation
        )
        split = quarters(dataset, SEED, Regime.FROM_SCRATCH)
        job = job_of(entry, dataset)
        with locked(home, entry.name):
            made = recorded(home, entry.name)
            if (
                made is not None
                and made.get("job") == job.key
                and intact(home.blobs / made["sha256"])
            ):
                return Fetched(
                    entry.name,
                    home.blobs / made["sha256"],
                    made["sha256"],
                    cached=True,
                    accuracy=made["accuracy"],
                )
            remove_altered(entry.name, None, home)
            check_writable(home)
            with _one_thread():
                held = dataset.collected.take(job.index)
                model = train_alone(job, held, None, progress=progress).model
            test = dataset.all.take(split.target_test)
            measured = accuracy(BlackBox(model, Access.LABELS).labels(test.x), test.y)
            state = {k.removeprefix("net."): v.contiguous() for k, v in model.state_dict().items()}
            with new_blob(home, entry.name) as part:
                to_safetensors(state, part)
                sha256, size = sha256_file(part), part.stat().st_size
                path = keep(home, part, sha256)
            note(
                home,
                entry.name,
                {
                    "sha256": sha256,
                    "size": size,
                    "job": job.key,
                    "seed": SEED,
                    "accuracy": measured,
                    "n": len(test),
                },
            )
        return Fetched(entry.name, path, sha256, cached=False, accuracy=measured)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The same number of threads everywhere: with another, sums are rounded in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def job_of(entry: ModelEntry, dataset: Dataset) -> Job:
    """The training that makes the catalog's own instance of a self-trained model.

    Raises:
        ZooError: The model has no recipe, or does not fit its dataset.
    """
    if entry.recipe is None:
        raise ZooError(f"Model {entry.name!r} has no recipe to train it from.")
    check_data(entry, dataset)
    held = quarters(dataset, SEED, Regime.FROM_SCRATCH).target_train
    return Job.of(entry, dataset, held, recipe=entry.recipe, seed=SEED)
