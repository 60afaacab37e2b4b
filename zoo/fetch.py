"""Get a model's weights, wherever they come from."""

import os
import warnings
from importlib.metadata import entry_points
from pathlib import Path

from zoo.entry import ModelEntry
from zoo.errors import unknown
from zoo.home import Home
from zoo.sources.base import Fetched, Progress, Source
from zoo.sources.local import Local
from zoo.sources.published import Published

__all__ = ["Fetched", "Progress", "Source", "fetch", "sources"]


def fetch(
    entry: ModelEntry,
    home: Home,
    *,
    mirror: Path | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Get the weights of a model into the store, or check the ones that are there.

    Args:
        entry: What the catalog says about the model.
        home: Where the weights go.
        mirror: Folder with copies of published files; by default ``$ZOO_MIRROR``.
        progress: Called with how much is done and how much there is to do.

    Raises:
        ZooError: The weights cannot be had or are not what the catalog describes.
        OSError: The disk is full; nothing unfinished is kept.
    """
    if mirror is None and os.environ.get("ZOO_MIRROR"):
        mirror = Path(os.environ["ZOO_MIRROR"])
    known = sources(mirror)
    if entry.source not in known:
        raise unknown("source of models", entry.source, known)
    return known[entry.source].fetch(entry, home, progress=progress)


def sources(mirror: Path | None = None) -> dict[str, Source]:
    """Every source by name: the two of this package, and those of installed packages.

    A package whose source cannot be loaded is warned about and left out.
    """
    found: dict[str, Source] = {"published": Published(mirror), "local": Local()}
    for point in entry_points(group="zoo.sources"):
        try:
            found[point.name] = point.load()()
        except Exception as problem:  # whatever somebody else's package does on import
            warnings.warn(
                f"The source {point.name!r} of {point.value} is left out: {problem!r}.",
                stacklevel=2,
            )
    return found
