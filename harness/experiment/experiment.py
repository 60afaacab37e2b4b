"""A request with all that it takes to plan it and to carry it out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.data.dataset import DataLocation
from harness.experiment import plan as planning
from harness.experiment import request as requests
from harness.experiment.executors import local, ray_cluster
from harness.experiment.further_metrics import with_further
from harness.experiment.options import Options
from harness.experiment.plan import Plan
from harness.experiment.request import PlanInputs, Request
from harness.experiment.run import Context, code_version, run
from harness.experiment.store import EvaluationStore
from harness.experiment.tuning_run import Tunings, tune
from harness.results import Evaluation
from harness.training.artifacts import Artifacts, check_device
from zoo.errors import unknown
from zoo.home import Home
from zoo.sources.blobs import check_writable

POOLS = {"local": local.pool, "ray": ray_cluster.pool}

Progress = Callable[[str, int, int], None]
"""Told of a step of the work how many parts are done, and of how many."""


@dataclass(frozen=True, eq=False)
class Ran:
    """What carrying out a request came to.

    Attributes:
        plan: As it was before the cells were measured.
        evaluations: Of every cell of the request, in the order of the plan; None where a cell could
            not be measured now and is tried again by the next run.
        counts: How many were ``trained``, ``tried``, ``tuned``, ``measured``, ``failed``,
            ``skipped`` and ``not applicable``.
        problems: How often each failure and each reason not to apply occurred.
    """

    plan: Plan
    evaluations: list[Evaluation | None]
    counts: Mapping[str, int]
    problems: Mapping[str, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class Experiment:
    """A request, the data it is about, and where and with what to work.

    Attributes:
        request: What is asked for.
        loaded: Its datasets and published weights.
        context: Where and with what.
        workers: Processes.
        executor: ``local`` or ``ray``.
    """

    request: Request
    loaded: PlanInputs
    context: Context
    workers: int
    executor: str

    @classmethod
    def open(cls, options: Options, home: Home, *, fetching: bool) -> Experiment:
        """Everything that ``options`` ask for.

        Args:
            options: In words.
            home: The store.
            fetching: Whether to fetch the published weights; a plan can do without.

        Raises:
            ZooError: A name or a value is wrong; nothing was started.
        """
        check_device(options.device)
        if options.executor not in POOLS:
            raise unknown("executor", options.executor, POOLS)
        source = DataLocation.resolve(
            options.data_dir, options.mirror, unreadable=options.unreadable
        )
        request = requests.of(options, home, source)
        loaded = requests.load(request, home, source, options.mirror, fetching=fetching)
        return cls(
            request=request,
            loaded=loaded,
            context=Context(
                home, source, options.device, loaded.bases, code_version(), request.examples
            ),
            workers=options.workers or default_workers(options.device),
            executor=options.executor,
        )

    def plan(self) -> Plan:
        """What is to be done now."""
        home = self.context.home
        return planning.plan(
            self.request,
            self.loaded.datasets,
            self.loaded.bases,
            is_done=EvaluationStore(home).is_done,
            is_trained=Artifacts(home).has,
            tuned=Tunings(home).get,
        )

    def run(self, progress: Progress = lambda step, done, total: None) -> Ran:
        """Do what is missing, and read the result; a killed run goes on where it was."""
        counts: Counter[str] = Counter()
        problems: Counter[str] = Counter()
        pool = POOLS[self.executor]
        store = EvaluationStore(self.context.home)
        made = self.plan()
        if made.missing:
            check_writable(self.context.home)
        try:
            if made.tunings:
                total = len(made.tuning_jobs)
                progress("trying settings", 0, total)
                for event in tune(made, self.context, pool, workers=self.workers):
                    counts["tried" if event.kind == "trained" else event.kind] += event.count
                    progress("trying settings", counts["tried"], total)
                made = self.plan()
            sizes = {"training models": len(made.jobs), "measuring cells": len(made.missing)}
            steps: Counter[str] = Counter()
            for step, total in sizes.items():
                progress(step, 0, total)
            for event in run(made, self.context, pool, workers=self.workers):
                counts[event.kind] += event.count
                step = "training models" if event.kind == "trained" else "measuring cells"
                steps[step] += event.count
                progress(step, steps[step], sizes[step])
                if event.kind in ("failed", "not applicable"):
                    problems[f"{event.kind}: {event.text}"] += event.count
        except KeyboardInterrupt as stopped:
            # Asked of the store: of what was given to a worker together, some may be finished.
            models = sum(map(Artifacts(self.context.home).has, (*made.tuning_jobs, *made.jobs)))
            cells = sum(store.is_done(item.cell.key) for item in made.missing)
            stopped.add_note(f"{models} models trained and {cells} cells measured are kept")
            raise
        finally:
            # Whatever ended the run, what it finished is found by the next command.
            store.sync()
        found, _ = with_further([store.get(item.cell.key) for item in made.cells], store)
        return Ran(made, found, counts, problems)


def default_workers(device: str) -> int:
    """One process for every core that this one may use; one for an accelerator."""
    if device != "cpu":
        return 1
    if hasattr(os, "sched_getaffinity"):  # only what this process may use; not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def summary_of(made: Plan, loaded: PlanInputs) -> dict[str, Any]:
    """The totals of a plan, as JSON values."""
    return {
        "cells": len(made.cells),
        "cells_missing": len(made.missing),
        "trainings_missing": len(made.jobs),
        "tunings_missing": [tuning.subject for tuning in made.tunings],
        "tuning_trainings_missing": len(made.tuning_jobs),
        "models_to_fetch": sorted(loaded.unfetched),
    }


def plan_rows(made: Plan) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names, and a row for each group of cells that differ in their seeds only."""
    missing = {item.cell.key for item in made.missing}
    groups: dict[tuple[str | None, ...], list[bool]] = {}
    for item in made.cells:
        cell = item.cell
        key = (cell.model_label, str(cell.regime), cell.defense, str(cell.risk), str(cell.attack),
               str(cell.threat), item.refused)  # fmt: skip
        groups.setdefault(key, []).append(cell.key in missing)
    header = ["model", "regime", "defense", "risk", "attack", "threat_model", "refused", "cells",
              "missing"]  # fmt: skip
    return header, [(*key, len(flags), sum(flags)) for key, flags in groups.items()]
