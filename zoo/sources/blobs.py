"""Weight files in the store: kept by content, checked on every use, converted once."""

import json
import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from zoo.entry import Artifact, ModelEntry
from zoo.files import digest, sha256_file, slug, write_json
from zoo.home import Home
from zoo.sources.base import Fetched


@contextmanager
def locked(home: Home, name: str) -> Iterator[None]:
    """Work on one model's files; another process that wants to waits."""
    home.locks.mkdir(parents=True, exist_ok=True)
    with FileLock(home.locks / f"model-{slug(name)}.lock"):
        yield


@contextmanager
def new_blob(home: Home) -> Iterator[Path]:
    """A path in the store to write a file to; whatever is left there at the end is removed."""
    home.blobs.mkdir(parents=True, exist_ok=True)
    part = home.blobs / f"{secrets.token_hex(8)}.part"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def keep(home: Home, part: Path, sha256: str) -> Path:
    """Move a finished file to its place in the store; it is on the disk when this returns."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    blob = home.blobs / sha256
    os.replace(part, blob)
    return blob


def intact(blob: Path) -> bool:
    """Whether a blob is there with the content that it is named for. If altered, it is removed."""
    if not blob.exists():
        return False
    found = sha256_file(blob)
    if found == blob.name:
        return True
    blob.unlink()
    warnings.warn(
        f"{blob} was altered (its sha256 is {found}); it was removed and is made anew.",
        stacklevel=2,
    )
    return False


def converted(entry: ModelEntry, artifact: Artifact, home: Home) -> Fetched | None:
    """What `convert` made before, if it and the file that it was made from are unchanged."""
    record = _record(home, entry)
    try:
        made = json.loads(record.read_text())
        fits = made["made_from"] == _determines(entry, artifact)
        weights = home.blobs / made["sha256"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    intact_both = [intact(home.blobs / artifact.sha256), intact(weights)]
    if not (fits and all(intact_both)):
        return None
    return Fetched(entry.name, weights, made["sha256"], cached=True, accuracy=None)


def convert(entry: ModelEntry, artifact: Artifact, home: Home) -> Fetched:
    """Make safetensors of the artifact's blob, which must be intact, and record it.

    Raises:
        ZooError: The file holds something other than this entry's weights.
    """
    from zoo.loading import fit, read_state_dict, to_safetensors

    net = fit(entry, read_state_dict(home.blobs / artifact.sha256, artifact))
    with new_blob(home) as part:
        to_safetensors(net.state_dict(), part)
        sha256, size = sha256_file(part), part.stat().st_size
        weights = keep(home, part, sha256)
    write_json(
        _record(home, entry),
        {
            "name": entry.name,
            "sha256": sha256,
            "size": size,
            "source_sha256": artifact.sha256,
            "made_from": _determines(entry, artifact),
        },
    )
    return Fetched(entry.name, weights, sha256, cached=False, accuracy=None)


def _record(home: Home, entry: ModelEntry) -> Path:
    return home.model(entry.name) / "fetched.json"


def _determines(entry: ModelEntry, artifact: Artifact) -> str:
    """Digest of everything in the catalog that the converted file depends on."""
    return digest(
        {
            "artifact": asdict(artifact),
            "architecture": entry.architecture,
            "input_shape": entry.input_shape,
            "num_classes": entry.num_classes,
        }
    )
