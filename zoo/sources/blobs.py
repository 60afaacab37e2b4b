"""Weight files in the store: kept by content, checked on every use, converted once."""

import errno
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.files import digest, make_folder, read_record, sha256_file, share, slug, write_json
from zoo.home import Home
from zoo.sources.base import Checked, Fetched

_ABANDONED = 7 * 24 * 3600.0  # seconds without a new byte

# Two networks at once would need twice the memory, on a machine that may have enough for one.
CONVERTING = Lock()


@dataclass(frozen=True, kw_only=True)
class Obtained:
    """A published file that lies in the store, checked.

    Attributes:
        sha256: Of the file, and its name there.
        checked: What it was held against.
        origin: Where it came from, for people.
        hub_revision: Commit that it is of, if it came from the Hub.
        hub_file: Its name in that commit.
    """

    sha256: str
    checked: Checked
    origin: str | None = None
    hub_revision: str | None = None
    hub_file: str | None = None


@contextmanager
def locked(home: Home, name: str) -> Iterator[None]:
    """Work on one model's files; another process that wants to waits.

    What a process that was killed had begun to write of this model is removed.
    """
    with home.lock(f"model-{slug(name)}"):
        if not home.read_only:
            for remains in home.blobs.glob(f"*{_part(name)}*"):
                remains.unlink()
        yield


def check_writable(home: Home) -> None:
    """Refuse to begin what cannot be kept.

    Raises:
        PermissionError: The user may only read the store.
    """
    if home.read_only:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(home.root))


@contextmanager
def new_blob(home: Home, name: str) -> Iterator[Path]:
    """A path in the store to write a file of a model to; what is left there at the end is removed.

    Use it in `locked`, one at a time.
    """
    make_folder(home.blobs)
    part = home.blobs / _part(name)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def partial(home: Home, name: str) -> Path:
    """Where what is downloaded for a model lies until it is whole and checked.

    What nobody has gone on with for a week is removed, whichever model it is of, together with the
    note beside it, which is written at the beginning only.
    """
    if home.downloads.is_dir():
        for path in home.downloads.iterdir():
            if _last_written(path) < time.time() - _ABANDONED:
                remove(path)
    return home.downloads / _part(name)


def remove(path: Path) -> None:
    """Remove a file or a folder that need not exist."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _last_written(path: Path) -> float:
    """When a download or its note was written last, whichever was later; now, if both are gone."""
    part = path.with_name(path.name.removesuffix(".json"))
    times = []
    for file in (part, part.with_name(f"{part.name}.json")):
        with suppress(FileNotFoundError):
            times.append(file.lstat().st_mtime)
    return max(times, default=time.time())


def keep(home: Home, part: Path, sha256: str) -> Path:
    """Move a finished file to its place in the store; it is on the disk when this returns."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    share(part)
    make_folder(home.blobs)
    blob = home.blobs / sha256
    os.replace(part, blob)
    return blob


def intact(blob: Path) -> bool:
    """Whether a blob is there with the content that it is named for."""
    return blob.is_file() and sha256_file(blob) == blob.name


def remove_altered(name: str, artifact: Artifact | None, home: Home) -> None:
    """Remove a model's blobs whose content is not the one that they are named for, with a warning.

    Args:
        name: Of the model.
        artifact: Its published file; None if there is none.
        home: The store.

    Raises:
        ZooError: One is altered, and the store cannot be written.
    """
    made = recorded(home, name) or {}
    shas = {made.get("sha256"), made.get("source_sha256"), artifact and artifact.sha256}
    for blob in (home.blobs / sha256 for sha256 in sorted(filter(None, shas))):
        if blob.is_file() and (found := sha256_file(blob)) != blob.name:
            if home.read_only:
                raise ZooError(
                    f"{blob} was altered (its sha256 is {found}), and you may not write to the "
                    f"store. Ask who may to run `zoo fetch {name}`, or use another ZOO_HOME."
                )
            blob.unlink()
            warnings.warn(
                f"{blob} was altered (its sha256 is {found}); it was removed and is made anew.",
                stacklevel=2,
            )


def named(home: Home, sha256: str, *, but: str | None = None) -> bool:
    """Whether a record of any model names a blob: what was fetched, trained, or added by the user.

    Records are looked at as text, so that a damaged one counts too.

    Args:
        home: The store.
        sha256: Of the blob.
        but: Name of a model whose records do not count.
    """
    return any(
        sha256 in record.read_text(encoding="utf-8", errors="replace")
        for record in home.root.glob("models/*/*.json")
        if but is None or record.parent != home.model(but)
    )


def note(home: Home, name: str, record: dict[str, Any]) -> None:
    """Write ``fetched.json`` of a model, which keeps the blobs that it names from being removed.

    Raises:
        ZooError: Another command has removed one before it was named.
    """
    with home.lock("blobs"):
        for key in ("sha256", "source_sha256"):
            if key in record and not (home.blobs / record[key]).is_file():
                raise ZooError(
                    f"{name}: another command has just removed the same weights from the store. "
                    "Run this one again."
                )
        write_json(_record(home, name), record)


