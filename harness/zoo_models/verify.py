"""Is a model what its annotation says? Hash, strict loading, and accuracy on its dataset."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from harness.batches import parts
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Split
from harness.data.quarters import quarters
from harness.metrics.label_order import doubt
from harness.metrics.proportions import CONFIDENCE, interval
from harness.target import BlackBox
from harness.types import Access, Regime
from harness.zoo_models.selftrained import SEED
from zoo.entry import ModelEntry
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model
from zoo.sources.blobs import stored_intact


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was found about one model.

    Attributes:
        name: Of the model.
        dataset: What it was measured on.
        split: Which part of it.
        n: Number of examples.
        sha256_ok: Whether what an earlier fetch left on disk still had the recorded hashes. If
            not, the weights were fetched anew, and the accuracy is theirs.
        measured: Accuracy in [0, 1].
        ci_low: Lower end of the exact (Clopper-Pearson) 95 % interval of the accuracy.
        ci_high: Upper end.
        annotated: The accuracy that the catalog states; None if it states none.
        annotated_by: Who measured that: ``source`` is the publisher.
        annotated_n: On how many examples; None if unknown.
        verdict: ``agrees`` if the annotated accuracy is compatible with the measured one,
            ``differs``, ``not annotated``, or ``was altered``.
    """

    name: str
    dataset: str
    split: str
    n: int
    sha256_ok: bool
    measured: float
    ci_low: float
    ci_high: float
    annotated: float | None
    annotated_by: str | None
    annotated_n: int | None
    verdict: str


def compatible(right: int, n: int, annotated: float, annotated_n: int | None) -> bool:
    """Whether a measured share and an annotated one may be of the same model.

    An annotation with a known number of examples is itself a sample: Fisher's exact test compares
    the two. Without, the annotated value has to lie in the measured one's interval.
    """
    if annotated_n is None:
        low, high = interval(right, n)
        return low <= annotated <= high
    theirs = round(annotated * annotated_n)
    table = np.array([[right, n - right], [theirs, annotated_n - theirs]])
    return float(stats.fisher_exact(table).pvalue) >= 1 - CONFIDENCE


def verify(
    entry: ModelEntry,
    home: Home,
    accuracies: Sequence[Mapping[str, Any]],
    *,
    mirror: Path | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Fetch (or find) a model, load it strictly, and measure it.

    A model that seems to number its classes otherwise than the dataset is a warning.

    Args:
        entry: The model.
        home: The store.
        accuracies: What the catalog states: ``split``, ``value``, ``n``, ``evaluator`` each. The
            publisher's claim counts before anybody else's.
        mirror: Where published weights and datasets may be.
        data_dir: Where datasets may be, in torchvision's formats.
        device: Where to compute.
        limit: Measure on the first so many examples only.
        progress: Called with examples done and in all.
    """
    sha256_ok = stored_intact(entry, home) is not False
    fetched = fetch(entry, home, mirror=mirror, data_dir=data_dir)
    model = load_model(entry, fetched.path).to(device)
    dataset = datasets.load(entry.dataset, DataLocation.resolve(data_dir, mirror)).prepared(
        entry.preparation
    )
    split, test = measured_part(entry, dataset)
    if limit is not None:
        test = Split(test.x[:limit], test.y[:limit])
    test = test.to(device)
    box, answers, done = BlackBox(model, Access.LABELS), [], 0
    for part in parts(test.x, 256):
        answers.append(box.labels(part))
        done += len(part)
        if progress:
            progress(done, len(test))
    predicted = torch.cat(answers)
    right = int((predicted == test.y).sum())
    if renumbered := _order(predicted, test, dataset):
        warnings.warn(f"{entry.name}: {renumbered}.", stacklevel=2)
    low, high = interval(right, len(test))
    known = sorted(
        (a for a in accuracies if split != "all" and a["split"].startswith("test")),
        key=lambda a: a["evaluator"] != "source",
    )
    stated = known[0] if known else None
    annotated = stated["value"] if stated else fetched.accuracy
    by = stated["evaluator"] if stated else ("recipe" if fetched.accuracy is not None else None)
    annotated_n = stated["n"] if stated else (len(test) if by and limit is None else None)
    if not sha256_ok:
        verdict = "was altered"
    elif annotated is None:
        verdict = "not annotated"
    else:
        agrees = compatible(right, len(test), annotated, annotated_n)
        verdict = "agrees" if agrees else "differs"
    return Verified(
        name=entry.name,
        dataset=entry.dataset,
        split=split,
        n=len(test),
        sha256_ok=sha256_ok,
        measured=right / len(test),
        ci_low=low,
        ci_high=high,
        annotated=annotated,
        annotated_by=by,
        annotated_n=annotated_n,
        verdict=verdict,
    )


def _order(predicted: Tensor, test: Split, dataset: Dataset) -> str | None:
    return doubt(predicted.cpu().numpy(), test.y.cpu().numpy(), dataset.num_classes)


def measured_part(entry: ModelEntry, dataset: Dataset) -> tuple[str, Split]:
    """What the model was not trained on: the official test data, or the quarter held back.

    Without an official split nobody knows, and all the data is measured.
    """
    if entry.recipe is not None:
        held = quarters(dataset, SEED, Regime.FROM_SCRATCH).target_test
        return f"target-test quarter, seed {SEED}", dataset.all.take(held)
    if dataset.n_train == 0:
        return "all", dataset.all
    return "test", Split(dataset.x[dataset.n_train :], dataset.y[dataset.n_train :])
