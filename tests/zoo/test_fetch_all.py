"""Many models at once: in order, so many at a time, and all given up when one cannot go on."""

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.fetch import Fetched, Progress, fetch_all
from zoo.recipe import Recipe


@contextmanager
def watch(entry: ModelEntry) -> Iterator[Progress]:
    yield lambda done, total: None


def found(entry: ModelEntry) -> Fetched:
    return Fetched(entry.name, Path("weights"), "0" * 64, False, None)


@pytest.fixture
def entries(entry: ModelEntry) -> list[ModelEntry]:
    return [replace(entry, name=f"me/{index}") for index in range(6)]


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_order_and_problems_stand_among_them(
    entries: list[ModelEntry], jobs: int
) -> None:
    def fetch_one(entry: ModelEntry, advance: Progress) -> Fetched:
        time.sleep(0.05 if entry.name == "me/0" else 0)
        if entry.name == "me/2":
            raise ZooError("cannot be had")
        return found(entry)

    results = fetch_all(entries, fetch_one, watch, jobs=jobs)
    assert [getattr(result, "name", str(result)) for result in results] == [
        *("me/0", "me/1", "cannot be had", "me/3", "me/4", "me/5")
    ]


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (RuntimeError("of a library\n  in two lines"), "RuntimeError: of a library in two lines."),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
        (AssertionError(), "AssertionError: no reason."),
    ],
)
def test_whatever_is_wrong_with_one_is_that_ones_failure(
    entries: list[ModelEntry], jobs: int, problem: Exception, said: str
) -> None:
    def fetch_one(entry: ModelEntry, advance: Progress) -> Fetched:
        if entry.name == "me/2":
            raise problem
        return found(entry)

    results = fetch_all(entries, fetch_one, watch, jobs=jobs)
    assert [getattr(result, "name", None) for result in results] == [
        *("me/0", "me/1", None, "me/3", "me/4", "me/5")
    ]
    assert isinstance(results[2], ZooError)
    assert str(results[2]).startswith("me/2: ")
    assert said in str(results[2])
    assert "\n" not in str(results[2])


def test_so_many_are_fetched_at_a_time(entries: list[ModelEntry]) -> None:
    together, most = threading.Barrier(3, timeout=5), []

    def fetch_one(entry: ModelEntry, advance: Progress) -> Fetched:
        together.wait()  # passes only if three are there at once
        most.append(threading.active_count())
        return found(entry)

    before = threading.active_count()
    fetch_all(entries, fetch_one, watch, jobs=3)
    assert max(most) <= before + 3


def test_training_waits_for_the_downloads_and_is_done_alone(entries: list[ModelEntry]) -> None:
    entries[1] = replace(entries[1], source="selftrained", recipe=Recipe())
    entries[3] = replace(entries[3], source="selftrained", recipe=Recipe())
    order: list[tuple[str, bool]] = []

    def fetch_one(entry: ModelEntry, advance: Progress) -> Fetched:
        advance(1, 2)
        order.append((entry.name, threading.current_thread() is threading.main_thread()))
        return found(entry)

    results = fetch_all(entries, fetch_one, watch, jobs=2)
    assert [getattr(result, "name", None) for result in results] == [e.name for e in entries]
    assert order[-2:] == [("me/1", True), ("me/3", True)]


def test_one_by_one_a_full_disk_ends_them_too(entries: list[ModelEntry]) -> None:
    begun = []

    def fetch_one(entry: ModelEntry, advance: Progress) -> Fetched:
        begun.append(entry.name)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fetch_all(entries, fetch_one, watch, jobs=1)
    assert begun == ["me/0"]


def test_downloads_end_by_themselves_when_the_disk_is_full(entries: list[ModelEntry]) -> None:
    stopped, running = [], threading.Event()

    def fetch_one(entry: ModelEntry, advance: Progress) -> Fetched:
        if entry.name == "me/1":
            running.wait(5)
            raise OSError(errno.ENOSPC, "No space left on device")
        try:
            while True:
                advance(1, 2)
                running.set()
                time.sleep(0.01)
        finally:
            stopped.append(entry.name)

    with pytest.raises(OSError, match="No space left"):
        fetch_all(entries, fetch_one, watch, jobs=2)
    assert stopped == ["me/0"]
