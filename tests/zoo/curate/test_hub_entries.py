"""From a candidate on the Hub to a model that can be loaded; and pinning what timm only names."""

import csv
import hashlib
import io
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from servers import Answer, Hub, Repo

from annotations.load import FOLDER, load
from annotations.record import AnnotationError
from zoo.api import load as load_by_name
from zoo.build import build
from zoo.catalog import open_catalog
from zoo.curate.accept import accept
from zoo.curate.discover import as_rows, discover
from zoo.curate.pin import pin
from zoo.errors import ZooError
from zoo.home import Home
from zoo.nets import build as build_net

COMMIT, OTHER = "1" * 40, "2" * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the project's annotations."""
    copy = tmp_path / "annotations"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return copy


@pytest.fixture
def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_net("resnet8", (3, 32, 32), 10)


@pytest.fixture
def repo(hub: Hub, net: torch.nn.Module) -> Repo:
    """A repository with the weights of a small network."""
    weights = safetensors.torch.save(net.state_dict())
    found = Repo(commits={COMMIT: {"model.safetensors": weights}}, card={"license": "mit"})
    hub.repos["someone/Small-Net"] = found
    return found


FILLED = {
    "accept": "yes",
    "dataset": "cifar10",
    "architecture": "resnet8",
    "input_shape": "3;32;32",
    "num_classes": "10",
    "mean": "0.5;0.5;0.5",
    "std": "0.25;0.25;0.25",
}


def filled(home: Home, path: Path, **changed: str) -> Path:
    """A curator's file: the first candidate of the Hub, filled in."""
    rows = list(csv.DictReader(io.StringIO(as_rows(discover(home, limit=5)))))
    rows[0] |= {**FILLED, **changed}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_an_accepted_candidate_becomes_a_model_that_can_be_loaded(
    home: Home, folder: Path, tmp_path: Path, repo: Repo, net: torch.nn.Module
) -> None:
    names = accept(folder, filled(home, tmp_path / "candidates.csv"), "ada")
    assert names == ["someone/small-net"]
    build(home, folder)
    catalog = open_catalog(home)
    entry = catalog.entry("someone/small-net")
    assert entry.artifact is not None
    assert (entry.artifact.hub_revision, entry.licence) == (COMMIT, "mit")
    facts = {f["field"]: f for f in catalog.show(entry.name)["facts"] if f["entity"] == "models"}
    assert facts["architecture"]["coder"] == "ada"
    assert facts["architecture"]["evidence"].endswith(f"someone/Small-Net/tree/{COMMIT}")
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = net.eval()((x - 0.5) / 0.25)
        torch.testing.assert_close(load_by_name(entry.name, home)(x), expected)
    assert "someone/Small-Net" not in {c.hub_repo for c in discover(home, limit=5)}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"architecture": ""}, "architecture: is required, but empty"),
        ({"dataset": "cifar11"}, "dataset: no row 'cifar11' among the datasets"),
        ({"num_classes": "ten"}, "num_classes: 'ten' is not a whole number"),
        ({"mean": "0.5"}, "mean has 1 and std has 3 numbers"),
        ({"name": "timm/resnet50.a1_in1k"}, "'timm/resnet50.a1_in1k' is already in"),
    ],
)
def test_a_wrong_row_changes_nothing(
    home: Home, folder: Path, tmp_path: Path, repo: Repo, changed: dict[str, str], said: str
) -> None:
    before = (folder / "sources" / "huggingface.csv").read_bytes()
    with pytest.raises(AnnotationError, match=said):
        accept(folder, filled(home, tmp_path / "candidates.csv", **changed), "ada")
    assert (folder / "sources" / "huggingface.csv").read_bytes() == before


def test_nothing_accepted_and_no_such_file_are_told(
    home: Home, folder: Path, tmp_path: Path, repo: Repo
) -> None:
    with pytest.raises(ZooError, match="No row of .* says yes"):
        accept(folder, filled(home, tmp_path / "candidates.csv", accept=""), "ada")
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(ZooError, match="has no column accept, name, hub_repo, hub_revision"):
        accept(folder, other, "ada")


FIRST, SECOND = "timm/resnet18.a1_in1k", "timm/resnet18.a2_in1k"


@pytest.fixture
def only_two(folder: Path) -> Path:
    """The annotations with two models of timm, so that the Hub is asked about no others."""
    path = folder / "sources" / "timm.csv"
    header, *rows = path.read_text().splitlines(keepends=True)
    path.write_text(header + "".join(r for r in rows if r.startswith((f"{FIRST},", f"{SECOND},"))))
    for other in (folder / "metrics" / "timm.csv", *(folder / "exclusions").glob("*.csv")):
        other.write_text(other.read_text().splitlines(keepends=True)[0])
    return folder


def test_models_are_pinned_to_commit_file_and_hash(hub: Hub, home: Home, only_two: Path) -> None:
    for index, name in enumerate((FIRST, SECOND)):
        hub.repos[name] = Repo(
            commits={COMMIT: {"model.safetensors": b"old"}, OTHER: {"model.safetensors": b"new"}},
            private=bool(index),
        )
    seen: list[tuple[int, int]] = []
    pinned, failures = pin(only_two, jobs=2, progress=lambda *step: seen.append(step))
    assert (pinned, len(failures), seen[-1]) == (1, 1, (2, 2))
    assert SECOND in str(failures[0])
    (row,) = load(only_two).rows["pins"]
    assert row.values == {
        "model": FIRST,
        "hub_revision": OTHER,
        "hub_file": "model.safetensors",
        "sha256": hashlib.sha256(b"new").hexdigest(),
        "size": 3,
    }
    build(home, only_two)
    artifact = open_catalog(home).entry(FIRST).artifact
    assert artifact is not None
    assert (artifact.hub_revision, artifact.sha256) == (OTHER, row.values["sha256"])


def test_what_is_pinned_is_not_asked_about_again(hub: Hub, only_two: Path) -> None:
    hub.repos[FIRST] = Repo(commits={COMMIT: {"model.safetensors": b"old"}})
    hub.repos[SECOND] = Repo(commits={COMMIT: {"model.safetensors": b"old"}})
    assert pin(only_two, limit=1) == (1, [])
    hub.repos[FIRST].commits[OTHER] = {"model.safetensors": b"new"}
    asked = len(hub.asked)
    assert pin(only_two)[0] == 1
    assert {row.values["hub_revision"] for row in load(only_two).rows["pins"]} == {COMMIT}
    assert not [a for a in hub.asked[asked:] if FIRST in a.path]
    assert pin(only_two) == (0, [])


def test_a_hub_that_answers_nonsense_pins_nothing(hub: Hub, only_two: Path) -> None:
    for name in (FIRST, SECOND):
        hub.repos[name] = Repo(commits={COMMIT: {"model.safetensors": b"old"}})
        hub.always[f"/api/models/{name}"] = Answer(status=500)
    pinned, failures = pin(only_two)
    assert (pinned, len(failures)) == (0, 2)
    assert load(only_two).rows["pins"] == []
