"""Published weights from a mirror and from a real web server: checked, converted, kept once."""

import hashlib
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.sources.blobs import intact, recorded, stored_intact

Serve = Callable[[Callable[[Path], object]], ModelEntry]


def blobs(home: Home) -> set[str]:
    return {path.name for path in home.blobs.iterdir()} if home.blobs.exists() else set()


def unfinished(home: Home) -> set[Path]:
    return {path for path in home.root.rglob("*.part*")}


def test_a_download_is_kept_as_it_came_and_as_safetensors(
    published: ModelEntry, home: Home, state: dict[str, Tensor]
) -> None:
    done: list[tuple[int, int]] = []
    found = fetch(published, home, progress=lambda *told: done.append(told))

    assert published.artifact is not None
    assert not found.cached
    assert found.path == home.blobs / found.sha256
    assert blobs(home) == {found.sha256, published.artifact.sha256}
    torch.testing.assert_close(safetensors.torch.load_file(found.path), dict(state))
    assert done[-1] == (published.artifact.size, published.artifact.size)
    record = json.loads((home.model(published.name) / "fetched.json").read_text())
    assert record["source_sha256"] == published.artifact.sha256
    assert (record["sha256"], record["size"]) == (found.sha256, found.path.stat().st_size)


def test_a_second_fetch_asks_nobody(published: ModelEntry, home: Home, server: Any) -> None:
    first = fetch(published, home)
    second = fetch(published, home)
    assert second == replace(first, cached=True)
    assert server.asked == ["/mlp.pt"]


