"""One cell to one evaluation. Computes, touches no disk; all randomness comes from the cell."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from harness import memory, registry
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.data.quarters import Quarters, quarters
from harness.defenses.shared.defender import trusted_index
from harness.defenses.stack import Stack
from harness.experiment.plan import Planned
from harness.finite import check_model, check_result
from harness.games.by_risk import GAMES
from harness.games.game import Outcome, Scenario, attack_seed
from harness.games.privacy import claimed, left_out
from harness.learning import tuning
from harness.metrics.classification import accuracy
from harness.metrics.label_order import CHANCE_LEVEL, doubt, p_majority
from harness.metrics.susceptibility import PRIMARY, susceptibility, undefined
from harness.results import Cell, Evaluation, Evidence, Provenance
from harness.seeds import derive
from harness.target import BlackBox
from harness.training.job import Job, Trained
from harness.training.single import collected, defender_data, would_leave_out
from harness.types import Access, Aux
from zoo.files import digest


@dataclass(frozen=True, eq=False, kw_only=True)
class CellModels:
    """The models that a cell needs.

    Attributes:
        target: Before its output defenses.
        job: What made it; for a published model as downloaded, a job that trains nothing.
        base: The published weights, if it was made from some.
        source: The attacker's other model of the catalog; None if there is none.
        source_rows: (n,) int64, rows of the dataset that it was trained on.
        others: See `harness.games.game.Scenario`.
        others_left_out: Likewise.
        seconds: Likewise.
        target_seconds: The second models of the target's guards, by guard.
    """

    target: Trained
    job: Job
    base: dict[str, Tensor] | None = None
    source: nn.Module | None = None
    source_rows: Tensor | None = None
    others: Mapping[str, Sequence[nn.Module]] = field(
        default_factory=dict[str, Sequence[nn.Module]]
    )
    others_left_out: Mapping[str, Sequence[Tensor | None]] = field(
        default_factory=dict[str, Sequence[Tensor | None]]
    )
    seconds: Mapping[str, Mapping[str, nn.Module]] = field(
        default_factory=dict[str, Mapping[str, nn.Module]]
    )
    target_seconds: Mapping[str, nn.Module] = field(default_factory=dict[str, nn.Module])

    @classmethod
    def of(
        cls,
        item: Planned,
        target: Trained,
        job: Job,
        trained: Callable[[Job], Trained],
        *,
        base: dict[str, Tensor] | None = None,
        source: nn.Module | None = None,
        source_rows: Tensor | None = None,
    ) -> CellModels:
        """The models of a planned cell.

        Args:
            item: The cell.
            target: See the class, like the others that are not named here.
            job: Likewise.
            trained: From a training to its model.
            base: Likewise.
            source: Likewise.
            source_rows: Likewise.
        """

        def seconds(jobs: Mapping[str, Job]) -> dict[str, nn.Module]:
            return {name: trained(one).model for name, one in jobs.items()}

        others = {purpose: [trained(one) for one in jobs] for purpose, jobs in item.others.items()}
        return cls(
            target=target,
            job=job,
            base=base,
            source=source,
            source_rows=source_rows,
            others={name: [made.model for made in models] for name, models in others.items()},
            others_left_out={
                name: [made.left_out for made in models] for name, models in others.items()
            },
            seconds={key: seconds(jobs) for key, jobs in item.seconds.items()},
            target_seconds=seconds(item.target_seconds),
        )


def scenario_of(
    cell: Cell,
    loaded: CellModels,
    dataset: Dataset,
    ood: Split | None,
    *,
    architecture: str,
    device: str,
) -> Scenario:
    """What a cell's game is played on; the arguments are those of `evaluate`.

    Raises:
        NotFiniteError: A weight or an answer is NaN or infinite.
    """
    stack = Stack.of(registry.defenses(cell.stack))
    shadow = cell.threat.aux is Aux.SHADOW
    split = quarters(dataset, cell.seed, cell.regime, shadow=shadow)
    trained = loaded.target
    held = dataset.collected.take(split.target_train)
    trusted = (
        dataset.collected.take(split.checked)
        if len(split.checked)
        else held.take(trusted_index(len(held), cell.seed))
    )
    # Whoever is poisoned does not know it, and makes the guards from the same data as the weights.
    poisoned = collected(loaded.job, held)
    held = poisoned.data if poisoned is not None else held
    defender = defender_data(loaded.job, held.to(device), trusted.to(device), loaded.base)
    seconds = stack.seconds(loaded.target_seconds, defender.seed)
    defender = replace(defender, seconds=seconds)
    test = dataset.all.take(split.target_test)
    models = {"target": [trained.model], "source": [loaded.source] if loaded.source else []}
    for role, given in {**models, **loaded.others}.items():
        for model in given:
            check_model(model, test.x, role=role)
    evidence = claimed(
        trained.evidence,
        left_out(stack, dataset, split.target_train),
        tuning.left_out(trained.evidence),
    )
    return Scenario(
        model=stack.guard(trained.model, defender).to(device).eval(),
        dataset=dataset,
        quarters=split,
        ood=ood,
        architecture=architecture,
        threat=cell.threat,
        seed=attack_seed(cell.attack.name, cell.seed),
        replicate=cell.seed,
        device=device,
        stack=stack,
        unguarded=trained.model,
        defender=defender,
        poison_seed=derive("poison", cell.seed),
        regime=cell.regime,
        evidence=evidence,
        source=loaded.source,
        source_rows=loaded.source_rows,
        others=loaded.others,
        left_out=trained.left_out,
        others_left_out=loaded.others_left_out,
        would_leave_out=partial(would_leave_out, loaded.job, loaded.base),
        seconds=loaded.seconds,
    )


def evaluate(
    cell: Cell,
    loaded: CellModels,
    dataset: Dataset,
    ood: Split | None,
    *,
    architecture: str,
    device: str,
    provenance: Provenance,
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

    Raises:
        NotFiniteError: A weight, an answer or anything that was measured is NaN or infinite.
    """
    begin = time.perf_counter()
    scenario = scenario_of(cell, loaded, dataset, ood, architecture=architecture, device=device)
    trained, evidence = loaded.target, scenario.evidence
    outcome = GAMES[cell.risk].play(registry.attack(cell.attack), scenario)
    utility, truth = outcome.metrics.get("clean_accuracy"), outcome.samples.get("label")
    test = dataset.all.take(scenario.quarters.target_test)
    if utility is None or truth is None:
        utility = accuracy(BlackBox(scenario.model, Access.LABELS).labels(test.x), test.y)
        truth = test.y.numpy()
    lost = _at_chance(utility, truth)
    if lost:
        answers = BlackBox(scenario.model, Access.LABELS).labels(test.x)
        order = doubt(answers.cpu().numpy(), test.y.cpu().numpy(), dataset.num_classes)
        lost += [order] if order else []
    flags = [
        *trained.evidence.get("flags", ()),
        *outcome.notes.get("flags", ()),
        *dict.fromkeys(scenario.doubts),
        *lost,
    ]
    said = {**evidence, **outcome.notes, **({"flags": flags} if flags else {})}
    metrics, primary = outcome.metrics, PRIMARY[cell.risk]
    check_result(metrics, said, outcome.samples)
    level = susceptibility(cell.risk, metrics)
    evaluation = Evaluation(
        cell=cell,
        status="ok",
        reason=None if level is not None else undefined(cell.risk, metrics),
        metrics=metrics,
        primary=primary,
        susceptibility=level,
        utility=utility,
        evidence=cast("Evidence", said),
        provenance={
            **environment(device),
            "split": _split(scenario.quarters),
            "attributes_in_features": list(dataset.stated),
            "samples": len(next(iter(outcome.samples.values()), ())),
            **provenance,
        },
        seconds=time.perf_counter() - begin,
        peak_memory_mb=memory.peak_mb(device),
    )
    return evaluation, replace(outcome, samples=_placed(outcome.samples, dataset))


