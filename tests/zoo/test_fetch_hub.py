"""The Hugging Face Hub through its own client: pinned, checked here, nothing left in its cache."""

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from servers import PAGE, TOKEN, Answer, Hub, Repo, Site, git_sha1
from torch import Tensor

from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.sources import download

REPO = "me/net"
OLD, NEW = "a" * 40, "b" * 40
INFO = f"/api/models/{REPO}"


@pytest.fixture
def content(state: dict[str, Tensor]) -> bytes:
    return safetensors.torch.save({key: value.contiguous() for key, value in state.items()})


@pytest.fixture
def other(state: dict[str, Tensor]) -> bytes:
    return safetensors.torch.save({key: value + 1 for key, value in state.items()})


@pytest.fixture
def model(hub: Hub, entry: ModelEntry, content: bytes, other: bytes) -> ModelEntry:
    """On the Hub: its weights are of the older of two commits."""
    hub.repos[REPO] = Repo(
        commits={
            OLD: {"README.md": b"# net", "model.safetensors": content},
            NEW: {"README.md": b"# net", "model.safetensors": other},
        }
    )
    return replace(entry, artifact=Artifact(hub_repo=REPO, hub_revision=OLD))


def having(entry: ModelEntry, **facts: Any) -> ModelEntry:
    assert entry.artifact is not None
    return replace(entry, artifact=replace(entry.artifact, **facts))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_of(commit: str, name: str = "model.safetensors") -> str:
    return f"/{REPO}/resolve/{commit}/{name}"


def files(home: Home) -> set[str]:
    folders = (home.blobs, home.downloads)
    return {p.name for folder in folders if folder.exists() for p in folder.rglob("*")}


def record(home: Home, entry: ModelEntry) -> dict[str, Any]:
    return json.loads((home.model(entry.name) / "fetched.json").read_text())


def test_the_pinned_commit_is_fetched_and_held_against_what_the_hub_states(
    model: ModelEntry, home: Home, hub: Hub, content: bytes, state: dict[str, Tensor]
) -> None:
    done: list[tuple[int, int]] = []
    found = fetch(model, home, progress=lambda *told: done.append(told))
    assert (found.cached, found.checked) == (False, "sha256")
    torch.testing.assert_close(safetensors.torch.load_file(found.path), dict(state))
    assert done[-1] == (len(content), len(content))
    told = record(home, model)
    assert told["source_sha256"] == sha256(content)
    assert told["origin"] == f"{hub.url}{file_of(OLD)}"
    assert {asked.path for asked in hub.asked} == {f"{INFO}/revision/{OLD}", file_of(OLD)}


def test_one_copy_is_kept_and_none_in_the_clients_cache(
    model: ModelEntry, home: Home, content: bytes
) -> None:
    found = fetch(model, home)
    assert files(home) == {found.sha256, sha256(content)}
    assert not list(Path(os.environ["HF_HOME"]).rglob("*.safetensors"))
    assert not (home.blobs / sha256(content)).is_symlink()


def test_a_second_fetch_asks_nobody(model: ModelEntry, home: Home, hub: Hub) -> None:
    first = fetch(model, home)
    asked = len(hub.asked)
    assert fetch(model, home) == replace(first, cached=True)
    assert len(hub.asked) == asked


def test_an_unpinned_revision_is_resolved_once_and_kept_to(
    model: ModelEntry, home: Home, hub: Hub, content: bytes, other: bytes
) -> None:
    unpinned = having(model, hub_revision=None)
    first = fetch(unpinned, home)
    told = record(home, model)
    assert (told["hub_revision"], told["hub_file"]) == (NEW, "model.safetensors")

    hub.repos[REPO].commits["c" * 40] = {"model.safetensors": content}
    (home.blobs / sha256(other)).unlink()
    assert fetch(unpinned, home) == first
    assert record(home, model)["hub_revision"] == NEW


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["pytorch_model.bin", "model.safetensors", "other.pt"], "model.safetensors"),
        (["other.pt", "pytorch_model.bin"], "pytorch_model.bin"),
        (["README.md", "weights.pth", "onnx/model.bin"], "weights.pth"),
    ],
)
def test_the_file_is_chosen_if_the_catalog_names_none(
    model: ModelEntry, home: Home, hub: Hub, content: bytes, names: list[str], chosen: str
) -> None:
    hub.repos[REPO].commits[OLD] = {
        name: content if name == chosen else b"something else" for name in names
    }
    fetch(model, home)
    assert record(home, model)["hub_file"] == chosen


