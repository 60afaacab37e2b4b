"""What is known about a published file, and whether a file on disk is that one."""

from dataclasses import dataclass
from pathlib import Path

from zoo.entry import Artifact
from zoo.errors import ZooError
from zoo.files import git_sha1_file, sha1_file, sha256_file
from zoo.sources import archive
from zoo.sources.base import Checked

ADVICE = "get it again, or by other means with --from-file FILE or --mirror DIR."


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the publisher states of a file. What is None is unknown.

    Attributes:
        sha256: Of the whole file.
        sha256_prefix: First hexadecimal digits of it.
        sha1: Of the whole file.
        git_sha1: As of git's blobs.
        size: In bytes.
        first: The sha256 of what came when nothing vouched for it.
    """

    sha256: str | None = None
    sha256_prefix: str | None = None
    sha1: str | None = None
    git_sha1: str | None = None
    size: int | None = None
    first: str | None = None

    @classmethod
    def of(cls, artifact: Artifact, first: str | None = None) -> "Expected":
        """What the catalog states of an artifact; its sha256 overrules what came first."""
        return cls(
            sha256=artifact.sha256,
            sha256_prefix=artifact.sha256_prefix,
            sha1=artifact.sha1,
            size=artifact.size,
            first=first if artifact.sha256 is None else None,
        )

    @property
    def checked(self) -> Checked:
        """The strongest hash that the publisher states."""
        if self.sha256 is not None:
            return "sha256"
        if self.git_sha1 is not None:
            return "git sha1"
        if self.sha1 is not None:
            return "sha1"
        return "first use" if self.sha256_prefix is None else "sha256 prefix"


def refuse_page(head: bytes, origin: str) -> None:
    """Refuse what is sent instead of a file: a web page, or a pointer of Git LFS.

    Args:
        head: The file's first bytes.
        origin: Where it comes from, for people.

    Raises:
        ZooError: It is one of them.
    """
    from zoo.loading import is_lfs_pointer, is_web_page

    if is_web_page(head):
        raise ZooError(
            f"{origin}: the host sent a web page, not weights. Nothing was kept; get the file in a "
            "browser and give it with --from-file FILE, or its folder with --mirror DIR."
        )
    if is_lfs_pointer(head):
        raise ZooError(
            f"{origin} is a Git LFS pointer, not weights. Nothing was kept; get the file that it "
            "points to and give it with --from-file FILE."
        )


def verify(path: Path, expected: Expected, name: str, origin: str) -> str:
    """Hold a file against everything that is known about it.

    Args:
        path: The file.
        expected: What is known.
        name: Of the model.
        origin: Where the file came from, for people.

    Returns:
        Its sha256.

    Raises:
        ZooError: It is another file.
    """
    with path.open("rb") as file:
        refuse_page(file.read(512), origin)
    refuse_size(path.stat().st_size, expected.size, name, origin)
    sha256 = sha256_file(path)
    prefix = expected.sha256_prefix
    found_and_wanted: list[tuple[str, str, str | None]] = [("sha256", sha256, expected.sha256)]
    if prefix is not None:
        found_and_wanted.append(("sha256 prefix", sha256[: len(prefix)], prefix.lower()))
    if expected.sha1 is not None:
        found_and_wanted.append(("sha1", sha1_file(path), expected.sha1))
    if expected.git_sha1 is not None:
        found_and_wanted.append(("git sha1", git_sha1_file(path), expected.git_sha1))
    for kind, found, wanted in found_and_wanted:
        if wanted is not None and found != wanted:
            raise ZooError(
                f"{name}: {origin} has {kind} {found} instead of {wanted}: it is not the file that "
                f"the catalog describes. Nothing was kept; {ADVICE}"
            )
    if expected.first not in (None, sha256):
        raise ZooError(
            f"{name}: {origin} has sha256 {sha256}, but had {expected.first} when it was first "
            "fetched here: what is published has changed. Nothing was kept; if you trust the new "
            "file, remove the model's fetched.json from the store and fetch it again."
        )
    if expected.checked == "first use" and (damaged := archive.damage(path)) is not None:
        raise ZooError(f"{name}: {origin} is damaged ({damaged}). Nothing was kept; {ADVICE}")
    return sha256


def refuse_size(found: int, wanted: int | None, name: str, origin: str) -> None:
    """Refuse a file of another size than it should have.

    Raises:
        ZooError: It has.
    """
    if wanted is not None and found != wanted:
        how = "more than that" if found > wanted else f"{found}, so it is cut short"
        raise ZooError(
            f"{name}: {origin} should have {wanted} bytes but has {how}. Nothing was kept; {ADVICE}"
        )
