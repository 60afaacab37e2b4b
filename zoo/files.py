"""Files that are either whole or not there: hashing and atomic writes."""

import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filelock import FileLock

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
    """A model's name as one folder name: ``me/mlp`` becomes ``me__mlp``."""
    return name.replace("/", "__")


def share(path: Path) -> None:
    """Let the group write to a file or folder that lies where the same group may write.

    So a folder that a group shares, whose mode is 2775, is one in all its depth, whatever the
    umasks of those who write there. Elsewhere the mode is left to the umask.
    """
    around, own = path.parent.stat(), path.stat()
    shared = around.st_mode & stat.S_IWGRP and not around.st_mode & stat.S_ISVTX
    if not shared or around.st_gid != own.st_gid:
        return
    bits = stat.S_IRWXG if path.is_dir() else stat.S_IRGRP | stat.S_IWGRP
    mode = stat.S_IMODE(own.st_mode)
    if mode | bits != mode:
        with suppress(PermissionError):  # another user's, who has shared it or is about to
            path.chmod(mode | bits)


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in, as shared as the first one that is there."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        share(path)


def lock(path: Path) -> "FileLock":
    """A lock that whoever may write beside it can take; that of a dead process is free."""
    from filelock import FileLock

    make_folder(path.parent)
    with suppress(FileExistsError):
        path.touch(exist_ok=False)
        share(path)
    return FileLock(path, mode=stat.S_IMODE(path.stat().st_mode))


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part.

    Raises:
        OSError: The disk is full or not writable; the old file is untouched and nothing is left.
    """
    make_folder(path.parent)
    part = _beside(path)
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        share(part)
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


DAMAGE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a damaged file of JSON, and taking it for what it should be, may raise."""


def read_record(path: Path, advice: str, fits: Callable[[Any], bool] = bool) -> Any:
    """A JSON object of the store; None if there is none, or, with a warning, if it is damaged.

    Args:
        path: Of the file.
        advice: What to do if it is damaged, as a sentence.
        fits: Whether an object has what it needs; it may raise KeyError, TypeError and the like.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record, dict) and fits(record):
            return record
    except FileNotFoundError:
        return None
    except DAMAGE:
        pass
    warnings.warn(f"{path} is damaged and left out. {advice}", stacklevel=2)
    return None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the block ends well, and vanishes otherwise.

    An older folder of that name is replaced. The caller holds a lock on ``path``, so what an
    earlier writer left unfinished is its writer's remains, and is removed.
    """
    make_folder(path.parent)
    for remains in path.parent.glob(f".{glob.escape(path.name)}.*"):
        shutil.rmtree(remains, ignore_errors=True)
    part = _beside(path)
    part.mkdir()
    share(part)
    try:
        yield part
        for file in part.iterdir():
            share(file)
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