def test_the_file_that_the_catalog_names_is_taken(
    model: ModelEntry, home: Home, hub: Hub, state: dict[str, Tensor]
) -> None:
    file = io.BytesIO()
    torch.save(dict(state), file)
    hub.repos[REPO].commits[OLD]["old/weights.pt"] = file.getvalue()
    fetch(having(model, hub_file="old/weights.pt"), home)
    assert record(home, model)["hub_file"] == "old/weights.pt"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.pt", "b.pth"], "several files of weights: a.pt, b.pth"),
        (["README.md"], "no file of weights"),
    ],
)
def test_a_repository_without_the_one_file_says_so(
    model: ModelEntry, home: Home, hub: Hub, names: list[str], said: str
) -> None:
    hub.repos[REPO].commits[OLD] = dict.fromkeys(names, b"x")
    with pytest.raises(ZooError, match=f"{said}.*The catalog has to name the one"):
        fetch(model, home)


def test_a_file_that_is_not_with_lfs_is_held_against_gits_name_of_it(
    model: ModelEntry, home: Home, hub: Hub, content: bytes
) -> None:
    hub.repos[REPO].small = ("model.safetensors",)
    assert fetch(model, home).checked == "git sha1"
    (home.model(model.name) / "fetched.json").unlink()
    for path in home.blobs.iterdir():
        path.unlink()
    hub.always[file_of(OLD)] = Answer(change=altered)
    with pytest.raises(ZooError, match=f"has git sha1 .* instead of {git_sha1(content)}"):
        fetch(model, home)
    assert files(home) == set()


def test_what_the_hub_states_must_be_what_the_catalog_states(
    model: ModelEntry, home: Home, hub: Hub
) -> None:
    with pytest.raises(ZooError, match="has sha256 .* instead of 0{64}"):
        fetch(having(model, sha256="0" * 64), home)
    with pytest.raises(ZooError, match="has size .* instead of 17"):
        fetch(having(model, size=17), home)
    assert hub.gets(file_of(OLD)) == []


def altered(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(change=altered), "has sha256 .* instead of"),
        (Answer(change=lambda c: c[:-100]), "so it is cut short"),
        (Answer(change=lambda c: c + b"\0"), "has more than that"),
        (Answer(change=lambda c: PAGE), "sent a web page, not weights"),
        (Answer(change=lambda c: PAGE.ljust(len(c))), "sent a web page, not weights"),
        (Answer(status=404, code="EntryNotFound"), "the Hub has no such file"),
        (Answer(status=404), r"no such repository, or does not show it to you \(404\)"),
        (Answer(status=401), "does not show it to you .*HF_TOKEN"),
        (Answer(status=403, code="GatedRepo"), "is gated.*HF_TOKEN.*--accept-licence"),
        (Answer(status=500), "answered 500"),
    ],
)
def test_whatever_is_wrong_is_one_line_and_nothing_is_trusted(
    model: ModelEntry, home: Home, hub: Hub, answer: Answer, said: str
) -> None:
    hub.always[file_of(OLD)] = answer
    with pytest.raises(ZooError, match=said) as caught:
        fetch(model, home)
    assert "\n" not in str(caught.value)
    assert files(home) == set()
    assert not (home.model(model.name) / "fetched.json").exists()
    hub.always.clear()
    assert not fetch(model, home).cached


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", (0.01, 0.02, 0.03))


@pytest.mark.usefixtures("quick")
def test_a_connection_that_drops_is_gone_on_with(model: ModelEntry, home: Home, hub: Hub) -> None:
    hub.answers[file_of(OLD)] = [Answer(cut=10_000)]
    fetch(model, home)
    assert hub.gets(file_of(OLD)) == [None, "bytes=10000-"]


@pytest.mark.usefixtures("quick")
def test_what_keeps_dropping_is_given_up_and_the_next_call_goes_on(
    model: ModelEntry, home: Home, hub: Hub
) -> None:
    hub.answers[file_of(OLD)] = [Answer(cut=10_000), *[Answer(cut=0)] * 4]
    with pytest.raises(ZooError, match="broke off after 10000 of .*same command goes on"):
        fetch(model, home)
    assert not home.blobs.exists()
    fetch(model, home)
    assert hub.gets(file_of(OLD))[5:] == ["bytes=10000-"]
    assert list(home.downloads.iterdir()) == []


