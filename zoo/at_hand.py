"""Which datasets are at hand, told by the names of files alone: what can be attacked here."""

import os
from collections.abc import Iterable
from pathlib import Path

IN_MIRROR = "mirror:"
"""Before a path in the mirror; the others are in the data folder."""


def folders() -> tuple[Path | None, Path | None]:
    """The data folder and the mirror, as the environment names them."""
    found = (os.environ.get(name) for name in ("ZOO_DATA_DIR", "ZOO_MIRROR"))
    data_dir, mirror = (Path(text).expanduser() if text else None for text in found)
    return data_dir, mirror


def is_at_hand(files: Iterable[str], data_dir: Path | None, mirror: Path | None) -> bool:
    """Whether a dataset can be read.

    Args:
        files: As the catalog's column has them.
        data_dir: Folder of datasets.
        mirror: Folder of public ones.
    """
    for file in files:
        if file == "none":
            return True
        root = mirror if file.startswith(IN_MIRROR) else data_dir
        if root is not None and (root / file.removeprefix(IN_MIRROR)).exists():
            return True
    return False
