"""Files that are either whole or not there: hashing and atomic writes."""

import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a write that finds no place."""


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha1_file(path: Path) -> str:
    """Hex sha1 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def git_sha1_file(path: Path) -> str:
    """The name that git gives a file's content: sha1 over its size and its bytes, in hex."""
    begun = hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: begun).hexdigest()


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values are equal texts."""
    return _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """Hex sha256 of a JSON value: the key of whatever that value determines."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def slug(name: str) -> str:
    """A model's name as one folder name: ``akamaster/resnet20`` becomes ``akamaster__resnet20``."""
    return name.replace("/", "__")


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part.

    Raises:
        OSError: The disk is full or not writable; the old file is untouched and nothing is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(path)
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, atomically.

    Raises:
        ValueError: It holds a number that is not finite, which is no JSON; nothing is written.
        OSError: As of `write_atomic`.
    """
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(path, f"{text}\n".encode())


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the block ends well, and vanishes otherwise.

    An older folder of that name is replaced. The caller holds a lock on ``path``, so what an
    earlier writer left unfinished is its writer's remains, and is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for remains in path.parent.glob(f".{glob.escape(path.name)}.*"):
        shutil.rmtree(remains, ignore_errors=True)
    part = _beside(path)
    part.mkdir()
    try:
        yield part
        for file in part.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if path.exists():
            old = _beside(path)
            os.rename(path, old)
            os.rename(part, path)
            shutil.rmtree(old)
        else:
            os.rename(part, path)
        parent = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A new name in the folder of ``path``.

    Unlike `tempfile`, which makes what only its owner can read, this leaves the mode to the umask.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