def test_the_tag_of_a_version_is_no_path(
    model: ModelEntry, home: Home, hub: Hub, tmp_path: Path
) -> None:
    evil = tmp_path / "outside" / "evil.txt"
    hub.repos[REPO].etag = str(evil)
    assert fetch(model, home).checked == "sha256"
    assert not evil.parent.exists()


def test_a_token_goes_to_the_hub_and_not_to_where_it_keeps_its_files(
    model: ModelEntry,
    home: Home,
    hub: Hub,
    web: Site,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.repos[REPO].private = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    web.files["/kept"] = content
    hub.always[file_of(OLD)] = Answer(location=f"{web.url}/kept")
    assert not fetch(model, home).cached
    assert {asked.token for asked in hub.asked} == {f"Bearer {TOKEN}"}
    assert [asked.token for asked in web.asked] == [None]


def test_a_token_goes_where_the_hub_itself_sends_on_to(
    model: ModelEntry, home: Home, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["me/renamed"] = replace(hub.repos[REPO], private=True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.always[file_of(OLD)] = Answer(location=file_of(OLD).replace(REPO, "me/renamed"))
    assert not fetch(model, home).cached


def test_a_name_of_a_file_may_have_any_letters(
    model: ModelEntry, home: Home, hub: Hub, content: bytes
) -> None:
    hub.repos[REPO].commits[OLD]["old nets/w #1?.safetensors"] = content
    assert not fetch(having(model, hub_file="old nets/w #1?.safetensors"), home).cached


def test_a_slow_hub_is_waited_for(model: ModelEntry, home: Home, hub: Hub) -> None:
    hub.answers[file_of(OLD)] = [Answer(delay=2.0)]
    assert not fetch(model, home).cached


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"hub_repo": "me/gone"}, "me/gone: the Hub has no such repository, or does not show it"),
        ({"hub_revision": "c" * 40}, "no such revision"),
        ({"hub_revision": "branch"}, "no such revision"),
        ({"hub_file": "gone.pt"}, f"me/net has no file gone.pt at commit {OLD}"),
        ({"hub_repo": "a/b/c"}, "not a name that the Hub can have"),
    ],
)
def test_what_is_not_on_the_hub_is_named(
    model: ModelEntry, home: Home, facts: dict[str, str], said: str
) -> None:
    with pytest.raises(ZooError, match=said) as caught:
        fetch(having(model, **facts), home)
    assert "\n" not in str(caught.value)
    assert files(home) == set()


def test_a_hub_that_gives_another_commit_is_not_believed(
    model: ModelEntry, home: Home, hub: Hub
) -> None:
    hub.repos[REPO].facts["sha"] = NEW
    with pytest.raises(ZooError, match=f"gave commit {NEW} of me/net instead of {OLD}"):
        fetch(model, home)


@pytest.mark.parametrize(
    "answer", [Answer(change=lambda c: PAGE), Answer(change=lambda c: b"[1]"), Answer(status=502)]
)
def test_what_is_no_hub_is_told_in_one_line(
    model: ModelEntry, home: Home, hub: Hub, answer: Answer
) -> None:
    hub.always[f"{INFO}/revision/{OLD}"] = answer
    with pytest.raises(ZooError, match=f"the Hub {hub.url} (did not give it|answered 502)") as e:
        fetch(model, home)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("endpoint", ["localhost:80", "ftp://x"])
