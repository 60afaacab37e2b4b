"""Files on the Hugging Face Hub: resolved to a commit, with the hashes that the Hub states."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError
from zoo.sources.base import Progress
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


def download(name: str, file: HubFile, folder: Path, progress: Progress | None) -> Path:
    """Get a file with the Hub's own client, which does not look at what is in it.

    Args:
        name: Of the model, for people.
        file: What to get.
        folder: For the client's files; it has to be removed whole, whatever happens.
        progress: Told how much is done and how much there is to do, in bytes.

    Raises:
        ZooError: It cannot be had.
        OSError: The disk is full.
    """
    from huggingface_hub import hf_hub_download

    with reaching_the_hub(f"{name}: {file.origin}", file.repo, _GIVE_IT):
        found = hf_hub_download(
            file.repo,
            file.path,
            revision=file.commit,
            cache_dir=folder,
            endpoint=endpoint(),
            tqdm_class=_bar(file.size, progress),
        )
    return Path(found).resolve()


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
    import httpx2
    from huggingface_hub import errors

    # The client reports each try on stderr; what came of them is told once, below.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    hub = endpoint()
    if not hub.startswith(("https://", "http://")):
        raise ZooError(f"{what}: HF_ENDPOINT {hub} is not a web address.")
    # The client would try for half a minute before it tells that nobody is there.
    if reason := unreachable(hub):
        raise ZooError(f"{what}: the Hub {hub} cannot be reached ({reason}). {advice}")
    login = "log in with `hf auth login` or set HF_TOKEN"
    try:
        yield
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
    except (errors.OfflineModeIsEnabled, httpx2.HTTPError) as problem:
        raise _unanswered(what, problem) from problem
    except errors.LocalEntryNotFoundError as problem:
        raise _unanswered(what, problem.__cause__ or problem) from problem
    except errors.HFValidationError as problem:
        raise ZooError(f"{what} is not a name that the Hub can have: {problem}") from problem
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise
        # The client tells of a file of the wrong size, and trips over an answer of no Hub.
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


def _bar(size: int | None, progress: Progress | None) -> Any:
    """A class for the client's progress bars that draws nothing, and tells ``progress``."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if progress is not None:
                progress(int(self.n), size or int(self.total or 0))

    return Bar
