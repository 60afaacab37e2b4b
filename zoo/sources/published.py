"""Weights that somebody published: from a file, a mirror folder, the Hub, or a web address."""

from dataclasses import dataclass, replace
from pathlib import Path

from zoo import licences
from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.home import Home
from zoo.sources import archive, download, hub
from zoo.sources.base import Fetched, Progress
from zoo.sources.blobs import (
    Obtained,
    convert,
    converted,
    intact,
    keep,
    locked,
    new_blob,
    partial,
    remembered,
    remove,
)
from zoo.sources.expected import Expected, verify

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Published:
    """Published checkpoints.

    Attributes:
        mirror: Folder that holds copies of them, looked into before the network is used.
        from_file: The published file, if the user has it already.
        offline: Whether the network must not be used.
        accept_licence: Whether the user accepts the terms of what is fetched.
    """

    mirror: Path | None = None
    from_file: Path | None = None
    offline: bool = False
    accept_licence: bool = False

    def fetch(self, entry: ModelEntry, home: Home, *, progress: Progress | None = None) -> Fetched:
        """Get the file, check it against all that is known, and convert it; or check what is there.

        Raises:
            ZooError: The file cannot be had, or is not the one that the catalog describes; nothing
                of it is kept that is used later without being checked.
        """
        artifact = entry.artifact
        if artifact is None:
            raise ZooError(f"The catalog names no weight file for {entry.name}.")
        licences.check(entry, home, accepting=self.accept_licence)
        with locked(home, entry.name):
            found = converted(entry, artifact, home)
            if found is not None:
                return found
            source = _kept(entry.name, artifact, home)
            if source is None:
                _refuse_uncoded(entry)
                source = self._obtain(entry, artifact, home, progress)
            try:
                return convert(entry, artifact, home, source)
            except ZooError:
                known = remembered(home, entry.name, artifact)
                if source.sha256 not in (artifact.sha256, known and known.sha256):
                    remove(home.blobs / source.sha256)  # no later call would find it
                raise

    def _obtain(
        self, entry: ModelEntry, artifact: Artifact, home: Home, progress: Progress | None
    ) -> Obtained:
        """Get the published file into the store, from the nearest place that has it."""
        name = entry.name
        before = remembered(home, name, artifact)
        expected = Expected.of(artifact, first=before.sha256 if before else None)
        if self.from_file is not None:
            return _copy(name, self.from_file, artifact, expected, home, progress)
        missing = ""
        if self.mirror is not None:
            if not self.mirror.is_dir():
                raise ZooError(f"The mirror {self.mirror} is not a folder.")
            if artifact.mirror_path is not None:
                path = self.mirror / artifact.mirror_path
                if path.is_file():
                    return _copy(name, path, artifact, expected, home, progress)
                missing = f" ({path} does not exist)"
        if self.offline:
            raise ZooError(
                f"{name} is not in the store{missing}, and --offline keeps the network from being "
                "used. Fetch it without, or with --from-file FILE or --mirror DIR."
            )
        if artifact.hub_repo is not None:
            return self._from_hub(entry, artifact, expected, before, home, progress)
        if artifact.url is not None:
            who = f"{name}{missing}"
            return _from_url(name, who, artifact.url, artifact, expected, home, progress)
        raise ZooError(
            f"{name}: its file is published nowhere{missing}. Give it with --from-file FILE."
        )

    def _from_hub(
        self,
        entry: ModelEntry,
        artifact: Artifact,
        expected: Expected,
        before: Obtained | None,
        home: Home,
        progress: Progress | None,
    ) -> Obtained:
        assert artifact.hub_repo is not None
        file = hub.find(
            entry.name,
            artifact.hub_repo,
            artifact.hub_revision or (before.hub_revision if before else None),
            artifact.hub_file or (before.hub_file if before else None),
        )
        if file.gated and not licences.accepted(entry, home):
            if not self.accept_licence:
                raise ZooError(
                    f"{entry.name}: {file.repo} is gated: its authors ask for agreement with their "
                    f"terms, see {hub.endpoint()}/{file.repo}. If you agree, say so once with: "
                    f"zoo fetch {entry.name} --accept-licence"
                )
            licences.accept(entry, home)
        for fact, theirs in (("sha256", file.sha256), ("size", file.size)):
            ours = getattr(expected, fact)
            if None not in (ours, theirs) and ours != theirs:
                raise ZooError(
                    f"{entry.name}: {file.origin} has {fact} {theirs} instead of {ours}: it is not "
                    "the file that the catalog describes. Give the right one with --from-file FILE."
                )
        expected = replace(
            expected,
            sha256=expected.sha256 or file.sha256,
            git_sha1=file.git_sha1,
            size=file.size if expected.size is None else expected.size,
        )
        # The client keeps links and copies under names that it never checks again: none survive.
        folder = partial(home, entry.name).with_suffix(".hub")
        remove(folder)
        try:
            part = hub.download(entry.name, file, folder, progress)
            sha256 = verify(part, expected, entry.name, file.origin)
            keep(home, part, sha256)
        finally:
            remove(folder)
        return Obtained(
            sha256=sha256,
            checked=expected.checked,
            origin=file.origin,
            hub_revision=file.commit,
            hub_file=file.path,
        )


