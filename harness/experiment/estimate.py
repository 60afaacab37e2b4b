"""How long a plan will take, judged from what the same kind of work took before in this store."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean
from typing import TypeVar

from harness.experiment.plan import Plan
from harness.experiment.store import EvaluationStore
from harness.training.artifacts import SPEC, read_spec
from zoo.home import Home

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Estimate:
    """Seconds of wall time, and what could not be judged.

    Attributes:
        seconds: None if nothing could be judged.
        trainings: How many trainings are of a kind that was never run here.
        cells: How many cells are.
    """

    seconds: float | None
    trainings: int
    cells: int

    @property
    def unknown(self) -> int:
        """How many trainings and cells the seconds leave out."""
        return self.trainings + self.cells

    @property
    def unseen(self) -> str:
        """Those in words: ``3 trainings and 1 measurement``."""
        parts = ((self.trainings, "training"), (self.cells, "measurement"))
        return " and ".join(f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in parts if n)


def estimate(plan: Plan, home: Home, *, workers: int) -> Estimate:
    """Mean seconds of earlier trainings and cells of the same kind, spread over the workers.

    Trainings are of one kind if they agree in dataset, architecture, recipe, stack and poison;
    cells if they agree in model, stack and attack.
    """
    trainings, cells = _trainings(home), _cells(home)
    jobs = [trainings.get(_training_kind(job.spec)) for job in (*plan.tuning_jobs, *plan.jobs)]
    measurements = [
        cells.get((item.cell.model_label, item.cell.defense, str(item.cell.attack)))
        for item in plan.missing
    ]
    known = sum(seconds for seconds in (*jobs, *measurements) if seconds is not None)
    return Estimate(known / workers if known else None, jobs.count(None), measurements.count(None))


def _training_kind(spec: dict[str, object]) -> str:
    parts = ("dataset", "n", "architecture", "recipe", "stack", "base")
    return json.dumps([*(spec[part] for part in parts), spec.get("poison")], sort_keys=True)


def _trainings(home: Home) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for path in home.artifacts.glob(f"[!.]*/{SPEC}"):
        spec = read_spec(path.parent)
        if spec is not None:
            found[_training_kind(spec)].append(spec["seconds"])
    return _means(found.items())


def _cells(home: Home) -> dict[tuple[str, str, str], float]:
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for evaluation in EvaluationStore(home).evaluations():
        if evaluation.status == "ok":
            cell = evaluation.cell
            found[cell.model_label, cell.defense, str(cell.attack)].append(evaluation.seconds)
    return _means(found.items())


def _means(items: Iterable[tuple[Kind, list[float]]]) -> dict[Kind, float]:
    return {key: mean(values) for key, values in items}