def _placed(samples: Mapping[str, np.ndarray], dataset: Dataset) -> Mapping[str, np.ndarray]:
    """The columns, with those that say where in the user's files each example is.

    ``index`` is a row of `Dataset`, which has them in an order of its own.
    """
    if "index" not in samples:
        return samples
    index = samples["index"]
    return {**samples, **{name: column[index] for name, column in dataset.places.items()}}


def _at_chance(utility: float, truth: np.ndarray) -> list[str]:
    """A reason for doubt if a model is not shown to know more than the most frequent class.

    An attack on a model that has learnt nothing finds it safe.

    Args:
        utility: Its accuracy.
        truth: (n,) labels that it was measured on.
    """
    n, majority = len(truth), int(np.bincount(truth).max())
    p = p_majority(round(utility * n), truth)
    if p <= CHANCE_LEVEL:
        return []
    return [
        f"the model is not shown to be better than its majority class: accuracy {utility:.3f}, "
        f"always the most frequent class {majority / n:.3f}, of {n} (exact binomial p {p:.2g})"
    ]


def _split(quarters: Quarters) -> str:
    """Digest of who holds which examples."""
    parts = {name: index.tolist() for name, index in vars(quarters).items()}
    if not parts["checked"]:
        del parts["checked"]
    return digest(parts)


def environment(device: str) -> Provenance:
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
