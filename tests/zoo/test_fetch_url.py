"""Files from web addresses: gone on with, held against what is known, never trusted half-way."""

import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from servers import PAGE, Answer, Site
from torch import Tensor

import zoo.nets
from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.sources import download
from zoo.sources.blobs import partial

PATH = "/mlp.pt"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def content(state: dict[str, Tensor]) -> bytes:
    """A checkpoint as it is published."""
    file = io.BytesIO()
    torch.save(dict(state), file)
    return file.getvalue()


@pytest.fixture
def model(web: Site, entry: ModelEntry, content: bytes) -> ModelEntry:
    """Published at a web address, with everything known about its file."""
    web.files[PATH] = content
    known = Artifact(sha256=sha256(content), size=len(content), url=web.url + PATH)
    return replace(entry, artifact=known)


def knowing(entry: ModelEntry, **facts: Any) -> ModelEntry:
    """The entry, with nothing known about its file but where it is, and ``facts``."""
    assert entry.artifact is not None
    unknown = {"sha256": None, "size": None, **facts}
    return replace(entry, artifact=replace(entry.artifact, **unknown))


def files(home: Home) -> set[str]:
    """Everything of weights in the store, finished or not."""
    folders = (home.blobs, home.downloads)
    return {p.name for folder in folders if folder.exists() for p in folder.rglob("*")}


def assert_nothing_is_trusted(entry: ModelEntry, home: Home, web: Site, content: bytes) -> None:
    """Nothing is left that a later call could use, and a good call succeeds."""
    assert files(home) == set()
    assert not (home.model(entry.name) / "fetched.json").exists()
    web.files, web.always, web.answers = {**web.files, PATH: content}, {}, {}
    found = fetch(entry, home)
    assert not found.cached
    assert fetch(entry, home) == replace(found, cached=True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(change=lambda c: c[:-100]), "so it is cut short"),
        (Answer(change=lambda c: c + b"\0"), "has more than that"),
        (Answer(change=lambda c: c[:900] + bytes([c[900] ^ 1]) + c[901:]), "has sha256 .* instead"),
        (Answer(change=lambda c: PAGE), "sent a web page, not weights"),
        (Answer(change=lambda c: PAGE.ljust(len(c))), "sent a web page, not weights"),
        (Answer(change=lambda c: LFS), "is a Git LFS pointer"),
        (Answer(change=lambda c: b""), "has 0, so it is cut short"),
        (Answer(status=404), "answered 404 Not Found.*--from-file FILE or --mirror DIR"),
        (Answer(status=401), "answered 401"),
        (Answer(status=403), "answered 403"),
        (Answer(status=503), "answered 503"),
        (Answer(cut=0), r"broke off after 0 of \d+ bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_is_wrong_is_one_line_and_nothing_is_trusted(
    model: ModelEntry, home: Home, web: Site, content: bytes, answer: Answer, said: str
) -> None:
    web.always[PATH] = answer
    with pytest.raises(ZooError, match=said) as caught:
        fetch(model, home)
    assert "\n" not in str(caught.value)
    if answer.cut is not None:  # kept to go on with, which nothing but a download looks at
        assert not home.blobs.exists()
        for path in home.downloads.iterdir():
            path.unlink()
    assert_nothing_is_trusted(model, home, web, content)


def test_a_connection_that_drops_is_gone_on_with(
    model: ModelEntry, home: Home, web: Site, content: bytes
) -> None:
    web.answers[PATH] = [Answer(cut=10_000), Answer(cut=5_000), Answer(status=503)]
    done: list[tuple[int, int]] = []
    found = fetch(model, home, progress=lambda *told: done.append(told))
    assert not found.cached
    assert web.gets(PATH) == [None, "bytes=10000-", "bytes=15000-", "bytes=15000-"]
    assert [d for d, _ in done] == sorted({d for d, _ in done})  # no byte came twice
    assert done[-1] == (len(content), len(content))


