"""Run tasks on a Ray cluster, or on a local one that is started for the purpose (extra ``ray``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from zoo.errors import ZooError

Task = TypeVar("Task")
Result = TypeVar("Result")


def run(
    work: Callable[[Task], Result], tasks: Iterable[Task], *, workers: int
) -> Iterator[Result]:
    """Results as they become ready, in any order.

    Every worker has to see the same home folder, mirror and data.

    Args:
        work: A function of a module, applied to every task.
        tasks: Picklable.
        workers: CPUs of a local cluster, if no running one is found (``RAY_ADDRESS``).

    Raises:
        ZooError: Ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise ZooError("Executor 'ray' wants the package ray: pip install 'zoo-harness[ray]'.") from None
    started = not ray.is_initialized()
    if started:
        import os

        where = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers}
        ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False, **where)
    try:
        remote = ray.remote(num_cpus=1)(_one_thread)
        pending = [remote.remote(work, task) for task in tasks]
        while pending:
            ready, pending = ray.wait(pending)
            yield ray.get(ready[0])
    finally:
        if started:
            ray.shutdown()


def _one_thread(work: Callable[[Task], Result], task: Task) -> Result:
    import torch

    torch.set_num_threads(1)
    return work(task)
