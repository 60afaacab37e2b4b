"""One file out of a zip archive, read by its name; nothing else of the archive is touched."""

import zipfile
from pathlib import Path

from zoo.errors import ZooError

_CHUNK = 1 << 20
# Weights hardly compress; what grows like this is made to fill the disk.
_GROWTH = 20
_SMALL = 1 << 24


def has_member(archive: Path, member: str) -> bool:
    """Whether a file is a zip archive with a file of that name."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return member in opened.namelist()
    except Exception:  # a damaged archive fails in many ways
        return False


def damage(archive: Path) -> str | None:
    """What the checksums inside a zip archive say is damaged; None for nothing, or for no archive.

    Torch does not look at those of the checkpoints that it reads.
    """
    if not zipfile.is_zipfile(archive):
        return None
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.testzip()
    except Exception as problem:  # a damaged archive fails in many ways
        return str(problem) or type(problem).__name__


def extract(
    name: str, archive: Path, member: str, into: Path, *, size: int | None, origin: str
) -> None:
    """Copy one file of an archive to a path that does not depend on the archive.

    Args:
        name: Of the model, for people.
        archive: The zip file.
        member: Name in the archive, exactly.
        into: Where its bytes go.
        size: In bytes, if known.
        origin: Where the archive came from, for people.

    Raises:
        ZooError: It is no zip archive, has no such file, or the file is damaged or larger than it
            can be.
        OSError: The disk is full.
    """
    limit = size if size is not None else archive.stat().st_size * _GROWTH + _SMALL
    try:
        with zipfile.ZipFile(archive) as opened:
            if member not in opened.namelist():
                shown = ", ".join(opened.namelist()[:5]) or "nothing"
                raise ZooError(f"{name}: {origin} has no file {member!r} in it, but {shown}.")
            with opened.open(member) as file, into.open("wb") as copy:
                written = 0
                while chunk := file.read(_CHUNK):
                    written += len(chunk)
                    if written > limit:
                        raise ZooError(
                            f"{name}: {member} in {origin} should have at most {limit} bytes but "
                            "has more than that. Nothing was kept."
                        )
                    copy.write(chunk)
    except ZooError:
        raise
    except Exception as problem:  # damage, passwords and rare compressions fail in many ways
        if isinstance(problem, OSError) and problem.errno is not None:
            raise
        raise ZooError(
            f"{name}: {origin} is not a zip archive that {member} can be read from ({problem}). "
            "Nothing was kept; get it again."
        ) from problem