def test_what_keeps_dropping_is_given_up_and_the_next_call_goes_on(
    model: ModelEntry, home: Home, web: Site
) -> None:
    web.answers[PATH] = [Answer(cut=10_000), *[Answer(cut=0)] * 4]
    with pytest.raises(
        ZooError, match="broke off after 10000 of .*same command goes on from there"
    ):
        fetch(model, home)
    assert len(web.gets(PATH)) == 5
    assert not home.blobs.exists()
    fetch(model, home)
    assert web.gets(PATH)[5:] == ["bytes=10000-"]
    assert list(home.downloads.iterdir()) == []


def test_a_try_that_brings_something_does_not_count_as_failed(
    model: ModelEntry, home: Home, web: Site, content: bytes
) -> None:
    web.answers[PATH] = [Answer(cut=4_000)] * 10
    fetch(model, home)
    assert len(web.gets(PATH)) == 11


def test_a_host_that_does_not_send_parts_is_asked_for_the_whole(
    model: ModelEntry, home: Home, web: Site
) -> None:
    web.answers[PATH] = [Answer(cut=10_000), Answer(ranges=False)]
    fetch(model, home)
    assert web.gets(PATH) == [None, "bytes=10000-"]


def test_a_host_that_does_not_tell_versions_apart_is_asked_for_the_whole(
    model: ModelEntry, home: Home, web: Site
) -> None:
    web.validators = False
    web.answers[PATH] = [Answer(cut=10_000)]
    fetch(model, home)
    assert web.gets(PATH) == [None, None]


def test_a_file_that_changed_meanwhile_is_begun_anew(
    model: ModelEntry, home: Home, web: Site, content: bytes
) -> None:
    web.files[PATH] = b"PK" + bytes(len(content) - 2)
    web.always[PATH] = Answer(cut=0)
    web.answers[PATH] = [Answer(cut=10_000)]
    with pytest.raises(ZooError, match="broke off"):
        fetch(model, home)
    web.files[PATH] = content
    del web.always[PATH]
    assert not fetch(model, home).cached
    assert web.gets(PATH)[-1] == "bytes=10000-"  # asked for a part, given the whole


def test_a_file_that_is_shorter_now_is_begun_anew(
    model: ModelEntry, home: Home, web: Site, content: bytes
) -> None:
    web.answers[PATH] = [Answer(cut=10_000), *[Answer(cut=0)] * 4]
    with pytest.raises(ZooError, match="broke off"):
        fetch(model, home)
    (part,) = home.downloads.glob("*.part")
    part.write_bytes(content + b"more")
    fetch(model, home)
    assert web.gets(PATH)[-2:] == [f"bytes={len(content) + 4}-", None]


def test_the_rest_of_a_tampered_beginning_is_not_trusted(
    model: ModelEntry, home: Home, web: Site, content: bytes
) -> None:
    web.answers[PATH] = [Answer(cut=10_000), *[Answer(cut=0)] * 4]
    with pytest.raises(ZooError, match="broke off"):
        fetch(model, home)
    (part,) = home.downloads.glob("*.part")
    part.write_bytes(b"PK\x03\x04" + bytes(9_996))
    with pytest.raises(ZooError, match="has sha256 .* instead of"):
        fetch(model, home)
    assert_nothing_is_trusted(model, home, web, content)


@pytest.mark.parametrize("note", [None, b"", b"[]", b"{}", b'{"url": 1, "validator": 2}'])
def test_a_beginning_without_a_readable_note_is_thrown_away(
    model: ModelEntry, home: Home, web: Site, note: bytes | None
) -> None:
    web.answers[PATH] = [Answer(cut=10_000), *[Answer(cut=0)] * 4]
    with pytest.raises(ZooError, match="broke off"):
        fetch(model, home)
    (path,) = home.downloads.glob("*.json")
    path.unlink() if note is None else path.write_bytes(note)
    fetch(model, home)
    assert web.gets(PATH)[-1] is None


