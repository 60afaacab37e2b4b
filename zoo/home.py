"""Where everything is kept: ``$ZOO_HOME``, or the platform's folder for user data."""

import atexit
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from zoo.errors import ZooError
from zoo.files import digest, lock, make_folder, slug, write_json

if TYPE_CHECKING:
    from filelock import FileLock

FORMAT = 1
"""Version of the folder's layout; a folder of a newer one is refused, not guessed at."""


@dataclass(frozen=True)
class Home:
    """The folders of one store. Files are the truth; ``zoo.duckdb`` is an index of them.

    Attributes:
        root: Of the store.
        beside: Where the index and the locks are of who may only read the store; None for who may
            write to it.
    """

    root: Path
    beside: Path | None = None

    @classmethod
    def open(cls, root: Path | None = None) -> "Home":
        """The store at ``root``, at ``$ZOO_HOME``, or at the platform's user data folder.

        Raises:
            ZooError: It is no folder, or a newer version of this program wrote it, or its
                ``format.json`` is damaged, or no database can be kept there.
        """
        if root is None:
            root = Path(os.environ.get("ZOO_HOME") or platformdirs.user_data_dir("zoo"))
        # Absolute, as DuckDB reads more into a beginning such as ``~/`` or ``md:``.
        root = Path(os.path.expanduser(root)).absolute()
        if "?" in str(root):
            raise ZooError(
                f"{root} cannot hold a store: DuckDB takes what follows a question mark for no "
                "part of a file's name. Choose another folder with ZOO_HOME."
            )
        if root.exists() and not root.is_dir():
            raise ZooError(f"{root} is not a folder. Choose one with ZOO_HOME.")
        marker = root / "format.json"
        if marker.exists():
            found = _read_format(marker)
            if found > FORMAT:
                raise ZooError(
                    f"{root} was written by a newer version (format {found}; this one reads up to "
                    f"{FORMAT}). Upgrade, or choose another folder with ZOO_HOME."
                )
        else:
            write_json(marker, {"format": FORMAT})
        writable = os.access(root, os.W_OK | os.X_OK)
        return cls(root, None if writable else _own_folder(root))

    @property
    def read_only(self) -> bool:
        """Whether this user may only read what is here."""
        return self.beside is not None

    @property
    def blobs(self) -> Path:
        """Weight files by content: ``blobs/<sha256>``."""
        return self.root / "blobs"

    @property
    def downloads(self) -> Path:
        """Files on their way in: kept to go on with, never used before they are checked."""
        return self.root / "downloads"

    @property
    def artifacts(self) -> Path:
        """Trained models by what determines them: ``artifacts/<key>/``."""
        return self.root / "artifacts"

    @property
    def tunings(self) -> Path:
        """Which settings were tried and chosen: ``tunings/<key>.json``."""
        return self.root / "tunings"

    @property
    def cells(self) -> Path:
        """Evaluations by what determines them: ``cells/<hash>/``."""
        return self.root / "cells"

    @property
    def database(self) -> Path:
        """The DuckDB index of catalog and evaluations."""
        return (self.beside or self.root) / "zoo.duckdb"

    @property
    def locks(self) -> Path:
        """Lock files; the operating system frees a lock when its process dies."""
        return (self.beside or self.root) / "locks"

    def lock(self, name: str) -> "FileLock":
        """The lock of that name, which all who may write to the store can take."""
        return lock(self.locks / f"{name}.lock")

    def model(self, name: str) -> Path:
        """What this store holds about one model: ``models/<slug>/``."""
        return self.root / "models" / slug(name)


@cache
def _own_folder(root: Path) -> Path:
    """A folder of this user's for the index of a store: in the cache, or until the program ends."""
    folder = Path(platformdirs.user_cache_dir("zoo")) / digest(str(root))[:16]
    try:
        make_folder(folder)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    except OSError:
        pass
    folder = Path(tempfile.mkdtemp(prefix="zoo-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _read_format(marker: Path) -> int:
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))["format"]
    except (ValueError, KeyError, TypeError):
        found = None
    if type(found) is not int:
        raise ZooError(
            f'{marker} is damaged: it should say {{"format": {FORMAT}}}. Delete it if no newer '
            "version of this program has used the folder, or else choose another with ZOO_HOME."
        )
    return found
