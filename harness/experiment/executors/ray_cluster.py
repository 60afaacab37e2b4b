"""Run tasks on a Ray cluster, or on a local one that is started for the purpose (extra ``ray``)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from zoo.errors import ZooError


@contextmanager
def pool(workers: int) -> Generator[Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]]:
    """A function ``map(work, tasks)`` that gives results as they become ready, in any order.

    Every node has to see the same home folder, mirror and data.

    Args:
        workers: CPUs of a local cluster, unless ``RAY_ADDRESS`` names a running one.

    Raises:
        ZooError: Ray is not installed.
    """
    try:
        ray: Any = importlib.import_module("ray")  # which has no types
    except ImportError:
        raise ZooError(
            "Executor 'ray' wants the package ray: pip install 'zoo-harness[ray]'."
        ) from None
    ray.init(
        num_cpus=None if os.environ.get("RAY_ADDRESS") else workers,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    remote = ray.remote(num_cpus=1)(_one_thread)

    def unordered(work: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        pending = [remote.remote(work, task) for task in tasks]
        while pending:
            ready, pending = ray.wait(pending)
            yield ray.get(ready[0])

    try:
        yield unordered
    finally:
        ray.shutdown()


def _one_thread(work: Callable[[Any], Any], task: Any) -> Any:
    import torch

    torch.set_num_threads(1)
    return work(task)