def test_the_beginning_of_another_address_is_thrown_away(
    model: ModelEntry, home: Home, web: Site, content: bytes
) -> None:
    web.answers[PATH] = [Answer(cut=10_000), *[Answer(cut=0)] * 4]
    with pytest.raises(ZooError, match="broke off"):
        fetch(model, home)
    web.files["/moved.pt"] = content
    fetch(knowing(model, sha256=sha256(content), url=f"{web.url}/moved.pt"), home)
    assert web.gets("/moved.pt") == [None]


def test_a_beginning_that_nobody_goes_on_with_is_swept_by_any_download(
    model: ModelEntry, home: Home
) -> None:
    old, young = home.downloads / "other.part", home.downloads / "young.part"
    folder = home.downloads / "other.hub"
    folder.mkdir(parents=True)
    for path in (old, young, folder / "blob"):
        path.write_bytes(b"begun")
    week_ago = time.time() - 8 * 24 * 3600
    for path in (old, folder / "blob", folder):
        os.utime(path, (week_ago, week_ago))
    fetch(model, home)
    assert list(home.downloads.iterdir()) == [young]


@pytest.mark.parametrize("young", ["part", "note", None])
def test_a_beginning_is_as_old_as_the_younger_of_it_and_its_note(
    model: ModelEntry, home: Home, young: str | None
) -> None:
    part, note = home.downloads / "other.part", home.downloads / "other.part.json"
    home.downloads.mkdir()
    week_ago = time.time() - 8 * 24 * 3600
    for path, which in ((part, "part"), (note, "note")):
        path.write_bytes(b"begun")
        if which != young:
            os.utime(path, (week_ago, week_ago))
    fetch(model, home)
    assert set(home.downloads.iterdir()) == ({part, note} if young else set())


def test_a_killed_download_is_gone_on_with(
    model: ModelEntry, home: Home, web: Site, content: bytes, tmp_path: Path
) -> None:
    web.answers[PATH] = [Answer(cut=10_000), Answer(delay=60)]
    code = (
        "import sys; from pathlib import Path; from zoo.sources import download; "
        "download.download('x', sys.argv[1], Path(sys.argv[2]), size=None, progress=None)"
    )
    part = tmp_path / "part"
    worker = subprocess.Popen([sys.executable, "-c", code, web.url + PATH, str(part)])
    while len(web.gets(PATH)) < 2:
        time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    download.download("x", web.url + PATH, part, size=None, progress=None)
    assert web.gets(PATH)[-1] == "bytes=10000-"
    assert part.read_bytes() == content


@pytest.mark.parametrize("in_an_archive", [False, True])
def test_what_had_come_whole_when_the_program_was_killed_does_not_come_again(
    model: ModelEntry, home: Home, web: Site, content: bytes, in_an_archive: bool
) -> None:
    if in_an_archive:
        web.files[PATH] = zipped(("net.pth", content))
        model = knowing(model, sha256=sha256(content), member="net.pth")
    part = partial(home, model.name)
    download.download("x", web.url + PATH, part, size=None, progress=None)  # and then killed
    web.asked.clear()
    done: list[tuple[int, int]] = []
    assert not fetch(model, home, progress=lambda *told: done.append(told)).cached
    assert web.gets(PATH) == [f"bytes={len(web.files[PATH])}-"]
    assert done == []  # not a byte
    assert list(home.downloads.iterdir()) == []