def recorded(home: Home, name: str) -> dict[str, Any] | None:
    """What ``fetched.json`` says of a model; None if it was not fetched, or the file is damaged.

    Its ``sha256``, and its ``source_sha256`` if it has one, are names of blobs.
    """

    def fits(made: dict[str, Any]) -> bool:
        names = [made["sha256"], made.get("source_sha256", "0" * 64)]
        # Anything else could lead to a file outside the folder of blobs.
        return all(re.fullmatch("[0-9a-f]{64}", str(name)) for name in names)

    return read_record(_record(home, name), f"`zoo fetch {name}` makes it anew.", fits)


def stored_intact(entry: ModelEntry, home: Home) -> bool | None:
    """Whether what was fetched of a model is in the store as it was; nothing is repaired.

    Returns:
        None if nothing was fetched, or its record is damaged. False if a file is missing or its
        bytes do not have the recorded sha256.
    """
    made = recorded(home, entry.name)
    if made is None:
        return None
    blobs = [home.blobs / made[key] for key in ("sha256", "source_sha256") if key in made]
    return all(map(intact, blobs))


def remembered(home: Home, name: str, artifact: Artifact) -> Obtained | None:
    """What came the last time from where the catalog says that the file is; it may be gone now."""
    made = recorded(home, name)
    if made is None or made.get("location") != _location(artifact):
        return None
    if "source_sha256" not in made:
        return None
    revision, file = made.get("hub_revision"), made.get("hub_file")
    return Obtained(
        sha256=made["source_sha256"],
        checked=made.get("checked", "first use"),
        origin=made.get("origin"),
        hub_revision=revision if re.fullmatch("[0-9a-f]{40}", str(revision)) else None,
        hub_file=file if isinstance(file, str) else None,
    )


def forget(home: Home, name: str) -> None:
    """Forget what was fetched of a model; its blobs may be another model's as well."""
    _record(home, name).unlink(missing_ok=True)


def vouch(home: Home, name: str, source: Obtained) -> None:
    """Note what the file that a model was made from has been held against since."""
    made = recorded(home, name)
    if made is not None and made.get("source_sha256") == source.sha256:
        known = asdict(source)
        del known["sha256"]
        write_json(_record(home, name), made | {k: v for k, v in known.items() if v is not None})


def converted(entry: ModelEntry, artifact: Artifact, home: Home) -> Fetched | None:
    """What `convert` made before, if it and the file that it was made from are unchanged."""
    made = recorded(home, entry.name)
    if made is None or "source_sha256" not in made:
        return None
    weights = home.blobs / made["sha256"]
    fits = made.get("made_from") == _determines(entry, artifact)
    if not (fits and intact(home.blobs / made["source_sha256"]) and intact(weights)):
        return None
    return Fetched(
        entry.name, weights, made["sha256"], True, accuracy=None, checked=made.get("checked")
    )


def convert(
    entry: ModelEntry, artifact: Artifact, home: Home, source: Obtained | None = None
) -> Fetched:
    """Make safetensors of a file in the store, which must be intact, and record it.

    Args:
        entry: The model.
        artifact: How the weights lie in the file.
        home: The store.
        source: The file; None for the one whose sha256 the artifact states.

    Raises:
        ZooError: The file holds something other than this entry's weights.
    """
    from zoo.loading import load_weights, read_weights, to_safetensors

    if source is None:
        assert artifact.sha256 is not None
        source = Obtained(sha256=artifact.sha256, checked="sha256")
    with CONVERTING, new_blob(home, entry.name) as part:
        net = load_weights(entry, read_weights(entry, home.blobs / source.sha256, artifact))
        to_safetensors(net.state_dict(), part)
        sha256, size = sha256_file(part), part.stat().st_size
        weights = keep(home, part, sha256)
    known = asdict(source)
    record = {
        "name": entry.name,
        "sha256": sha256,
        "size": size,
        "source_sha256": known.pop("sha256"),
        "made_from": _determines(entry, artifact),
        "location": _location(artifact),
        **{key: value for key, value in known.items() if value is not None},
    }
    note(home, entry.name, record)
    return Fetched(entry.name, weights, sha256, False, accuracy=None, checked=source.checked)


def _record(home: Home, name: str) -> Path:
    return home.model(name) / "fetched.json"


def _part(name: str) -> str:
    """Name of a model's unfinished file, which is no part of another model's."""
    return f"{digest(name)}.part"


def _location(artifact: Artifact) -> str:
    """Digest of where the catalog says that a file is published."""
    where = (artifact.url, artifact.member)
    return digest([*where, artifact.hub_repo, artifact.hub_revision, artifact.hub_file])


def _determines(entry: ModelEntry, artifact: Artifact) -> str:
    """Digest of everything in the catalog that the converted file depends on."""
    return digest(
        {
            # What came later is part of it only where it says something.
            "artifact": {k: v for k, v in asdict(artifact).items() if k != "in_order" or v},
            "architecture": entry.architecture,
            "input_shape": entry.input_shape,
            "num_classes": entry.num_classes,
        }
    )