def _kept(name: str, artifact: Artifact, home: Home) -> Obtained | None:
    """The published file, if an earlier fetch left it in the store and it is still the one."""
    before = remembered(home, name, artifact)
    if before is None and artifact.sha256 is not None:
        before = Obtained(sha256=artifact.sha256, checked="sha256")
    if before is None or artifact.sha256 not in (None, before.sha256):
        return None
    blob = home.blobs / before.sha256
    if not intact(blob):
        return None
    try:  # the catalog may know more of it by now
        verify(blob, Expected.of(artifact), name, str(blob))
    except ZooError:
        return None
    return before


def _copy(
    name: str,
    path: Path,
    artifact: Artifact,
    expected: Expected,
    home: Home,
    progress: Progress | None,
) -> Obtained:
    """The published file, or the archive with it, from a place on disk."""
    if not path.is_file():
        raise ZooError(f"{name}: there is no file {path}.")
    with new_blob(home, name) as part:
        if artifact.member is not None and archive.has_member(path, artifact.member):
            archive.extract(name, path, artifact.member, part, size=expected.size, origin=str(path))
        else:
            size = path.stat().st_size
            with path.open("rb") as file, part.open("wb") as copy:
                for chunk in iter(lambda: file.read(_CHUNK), b""):
                    copy.write(chunk)
                    if progress is not None:
                        progress(copy.tell(), size)
        sha256 = verify(part, expected, name, str(path))
        keep(home, part, sha256)
    return Obtained(sha256=sha256, checked=expected.checked, origin=str(path))


def _from_url(
    name: str,
    who: str,
    url: str,
    artifact: Artifact,
    expected: Expected,
    home: Home,
    progress: Progress | None,
) -> Obtained:
    """The published file, or the archive with it, from the web."""
    came = partial(home, name)
    whole = artifact.member is None
    download.download(who, url, came, size=expected.size if whole else None, progress=progress)
    try:
        if artifact.member is None:
            sha256 = verify(came, expected, name, url)
            keep(home, came, sha256)
        else:
            with new_blob(home, name) as part:
                archive.extract(name, came, artifact.member, part, size=expected.size, origin=url)
                sha256 = verify(part, expected, name, f"{artifact.member} in {url}")
                keep(home, part, sha256)
    finally:
        remove(came)
    return Obtained(sha256=sha256, checked=expected.checked, origin=url)


def _refuse_uncoded(entry: ModelEntry) -> None:
    """Tell of a network that cannot be built before a large file is downloaded for it.

    Raises:
        ZooError: There is no code for it here, or its library is not installed.
    """
    from zoo.loading import network

    network(entry)