def test_an_interruption_of_the_check_keeps_what_came(
    model: ModelEntry, home: Home, web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.sources.published.verify", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(model, home)
    monkeypatch.undo()
    fetch(model, home)
    assert len(web.gets(PATH)) == 2
    assert web.gets(PATH)[1] is not None


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_is_asked_for_a_host_that_only_it_may_know(
    model: ModelEntry, home: Home, web: Site, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, web.url)
    assert model.artifact is not None
    url = f"http://no-such-host.invalid{PATH}"
    assert not fetch(replace(model, artifact=replace(model.artifact, url=url)), home).cached
    assert web.gets(PATH) == [None]


def test_a_proxy_that_is_passed_by_for_a_host_says_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert download.unreachable("http://no-such-host.invalid/") is None
    monkeypatch.setenv("NO_PROXY", "no-such-host.invalid")
    assert download.unreachable("http://no-such-host.invalid/") is not None


def test_an_unreachable_host_is_told_within_seconds_in_one_line(
    model: ModelEntry, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "REACH", 0.5)
    with socket.socket() as silent:  # bound, full, and never accepting
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/mlp.pt"
        begun = time.monotonic()
        with pytest.raises(ZooError, match="cannot be reached .timed out.*--mirror DIR") as caught:
            fetch(knowing(model, url=url), home)
        assert time.monotonic() - begun < 3
        for filler in fillers:
            filler.close()
    assert "\n" not in str(caught.value)


def test_a_host_whose_name_is_unknown_is_told(model: ModelEntry, home: Home) -> None:
    with pytest.raises(ZooError, match="cannot be reached"):
        fetch(knowing(model, url="http://no-such-host.invalid/mlp.pt"), home)


def test_a_host_that_falls_silent_counts_as_dropped(
    model: ModelEntry, home: Home, web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SILENCE", 0.3)
    web.answers[PATH] = [Answer(delay=1.5)]
    assert not fetch(model, home).cached
    assert len(web.gets(PATH)) == 2


def test_the_network_is_not_touched_offline(
    model: ModelEntry, home: Home, web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", None)
    monkeypatch.setattr(socket, "create_connection", None)
    with pytest.raises(ZooError, match="not in the store, and --offline .*--from-file FILE"):
        fetch(model, home, offline=True)
    assert web.asked == []
    monkeypatch.undo()
    first = fetch(model, home)
    monkeypatch.setattr(socket, "socket", None)
    assert fetch(model, home, offline=True) == replace(first, cached=True)


@pytest.mark.parametrize(
    ("facts", "checked"),
    [
        (lambda c: {"sha256": sha256(c), "sha1": hashlib.sha1(c).hexdigest()}, "sha256"),
        (lambda c: {"sha256_prefix": sha256(c)[:8]}, "sha256 prefix"),
        (lambda c: {"sha1": hashlib.sha1(c).hexdigest()}, "sha1"),
        (lambda c: {"size": len(c)}, "first use"),
        (lambda c: {}, "first use"),
    ],
)
def test_a_file_is_held_against_whatever_is_known(
    model: ModelEntry,
    home: Home,
    web: Site,
    content: bytes,
    facts: Callable[[bytes], dict[str, Any]],
    checked: str,
) -> None:
    known = knowing(model, **facts(content))
    found = fetch(known, home)
    assert found.checked == checked
    record = json.loads((home.model(model.name) / "fetched.json").read_text())
    assert (record["checked"], record["origin"]) == (checked, web.url + PATH)
    assert fetch(known, home) == replace(found, cached=True)


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        ({"sha256_prefix": "0" * 8}, r"has sha256 prefix [0-9a-f]{8} instead of 00000000"),
        ({"sha1": "0" * 40}, r"has sha1 [0-9a-f]{40} instead of 0{40}"),
        ({"sha256": "0" * 64}, "has sha256"),
        ({"size": 17}, "should have 17 bytes"),
    ],
)
def test_one_fact_that_does_not_hold_is_enough_to_refuse(
    model: ModelEntry, home: Home, web: Site, content: bytes, fact: dict[str, Any], said: str
) -> None:
    right = {"sha256": sha256(content), "sha256_prefix": sha256(content)[:8]}
    with pytest.raises(ZooError, match=said):
        fetch(knowing(model, **{**right, **fact}), home)
    assert_nothing_is_trusted(model, home, web, content)


@pytest.fixture
def other(state: dict[str, Tensor]) -> bytes:
    """Another checkpoint of the same network."""
    file = io.BytesIO()
    torch.save({key: value + 1 for key, value in state.items()}, file)
    return file.getvalue()


def test_what_came_first_is_what_it_has_to_be_from_then_on(
    model: ModelEntry, home: Home, web: Site, content: bytes, other: bytes
) -> None:
    unknown = knowing(model)
    first = fetch(unknown, home)
    (home.blobs / sha256(content)).unlink()
    web.files[PATH] = other
    with pytest.raises(ZooError, match=f"has sha256 {sha256(other)}, but had {sha256(content)}"):
        fetch(unknown, home)
    assert sha256(other) not in files(home)
    web.files[PATH] = content
    assert fetch(unknown, home) == first


def test_what_came_first_from_elsewhere_binds_nothing(
    model: ModelEntry, home: Home, web: Site, other: bytes
) -> None:
    fetch(knowing(model), home)
    web.files["/other.pt"] = other
    fetch(knowing(model, url=f"{web.url}/other.pt"), home)
    assert sha256(other) in files(home)


def test_a_hash_that_becomes_known_is_held_against_what_came_first(
    model: ModelEntry, home: Home, web: Site, other: bytes
) -> None:
    fetch(knowing(model), home)
    web.files[PATH] = other
    found = fetch(knowing(model, sha256=sha256(other)), home)
    assert (found.checked, found.cached) == ("sha256", False)


def test_what_nothing_vouches_for_is_not_kept_if_it_does_not_fit(
    model: ModelEntry, home: Home, web: Site, content: bytes
) -> None:
    web.files[PATH] = b"PK\x03\x04 not a checkpoint"
    with pytest.raises(ZooError, match="is damaged"):
        fetch(knowing(model), home)
    assert_nothing_is_trusted(knowing(model), home, web, content)


def test_what_nothing_vouches_for_is_held_against_its_own_checksums(
    model: ModelEntry, home: Home, web: Site, content: bytes
) -> None:
    at = len(content) // 2
    web.files[PATH] = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    with pytest.raises(ZooError, match=r"is damaged \(.*/data/\d\)"):
        fetch(knowing(model), home)
    assert_nothing_is_trusted(knowing(model), home, web, content)


def test_nothing_is_downloaded_for_a_network_without_code(
    model: ModelEntry, home: Home, web: Site
) -> None:
    with pytest.raises(ZooError, match="no code here for its architecture robustbench/net"):
        fetch(replace(model, architecture="robustbench/net"), home)
    assert web.asked == []


def test_whether_there_is_code_is_told_without_building_the_network_in_earnest(
    model: ModelEntry, home: Home, web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = []

    def build(*args: Any) -> torch.nn.Module:
        net = zoo.nets.build(*args)
        devices.append((next(net.parameters()).device.type, len(web.asked)))
        return net

    monkeypatch.setattr("zoo.loading.build", build)
    fetch(model, home)
    assert devices == [("meta", 0), ("cpu", 1)]


def test_a_network_that_reads_numbers_while_it_is_built_is_fetched(
    model: ModelEntry, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*args: Any) -> torch.nn.Module:
        torch.ones(1).item()  # there is none on the meta device
        return zoo.nets.build(*args)

    monkeypatch.setattr("zoo.loading.build", build)
    assert not fetch(model, home).cached


def test_a_model_without_a_published_file_says_so(model: ModelEntry, home: Home) -> None:
    with pytest.raises(ZooError, match="published nowhere. Give it with --from-file"):
        fetch(knowing(model, url=None), home)
    with pytest.raises(ZooError, match="names no weight file"):
        fetch(replace(model, artifact=None), home)


# Archives


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def member(model: ModelEntry, web: Site, content: bytes) -> ModelEntry:
    """Published in an archive, beside what must not be unpacked."""
    web.files[PATH] = zipped(
        ("../../escaped.pt", b"evil"), ("net.pth", content), ("/etc/zoo", b"evil")
    )
    return knowing(model, sha1=hashlib.sha1(content).hexdigest(), member="net.pth")


def test_one_member_is_read_by_its_name_and_nothing_else(
    member: ModelEntry, home: Home, content: bytes, tmp_path: Path
) -> None:
    found = fetch(member, home)
    assert files(home) == {found.sha256, sha256(content)}
    assert not [path for path in tmp_path.rglob("*escaped*")]
    assert fetch(member, home).cached


@pytest.mark.parametrize("name", ["../../escaped.pt", "/etc/zoo"])
def test_a_members_name_leads_nowhere(
    member: ModelEntry, home: Home, web: Site, tmp_path: Path, content: bytes, name: str
) -> None:
    web.files[PATH] = zipped((name, content))
    assert member.artifact is not None
    found = fetch(replace(member, artifact=replace(member.artifact, member=name)), home)
    assert files(home) == {found.sha256, sha256(content)}
    assert not [path for path in tmp_path.rglob("*escaped*")]


def bomb(content: bytes) -> bytes:
    return zipped(("net.pth", bytes(1 << 28)))


def wrong_checksum(content: bytes) -> bytes:
    archive = bytearray(zipped(("net.pth", content), method=zipfile.ZIP_STORED))
    archive[2000] ^= 1
    return bytes(archive)


def locked_up(content: bytes) -> bytes:
    archive = bytearray(zipped(("net.pth", content)))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        archive[archive.index(signature) + flags] |= 1
    return bytes(archive)


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (lambda c: zipped(("other.pth", c)), "has no file 'net.pth' in it, but other.pth"),
        (lambda c: zipped(("net.pth", c[:-1])), "has sha1"),
        (lambda c: zipped(("net.pth", PAGE)), "web page"),
        (lambda c: zipped(("net.pth", c))[:-50], "is not a zip archive"),
        (bomb, "should have at most .* but has more than that"),
        (wrong_checksum, "Bad CRC-32"),
        (locked_up, "password required"),
        (lambda c: c, "has no file 'net.pth'"),
        (lambda c: PAGE, "web page"),
        (lambda c: b"PK\x05\x06" + bytes(18), "has no file 'net.pth' in it, but nothing"),
    ],
)
def test_a_bad_archive_is_refused_whole(
    member: ModelEntry,
    home: Home,
    web: Site,
    content: bytes,
    archive: Callable[[bytes], bytes],
    said: str,
) -> None:
    good = web.files[PATH]
    web.files[PATH] = archive(content)
    with pytest.raises(ZooError, match=said) as caught:
        fetch(member, home)
    assert "\n" not in str(caught.value)
    assert_nothing_is_trusted(member, home, web, good)


