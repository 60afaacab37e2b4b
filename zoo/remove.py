"""Take models out of the store again: their weights, records, and the user's own entries."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zoo.build import refresh
from zoo.catalog import Catalog
from zoo.errors import ZooError
from zoo.files import slug
from zoo.home import Home
from zoo.sources.blobs import check_writable, locked, named, partial

_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Removed:
    """What was removed of one model.

    Attributes:
        name: Of the model.
        files: How many there were; none if nothing of it was in the store.
        bytes: Their sizes together.
        kept: Names of weight files that stay, because another model has the same.
    """

    name: str
    files: int
    bytes: int
    kept: tuple[str, ...]


def check_known(home: Home, names: Sequence[str]) -> None:
    """Refuse a name that no model has, before anything is removed.

    Raises:
        ZooError: It is neither in the catalog nor in the store.
    """
    refresh(home)
    for name in names:
        _known(home, name)


def remove(home: Home, name: str) -> Removed:
    """Remove all that the store holds of a model, but what was measured and trained with it.

    A model of the catalog can be fetched again; one that the user added is gone. Weights that are
    another model's too are kept. A fetch of the same model is waited for; if this is interrupted,
    the same call removes the rest.

    Raises:
        ZooError: There is no such model, neither in the catalog nor in the store.
        OSError: The store cannot be written.
    """
    shas = _known(home, name)
    check_writable(home)
    folder = home.model(name)
    with locked(home, name), home.lock("blobs"):
        records = sorted(path for path in folder.glob("*") if path.is_file())
        for record in records:
            shas |= set(_SHA256.findall(record.read_text(encoding="utf-8", errors="replace")))
        weights = [home.blobs / sha256 for sha256 in sorted(shas)]
        weights = [blob for blob in weights if blob.is_file()]
        kept = [blob for blob in weights if named(home, blob.name, but=name)]
        # The records last: by them, whoever goes on after a kill finds the weights.
        gone = [*(blob for blob in weights if blob not in kept), *_unfinished(home, name), *records]
        size = sum(path.stat().st_size for path in gone)
        for path in gone:
            path.unlink()
        with suppress(OSError):  # there is none, or it holds what nobody here wrote
            folder.rmdir()
    refresh(home)
    return Removed(name, len(gone), size, tuple(blob.name for blob in kept))


def _known(home: Home, name: str) -> set[str]:
    """The hash that the catalog has of a model's file; none also if only the store has the model.

    Raises:
        ZooError: There is no such model.
    """
    try:
        artifact = Catalog(home).entry(name).artifact
    except ZooError:
        # An entry that is damaged, or of a model that the catalog has no more.
        if slug(name) not in {path.parent.name for path in home.root.glob("models/*/*.json")}:
            raise
        return set()
    return {artifact.sha256} if artifact is not None and artifact.sha256 is not None else set()


def _unfinished(home: Home, name: str) -> Iterator[Path]:
    """What came of a download that was broken off."""
    part = partial(home, name)
    yield from (path for path in (part, part.with_name(f"{part.name}.json")) if path.is_file())
