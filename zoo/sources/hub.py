"""Files on the Hugging Face Hub: resolved to a commit, with the hashes that the Hub states."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import ZooError
from zoo.sources.base import Progress
from zoo.sources.download import download as fetch_file
from zoo.sources.download import unreachable

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

_TIMEOUT = 30.0  # seconds for an answer about a repository
_PREFERRED = ("model.safetensors", "pytorch_model.bin")
_GIVE_IT = "Give the file with --from-file FILE if you have it."
_ENDINGS = (".safetensors", ".bin", ".pth", ".pt", ".th", ".ckpt")


@dataclass(frozen=True)
class HubFile:
    """One file of one commit.

    Attributes:
        repo: ``timm/resnet50.a1_in1k``.
        commit: 40 hexadecimal digits.
        path: Name in the repository.
        size: In bytes.
        sha256: If it is kept with Git LFS; what the Hub states of it.
        git_sha1: If it is kept in git itself.
        gated: Whether its authors ask for agreement with their terms.
    """

    repo: str
    commit: str
    path: str
    size: int | None
    sha256: str | None
    git_sha1: str | None
    gated: bool

    @property
    def origin(self) -> str:
        """Where it is, for people."""
        return f"{endpoint()}/{self.repo}/resolve/{self.commit}/{self.path}"


def endpoint() -> str:
    """The Hub that is asked: ``$HF_ENDPOINT``, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def find(name: str, repo: str, revision: str | None, path: str | None) -> HubFile:
    """Ask the Hub for a file of weights.

    Args:
        name: Of the model, for people.
        repo: Repository.
        revision: Commit or branch; None for the newest commit of the main branch.
        path: File; None for the repository's only file of weights, or the preferred of them.

    Raises:
        ZooError: It cannot be asked, or there is no such file.
    """
    from huggingface_hub import HfApi

    with reaching_the_hub(name if name == repo else f"{name}: {repo}", repo, _GIVE_IT):
        info = HfApi(endpoint=endpoint()).model_info(
            repo, revision=revision, files_metadata=True, timeout=_TIMEOUT
        )
    commit = info.sha or ""
    pinned = bool(re.fullmatch("[0-9a-f]{40}", revision or ""))
    if not re.fullmatch("[0-9a-f]{40}", commit) or (pinned and commit != revision):
        raise ZooError(
            f"{name}: {endpoint()} gave commit {commit or 'none'} of {repo} instead of "
            f"{revision or 'its newest'}. Is it a Hub? See HF_ENDPOINT."
        )
    path = path or _weights(name, info)
    for file in info.siblings or []:
        if file.rfilename == path:
            sha256, git_sha1 = (file.lfs.sha256, None) if file.lfs else (None, file.blob_id)
            size = file.lfs.size if file.lfs else file.size
            return HubFile(repo, commit, path, size, sha256, git_sha1, bool(info.gated))
    raise ZooError(f"{name}: {repo} has no file {path} at commit {commit}. {_GIVE_IT}")


def download(name: str, file: HubFile, part: Path, progress: Progress | None) -> None:
    """Get a file as `zoo.sources.download.download` does, once the Hub's own client is let to it.

    The client's own download names files by what the Hub answers, and forgets what it has begun.

    Args:
        name: Of the model, for people.
        file: What to get.
        part: Where it goes; nothing of it is checked but its size.
        progress: Told how much is done and how much there is to do, in bytes.

    Raises:
        ZooError: It cannot be had.
        OSError: The disk is full.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    with reaching_the_hub(f"{name}: {file.origin}", file.repo, _GIVE_IT):
        url = hf_hub_url(file.repo, file.path, revision=file.commit, endpoint=endpoint())
        headers = build_hf_headers()
        get_hf_file_metadata(url, headers=headers, endpoint=endpoint(), timeout=_TIMEOUT)
    fetch_file(name, url, part, size=file.size, progress=progress, headers=headers)


@contextmanager
def reaching_the_hub(what: str, repo: str, advice: str) -> Iterator[None]:
    """Turn everything that the client can raise into one line.

    Args:
        what: What is wanted, for people.
        repo: The repository that it is about; empty if it is about none.
        advice: What else there is to do, in a sentence.

    Raises:
        ZooError: The Hub cannot be reached, or refuses.
        OSError: The disk is full.
    """
    from huggingface_hub import constants, errors

    # The client reports each try on stderr; what came of them is told once, below.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    hub = endpoint()
    if not hub.startswith(("https://", "http://")):
        raise ZooError(f"{what}: HF_ENDPOINT {hub} is not a web address.")
    if constants.HF_HUB_OFFLINE:
        raise ZooError(f"{what}: HF_HUB_OFFLINE keeps the Hub from being asked. {advice}")
    # The client would try for half a minute before it tells that nobody is there.
    if reason := unreachable(hub):
        raise ZooError(f"{what}: the Hub {hub} cannot be reached ({reason}). {advice}")
    login = "log in with `hf auth login` or set HF_TOKEN"
    try:
        yield
    except ZooError:
        raise
    except errors.GatedRepoError as problem:
        raise ZooError(
            f"{what} is gated: ask its authors for access at {hub}/{repo}, {login}, and fetch it "
            "with --accept-licence."
        ) from problem
    except errors.RevisionNotFoundError as problem:
        raise ZooError(f"{what}: the Hub has no such revision of it. {advice}") from problem
    except errors.RemoteEntryNotFoundError as problem:
        raise ZooError(f"{what}: the Hub has no such file. {advice}") from problem
    except errors.HfHubHTTPError as problem:
        code = problem.response.status_code
        if isinstance(problem, errors.RepositoryNotFoundError) or code in (401, 403, 404):
            raise ZooError(
                f"{what}: the Hub has no such repository, or does not show it to you ({code}). If "
                f"it is private, {login}."
            ) from problem
        raise ZooError(f"{what}: the Hub {hub} answered {code}. Try again later.") from problem
    except errors.HFValidationError as problem:
        raise ZooError(f"{what} is not a name that the Hub can have: {problem}") from problem
    except Exception as problem:  # of whichever library carries its requests; an answer of no Hub
        if isinstance(problem, OSError) and problem.errno is not None:
            raise
        raise _unanswered(what, problem) from problem


def _unanswered(what: str, problem: BaseException) -> ZooError:
    reason = str(problem).split("\n")[0].strip() or type(problem).__name__
    return ZooError(
        f"{what}: the Hub {endpoint()} did not give it ({reason.rstrip('.')}). Nothing was kept; "
        "try again later."
    )


def _weights(name: str, info: "ModelInfo") -> str:
    """The file of weights that a repository has at its top."""
    files = [file.rfilename for file in info.siblings or []]
    for path in _PREFERRED:
        if path in files:
            return path
    found = [path for path in files if path.endswith(_ENDINGS) and "/" not in path]
    if len(found) == 1:
        return found[0]
    what = f"several files of weights: {', '.join(found)}" if found else "no file of weights"
    raise ZooError(
        f"{name}: {info.id} has {what}. The catalog has to name the one to use (hub_file)."
    )