def test_a_member_larger_than_it_should_be_is_refused(
    member: ModelEntry, home: Home, web: Site, content: bytes
) -> None:
    assert member.artifact is not None
    with pytest.raises(ZooError, match="at most 1000 bytes"):
        fetch(replace(member, artifact=replace(member.artifact, size=1000)), home)
    assert_nothing_is_trusted(member, home, web, web.files[PATH])


def test_an_archive_is_gone_on_with_like_any_file(
    member: ModelEntry, home: Home, web: Site
) -> None:
    web.answers[PATH] = [Answer(cut=10_000)]
    fetch(member, home)
    assert web.gets(PATH) == [None, "bytes=10000-"]


class Boom:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zip_format", [True, False])
@pytest.mark.parametrize("vouched_for", [True, False])
def test_code_in_a_checkpoint_in_an_archive_is_not_run(
    member: ModelEntry,
    home: Home,
    web: Site,
    content: bytes,
    tmp_path: Path,
    zip_format: bool,
    vouched_for: bool,
) -> None:
    file, marker, good = io.BytesIO(), tmp_path / "marker", web.files[PATH]
    torch.save({"w": Boom(marker)}, file, _use_new_zipfile_serialization=zip_format)
    web.files[PATH] = zipped(("net.pth", file.getvalue()))
    known = {"sha1": hashlib.sha1(file.getvalue()).hexdigest()} if vouched_for else {}
    with pytest.raises(ZooError, match="NOT executed"):
        fetch(knowing(member, **{"sha1": None, **known}), home)
    assert not marker.exists()
    assert_nothing_is_trusted(knowing(member, sha1=None), home, web, good)


