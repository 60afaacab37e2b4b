"""Weights that somebody published: from a file, a mirror folder, the Hub, or a web address."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from zoo import licences
from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.files import sha256_file
from zoo.home import Home
from zoo.sources import archive, download, hub, package_index
from zoo.sources.base import Fetched, Progress
from zoo.sources.blobs import (
    CONVERTING,
    Obtained,
    check_writable,
    convert,
    converted,
    forget,
    intact,
    keep,
    locked,
    named,
    new_blob,
    partial,
    remembered,
    remove,
    remove_altered,
    vouch,
)
from zoo.sources.expected import Expected, verify
from zoo.sources.hub import HubFile

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

    def fetch(
        self, entry: ModelEntry, home: Home, *, progress: Progress | None = None, **_: object
    ) -> Fetched:
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
            usable = self._settle(entry.name, artifact, home)
            found = converted(entry, artifact, home) if usable else None
            if found is None:
                remove_altered(entry.name, artifact, home)
                source = _kept(entry.name, artifact, home) if usable else None
                if source is not None:
                    found = convert(entry, artifact, home, source)
                else:
                    found = self._make(entry, artifact, home, progress)
        if self.accept_licence:
            licences.accept(entry, home)
        return found

    def _make(
        self, entry: ModelEntry, artifact: Artifact, home: Home, progress: Progress | None
    ) -> Fetched:
        """Get the published file, and convert it."""
        check_writable(home)
        _refuse_uncoded(entry)
        there = {blob.name for blob in home.blobs.glob("*")}
        source = self._obtain(entry, artifact, home, progress)
        try:
            return convert(entry, artifact, home, source)
        except BaseException:
            before = remembered(home, entry.name, artifact)
            vouched_for = source.sha256 in (artifact.sha256, before and before.sha256)
            # No later call would find it. But it may be another model's as well.
            if not (vouched_for or source.sha256 in there or named(home, source.sha256)):
                remove(home.blobs / source.sha256)
            raise

    def _settle(self, name: str, artifact: Artifact, home: Home) -> bool:
        """Ask the Hub about what an earlier ``--from-file`` gave, if it could not be asked then.

        Returns:
            Whether what is in the store of this model may be used.
        """
        given = remembered(home, name, artifact)
        if (
            home.read_only
            or given is None
            or given.checked != "from file"
            or not intact(home.blobs / given.sha256)
        ):
            return True
        if self.from_file is not None and not _is(self.from_file, given.sha256):
            return False  # the user has another one now
        file = self._asked(name, artifact, given)
        if file is None:
            return True
        try:
            expected = _stated(name, Expected.of(artifact), file)
            verify(home.blobs / given.sha256, expected, name, str(given.origin))
        except ZooError:
            warnings.warn(
                f"{name} was made of {given.origin}, which is not the file that the Hub has at "
                f"{file.origin}: it is replaced.",
                stacklevel=2,
            )
            forget(home, name)
            return False
        vouch(home, name, _obtained(given.sha256, expected, given.origin, file))
        return True

    def _asked(self, name: str, artifact: Artifact, before: Obtained | None) -> HubFile | None:
        """What the Hub states of a file that the catalog knows no sha256 of; None if it cannot."""
        if self.offline or artifact.hub_repo is None or artifact.sha256 is not None:
            return None
        try:
            return _find(name, artifact, before)
        except ZooError:
            return None

    def _obtain(
        self, entry: ModelEntry, artifact: Artifact, home: Home, progress: Progress | None
    ) -> Obtained:
        """Get the published file into the store, from the nearest place that has it."""
        name = entry.name
        before = remembered(home, name, artifact)
        binding = before is not None and before.checked != "from file"
        expected = Expected.of(artifact, first=before.sha256 if before and binding else None)
        if self.from_file is not None:
            file = self._asked(name, artifact, before)
            if file is not None:
                expected = _stated(name, expected, file)
            source = _copy(name, self.from_file, artifact, expected, home, progress)
            if file is not None:
                return _obtained(source.sha256, expected, source.origin, file)
            unknown = expected.checked == "first use" and expected.first is None
            return replace(source, checked="from file") if unknown else source
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
        file = _find(entry.name, artifact, before)
        if file.gated:
            licences.check_gated(entry, file.repo, home, accepting=self.accept_licence)
        expected = _stated(entry.name, expected, file)
        part = partial(home, entry.name)
        hub.download(entry.name, file, part, progress)
        with _done_with(part):
            sha256 = verify(part, expected, entry.name, file.origin)
            keep(home, part, sha256)
        if file.gated:
            licences.accept_gated(entry, file.repo, home)
        return _obtained(sha256, expected, file.origin, file)


def _find(name: str, artifact: Artifact, before: Obtained | None) -> HubFile:
    """The file on the Hub that the catalog names, or else the one that came the last time."""
    assert artifact.hub_repo is not None
    return hub.find(
        name,
        artifact.hub_repo,
        artifact.hub_revision or (before.hub_revision if before else None),
        artifact.hub_file or (before.hub_file if before else None),
    )


def _stated(name: str, expected: Expected, file: HubFile) -> Expected:
    """What is known of a file, with what the Hub states of it.

    Raises:
        ZooError: The Hub contradicts the catalog.
    """
    for fact, theirs in (("sha256", file.sha256), ("size", file.size)):
        ours = getattr(expected, fact)
        if None not in (ours, theirs) and ours != theirs:
            raise ZooError(
                f"{name}: {file.origin} has {fact} {theirs} instead of {ours}: it is not the file "
                "that the catalog describes. Give the right one with --from-file FILE."
            )
    return replace(
        expected,
        sha256=expected.sha256 or file.sha256,
        git_sha1=file.git_sha1,
        size=file.size if expected.size is None else expected.size,
    )


def _obtained(sha256: str, expected: Expected, origin: str | None, file: HubFile) -> Obtained:
    """A file that was held against what the Hub states of one of its own."""
    return Obtained(
        sha256=sha256,
        checked=expected.checked,
        origin=origin,
        hub_revision=file.commit,
        hub_file=file.path,
    )


@contextmanager
def _done_with(part: Path) -> Iterator[None]:
    """Remove a whole download at the end, unless the user has stopped the program meanwhile."""
    try:
        yield
    except Exception:
        download.discard(part)
        raise
    download.discard(part)


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


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
    expected = Expected.of(artifact)
    try:  # the catalog may know more of it by now
        verify(blob, expected, name, str(blob))
    except ZooError:
        return None
    unknown = before.checked in ("first use", "from file") and expected.checked != "first use"
    return replace(before, checked=expected.checked) if unknown else before


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
    if url.startswith(package_index.PREFIX):
        package_index.download(who, url, came)
    else:
        download.download(who, url, came, size=expected.size if whole else None, progress=progress)
    with _done_with(came):
        if artifact.member is None:
            sha256 = verify(came, expected, name, url)
            keep(home, came, sha256)
        else:
            with new_blob(home, name) as part:
                archive.extract(name, came, artifact.member, part, size=expected.size, origin=url)
                sha256 = verify(part, expected, name, f"{artifact.member} in {url}")
                keep(home, part, sha256)
    return Obtained(sha256=sha256, checked=expected.checked, origin=url)


def _refuse_uncoded(entry: ModelEntry) -> None:
    """Tell of a network that cannot be built before a large file is downloaded for it.

    Raises:
        ZooError: There is no code for it here, or its library is not installed.
    """
    import torch

    from zoo.loading import network

    try:
        with torch.device("meta"):  # the shapes of its weights, without memory or time for them
            network(entry)
    except Exception:
        # A few read numbers while they are built. What is wrong with others is told in earnest.
        with CONVERTING:
            network(entry)
