"""Run tasks in processes of this machine, one thread each: two threads on one core lose to one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import Any

from zoo.errors import ZooError


@contextmanager
def pool(workers: int) -> Generator[Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]]:
    """A function ``map(work, tasks)`` that gives results as they become ready, in any order.

    ``work`` is a function of a module, and the tasks are picklable. When the block is left by an
    exception, work in progress is stopped.

    Args:
        workers: Processes; with one, everything happens in this process.

    Raises:
        ZooError: A worker was ended from outside; its task is nobody's result.
    """
    if workers <= 1:
        import torch

        # As in the workers below: with more threads, sums are rounded in another order.
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield map
        finally:
            torch.set_num_threads(before)
        return
    context = multiprocessing.get_context("forkserver")
    # Imported once, in the server that the workers are forked from.
    context.set_forkserver_preload(["harness.experiment.run"])
    _start_deaf_server()
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start)

    def unordered(work: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        try:
            with _without_main():  # processes are started when tasks are given to them
                futures = [executor.submit(work, task) for task in tasks]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise ZooError(
                "A worker process was ended from outside, as by a system that is short of memory. "
                "What was finished is kept: run the same command again, with fewer workers."
            ) from None

    try:
        yield unordered
    except BaseException:
        processes = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        raise
    executor.shutdown()


@contextmanager
def _without_main() -> Generator[None]:
    """Hide the program that this is called from, which a new process would run once more.

    Workers need nothing of it. A script that measures would start to measure in each of them, and
    what comes from standard input has no file that they could read.
    """
    main = vars(sys.modules["__main__"])
    kept = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(kept)


def _start_deaf_server() -> None:
    """Start the server such that it and its workers do not hear Ctrl-C, sent to them as to all.

    This process hears it and ends them; of themselves they would only print where they were.
    """
    resource_tracker.ensure_running()  # unblocks the signal, so it must not be started later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start() -> None:
    """One thread per worker, and no life after the parent's death, however it died."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