# Files that the user has already


@pytest.mark.parametrize("form", ["file", "archive"])
def test_a_file_of_the_users_own_is_treated_like_a_download(
    member: ModelEntry, home: Home, web: Site, content: bytes, tmp_path: Path, form: str
) -> None:
    own = tmp_path / "own"
    own.write_bytes(content if form == "file" else web.files[PATH])
    found = fetch(member, home, from_file=own, offline=True)
    assert web.asked == []
    assert (found.cached, found.checked) == (False, "sha1")
    assert fetch(member, home).cached
    record = json.loads((home.model(member.name) / "fetched.json").read_text())
    assert record["origin"] == str(own)
    assert own.exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(PAGE, "web page"), (LFS, "Git LFS pointer"), (b"PK\x03\x04", "has sha1"), (b"", "has sha1")],
)
def test_a_wrong_file_of_the_users_own_is_refused(
    member: ModelEntry, home: Home, tmp_path: Path, wrong: bytes, said: str
) -> None:
    own = tmp_path / "own"
    own.write_bytes(wrong)
    with pytest.raises(ZooError, match=said):
        fetch(member, home, from_file=own)
    assert files(home) == set()


def test_a_file_of_the_users_own_that_nothing_is_known_of_binds_nothing(
    model: ModelEntry, home: Home, web: Site, other: bytes, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.write_bytes(other)
    assert fetch(knowing(model), home, from_file=own).checked == "from file"
    (home.blobs / sha256(other)).unlink()
    found = fetch(knowing(model), home)
    assert (found.cached, found.checked) == (False, "first use")


def test_a_file_of_the_users_own_that_not_even_the_network_fits_is_not_kept(
    model: ModelEntry, home: Home, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    torch.save({"w": torch.ones(1)}, own)
    with pytest.raises(ZooError, match="do not fit"):
        fetch(knowing(model), home, from_file=own)
    assert files(home) == set()


@pytest.mark.parametrize("named_by", ["entry", "fetched"])
def test_a_file_that_is_another_models_as_well_is_never_removed(
    model: ModelEntry, home: Home, content: bytes, tmp_path: Path, named_by: str
) -> None:
    """As of the user's own weights, of which the store may hold the only copy."""
    own = tmp_path / "own"
    own.write_bytes(content)
    first = fetch(knowing(model), home, from_file=own)
    before = files(home)
    if named_by == "entry":
        folder = home.model(model.name)
        entry = {"values": {"sha256": sha256(content)}}
        (folder / "entry.json").write_text(json.dumps(entry))
        (folder / "fetched.json").unlink()
    misfit = replace(knowing(model), name="other/net", architecture="cnn-small")
    with pytest.raises(ZooError, match="do not fit"):
        fetch(misfit, home, from_file=own)
    assert files(home) == before
    assert first.path.exists()


def test_a_file_that_was_added_meanwhile_is_not_removed(
    model: ModelEntry, home: Home, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.write_bytes(content)

    def add(*_: Any) -> None:  # what another process does while this one converts
        (home.root / "models/mine").mkdir(parents=True)
        entry = {"values": {"sha256": sha256(content)}}
        (home.root / "models/mine/entry.json").write_text(json.dumps(entry))
        raise ZooError("do not fit")

    monkeypatch.setattr("zoo.sources.published.convert", add)
    with pytest.raises(ZooError, match="do not fit"):
        fetch(knowing(model), home, from_file=own)
    assert files(home) == {sha256(content)}


def test_a_file_of_the_users_own_that_is_not_there_is_named(member: ModelEntry, home: Home) -> None:
    with pytest.raises(ZooError, match="there is no file /nowhere"):
        fetch(member, home, from_file=Path("/nowhere"))


def test_the_network_gets_the_weights_that_were_published(
    member: ModelEntry, home: Home, state: dict[str, Tensor]
) -> None:
    torch.testing.assert_close(safetensors.torch.load_file(fetch(member, home).path), dict(state))
