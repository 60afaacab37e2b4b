"""Getting a self-trained model means training it from its recipe: a source of the zoo."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import safetensors.torch
import torch

from harness import datasets
from harness.datasets import Dataset, Quarters
from harness.metrics.classification import accuracy
from harness.target import BlackBox
from harness.training import Job, train_alone
from harness.types import Access, Regime
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.fetch import Fetched
from zoo.files import sha256_file, write_atomic, write_json
from zoo.home import Home

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
        progress: Callable[[int, int], None] | None = None,
    ) -> Fetched:
        """Train ``entry`` on the ``target_train`` quarter of seed 0, unless that was done.

        Args:
            entry: Has a recipe.
            home: Where the weights go: ``blobs/<sha256>``.
            progress: Called with steps done and steps in all.

        Returns:
            The weights, and the accuracy on the ``target_test`` quarter.
        """
        dataset, split = _data(entry)
        job = _job(entry, dataset, split)
        record = home.model(entry.name) / "fetched.json"
        if record.exists():
            found = json.loads(record.read_text())
            path = home.blobs / found["sha256"]
            if found["job"] == job.key and path.exists() and sha256_file(path) == path.name:
                return Fetched(entry.name, path, path.name, True, found["accuracy"])
        with _one_thread():
            model = train_alone(job, dataset.all.take(job.index), None, progress=progress).model
        test = dataset.all.take(split.target_test)
        measured = accuracy(BlackBox(model, Access.LABELS).labels(test.x), test.y)
        state = {k.removeprefix("net."): v.contiguous() for k, v in model.state_dict().items()}
        content = safetensors.torch.save(state)
        path = home.blobs / hashlib.sha256(content).hexdigest()
        write_atomic(path, content)
        write_json(
            record,
            {
                "sha256": path.name,
                "size": len(content),
                "job": job.key,
                "seed": SEED,
                "accuracy": measured,
                "n": len(test),
            },
        )
        return Fetched(entry.name, path, path.name, False, measured)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The same number of threads everywhere: with another, sums are rounded in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _data(entry: ModelEntry) -> tuple[Dataset, Quarters]:
    dataset = datasets.load(entry.dataset, datasets.Source.resolve())
    return dataset, datasets.quarters(dataset, SEED, Regime.FROM_SCRATCH)


def _job(entry: ModelEntry, dataset: Dataset, split: Quarters) -> Job:
    if entry.recipe is None:
        raise ZooError(f"Model {entry.name!r} has no recipe to train it from.")
    return Job.of(entry, dataset, split.target_train, recipe=entry.recipe, seed=SEED)
