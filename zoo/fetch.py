"""Get models' weights, wherever they come from."""

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from zoo import plugins
from zoo.entry import ModelEntry
from zoo.errors import ZooError, unknown
from zoo.files import DISK_FULL
from zoo.home import Home
from zoo.sources.base import Fetched, Progress, WeightSource
from zoo.sources.local import Local
from zoo.sources.published import Published

__all__ = ["Fetched", "Progress", "WeightSource", "fetch", "fetch_all", "sources"]


_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_GRACE = 1.0  # seconds for each download to end by itself after an interruption


class _Stopped(BaseException):
    """Ends a download in another thread after the user has interrupted the program."""


def fetch(
    entry: ModelEntry,
    home: Home,
    *,
    mirror: Path | None = None,
    data_dir: Path | None = None,
    from_file: Path | None = None,
    offline: bool = False,
    accept_licence: bool = False,
    progress: Progress | None = None,
) -> Fetched:
    """Get the weights of a model into the store, or check the ones that are there.

    Args:
        entry: What the catalog says about the model.
        home: Where the weights go.
        mirror: Folder with copies of published files; by default ``$ZOO_MIRROR``.
        data_dir: Folder with datasets that self-trained models are trained on; by default
            ``$ZOO_DATA_DIR``.
        from_file: The published file, which the user has got by other means; it is checked like
            any other.
        offline: Use no network.
        accept_licence: The user accepts the licence; that is remembered in the store.
        progress: Called with how much is done and how much there is to do.

    Raises:
        ZooError: The weights cannot be had, are not what the catalog describes, or are under a
            licence that has to be accepted first.
        OSError: The disk is full; nothing unfinished is kept.
    """
    if mirror is None and os.environ.get("ZOO_MIRROR"):
        mirror = Path(os.environ["ZOO_MIRROR"])
    mirror, from_file = (path and path.expanduser() for path in (mirror, from_file))
    published = Published(mirror, from_file, offline, accept_licence)
    known = sources(published)
    trained_by_the_user = entry.source == "local" and entry.recipe is not None
    source = known.get("selftrained" if trained_by_the_user else entry.source)
    if source is None:
        if entry.recipe is not None:
            raise unknown("source of models", entry.source, known)
        source = published  # how a file is got depends on where it lies, not on who lists it
    if from_file is not None and source is not published:
        raise ZooError(f"--from-file is for published weights; {entry.name} has none.")
    return source.fetch(entry, home, mirror=mirror, data_dir=data_dir, progress=progress)


def fetch_all(
    entries: Sequence[ModelEntry],
    fetch_one: Callable[[ModelEntry, Progress], Fetched],
    watch: Callable[[ModelEntry], AbstractContextManager[Progress]],
    *,
    jobs: int,
) -> list[Fetched | ZooError]:
    """Fetch many models, several downloads at a time, going on past those that cannot be had.

    Whatever else goes wrong with one of them, in a library's code or in a source's, is told like
    that too.

    Self-trained models are trained one after the other when the downloads are done: training
    draws random numbers that all threads share.

    Args:
        entries: The models.
        fetch_one: `fetch`, with the rest of its arguments.
        watch: Called around each; gives what is told of its progress.
        jobs: Downloads at a time.

    Returns:
        For each of the models, what came of it.

    Raises:
        OSError: The store cannot be written, or the disk is full; downloads that were running are
            given up.
    """
    interrupted = Event()

    def one(entry: ModelEntry) -> Fetched | ZooError:
        with watch(entry) as advance:

            def told(done: int, total: int) -> None:
                if interrupted.is_set():
                    raise _Stopped
                advance(done, total)

            try:
                return fetch_one(entry, told)
            except ZooError as problem:
                return problem
            except Exception as problem:
                if _concerns_all(problem):
                    raise
                said = " ".join(str(problem).split())
                return ZooError(f"{entry.name}: {type(problem).__name__}: {said or 'no reason'}.")

    published = [entry for entry in entries if entry.recipe is None]
    if jobs == 1 or len(published) < 2:
        return [one(entry) for entry in entries]
    todo: SimpleQueue[ModelEntry] = SimpleQueue()
    for entry in published:
        todo.put(entry)
    came: SimpleQueue[tuple[str, Fetched | BaseException]] = SimpleQueue()

    def work() -> None:
        while not interrupted.is_set():
            try:
                entry = todo.get_nowait()
            except Empty:
                return
            try:
                came.put((entry.name, one(entry)))
            except BaseException as problem:
                came.put((entry.name, problem))
                return

    # An interrupted program does not wait for a host that is silent: what such a thread has begun
    # is like what a killed program leaves, and nothing trusts that.
    workers = [Thread(target=work, daemon=True) for _ in range(jobs)]
    found: dict[str, Fetched | ZooError] = {}
    for worker in workers:
        worker.start()
    try:
        for _ in published:
            name, result = came.get()
            if not isinstance(result, Fetched | ZooError):
                raise result
            found[name] = result
    except BaseException:
        interrupted.set()
        for worker in workers:
            worker.join(_GRACE)
        raise
    found |= {entry.name: one(entry) for entry in entries if entry.recipe is not None}
    return [found[entry.name] for entry in entries]


def _concerns_all(problem: Exception) -> bool:
    """Whether the store takes nothing, from whichever model."""
    if not isinstance(problem, OSError):
        return False
    refused = problem.errno in _NOT_WRITABLE and problem.filename is not None
    return refused or problem.errno in DISK_FULL


def sources(published: Published | None = None) -> dict[str, WeightSource]:
    """Every source by name: the two of this package, and those of installed packages.

    A package whose source cannot be loaded is warned about and left out.

    Args:
        published: The source of published weights, set up.
    """
    found: dict[str, WeightSource] = {"published": published or Published(), "local": Local()}
    made = plugins.find("zoo.sources", "source", taken=found, wrong=_no_source)
    return found | {name: source() for name, source in made.found.items()}


def _no_source(name: str, found: Any) -> str | None:
    """Why what an entry point names cannot be a source; what it raises is a reason, too."""
    return None if callable(getattr(found(), "fetch", None)) else "it has no method fetch."
