"""Make the choices that a plan waits for: train, judge, and keep what was tried in the store."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.batches import parts
from harness.experiment.plan import Plan
from harness.experiment.run import Context, Event, Pool, Problem, train, trained
from harness.experiment.tuning_plan import Candidate, Tuning
from harness.learning.tuning import Tried, choose
from zoo.files import read_record, write_json
from zoo.home import Home

if TYPE_CHECKING:
    from filelock import FileLock


@dataclass(frozen=True)
class Tunings:
    """The choices of one store: ``tunings/<key>.json``."""

    home: Home

    def get(self, key: str) -> dict[str, Any] | None:
        """What was tried and chosen: ``tried``, ``chosen``, ``data`` and ``subject``.

        None if it was not, or if some candidate failed and no other could be chosen: the next run
        tries again. Where none applies there is nothing to try, and ``chosen`` is None.
        """
        record = read_record(
            self.home.tunings / f"{key}.json", "The settings are tried again.", _is_choice
        )
        return None if record is None or record.pop("again") else record

    def put(self, tuning: Tuning, record: Mapping[str, Any]) -> None:
        """Keep what was tried, whole or not at all."""
        write_json(self.home.tunings / f"{tuning.key}.json", record)

    def lock(self, key: str) -> FileLock:
        """The lock of whoever judges; that of a dead process is free."""
        return self.home.lock(f"tuning-{key}")


def _is_choice(record: dict[str, Any]) -> bool:
    chosen, tried = record["chosen"], record["tried"]
    return (
        isinstance(record["again"], bool)
        and (isinstance(chosen, dict) or chosen is None)
        and all(isinstance(one, dict) for one in tried)
        and bool(tried)
        and record.keys() >= {"data", "subject"}
    )


def tune(plan: Plan, context: Context, pool: Pool, *, workers: int) -> Iterator[Event]:
    """Make every choice that ``plan`` waits for; plan again after that.

    Args:
        plan: What to tune.
        context: Where and with what.
        pool: Of one of `harness.experiment.executors`.
        workers: Processes.

    Yields:
        ``trained`` after every task, and ``tuned`` for every choice.
    """
    problems: dict[str, Problem] = {}
    for count, found in train(plan.tuning_jobs, context, pool, workers=workers):
        problems |= found
        yield Event("trained", count + len(found))
    store = Tunings(context.home)
    for tuning in plan.tunings:
        with store.lock(tuning.key):
            record = store.get(tuning.key)
            if record is None:
                record = _judge(tuning, problems, context)
                store.put(tuning, record)
        if record["chosen"] is None:
            reason = record["tried"][0]["failed"]
            warnings.warn(
                f"Tuning {tuning.subject}: none of {len(tuning.candidates)} settings could be "
                f"trained ({reason}), so they stay as they are.",
                stacklevel=2,
            )
        yield Event("tuned", 1, tuning.subject)


def _judge(tuning: Tuning, problems: Mapping[str, Problem], context: Context) -> dict[str, Any]:
    """The record of a tuning whose models are trained."""
    tried = [_answers(candidate, tuning, problems, context) for candidate in tuning.candidates]
    chosen, rows = choose(tried)
    failed = any(
        job.key in problems and problems[job.key].status == "failed"
        for candidate in tuning.candidates
        for job in candidate.jobs
    )
    size = len(tuning.splits[0].judged)
    return {
        "subject": tuning.subject,
        "tried": rows,
        "chosen": None if chosen is None else rows[chosen]["settings"],
        "data": f"the trusted tenth ({size} examples) of {len(tuning.splits)} splits of no seed",
        "again": chosen is None and failed,
    }


def _answers(
    candidate: Candidate,
    tuning: Tuning,
    problems: Mapping[str, Problem],
    context: Context,
) -> Tried:
    """Which of the judged examples the candidate's models answer rightly."""
    settings = candidate.settings
    broken = [problems[job.key].reason for job in candidate.jobs if job.key in problems]
    if candidate.refused or broken:
        return Tried(settings=settings, failed=candidate.refused or broken[0])
    preparation = candidate.jobs[0].preparation
    dataset = context.dataset(tuning.dataset, preparation)
    correct: list[np.ndarray] = []
    for job, split in zip(candidate.jobs, tuning.splits, strict=True):
        model = trained(job, dataset, context).model
        judged = dataset.all.take(split.judged).to(context.device)
        with torch.no_grad():
            logits = torch.cat([model(part) for part in parts(judged.x)])
        if not logits.isfinite().all():
            return Tried(settings=settings, failed="the training diverged")
        correct.append((logits.argmax(1) == judged.y).cpu().numpy())
    return Tried(settings=settings, correct=np.stack(correct))
