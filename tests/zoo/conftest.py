import importlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import servers
import torch

from zoo.entry import Artifact, ModelEntry
from zoo.files import sha256_file
from zoo.home import Home
from zoo.nets import build

Serve = Callable[[Callable[[Path], object]], ModelEntry]


_OF_THE_USER = ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT")
_PROXIES = [f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")]


@pytest.fixture(autouse=True, scope="session")
def _a_client_with_nothing_of_the_users(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """The Hub's client finds no token or proxy, and asks nobody but whom a test wants it to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf-home")))
        patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        for name in (*_OF_THE_USER, *_PROXIES, *map(str.upper, _PROXIES)):
            patch.delenv(name, raising=False)
        if read := sys.modules.get("huggingface_hub.constants"):
            importlib.reload(read)  # as it was imported before, with the user's settings
        yield


@pytest.fixture
def home(home_dir: Path) -> Home:
    return Home.open(home_dir)


@pytest.fixture
def entry() -> ModelEntry:
    """A published perceptron for 8x8 images. Its file does not exist yet."""
    return ModelEntry(
        name="me/mlp-digits",
        source="published",
        purpose="other",
        dataset="digits",
        architecture="mlp-128",
        input_shape=(1, 8, 8),
        num_classes=10,
        mean=(0.25,),
        std=(0.5,),
        licence=None,
        backdoored=False,
        artifact=Artifact(sha256="0" * 64, size=1, mirror_path="weights/mlp.pt", url=None),
        recipe=None,
    )


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build("mlp-128", (1, 8, 8), 10).state_dict()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The folder that the local web server serves."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(self.server.delay)  # type: ignore[attr-defined]
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]


@pytest.fixture
def server(site: Path) -> Iterator[ThreadingHTTPServer]:
    """A real web server on this machine.

    ``server.asked`` are the paths it was asked for; it answers after ``server.delay`` seconds.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=site)) as found:
        found.asked, found.delay = [], 0.0  # type: ignore[attr-defined]
        Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


@pytest.fixture
def serve(site: Path, server: ThreadingHTTPServer, entry: ModelEntry) -> Serve:
    """Put a checkpoint on the server; the entry that describes the file there."""

    def put(save: Callable[[Path], object]) -> ModelEntry:
        file = site / "mlp.pt"
        save(file)
        assert entry.artifact is not None
        artifact = replace(
            entry.artifact,
            sha256=sha256_file(file),
            size=file.stat().st_size,
            url=f"http://127.0.0.1:{server.server_port}/mlp.pt",
        )
        return replace(entry, artifact=artifact)

    return put


@pytest.fixture
def published(serve: Serve, state: dict[str, torch.Tensor]) -> ModelEntry:
    """The entry, with its file on the server."""
    return serve(lambda file: torch.save(state, file))


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A web server that misbehaves on request: a `servers.Site`."""
    monkeypatch.setattr("zoo.sources.download.PAUSES", (0.01, 0.02, 0.03))
    with servers.running(servers.Site()) as site:
        yield site


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A stand-in for the Hugging Face Hub, which the real client is sent to: a `servers.Hub`."""
    with servers.running(servers.Hub()) as site:
        monkeypatch.setenv("HF_ENDPOINT", site.url)
        yield site


@pytest.fixture(autouse=True)
def _no_warnings_go_unseen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No mirror of the surroundings is used, and a warning is an error unless a test expects it."""
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "Full backward hook")
        yield
