"""Trained models in the store, by what determines them: trained once, attacked many times."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from filelock import Timeout
from torch import Tensor

from harness.data.examples import Split
from harness.training.cohort import train
from harness.training.job import Job, Trained, network
from harness.types import MachineError
from zoo.errors import ZooError
from zoo.files import new_folder, read_record, sha256_file, write_json
from zoo.home import Home

if TYPE_CHECKING:
    from filelock import FileLock

WEIGHTS, SPEC = "weights.safetensors", "spec.json"


class AlteredError(MachineError):
    """A stored model is not what its record says."""


def read_spec(folder: Path) -> dict[str, Any] | None:
    """The record of a trained model; None if it is missing or damaged, as if it never was."""
    return read_record(folder / SPEC, "The model is trained again when it is needed.", _is_spec)


def _is_spec(record: dict[str, Any]) -> bool:
    parts = ("dataset", "n", "architecture", "recipe", "stack", "base", "together")
    left_out = record["left_out"]
    return (
        record.keys() >= set(parts)
        and isinstance(record["sha256"], str)
        and isinstance(record["seconds"], int | float)
        and isinstance(record["evidence"], dict)
        and (left_out is None or all(isinstance(index, int) for index in left_out))
    )


@dataclass(frozen=True)
class Artifacts:
    """The trained models of one store: ``artifacts/<key>/{weights.safetensors, spec.json}``."""

    home: Home

    def has(self, job: Job) -> bool:
        """Whether the job's model is there, as far as that can be told without hashing it."""
        folder = self.home.artifacts / job.key
        return read_spec(folder) is not None and (folder / WEIGHTS).exists()

    def spec(self, job: Job) -> dict[str, Any]:
        """The record of a trained job.

        Its spec, its evidence, what was left out, the weights' sha256 and the training seconds.

        Raises:
            AlteredError: The record is missing or cannot be read.
        """
        folder = self.home.artifacts / job.key
        record = read_spec(folder)
        if record is None:
            raise AlteredError(f"The record {folder / SPEC} is missing or damaged.")
        return record

    def load(self, job: Job, device: str) -> Trained:
        """The model of a trained job, its weights checked against their recorded sha256.

        Raises:
            AlteredError: The weights are missing or were altered; after `forget`, `obtain` trains
                them again.
        """
        folder, spec = self.home.artifacts / job.key, self.spec(job)
        found = sha256_file(folder / WEIGHTS) if (folder / WEIGHTS).exists() else "missing"
        if found != spec["sha256"]:
            raise AlteredError(
                f"The trained weights {folder / WEIGHTS} were altered (sha256 {found[:12]}, "
                f"recorded {spec['sha256'][:12]})."
            )
        model, _ = network(job, self.base(job.base) if job.base else None)
        model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
        left_out = spec["left_out"]
        return Trained(
            model.to(device).eval(),
            spec["evidence"],
            None if left_out is None else torch.tensor(left_out, dtype=torch.int64),
        )

    def forget(self, job: Job) -> None:
        """Take the job's model for one that was never trained."""
        (self.home.artifacts / job.key / SPEC).unlink(missing_ok=True)

    def save(self, job: Job, trained: Trained, *, seconds: float, together: int) -> None:
        """Store a trained model, whole or not at all.

        Args:
            job: What was trained.
            trained: The model and its evidence.
            seconds: Wall time of its training; of its share, if others were trained with it.
            together: How many models were trained in the same call.
        """
        state = {k: v.detach().cpu().contiguous() for k, v in trained.model.state_dict().items()}
        with new_folder(self.home.artifacts / job.key) as folder:
            safetensors.torch.save_file(state, folder / WEIGHTS)
            record: dict[str, Any] = {
                **job.spec,
                "evidence": trained.evidence,
                "left_out": None if trained.left_out is None else trained.left_out.tolist(),
                "sha256": sha256_file(folder / WEIGHTS),
                "seconds": seconds,
                "together": together,
            }
            write_json(folder / SPEC, record)

    def obtain(self, jobs: list[Job], pool: Split) -> None:
        """Train the jobs whose models are missing.

        A job that another process is training is waited for. The lock of a process that died is
        free, so its job is taken over.

        Args:
            jobs: All on the dataset of ``pool``.
            pool: The whole dataset, on the device to train on.
        """
        theirs: list[Job] = []
        with ExitStack() as held:
            mine: list[Job] = []
            for job in jobs:
                try:
                    held.enter_context(self._lock(job).acquire(blocking=False))
                except Timeout:
                    theirs.append(job)
                else:
                    mine.append(job)
            self._train([job for job in mine if not self.has(job)], pool)
        # Only after our own locks are free may we wait for others: nobody waits in a circle.
        for job in theirs:
            with self._lock(job):
                if not self.has(job):
                    self._train([job], pool)

    def _train(self, jobs: list[Job], pool: Split) -> None:
        begin, seconds, waiting = time.perf_counter(), 0.0, 0
        for job, trained, together in train(jobs, pool, self._bases(jobs)):
            # A cohort's models come all at once: its seconds are shared out among them.
            if waiting == 0:
                now = time.perf_counter()
                seconds, begin, waiting = (now - begin) / together, now, together
            waiting -= 1
            self.save(job, trained, seconds=seconds, together=together)

    def base(self, sha256: str) -> dict[str, Tensor]:
        """Published weights that a training starts from.

        Raises:
            MachineError: They were altered.
        """
        path = self.home.blobs / sha256
        if sha256_file(path) != sha256:
            raise MachineError(
                f"The weights {path} were altered; run `zoo fetch` for their model again."
            )
        return safetensors.torch.load_file(path)

    def _bases(self, jobs: list[Job]) -> dict[str, dict[str, Tensor]]:
        return {sha256: self.base(sha256) for sha256 in {job.base for job in jobs if job.base}}

    def _lock(self, job: Job) -> FileLock:
        return self.home.lock(f"artifact-{job.key}")


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        ZooError: The name is no device's, or there is no such one.
    """
    try:
        (torch.ones(1, device=device) + 1).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ZooError(f"No device {device!r} here ({reason}). Use --device cpu.") from None
