"""What the store holds of a model can be removed, and nothing of any other model goes with it."""

import hashlib
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.add import add
from zoo.catalog import open_catalog
from zoo.entry import ModelEntry
from zoo.errors import UnknownNameError, ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.remove import check_known, remove
from zoo.sources.blobs import keep, locked, new_blob, note, partial

MINE: dict[str, Any] = {
    "dataset": "digits", "architecture": "mlp-128", "mean": [0.0], "std": [1.0],
}  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(dict(state), tmp_path / "mine.pt")
    return tmp_path / "mine.pt"


def blobs(home: Home) -> set[str]:
    return {path.name for path in home.blobs.iterdir()}


def test_an_added_model_leaves_nothing_behind(home: Home, checkpoint: Path) -> None:
    before = {path for path in home.root.rglob("*") if path.parent != home.locks}
    add(home, checkpoint, name="me/mlp", **MINE)
    made = [p for p in home.root.rglob("*") if p not in before and p.parent != home.locks]
    files = [path for path in made if path.is_file()]
    assert len(files) == 4  # the file as it was, as safetensors, and two records
    removed = remove(home, "me/mlp")
    assert (removed.files, removed.kept) == (4, ())
    assert removed.bytes > 2 * checkpoint.stat().st_size * 0.9
    assert not any(path.exists() for path in files)
    assert blobs(home) == set()
    assert "me/mlp" not in open_catalog(home).names()
    add(home, checkpoint, name="me/mlp", **MINE)  # the name is free again


def test_the_bytes_are_those_of_the_files(home: Home, checkpoint: Path) -> None:
    add(home, checkpoint, name="me/mlp", **MINE)
    files = [*home.blobs.iterdir(), *home.model("me/mlp").iterdir()]
    size = sum(path.stat().st_size for path in files)
    assert remove(home, "me/mlp").bytes == size


def test_weights_that_another_model_has_too_are_kept(home: Home, checkpoint: Path) -> None:
    add(home, checkpoint, name="me/one", **MINE)
    other = add(home, checkpoint, name="me/other", **MINE)
    both = blobs(home)
    removed = remove(home, "me/one")
    assert set(removed.kept) == both
    assert blobs(home) == both
    assert fetch(other, home).cached
    assert remove(home, "me/other").kept == ()
    assert blobs(home) == set()


def test_what_was_not_fetched_has_no_bytes(home: Home) -> None:
    removed = remove(home, "digits-cnn")
    assert (removed.files, removed.bytes) == (0, 0)
    assert "digits-cnn" in open_catalog(home).names()


@pytest.mark.parametrize("name", ["digits-cn", "..", ".", "", "../models", "/"])
def test_an_unknown_name_removes_nothing(home: Home, checkpoint: Path, name: str) -> None:
    add(home, checkpoint, name="me/mlp", **MINE)
    before = {path for path in home.root.rglob("*") if path.parent != home.locks}
    with pytest.raises(UnknownNameError, match="No model"):
        check_known(home, ["me/mlp", name])
    with pytest.raises(UnknownNameError, match="No model"):
        remove(home, name)
    assert {path for path in home.root.rglob("*") if path.parent != home.locks} == before


def test_a_damaged_entry_can_be_removed(home: Home, checkpoint: Path) -> None:
    add(home, checkpoint, name="me/mlp", **MINE)
    (home.model("me/mlp") / "entry.json").write_text("{")
    with pytest.warns(UserWarning, match="entry.json is not an entry"):
        open_catalog(home)
    assert remove(home, "me/mlp").files == 4
    assert blobs(home) == set()


def test_an_unfinished_download_goes_too(published: ModelEntry, home: Home) -> None:
    name = "akamaster/resnet20-cifar10"
    home.downloads.mkdir()
    part = partial(home, name)
    part.write_bytes(b"half of it")
    assert remove(home, name).bytes == 10
    assert not part.exists()


def test_a_fetch_of_the_same_model_is_waited_for(home: Home, checkpoint: Path) -> None:
    add(home, checkpoint, name="me/mlp", **MINE)
    with locked(home, "me/mlp"):
        waiting = Thread(target=remove, args=(home, "me/mlp"))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        assert len(blobs(home)) == 2
    waiting.join(60)
    assert blobs(home) == set()


def test_weights_removed_while_another_model_came_to_have_them_are_missed(home: Home) -> None:
    """Between the file and the record that names it, it is nobody's."""
    content = b"weights"
    sha256 = hashlib.sha256(content).hexdigest()
    with new_blob(home, "me/new") as part:
        part.write_bytes(content)
        keep(home, part, sha256)
    (home.blobs / sha256).unlink()
    with pytest.raises(ZooError, match="has just removed the same weights .* Run this one again"):
        note(home, "me/new", {"sha256": sha256})
    assert not home.model("me/new").exists()
