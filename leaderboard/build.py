"""Write the site to a folder that a browser opens from disk."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from harness.compare import load
from leaderboard.render import render
from leaderboard.tables import tables
from zoo import open_catalog
from zoo.errors import UnknownNameError, ZooError
from zoo.files import digest
from zoo.home import Home

MARKER = ".zoo-leaderboard"
"""A file of every site; a folder without it is not replaced."""


def build(home: Home, out: Path) -> list[Path]:
    """Build the site of everything measured in ``home`` and put it at ``out``.

    Returns:
        The files written, sorted.

    Raises:
        ZooError: Nothing was measured, or ``out`` holds something that is not a site.
    """
    interactions, evaluations = load(home)
    if not evaluations:
        raise ZooError(f"no evaluations in {home.root}; run `harness eval …` first")
    models = {e.cell.model for e in evaluations} | {i.model for i in interactions}
    site = tables(interactions, evaluations, _facts(home, models))
    out = out.expanduser().resolve()
    with FileLock(home.locks / f"site-{digest(str(out))[:16]}.lock"):
        return publish(render(site), out)


def publish(files: Mapping[str, bytes], out: Path) -> list[Path]:
    """Put ``files`` at the absolute path ``out``, all of them or none, in place of an older site.

    Returns:
        The files written, sorted.

    Raises:
        ZooError: ``out`` is a file, or a folder that is neither empty nor a site.
        OSError: The disk is full or not writable; an older site is as it was.
    """
    _refuse_strangers(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        for path, content in {**files, MARKER: b""}.items():
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


def _facts(home: Home, models: set[str]) -> dict[str, Mapping[str, object]]:
    catalog = open_catalog(home)
    facts: dict[str, Mapping[str, object]] = {}
    for model in models:
        try:
            facts[model] = catalog.show(model)
        except UnknownNameError:
            # A model may leave the catalog while its evaluations stay; its page says so.
            continue
    return facts
