"""How long a plan will take, judged from what the same kind of work took before in this store."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean
from typing import TypeVar

from harness.artifacts import SPEC, read_record
from harness.plan import Plan
from harness.store import Store
from zoo.home import Home

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Estimate:
    """Seconds of wall time, and what could not be judged.

    Attributes:
        seconds: None if nothing could be judged.
        unknown: How many trainings and cells are of a kind that was never run here.
    """

    seconds: float | None
    unknown: int


def estimate(plan: Plan, home: Home, *, workers: int) -> Estimate:
    """Mean seconds of earlier trainings and cells of the same kind, spread over the workers.

    Trainings are of one kind if they agree in dataset, architecture, recipe, stack and poison;
    cells if they agree in model, stack and attack.
    """
    trainings, cells = _trainings(home), _cells(home)
    known, unknown = 0.0, 0
    for job in (*plan.tuning_jobs, *plan.jobs):
        seconds = trainings.get(_training_kind(job.spec))
        known, unknown = (known, unknown + 1) if seconds is None else (known + seconds, unknown)
    for item in plan.missing:
        cell = item.cell
        seconds = cells.get((cell.model, cell.defense, str(cell.attack)))
        known, unknown = (known, unknown + 1) if seconds is None else (known + seconds, unknown)
    return Estimate(known / workers if known else None, unknown)


def _training_kind(spec: dict[str, object]) -> str:
    parts = ("dataset", "n", "architecture", "recipe", "stack", "base")
    return json.dumps([*(spec[part] for part in parts), spec.get("poison")], sort_keys=True)


def _trainings(home: Home) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for path in home.artifacts.glob(f"[!.]*/{SPEC}"):
        spec = read_record(path)
        if spec is not None:
            found[_training_kind(spec)].append(spec["seconds"])
    return _means(found.items())


def _cells(home: Home) -> dict[tuple[str, str, str], float]:
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for evaluation in Store(home).evaluations():
        if evaluation.status == "ok":
            cell = evaluation.cell
            found[cell.model, cell.defense, str(cell.attack)].append(evaluation.seconds)
    return _means(found.items())


def _means(items: Iterable[tuple[Kind, list[float]]]) -> dict[Kind, float]:
    return {key: mean(values) for key, values in items}
