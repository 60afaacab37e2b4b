"""``zoo fetch`` and ``zoo discover`` as a user runs them, against a Hub on this machine."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from servers import Answer, Hub, Repo

import zoo as public
from zoo.home import Home
from zoo.nets import build

pytestmark = pytest.mark.whole

COMMIT = "a" * 40
NAMES = [f"timm/test_{kind}.r160_in1k" for kind in ("resnet", "vit", "vit2", "byobnet")]
GUARDED = "timm/convnextv2_atto.fcmae_ft_in1k"  # CC-BY-NC


def weights(name: str, size: int = 160) -> bytes:
    torch.manual_seed(0)
    net = build(name.split(".")[0], (3, size, size), 1000)
    return safetensors.torch.save({k: v.contiguous() for k, v in net.state_dict().items()})


@pytest.fixture(scope="module")
def published() -> dict[str, bytes]:
    return {name: weights(name) for name in NAMES} | {GUARDED: weights(GUARDED, 224)}


@pytest.fixture(autouse=True)
def repos(hub: Hub, published: dict[str, bytes]) -> None:
    for name, content in published.items():
        hub.repos[name] = Repo(commits={COMMIT: {"model.safetensors": content}})


def file_of(name: str) -> str:
    return f"/{name}/resolve/{COMMIT}/model.safetensors"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from cli.zoo_app import main; main()", *arguments]


def zoo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in json.loads(done.stdout)}


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    return done.stderr


@pytest.fixture
def store(home_dir: Path) -> Home:
    return Home.open(home_dir)


def kept(store: Home) -> set[str]:
    return {path.name for path in store.blobs.iterdir()} if store.blobs.exists() else set()


@pytest.mark.usefixtures("store")
def test_many_models_are_fetched_and_the_failures_are_named_at_the_end(hub: Hub) -> None:
    hub.always[file_of(NAMES[1])] = Answer(change=lambda content: content[:-1] + b"!")
    hub.repos[NAMES[2]].gated = "manual"
    where = f"name in {(*NAMES, GUARDED)!r}"
    done = zoo("fetch", "--where", where, "--jobs", "3", "--format", "json")
    said = one_line(done)
    assert "3 of 5 failed: " in said
    assert f"{NAMES[1]}: {hub.url}{file_of(NAMES[1])} has sha256" in said
    assert f"{NAMES[2]} is gated" in said
    assert f"{GUARDED} is not for commercial use: its licence is CC-BY-NC-4.0" in said
    found = rows(done)
    assert list(found) == sorted((*NAMES, GUARDED))  # as asked for, not as they came
    assert {name: found[name]["status"] for name in (*NAMES, GUARDED)} == {
        NAMES[0]: "fetched",
        NAMES[1]: "failed",
        NAMES[2]: "failed",
        NAMES[3]: "fetched",
        GUARDED: "failed",
    }
    assert found[NAMES[0]]["licence"] == "Apache-2.0"
    assert found[NAMES[0]]["checked"] == "sha256"
    assert found[GUARDED]["licence"] == "CC-BY-NC-4.0"

    hub.always.clear()
    again = rows(zoo("fetch", *NAMES, GUARDED, "--accept-licence", "--format", "json"))
    assert again[NAMES[0]]["status"] == "cached"
    assert again[NAMES[1]]["status"] == "fetched"


def test_a_self_trained_model_is_trained_beside_downloads(store: Home) -> None:
    found = rows(zoo("fetch", "digits-mlp", *NAMES[:2], "--jobs", "2", "--format", "json"))
    assert {row["status"] for row in found.values()} == {"fetched"}
    assert (found["digits-mlp"]["licence"], found["digits-mlp"]["checked"]) == (None, None)
    assert len(kept(store)) == 3


def test_a_licence_is_accepted_once(store: Home) -> None:
    assert "--accept-licence" in one_line(zoo("fetch", GUARDED))
    assert kept(store) == set()
    assert zoo("fetch", GUARDED, "--accept-licence").returncode == 0
    done = zoo("fetch", GUARDED, "--format", "json")
    assert rows(done)[GUARDED]["status"] == "cached"


@pytest.mark.usefixtures("store")
def test_a_connection_that_drops_is_tried_again_in_silence(hub: Hub) -> None:
    hub.answers[file_of(NAMES[0])] = [Answer(cut=10_000)]
    done = zoo("fetch", NAMES[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert len(hub.gets(file_of(NAMES[0]))) == 2


@pytest.mark.usefixtures("store")
def test_offline_nothing_is_asked(hub: Hub) -> None:
    assert "--offline" in one_line(zoo("fetch", NAMES[0], "--offline"))
    assert hub.asked == []
    assert zoo("fetch", NAMES[0]).returncode == 0
    hub.asked.clear()
    done = zoo("fetch", NAMES[0], "--offline", "--format", "json")
    assert rows(done)[NAMES[0]]["status"] == "cached"
    assert hub.asked == []


@pytest.mark.usefixtures("store")
def test_a_file_of_the_users_own_is_taken(
    hub: Hub, published: dict[str, bytes], tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.write_bytes(published[NAMES[0]])
    done = zoo("fetch", NAMES[0], "--from-file", str(own), "--format", "json")
    assert rows(done)[NAMES[0]]["checked"] == "sha256"
    assert [asked.path for asked in hub.asked] == [f"/api/models/{NAMES[0]}"]  # not for the file
    assert "Name that model alone" in one_line(zoo("fetch", *NAMES, "--from-file", str(own)))
    said = one_line(zoo("fetch", "digits-mlp", "--from-file", str(own)))
    assert "--from-file is for published weights" in said


def test_a_model_of_the_real_catalog_is_loaded_by_name(store: Home) -> None:
    model = public.load(NAMES[1], store)
    torch.manual_seed(0)
    net = build("timm/test_vit", (3, 160, 160), 1000).eval()
    x = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(model(x), net((x - 0.5) / 0.5))


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_an_interruption_ends_it_at_once_and_leaves_nothing_broken(
    store: Home, hub: Hub, jobs: str
) -> None:
    hub.answers[file_of(NAMES[1])] = [Answer(delay=40.0)]
    worker = subprocess.Popen(
        command("fetch", *NAMES[:3], "--jobs", jobs),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whatever runs the tests in the background may have told its children to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not hub.gets(file_of(NAMES[1])):
        assert worker.poll() is None, worker.communicate()
        time.sleep(0.05)
    time.sleep(0.5)
    begun = time.monotonic()
    worker.send_signal(signal.SIGINT)
    _, errors = worker.communicate()
    assert worker.returncode == 130
    assert time.monotonic() - begun < 30
    assert "Traceback" not in errors
    assert not (store.model(NAMES[1]) / "fetched.json").exists()

    again = zoo("fetch", *NAMES[:3], "--format", "json")
    assert again.returncode == 0, again.stderr
    assert rows(again)[NAMES[0]]["status"] == "cached"
    assert rows(again)[NAMES[1]]["status"] == "fetched"
    assert list(store.downloads.iterdir()) == []


# zoo discover


@pytest.mark.usefixtures("store")
def test_candidates_are_shown_and_written_for_a_curator(hub: Hub, tmp_path: Path) -> None:
    hub.repos["someone/new"] = Repo(
        commits={"b" * 40: {}}, card={"license": "mit"}, facts={"downloads": 7}
    )
    done = zoo("discover", "--hub")
    assert done.returncode == 0, done.stderr
    header, row = done.stdout.splitlines()
    assert header.split() == [
        *("hub_repo", "licence", "card_datasets", "library", "downloads", "last_modified")
    ]
    assert row.split() == ["someone/new", "mit", "-", "-", "7", "-"]
    (found,) = json.loads(zoo("discover", "--hub", "--format", "json").stdout)
    assert (found["hub_repo"], found["hub_revision"]) == ("someone/new", "b" * 40)

    out = tmp_path / "candidates.csv"
    assert "Wrote 1 candidates" in zoo("discover", "--hub", "--out", str(out)).stdout
    with out.open(newline="") as file:
        (row_,) = csv.DictReader(file)
    assert (row_["accept"], row_["hub_repo"]) == ("", "someone/new")
    assert json.loads(zoo("discover", "--hub", "--search", "x", "--format", "json").stdout) == []


@pytest.mark.usefixtures("store")
def test_where_to_look_has_to_be_said() -> None:
    assert "--hub is the Hugging Face Hub" in one_line(zoo("discover"))


@pytest.mark.usefixtures("store")
def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    begun = time.monotonic()
    for arguments in (["discover", "--hub"], ["fetch", NAMES[0]]):
        assert "cannot be reached (Connection refused)" in one_line(zoo(*arguments))
    assert time.monotonic() - begun < 120


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["fetch", "--help"]])
def test_nothing_of_the_hub_or_torch_is_imported_for_listing(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom cli.zoo_app import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'huggingface_hub', 'timm', 'httpx2') "
        "if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"
