"""One cell to one evaluation. Computes, touches no disk; all randomness comes from the cell."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from harness import registry
from harness.datasets import Dataset, Quarters, quarters
from harness.games import (
    attribute,
    discrimination,
    distribution,
    evasion,
    extraction,
    membership,
    poisoning,
    reconstruction,
)
from harness.games.game import Game, Outcome, Table
from harness.metrics.classification import accuracy
from harness.privacy import claimed, left_out
from harness.results import Cell, Evaluation
from harness.seeds import derive
from harness.stack import Stack
from harness.susceptibility import PRIMARY, susceptibility
from harness.target import BlackBox
from harness.training import Job, Trained, workshop
from harness.types import Access, Risk, Split
from harness.workshop import trusted_index
from zoo.files import digest

GAMES: dict[Risk, Game] = {
    Risk.EVASION: evasion,
    Risk.POISONING: poisoning,
    Risk.EXTRACTION: extraction,
    Risk.MEMBERSHIP_INFERENCE: membership,
    Risk.ATTRIBUTE_INFERENCE: attribute,
    Risk.DATA_RECONSTRUCTION: reconstruction,
    Risk.DISTRIBUTION_INFERENCE: distribution,
    Risk.DISCRIMINATORY_BEHAVIOR: discrimination,
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Loaded:
    """The models that a cell needs.

    Attributes:
        target: Before its output defenses.
        job: What made it; for a published model as downloaded, a job that trains nothing.
        base: The published weights, if it was made from some.
        source: The attacker's other model of the catalog; None if there is none.
        others: See `harness.games.game.Table`.
    """

    target: Trained
    job: Job
    base: dict[str, Tensor] | None = None
    source: nn.Module | None = None
    others: Mapping[str, Sequence[nn.Module]] = field(default_factory=dict)


def evaluate(
    cell: Cell,
    loaded: Loaded,
    dataset: Dataset,
    ood: Split | None,
    *,
    architecture: str,
    device: str,
    provenance: Mapping[str, Any],
) -> tuple[Evaluation, Outcome]:
    """Measure one cell.

    Args:
        cell: What to measure.
        loaded: Its target and the other models that its game needs, on the device.
        dataset: Its data.
        ood: The attacker's other data, fitted to the target's input, if the threat model has any.
        architecture: Of the target.
        device: Where to compute.
        provenance: What the caller knows of where the weights come from.

    Returns:
        The evaluation, and with it the per-example columns from which its metrics can be made
        again, and pictures.
    """
    begin = time.perf_counter()
    stack = Stack.of(registry.defenses(cell.stack))
    split = quarters(dataset, cell.seed, cell.regime)
    trained = loaded.target
    held = dataset.collected.take(split.target_train)
    trusted = held.take(trusted_index(len(held), cell.seed))
    shop = workshop(loaded.job, held.to(device), trusted.to(device), loaded.base)
    evidence = claimed(trained.evidence, left_out(stack, dataset, split.target_train))
    table = Table(
        model=stack.guard(trained.model, shop).to(device).eval(),
        dataset=dataset,
        quarters=split,
        ood=ood,
        architecture=architecture,
        threat=cell.threat,
        # One stream per seed and attack, the same for every stack: defended and undefended models
        # face the same luck, so it cancels in their difference.
        seed=derive("attack", cell.attack.name, cell.seed),
        replicate=cell.seed,
        device=device,
        stack=stack,
        unguarded=trained.model,
        shop=shop,
        poison_seed=derive("poison", cell.seed),
        regime=cell.regime,
        evidence=evidence,
        source=loaded.source,
        others=loaded.others,
    )
    outcome = GAMES[cell.risk].play(registry.attack(cell.attack), table)
    utility = outcome.metrics.get("clean_accuracy")
    if utility is None:
        test = table.hold(table.quarters.target_test)
        utility = accuracy(BlackBox(table.model, Access.LABELS).labels(test.x), test.y)
    metrics = {name: _known(value) for name, value in outcome.metrics.items()}
    evaluation = Evaluation(
        cell=cell,
        status="ok",
        metrics=metrics,
        primary=PRIMARY[cell.risk],
        susceptibility=susceptibility(cell.risk, metrics),
        utility=utility,
        evidence={**evidence, **outcome.notes},
        provenance={
            **environment(device),
            "split": _split(table.quarters),
            "attributes_in_features": list(dataset.stated),
            **provenance,
        },
        seconds=time.perf_counter() - begin,
        peak_memory_mb=peak_memory_mb(device),
    )
    return evaluation, outcome


def _known(value: float | None) -> float | None:
    """None for what is no number: a model that gives NaN has no such metric."""
    return value if value is not None and math.isfinite(value) else None


def _split(quarters: Quarters) -> str:
    """Digest of who holds which examples."""
    return digest({name: index.tolist() for name, index in vars(quarters).items()})


def environment(device: str) -> dict[str, Any]:
    """Versions and hardware that a number may depend on."""
    packages = (
        "zoo-harness", "torch", "opacus", "numpy", "scipy", "scikit-learn", "torchmetrics",
        "fairlearn",
    )  # fmt: skip
    return {
        "packages": {name: version(name) for name in packages},
        "python": ".".join(map(str, sys.version_info[:3])),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "threads": torch.get_num_threads(),
        "dtype": "float32",
    }


def peak_memory_mb(device: str) -> float:
    """Largest memory this process has held so far: of the accelerator, else resident."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
