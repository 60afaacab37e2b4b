"""Carry out a plan: train what is missing, measure what is missing, lose nothing when killed."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from torch import nn

from harness.data import datasets, label_spaces
from harness.data.dataset import DataLocation, Dataset
from harness.data.ood import adapt
from harness.data.quarters import quarters
from harness.experiment import attacker_models
from harness.experiment.evaluate import CellModels, evaluate
from harness.experiment.plan import Plan, Planned
from harness.experiment.store import EvaluationStore
from harness.finite import NotFiniteError
from harness.games.game import Outcome
from harness.results import Cell, Evaluation, Provenance, Status
from harness.training.artifacts import AlteredError, Artifacts
from harness.training.cohort import may_share
from harness.training.job import Job, Trained
from harness.types import Cause, MachineError, NotApplicableError
from zoo.catalog import open_catalog
from zoo.entry import ModelEntry, Preparation
from zoo.errors import ZooError
from zoo.files import sha256_file
from zoo.home import Home
from zoo.nets import Chosen

LARGEST_COHORT = 16
"""Models trained in one task: what a kill may lose, and a step of the progress bar."""

NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"
"""How torch says that memory is short on a CPU, for which it has no kind of error of its own."""

Pool = Callable[[int], AbstractContextManager[Callable[..., Iterator[Any]]]]


@dataclass(frozen=True)
class Context:
    """What every worker needs to know.

    Attributes:
        home: The store.
        source: Where dataset files are.
        device: Where to compute.
        weights: sha256 of the weights of published models, by model name.
        code: Version of the code that measures.
        examples: See `harness.data.dataset.Dataset.limited`.
    """

    home: Home
    source: DataLocation
    device: str
    weights: dict[str, str]
    code: str
    examples: int | None = None

    def dataset(self, name: str, preparation: Preparation | None) -> Dataset:
        """The dataset of that name for the models whose photographs are prepared so."""
        return datasets.load(name, self.source).prepared(preparation).limited(self.examples)


@dataclass(frozen=True)
class Event:
    """Something was finished.

    Attributes:
        kind: ``trained``, ``measured``, ``failed``, ``not applicable`` or ``skipped`` (another
            process measured it).
        count: How many trainings or cells.
        text: For people.
    """

    kind: str
    count: int
    text: str = ""


@dataclass(frozen=True)
class Problem:
    """Why a training or a cell came to nothing.

    Attributes:
        status: Of the cells that it leaves unmeasured.
        reason: For people.
        cause: What it is a matter of.
    """

    status: Status
    reason: str
    cause: Cause

    @classmethod
    def of(cls, error: Exception, where: str = "") -> Problem:
        """What ``error`` says; one that nobody knows is taken for a matter of the data.

        Args:
            error: What was raised.
            where: Goes before the reason of a failure.
        """
        if isinstance(error, NotApplicableError):
            return cls("not applicable", str(error), error.cause)
        return cls("failed", _reason(error, where), _cause(error))

    def at(self, cell: Cell) -> Evaluation:
        """The result of a cell that it leaves unmeasured."""
        return Evaluation(cell=cell, status=self.status, reason=self.reason, cause=self.cause)


def run(plan: Plan, context: Context, pool: Pool, *, workers: int) -> Iterator[Event]:
    """Do what the plan says is missing and report each step.

    Args:
        plan: What to do.
        context: Where and with what.
        pool: Of one of `harness.experiment.executors`.
        workers: Processes.
    """
    store = EvaluationStore(context.home)
    for item in plan.missing:
        if item.refusal:
            problem = Problem.of(item.refusal)
            _put(store, problem.at(item.cell))
            yield Event(problem.status, 1, problem.reason)
    with pool(min(workers, max(len(plan.jobs), len(plan.missing)))) as map_unordered:
        problems: dict[str, Problem] = {}
        train = partial(_train, context=context)
        for done in map_unordered(train, _chunks(plan.jobs, workers)):
            problems |= done.problems
            yield Event("trained", done.count)
        cells: list[Planned] = []
        for item in plan.missing:
            broken = [problems[job.key] for job in item.jobs if job.key in problems]
            if broken and not item.refused:
                # One matter of the data is enough: without the others the cell were lost as well.
                problem = next((one for one in broken if one.cause is Cause.DATA), broken[0])
                _put(store, problem.at(item.cell))
                where = f"{item.cell.defense} on {item.cell.model_label}"
                yield Event(problem.status, 1, f"{where}: {problem.reason}")
            elif not item.refused:
                cells.append(item)
        while cells:
            busy: list[Planned] = []
            for item, event in map_unordered(partial(_measure, context=context), cells):
                if event.kind == "busy":
                    busy.append(item)
                else:
                    yield event
            # What another process is measuring: wait for it, and take over what it leaves undone.
            for item in busy:
                with store.lock(item.cell.key):
                    pass
            cells = busy


def train(
    jobs: Sequence[Job], context: Context, pool: Pool, *, workers: int
) -> Iterator[tuple[int, dict[str, Problem]]]:
    """Train what is missing of some jobs.

    Yields:
        How many models were trained in one task, and by its job's key why another was not.
    """
    with pool(min(workers, max(len(jobs), 1))) as map_unordered:
        for done in map_unordered(partial(_train, context=context), _chunks(jobs, workers)):
            yield done.count, done.problems


def _put(store: EvaluationStore, evaluation: Evaluation) -> None:
    with store.lock(evaluation.cell.key):
        store.put(evaluation)


@dataclass(frozen=True)
class _TrainedChunk:
    count: int
    problems: dict[str, Problem]


def _chunks(jobs: Iterable[Job], workers: int) -> list[list[Job]]:
    """One share per worker of jobs that may form a cohort; the others one by one."""
    shares: dict[tuple[Any, ...], list[Job]] = {}
    single: list[list[Job]] = []
    for job in jobs:
        if may_share(job):
            of = (job.dataset, job.preparation, job.architecture, len(job.index))
            shares.setdefault(of, []).append(job)
        else:
            single.append([job])
    found: list[list[Job]] = []
    for share in shares.values():
        size = min(LARGEST_COHORT, -(-len(share) // max(1, workers)))
        found += [share[i : i + size] for i in range(0, len(share), size)]
    return found + single


def _train(jobs: list[Job], *, context: Context) -> _TrainedChunk:
    dataset = context.dataset(jobs[0].dataset, jobs[0].preparation)
    artifacts = Artifacts(context.home)
    problem: Problem | None = None
    try:
        artifacts.obtain(jobs, dataset.collected.to(context.device))
    except OSError:
        raise
    except Exception as error:  # one model's failure is its cells' result, not the end of the run
        problem = Problem.of(error, "training: ")
    missing = [job for job in jobs if not artifacts.has(job)] if problem else []
    if not problem or len(jobs) == 1:
        return _TrainedChunk(len(jobs) - len(missing), {j.key: problem for j in missing if problem})
    # Which of them it was, each says by itself; what a model is does not depend on the others.
    alone = [_train([job], context=context) for job in missing]
    return _TrainedChunk(
        len(jobs) - len(missing) + sum(one.count for one in alone),
        {key: found for one in alone for key, found in one.problems.items()},
    )


def _reason(error: Exception, where: str = "") -> str:
    """Why something failed, for people; what we say ourselves needs no name of an exception."""
    if isinstance(error, NotFiniteError):
        return str(error)
    ours = isinstance(error, ZooError)
    return where + (str(error) if ours else f"{type(error).__name__}: {error}")


def _cause(error: Exception) -> Cause:
    """What a failure is a matter of."""
    if isinstance(error, MachineError):
        return error.cause
    no_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or NO_MEMORY in str(error)
    return Cause.MACHINE if no_memory else Cause.DATA


def _measure(item: Planned, *, context: Context) -> tuple[Planned, Event]:
    store, cell = EvaluationStore(context.home), item.cell
    try:
        lock = store.lock(cell.key).acquire(blocking=False)
    except Timeout:
        return item, Event("busy", 1)
    with lock:
        if store.is_done(cell.key):
            return item, Event("skipped", 1)
        try:
            evaluation, outcome = _evaluate(item, context)
        except OSError:
            raise
        except Exception as error:  # a cell's failure is its result, not the end of the run
            evaluation, outcome = Problem.of(error).at(cell), None
        if outcome is None:
            store.put(evaluation)
        else:
            store.put(evaluation, outcome.samples, outcome.images)
    kind = "measured" if evaluation.status == "ok" else evaluation.status
    return item, Event(kind, 1, evaluation.reason or "")


def _evaluate(item: Planned, context: Context) -> tuple[Evaluation, Outcome]:
    cell, entry = item.cell, item.entry
    dataset = context.dataset(cell.dataset, entry.preparation)
    job, base = item.job, None
    origin: Provenance = {}
    if job is not None:
        target = trained(job, dataset, context)
        spec = Artifacts(context.home).spec(job)
        origin = {
            "weights": spec["sha256"],
            "artifact": job.key,
            "trained_together": spec["together"],
            "training_seconds": spec["seconds"],
        }
    else:
        sha256 = context.weights[entry.name]
        target = Trained(_published(entry, dataset, context), {})
        origin = {"weights": sha256, "backdoored": entry.backdoored}
        held = quarters(dataset, cell.seed, cell.regime).target_train
        job = Job.of(entry, dataset, held, recipe=None, seed=cell.seed, base=sha256)
    if item.settled and item.settled.record:
        tried = {"tuning": dict(item.settled.record)}
        target = replace(target, evidence={**target.evidence, **tried})
    if job.base is not None:
        base = Artifacts(context.home).base(job.base)
    source, source_rows = None, None
    if name := dict(cell.attack.params).get("source"):
        other = open_catalog(context.home).entry(str(name))
        sha256 = context.weights[other.name]
        attacker_models.check_fits(other, dataset)
        target_sha256 = context.weights[entry.name] if item.job is None else None
        attacker_models.check_other(other, dataset, sha256=sha256, target=target_sha256, job=job)
        source, source_rows = (
            _published(other, dataset, context),
            attacker_models.trained_on(other, dataset),
        )
        origin["source"] = sha256
    loaded = CellModels.of(
        item,
        target,
        job,
        partial(trained, dataset=dataset, context=context),
        base=base,
        source=source,
        source_rows=source_rows,
    )
    origin["code"] = context.code
    ood = None
    if cell.threat.ood:
        ood = adapt(datasets.load(cell.threat.ood, context.source), dataset)
    return evaluate(
        cell,
        loaded,
        dataset,
        ood,
        architecture=entry.architecture,
        device=context.device,
        provenance=origin,
    )


def trained(job: Job, dataset: Dataset, context: Context) -> Trained:
    """The model of a trained job; trained again if its weights or its record were altered."""
    artifacts = Artifacts(context.home)
    try:
        return artifacts.load(job, context.device)
    except AlteredError as error:
        warnings.warn(f"{error} The model is trained again.", stacklevel=2)
        artifacts.forget(job)
        artifacts.obtain([job], dataset.collected.to(context.device))
        return artifacts.load(job, context.device)


def _published(entry: ModelEntry, dataset: Dataset, context: Context) -> nn.Module:
    """A published model as downloaded, its weights checked against their sha256.

    It answers with the classes of ``dataset``.
    """
    from zoo.loading import load_model

    sha256 = context.weights[entry.name]
    path = context.home.blobs / sha256
    if sha256_file(path) != sha256:
        raise MachineError(f"The weights {path} were altered; run `zoo fetch {entry.name}` again.")
    model: nn.Module = load_model(entry, path)
    if (index := label_spaces.logits(entry, dataset)) is not None:
        model = Chosen(model, index)
    return model.to(context.device).eval().requires_grad_(False)


def code_version() -> str:
    """The installed version, and the commit where the code runs from a checkout."""
    from importlib.metadata import version

    root = Path(__file__).resolve().parents[2]
    found = version("zoo-harness")
    if (root / ".git").exists():
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=False,
        )
        found += f"+{done.stdout.strip()}" if done.returncode == 0 else ""
    return found
