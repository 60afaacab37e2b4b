"""Put a whole site in the place of an older one."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from zoo.errors import ZooError

MARKER = ".zoo-leaderboard"
"""A file of every site; a folder without it is not replaced."""

_NOTICE = b"`leaderboard build` made this folder and replaces all of it.\n"


def publish(files: Mapping[str, bytes], out: Path) -> list[Path]:
    """Put ``files`` at the absolute path ``out``, all of them or none, in place of an older site.

    Returns:
        The files written, sorted.

    Raises:
        ZooError: ``out`` is a file, or a folder that is neither empty nor a site, or lies where
            nothing can be written.
        OSError: The disk is full; an older site is as it was.
    """
    _refuse_strangers(out)
    try:
        return _replace(files, out)
    except (FileExistsError, NotADirectoryError, PermissionError) as problem:
        raise ZooError(
            f"cannot write {out}: {problem.strerror}; choose another folder with --out"
        ) from problem


def _replace(files: Mapping[str, bytes], out: Path) -> list[Path]:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        for path, content in {**files, MARKER: _NOTICE}.items():
            file = new / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        if out.exists():
            os.rename(out, old)
        try:
            os.rename(new, out)
        except OSError:
            if old.exists():
                os.rename(old, out)
            raise
    return sorted(out / path for path in files)


def _refuse_strangers(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ZooError(f"{out} is a file; choose a folder for the site with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / MARKER).exists():
        raise ZooError(
            f"{out} holds files that are not a site built by `leaderboard build`; "
            "choose a new or an empty folder with --out"
        )
