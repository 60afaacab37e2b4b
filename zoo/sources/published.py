"""Weights that somebody published: from a mirror folder, or from where they were published."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.home import Home
from zoo.sources.base import Fetched, Progress
from zoo.sources.blobs import convert, converted, intact, keep, locked, new_blob

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True)
class Published:
    """Published checkpoints.

    Attributes:
        mirror: Folder that holds copies of them, looked into before the network is used.
    """

    mirror: Path | None = None

    def fetch(self, entry: ModelEntry, home: Home, *, progress: Progress | None = None) -> Fetched:
        """Get the file, check it against the catalog, and convert it; or check what is there.

        Raises:
            ZooError: The file cannot be had, or is not the one that the catalog describes;
                nothing of it is kept.
        """
        artifact = entry.artifact
        if artifact is None:
            raise ZooError(f"The catalog names no weight file for {entry.name}.")
        with locked(home, entry.name):
            found = converted(entry, artifact, home)
            if found is not None:
                return found
            if not intact(home.blobs / artifact.sha256):
                self._obtain(entry.name, artifact, home, progress)
            return convert(entry, artifact, home)

    def _obtain(self, name: str, artifact: Artifact, home: Home, progress: Progress | None) -> None:
        origin, chunks = self._open(name, artifact)
        sha, size = hashlib.sha256(), 0
        with new_blob(home, name) as part, part.open("wb") as file, closing(chunks):
            for chunk in chunks:
                if size == 0:
                    _refuse_web_page(chunk, origin)
                sha.update(chunk)
                size += len(chunk)
                if size > artifact.size:
                    break
                file.write(chunk)
                if progress is not None:
                    progress(size, artifact.size)
            file.flush()
            if size != artifact.size:
                how = "more than that" if size > artifact.size else f"{size}, so it is cut short"
                raise ZooError(
                    f"{name}: {origin} should have {artifact.size} bytes but has {how}. Nothing "
                    "was kept; get it again, or from elsewhere with --mirror DIR."
                )
            if sha.hexdigest() != artifact.sha256:
                raise ZooError(
                    f"{name}: {origin} has sha256 {sha.hexdigest()} instead of {artifact.sha256}: "
                    "it is not the file that the catalog describes. Nothing was kept; get it "
                    "again, or from elsewhere with --mirror DIR."
                )
            keep(home, part, artifact.sha256)

    def _open(self, name: str, artifact: Artifact) -> tuple[str, Generator[bytes, None, None]]:
        """Where the file comes from, for people, and its bytes."""
        looked = ""
        if self.mirror is not None:
            if not self.mirror.is_dir():
                raise ZooError(f"The mirror {self.mirror} is not a folder.")
            if artifact.mirror_path is not None:
                path = self.mirror / artifact.mirror_path
                if path.is_file():
                    return str(path), _read(path.open("rb"))
                looked = f"{path} does not exist, and "
        if artifact.url is None:
            raise ZooError(f"{name}: {looked}its file is published nowhere.")
        return artifact.url, _download(name, artifact.url, looked)


def _read(file: IO[bytes]) -> Generator[bytes, None, None]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _download(name: str, url: str, looked: str) -> Generator[bytes, None, None]:
    if not url.startswith(("https://", "http://")):
        raise ZooError(f"{name}: {url} is not a web address.")
    advice = "Get the file by other means and name the folder with --mirror DIR."
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            while chunk := response.read(_CHUNK):
                yield chunk
    except urllib.error.HTTPError as problem:
        raise ZooError(
            f"{name}: {looked}{url} answered {problem.code} {problem.reason}. {advice}"
        ) from problem
    except http.client.IncompleteRead as problem:
        # The caller sees that bytes are missing, and says how many.
        yield problem.partial
    except (OSError, http.client.HTTPException) as problem:
        reason = getattr(problem, "reason", problem)
        raise ZooError(f"{name}: {looked}{url} cannot be reached ({reason}). {advice}") from problem


def _refuse_web_page(head: bytes, origin: str) -> None:
    from zoo.loading import is_web_page

    if is_web_page(head):
        raise ZooError(
            f"{origin}: the host sent a web page, not weights. Nothing was kept; get the file in a "
            "browser and name its folder with --mirror DIR."
        )
