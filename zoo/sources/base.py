"""What a source of models is, and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from zoo.entry import ModelEntry
from zoo.home import Home

Progress = Callable[[int, int], None]
"""Told how much is done and how much there is to do, in units of the source's choice."""


Checked = Literal["sha256", "git sha1", "sha1", "sha256 prefix", "first use", "from file"]
"""What a published file was held against. ``first use``: nobody states a hash of it, so whatever
came first is what it has to be from then on. ``from file``: the user gave it, and nobody could be
asked about it yet; the Hub is, as soon as it can be."""


@dataclass(frozen=True)
class Fetched:
    """Weights that lie in the store, ready for `zoo.loading.load_model`.

    Attributes:
        name: Of the model.
        path: Safetensors with the raw network's state dict.
        sha256: Of that file, and its name.
        cached: Whether it was there already.
        accuracy: Measured while making it; None if nothing was measured.
        checked: What the published file was held against; None for what was not published.
    """

    name: str
    path: Path
    sha256: str
    cached: bool
    accuracy: float | None
    checked: Checked | None = None


class WeightSource(Protocol):
    """One way of getting weights. Packages add theirs under the entry point ``zoo.sources``."""

    def fetch(
        self,
        entry: ModelEntry,
        home: Home,
        *,
        mirror: Path | None = None,
        data_dir: Path | None = None,
        progress: Progress | None = None,
    ) -> Fetched:
        """Get the weights of ``entry`` into ``home``, or find them there.

        Args:
            entry: Of the catalog.
            home: The store.
            mirror: Folder with copies of public files.
            data_dir: Folder with datasets.
            progress: Called with how much is done and how much there is to do.

        Raises:
            ZooError: They cannot be had; the text says what to do.
        """
        ...