def test_an_endpoint_that_is_no_web_address_is_named(
    model: ModelEntry, home: Home, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(ZooError, match=f"HF_ENDPOINT {endpoint} is not a web address"):
        fetch(model, home)


# Terms and tokens


def test_a_gated_repository_wants_a_token_and_acceptance(
    model: ModelEntry, home: Home, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos[REPO].gated = "manual"
    with pytest.raises(ZooError, match="me/net is gated: .*zoo fetch me/mlp-digits --accept-lic"):
        fetch(model, home)
    assert hub.gets(file_of(OLD)) == []
    with pytest.raises(ZooError, match=f"is gated: ask .* at {hub.url}/me/net.*HF_TOKEN"):
        fetch(model, home, accept_licence=True)
    assert files(home) == set()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ZooError, match="zoo fetch me/mlp-digits --accept-lic"):
        fetch(model, home)  # nothing was had when it was accepted
    assert not fetch(model, home, accept_licence=True).cached
    for path in home.blobs.iterdir():
        path.unlink()
    assert not fetch(model, home).cached


def test_terms_of_a_gate_and_a_licence_are_accepted_apart(
    model: ModelEntry, home: Home, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    model = replace(model, licence="cc-by-nc-4.0")
    fetch(model, home, accept_licence=True)
    hub.repos[REPO].gated = "auto"
    for path in home.blobs.iterdir():
        path.unlink()
    with pytest.raises(ZooError, match="is gated: its authors ask"):
        fetch(model, home)
    fetch(model, home, accept_licence=True)
    accepted = json.loads((home.model(model.name) / "accepted.json").read_text())
    assert accepted["licence"]["terms"] == "cc-by-nc-4.0"
    assert accepted["gated"]["terms"] == REPO


def test_a_private_repository_wants_a_token(
    model: ModelEntry, home: Home, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos[REPO].private = True
    with pytest.raises(ZooError, match="no such repository, or does not show it.*HF_TOKEN"):
        fetch(model, home)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert not fetch(model, home).cached


# Files that the user has already


@pytest.fixture
def own(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "own.safetensors"
    path.write_bytes(content)
    return path


def test_a_file_of_the_users_own_is_held_against_what_the_hub_states(
    model: ModelEntry, home: Home, hub: Hub, own: Path, other: bytes
) -> None:
    own.write_bytes(other)
    with pytest.raises(ZooError, match=f"{own} has sha256 .* instead of"):
        fetch(model, home, from_file=own)
    assert files(home) == set()
    own.write_bytes(hub.repos[REPO].commits[OLD]["model.safetensors"])
    assert fetch(model, home, from_file=own).checked == "sha256"
    assert record(home, model)["hub_revision"] == OLD
    assert hub.gets(file_of(OLD)) == []


def test_a_file_that_nobody_could_be_asked_about_is_asked_about_later(
    model: ModelEntry, home: Home, hub: Hub, own: Path
) -> None:
    first = fetch(model, home, from_file=own, offline=True)
    assert (first.cached, first.checked) == (False, "from file")
    assert fetch(model, home, offline=True) == replace(first, cached=True)
    assert hub.asked == []
    assert fetch(model, home) == replace(first, cached=True, checked="sha256")
    assert record(home, model)["checked"] == "sha256"
    asked = len(hub.asked)
    fetch(model, home)
    assert len(hub.asked) == asked
    assert hub.gets(file_of(OLD)) == []


def test_a_stray_file_does_not_outlive_the_first_time_that_the_hub_is_asked(
    model: ModelEntry, home: Home, hub: Hub, own: Path, other: bytes, content: bytes
) -> None:
    own.write_bytes(other)
    stray = fetch(model, home, from_file=own, offline=True)
    hub.always[file_of(OLD)] = Answer(status=500)
    with (
        pytest.warns(UserWarning, match=f"made of {own}, which is not the file that the Hub has"),
        pytest.raises(ZooError, match="answered 500"),
    ):
        fetch(model, home)
    with pytest.raises(ZooError, match="not in the store"):
        fetch(model, home, offline=True)
    hub.always.clear()
    found = fetch(model, home)
    assert (found.cached, found.checked) == (False, "sha256")
    assert found.sha256 != stray.sha256
    assert record(home, model)["source_sha256"] == sha256(content)


def test_a_hub_that_cannot_be_asked_keeps_no_file_of_the_users_from_being_used(
    model: ModelEntry, home: Home, hub: Hub, own: Path
) -> None:
    hub.always[f"{INFO}/revision/{OLD}"] = Answer(status=500)
    first = fetch(model, home, from_file=own)
    assert first.checked == "from file"
    assert fetch(model, home) == replace(first, cached=True)


def test_another_file_of_the_users_takes_the_place_of_one_nobody_could_be_asked_about(
    model: ModelEntry, home: Home, own: Path, other: bytes, content: bytes
) -> None:
    own.write_bytes(other)
    fetch(model, home, from_file=own, offline=True)
    with pytest.raises(ZooError, match="there is no file /nowhere"):
        fetch(model, home, from_file=Path("/nowhere"), offline=True)
    own.write_bytes(content)
    found = fetch(model, home, from_file=own, offline=True)
    assert (found.cached, found.checked) == (False, "from file")
    assert fetch(model, home, from_file=own, offline=True) == replace(found, cached=True)


def test_a_hash_that_the_catalog_learns_is_one_to_be_held_against(
    model: ModelEntry, home: Home, own: Path, content: bytes
) -> None:
    fetch(model, home, from_file=own, offline=True)
    found = fetch(having(model, sha256=sha256(content)), home, offline=True)
    assert found.checked == "sha256"


# Without a network


def test_a_proxy_for_everything_is_asked(
    model: ModelEntry, home: Home, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    huggingface_hub.close_session()  # it has read the proxies of the environment
    monkeypatch.setenv("ALL_PROXY", hub.url)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    assert not fetch(model, home).cached
    huggingface_hub.close_session()


def test_a_hub_that_cannot_be_reached_is_told_within_seconds(
    model: ModelEntry, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    begun = time.monotonic()
    with pytest.raises(ZooError, match="the Hub http://127.* cannot be reached .*refused") as e:
        fetch(model, home)
    assert time.monotonic() - begun < 3
    assert "\n" not in str(e.value)


def test_a_hub_that_takes_no_connection_is_told_within_seconds(
    model: ModelEntry, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "REACH", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(ZooError, match="cannot be reached .timed out"):
            fetch(model, home)
        assert time.monotonic() - begun < 5
        for filler in fillers:
            filler.close()


def test_offline_touches_no_network(
    model: ModelEntry, home: Home, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guard(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, guard)
    with pytest.raises(ZooError, match="not in the store, and --offline"):
        fetch(model, home, offline=True)
    monkeypatch.undo()
    assert hub.asked == []


def test_offline_uses_what_is_in_the_store(
    model: ModelEntry, home: Home, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch(model, home)
    hub.asked.clear()
    monkeypatch.setattr(socket, "create_connection", None)
    assert fetch(model, home, offline=True) == replace(first, cached=True)
    assert hub.asked == []


@pytest.mark.parametrize("offline", [True, False])
def test_the_endpoint_of_the_environment_is_respected_in_a_new_process(
    hub: Hub, model: ModelEntry, tmp_path: Path, offline: bool
) -> None:
    """As users run it: the client reads its settings when it is imported."""
    code = (
        "import sys; from pathlib import Path; from zoo.entry import *; from zoo.errors import *\n"
        "from zoo.fetch import fetch; from zoo.home import Home\n"
        "entry = ModelEntry(name='me/net', source='timm', purpose='other', dataset='digits', "
        "architecture='mlp-128', input_shape=(1, 8, 8), num_classes=10, mean=None, std=None, "
        "licence=None, backdoored=False, artifact=Artifact(hub_repo='me/net'), recipe=None)\n"
        "try: print(fetch(entry, Home.open(Path(sys.argv[1])), offline=sys.argv[2] == 'True'))\n"
        "except ZooError as problem: sys.exit(str(problem))"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "home"), str(offline)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if offline:
        assert "--offline" in done.stderr
        assert hub.asked == []
    else:
        assert "cached=False" in done.stdout
        assert done.stderr == ""
        assert {a.path for a in hub.asked} >= {INFO, file_of(NEW)}


def test_the_clients_own_offline_mode_is_told(model: ModelEntry, tmp_path: Path, hub: Hub) -> None:
    code = (
        "import sys\nfrom zoo.sources import hub\nfrom zoo.errors import ZooError\n"
        "try: hub.find('x', 'me/net', None, None)\n"
        "except ZooError as problem: sys.exit(str(problem))"
    )
    # Nobody may be asked where it is, either.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://hub.invalid"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert "HF_HUB_OFFLINE keeps the Hub from being asked" in done.stderr
    assert done.stderr.count("\n") == 1
    assert hub.asked == []


# What an interrupted call leaves


def test_a_disk_that_is_full_is_an_error_of_the_disk_and_leaves_nothing(
    model: ModelEntry, home: Home
) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            fetch(model, home)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(home) == set()
    assert not fetch(model, home).cached


def test_an_interruption_leaves_nothing_but_what_is_gone_on_with(
    model: ModelEntry, home: Home, hub: Hub
) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(model, home, progress=interrupt)
    assert not home.blobs.exists()
    assert not fetch(model, home).cached
    assert (hub.gets(file_of(OLD))[-1] or "").startswith("bytes=")
    assert list(home.downloads.iterdir()) == []


def test_a_blob_altered_in_the_store_is_had_again(
    model: ModelEntry, home: Home, content: bytes
) -> None:
    first = fetch(model, home)
    (home.blobs / sha256(content)).write_bytes(altered(content))
    with pytest.warns(UserWarning, match="was altered"):
        assert fetch(model, home) == first
