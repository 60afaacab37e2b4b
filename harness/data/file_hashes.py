"""The sha256 of every image of a dataset, kept beside them: what a fingerprint is made of.

Hashing a whole dataset reads all of it, so it is done once, and so is finding out whether each can
be decoded. A file counts as unchanged while its size and the time it was written are the same;
`hashes` with ``verify`` trusts neither.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from harness.data.photographs import Place, UnreadableError, check
from zoo.errors import ZooError
from zoo.files import write_atomic

NAME = ".zoo-images.tsv"
"""Beside the files: a line for each, its name, size, time in nanoseconds and sha256."""

Record = tuple[int, int, str]


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be decoded.

    Attributes:
        name: Of its place.
        reason: What the decoder says.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class ChangedError(ZooError):
    """Files have other contents than when they were hashed, though size and time are the same."""


def hashes(root: Path, places: Sequence[Place], *, verify: bool = False) -> list[str | Unreadable]:
    """The sha256 of the bytes at each place, in their order, or why they are no image.

    Args:
        root: Folder of the dataset, in which they are kept.
        places: Their names are unique.
        verify: Whether to hash all of them again.

    Raises:
        ZooError: A file is not there.
        ChangedError: With ``verify``, some are not what was recorded; they are named.
    """
    kept = _read(root / NAME)
    stats = _stats(root, places)

    def now(place: Place) -> tuple[int, int]:
        about = stats[place.file]
        return about.st_size if place.size is None else place.size, about.st_mtime_ns

    known = {
        place.name: kept[place.name]
        for place in places
        if place.name in kept and kept[place.name][:2] == now(place)
    }
    missing = [place for place in places if verify or place.name not in known]
    changed: list[str] = []
    unreadable: dict[str, Unreadable] = {}
    with ThreadPoolExecutor() as pool:
        found = tqdm(
            pool.map(_sha256, missing), f"reading {root.name}", len(missing),
            leave=False, disable=None, delay=2, unit=" images",
        )  # fmt: skip
        for place, (sha256, wrong) in zip(missing, found, strict=True):
            if place.name in known and known[place.name][2] != sha256:
                changed.append(place.name)
            elif wrong is not None:
                unreadable[place.name] = wrong
                continue
            known[place.name] = (*now(place), sha256)
    if changed:
        raise ChangedError(
            f"{len(changed)} files of {root} are not what they were ({', '.join(changed[:3])}"
            f"{', …' if len(changed) > 3 else ''}). Get them again, or remove {root / NAME} if "
            f"they are meant to be others."
        )
    if missing:
        _write(root / NAME, {**kept, **known})
    return [unreadable.get(one.name) or known[one.name][2] for one in places]


def _stats(root: Path, places: Sequence[Place]) -> dict[Path, os.stat_result]:
    found, lost = {}, []
    for file in dict.fromkeys(place.file for place in places):
        try:
            found[file] = file.stat()
        except OSError:  # also a name that is too long, or below what is no folder
            lost.append(file)
    if lost:
        raise ZooError(
            f"There is no {lost[0]}, which is listed in {root} ({len(lost)} of {len(places):,} "
            f"images are missing). Unpack all of it."
        )
    return found


def _sha256(place: Place) -> tuple[str, Unreadable | None]:
    content = place.read()
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        check(content, place.name)
    except UnreadableError as error:
        return sha256, Unreadable(place.name, error.reason)
    return sha256, None


def _read(path: Path) -> dict[str, Record]:
    """What was kept; nothing if it is not there or damaged."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        parts = [line.split("\t") for line in lines]
        return {name: (int(size), int(time), sha256) for name, size, time, sha256 in parts}
    except (OSError, ValueError):
        return {}


def _write(path: Path, known: dict[str, Record]) -> None:
    lines = (f"{name}\t{size}\t{time}\t{sha256}\n" for name, (size, time, sha256) in known.items())
    try:
        write_atomic(path, "".join(lines).encode())
    except OSError as error:
        warnings.warn(
            f"{path} cannot be written ({error.strerror}), so all files are hashed again the next "
            f"time.",
            stacklevel=3,
        )