def test_the_mirror_comes_before_the_network(
    published: ModelEntry, home: Home, server: Any, site: Path, tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    shutil.copy(site / "mlp.pt", tmp_path / "weights")
    fetch(published, home, mirror=tmp_path)
    assert server.asked == []


def test_the_mirror_of_the_environment_is_used(
    published: ModelEntry, home: Home, server: Any, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "weights").mkdir()
    (site / "mlp.pt").rename(site / "weights/mlp.pt")
    monkeypatch.setenv("ZOO_MIRROR", str(site))
    fetch(published, home)
    assert server.asked == []


def test_a_mirror_without_the_file_is_passed_over(
    published: ModelEntry, home: Home, server: Any, tmp_path: Path
) -> None:
    fetch(published, home, mirror=tmp_path)
    assert server.asked == ["/mlp.pt"]


def test_a_mirror_that_is_no_folder_is_an_error(published: ModelEntry, home: Home) -> None:
    with pytest.raises(ZooError, match="mirror /nowhere is not a folder"):
        fetch(published, home, mirror=Path("/nowhere"))


def html(content: bytes) -> bytes:
    return b"<!DOCTYPE html><title>Sign in</title>".ljust(len(content))


def truncated(content: bytes) -> bytes:
    return content[:-100]


def longer(content: bytes) -> bytes:
    return content + b"\0"


def altered(content: bytes) -> bytes:
    return content[:500] + bytes([content[500] ^ 1]) + content[501:]


@pytest.mark.parametrize("source", ["server", "mirror"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (html, "the host sent a web page, not weights"),
        (truncated, "so it is cut short"),
        (longer, "has more than that"),
        (altered, "has sha256 [0-9a-f]{64} instead of [0-9a-f]{64}"),
    ],
)
def test_a_file_that_is_not_the_one_described_leaves_nothing_behind(
    published: ModelEntry,
    home: Home,
    site: Path,
    change: Callable[[bytes], bytes],
    said: str,
    source: str,
) -> None:
    served = site / "mlp.pt"
    served.write_bytes(change(served.read_bytes()))
    mirror = None
    if source == "mirror":
        (site / "weights").mkdir()
        shutil.copy(served, site / "weights")
        mirror = site
    with pytest.raises(ZooError, match=said):
        fetch(published, home, mirror=mirror)
    assert blobs(home) == set()
    assert not (home.model(published.name) / "fetched.json").exists()


def test_a_file_of_the_right_hash_but_no_known_format_is_refused(serve: Serve, home: Home) -> None:
    entry = serve(lambda file: file.write_bytes(b"GGUF and more"))
    with pytest.raises(ZooError, match="begins with b'GGUF and"):
        fetch(entry, home)


class Boom:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {os.environ['BOOM']}",)


def test_a_malicious_checkpoint_of_the_right_hash_is_not_run(
    serve: Serve, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOM", str(tmp_path / "marker"))
    entry = serve(lambda file: torch.save({"state_dict": Boom()}, file))
    with pytest.raises(ZooError, match="NOT executed"):
        fetch(entry, home)
    assert not (tmp_path / "marker").exists()
    pickle.loads(pickle.dumps(Boom()))  # it would have worked
    assert (tmp_path / "marker").exists()


def test_a_checkpoint_of_another_network_is_refused(published: ModelEntry, home: Home) -> None:
    with pytest.raises(ZooError, match="do not fit architecture cnn-small"):
        fetch(replace(published, architecture="cnn-small"), home)


@pytest.mark.parametrize("which", ["source", "converted"])
def test_a_blob_altered_in_the_store_is_replaced_and_said_so(
    published: ModelEntry, home: Home, which: str
) -> None:
    first = fetch(published, home)
    assert published.artifact is not None
    sha256 = first.sha256 if which == "converted" else published.artifact.sha256
    blob = home.blobs / sha256
    content = blob.read_bytes()
    blob.write_bytes(altered(content))

    with pytest.warns(UserWarning, match=f"{sha256} was altered"):
        second = fetch(published, home)

    assert second == replace(first, cached=False)
    assert blob.read_bytes() == content


@pytest.mark.parametrize("which", ["source", "converted", "both"])
def test_a_blob_that_is_gone_is_had_again(
    published: ModelEntry, home: Home, server: Any, which: str
) -> None:
    first = fetch(published, home)
    before = blobs(home)
    assert published.artifact is not None
    if which != "source":
        first.path.unlink()
    if which != "converted":
        (home.blobs / published.artifact.sha256).unlink()
    assert fetch(published, home) == first
    assert blobs(home) == before
    assert len(server.asked) == (1 if which == "converted" else 2)
    assert fetch(published, home).cached


def test_a_corrected_annotation_converts_the_file_again(
    serve: Serve, home: Home, state: dict[str, Tensor]
) -> None:
    both = {"best": dict(state), "last": {key: value + 1 for key, value in state.items()}}
    entry = serve(lambda file: torch.save(both, file))
    assert entry.artifact is not None
    best = replace(entry, artifact=replace(entry.artifact, state_dict="best"))
    last = replace(entry, artifact=replace(entry.artifact, state_dict="last"))
    assert fetch(best, home).sha256 != fetch(last, home).sha256


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"1",
    b"{}",
    b"\xff\xfe",
    b'{"sha256": 1}',
    b'{"sha256": ""}',
    b'{"sha256": "../format.json"}',
    b'{"sha256": "%s", "source_sha256": null}' % (b"0" * 64),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_record_counts_as_none_and_is_made_anew(
    published: ModelEntry, home: Home, content: bytes
) -> None:
    first = fetch(published, home)
    (home.model(published.name) / "fetched.json").write_bytes(content)
    damaged = f"fetched.json is damaged .* `zoo fetch {published.name}` makes it anew"
    with pytest.warns(UserWarning, match=damaged):
        assert recorded(home, published.name) is None
    with pytest.warns(UserWarning, match=damaged):
        assert stored_intact(published, home) is None
    with pytest.warns(UserWarning, match=damaged):
        assert fetch(published, home) == first
    assert (home.root / "format.json").exists()
    assert stored_intact(published, home) is True


def test_what_was_not_fetched_is_neither_intact_nor_altered(
    published: ModelEntry, home: Home
) -> None:
    assert stored_intact(published, home) is None


def test_to_ask_whether_a_blob_is_intact_changes_nothing(home: Home) -> None:
    content = b"weights"
    blob = home.blobs / hashlib.sha256(content).hexdigest()
    assert not intact(blob)
    blob.parent.mkdir()
    blob.write_bytes(content)
    assert intact(blob)
    blob.write_bytes(b"others")
    assert not intact(blob)
    assert blob.read_bytes() == b"others"


@pytest.mark.parametrize("what", ["gone", "altered"])
@pytest.mark.parametrize("which", ["source", "converted"])
def test_a_changed_store_is_told_and_not_repaired(
    published: ModelEntry, home: Home, which: str, what: str
) -> None:
    first = fetch(published, home)
    assert published.artifact is not None
    blob = first.path if which == "converted" else home.blobs / published.artifact.sha256
    content = blob.read_bytes()
    blob.unlink()
    if what == "altered":
        blob.write_bytes(altered(content))
    before = blobs(home)
    assert stored_intact(published, home) is False
    assert blobs(home) == before


def test_a_record_without_a_source_file_can_be_intact(published: ModelEntry, home: Home) -> None:
    path = fetch(published, home).path
    assert published.artifact is not None
    (home.blobs / published.artifact.sha256).unlink()
    record = home.model(published.name) / "fetched.json"
    record.write_text(json.dumps({"sha256": path.name, "accuracy": 0.9}))  # as of a trained model
    assert stored_intact(published, home) is True
    path.write_bytes(b"altered")
    assert stored_intact(published, home) is False


@pytest.mark.parametrize("moment", ["download", "conversion"])
def test_what_a_killed_fetch_left_is_swept_by_the_next(
    published: ModelEntry, home: Home, tmp_path: Path, moment: str
) -> None:
    (tmp_path / "entry").write_bytes(pickle.dumps(published))
    code = (
        "import os, pickle, signal, sys; from pathlib import Path; from zoo.fetch import fetch; "
        "from zoo.home import Home; entry = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def progress(done, total):\n"
        "    if sys.argv[3] == 'download': die()\n"
        "    import zoo.files; zoo.files.os.fsync = lambda _: "
        "len(list(Path(sys.argv[2]).glob('blobs/*'))) > 1 and die()\n"
        "fetch(entry, Home.open(Path(sys.argv[2])), progress=progress)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "entry"), str(home.root), moment]
    assert subprocess.run(command, check=False).returncode == -9
    left = unfinished(home)
    assert left
    home.blobs.mkdir(exist_ok=True)
    other = home.blobs / "of another model.part"
    other.write_bytes(b"")

    found = fetch(published, home)
    assert published.artifact is not None
    assert unfinished(home) == {other}
    assert blobs(home) == {found.sha256, published.artifact.sha256, other.name}


def test_an_answer_that_is_an_error_names_url_and_code(published: ModelEntry, home: Home) -> None:
    assert published.artifact is not None
    assert published.artifact.url is not None
    gone = replace(published.artifact, url=published.artifact.url.replace("mlp.pt", "gone.pt"))
    with pytest.raises(ZooError, match=r"/gone\.pt answered 404 .*--mirror DIR"):
        fetch(replace(published, artifact=gone), home)


def test_a_host_that_cannot_be_reached_is_named(published: ModelEntry, home: Home) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/mlp.pt"
    assert published.artifact is not None
    with pytest.raises(ZooError, match=f"{url} cannot be reached .*--mirror DIR"):
        fetch(replace(published, artifact=replace(published.artifact, url=url)), home)


def test_only_web_addresses_are_downloaded(published: ModelEntry, home: Home, site: Path) -> None:
    assert published.artifact is not None
    local = replace(published.artifact, url=f"file://{site}/mlp.pt")
    with pytest.raises(ZooError, match="is not a web address"):
        fetch(replace(published, artifact=local), home)


def test_a_disk_that_is_full_leaves_nothing_behind_and_says_so(
    published: ModelEntry, home: Home
) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            fetch(published, home)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert blobs(home) == set()
    assert not fetch(published, home).cached


def test_two_processes_fetch_one_model_once(
    published: ModelEntry, home: Home, server: Any, tmp_path: Path
) -> None:
    server.delay = 3.0  # longer than the second process needs to get as far as the first
    (tmp_path / "entry").write_bytes(pickle.dumps(published))
    code = (
        "import pickle, sys; from pathlib import Path; from zoo.fetch import fetch; "
        "from zoo.home import Home; entry = pickle.loads(Path(sys.argv[1]).read_bytes()); "
        "found = fetch(entry, Home.open(Path(sys.argv[2]))); print(found.cached, found.sha256)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "entry"), str(home.root)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = sorted(worker.communicate(timeout=120)[0].split() for worker in workers)
    found = fetch(published, home)
    assert answers == [["False", found.sha256], ["True", found.sha256]]
    assert server.asked == ["/mlp.pt"]
