"""A user's own checkpoint becomes a model like any other, if it is what it is said to be."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.add import add
from zoo.catalog import Catalog, open_catalog
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model

MINE: dict[str, Any] = {
    "name": "me/mlp", "dataset": "digits", "architecture": "mlp-128", "mean": [0.0], "std": [1.0],
}  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(dict(state), tmp_path / "mine.pt")
    return tmp_path / "mine.pt"


def test_an_added_model_is_listed_fetched_and_loaded(
    home: Home, checkpoint: Path, state: dict[str, Tensor]
) -> None:
    added = add(home, checkpoint, **{**MINE, "mean": [0.5], "std": [0.25]}, licence="MIT")
    checkpoint.unlink()  # the store has its own copy

    entry = open_catalog(home).entry("me/mlp")
    assert entry == added
    assert (entry.source, entry.purpose, entry.licence) == ("local", "other", "MIT")
    assert (entry.input_shape, entry.num_classes) == ((1, 8, 8), 10)
    found = fetch(entry, home)
    assert found.cached
    model = load_model(entry, found.path)
    torch.testing.assert_close(model.net.state_dict(), state)
    assert (model.mean.item(), model.std.item()) == (0.5, 0.25)


def test_its_facts_name_the_user_as_their_coder(home: Home, checkpoint: Path) -> None:
    add(home, checkpoint, **MINE)
    facts = open_catalog(home).show("me/mlp")["facts"]
    (dataset,) = [
        fact for fact in facts if (fact["entity"], fact["field"]) == ("models", "dataset")
    ]
    assert dataset["coder"] == "user"
    assert json.loads((home.root / dataset["file"]).read_text())["values"]["dataset"] == "digits"


def test_wrapped_and_prefixed_weights_can_be_added(
    home: Home, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "wrapped.pt"
    torch.save({"model": {f"module.{key}": value for key, value in state.items()}}, path)
    entry = add(home, path, **MINE, state_dict="model", strip_prefix="module.")
    torch.testing.assert_close(load_model(entry, fetch(entry, home).path).net.state_dict(), state)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "digits-cnn"}, "There is a model 'digits-cnn' already"),
        ({"name": "Me/MLP"}, "--name 'Me/MLP' does not look like"),
        ({"name": "../../mlp"}, "--name '../../mlp' does not look like"),
        ({"name": "me__mlp"}, "--name 'me__mlp' does not look like"),
        ({"name": ""}, "--name is required"),
        ({"dataset": "digit"}, "No dataset 'digit'. Nearest: digits"),
        ({"architecture": "mlp-12"}, "No architecture 'mlp-12'. Nearest: mlp-128"),
        ({"architecture": "cnn-small"}, "do not fit architecture cnn-small: missing 0.bias"),
        ({"purpose": "fun"}, "No purpose 'fun'"),
        ({"mean": [0.1, 0.2, 0.3]}, "Images of digits have 1 channel: --mean and --std need 1"),
        ({"std": [0.0]}, "those of --std above 0"),
        ({"mean": [math.nan]}, "need 1 comma-separated finite number"),
        ({"mean": [math.inf]}, "need 1 comma-separated finite number"),
        ({"std": [math.nan]}, "need 1 comma-separated finite number"),
        ({"std": [math.inf]}, "need 1 comma-separated finite number"),
        ({"std": [-1.0]}, "those of --std above 0"),
        ({"mean": []}, "Images of digits have 1 channel"),
        ({"licence": "\udcff"}, "me/mlp cannot be added: licence"),
        ({"licence": "two\nlines"}, "me/mlp cannot be added: licence"),
        ({"state_dict": "model"}, "has nothing at 'model'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_recorded(
    home: Home, checkpoint: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(ZooError) as caught:
        add(home, checkpoint, **{**MINE, **changed})
    assert said in str(caught.value)
    assert not list(home.root.glob("models/*"))
    assert not home.blobs.exists()


def test_an_added_model_is_in_the_catalog_when_add_returns(home: Home, checkpoint: Path) -> None:
    add(home, checkpoint, **MINE)
    assert Catalog(home).entry("me/mlp").mean == (0.0,)


def test_what_the_catalog_cannot_be_built_with_is_taken_back(
    home: Home, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(home: Home) -> bool:
        assert (home.model("me/mlp") / "entry.json").exists()
        raise ZooError("no")

    with monkeypatch.context() as patched:
        patched.setattr("zoo.add.refresh", refuse)
        with pytest.raises(ZooError, match="no"):
            add(home, checkpoint, **MINE)
    assert not list(home.root.glob("models/*"))
    assert "me/mlp" not in open_catalog(home).names()
    assert fetch(add(home, checkpoint, **MINE), home).cached


def test_a_missing_file_is_named(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"There is no file .*/nothing\.pt"):
        add(home, tmp_path / "nothing.pt", **MINE)


def test_a_name_cannot_be_used_twice(home: Home, checkpoint: Path) -> None:
    add(home, checkpoint, **MINE)
    with pytest.raises(ZooError, match="There is a model 'me/mlp' already"):
        add(home, checkpoint, **MINE)


class Boom:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_checkpoint_is_neither_run_nor_recorded(home: Home, tmp_path: Path) -> None:
    torch.save({"weight": Boom(tmp_path / "marker")}, tmp_path / "mine.pt")
    with pytest.raises(ZooError, match="NOT executed"):
        add(home, tmp_path / "mine.pt", **MINE)
    assert not (tmp_path / "marker").exists()
    assert not list(home.root.glob("models/*"))


def test_a_damaged_conversion_is_made_again_from_the_stores_copy(
    home: Home, checkpoint: Path
) -> None:
    entry = add(home, checkpoint, **MINE)
    weights = fetch(entry, home).path
    weights.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="was altered"):
        assert fetch(entry, home).path == weights
    assert fetch(entry, home).cached


def test_a_copy_that_is_gone_cannot_be_fetched(home: Home, checkpoint: Path) -> None:
    entry = add(home, checkpoint, **MINE)
    assert entry.artifact is not None
    (home.blobs / entry.artifact.sha256).unlink()
    with pytest.raises(ZooError, match="copy of me/mlp is gone or was altered"):
        fetch(entry, home)


def test_one_users_model_is_not_in_another_store(
    home: Home, checkpoint: Path, tmp_path: Path
) -> None:
    add(home, checkpoint, **MINE)
    assert "me/mlp" in open_catalog(home).names()
    assert "me/mlp" not in open_catalog(Home.open(tmp_path / "other")).names()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused_and_named(
    home: Home, tmp_path: Path, state: dict[str, Tensor], value: float
) -> None:
    state = {key: tensor.clone() for key, tensor in state.items()}
    state["1.bias"][2:4] = value
    torch.save(state, tmp_path / "mine.pt")
    with pytest.raises(ZooError, match=r"1\.bias holds 2 of 128 values that are not finite"):
        add(home, tmp_path / "mine.pt", **MINE)
    assert "me/mlp" not in open_catalog(home).names()


def test_numbers_too_large_for_float32_are_refused(
    home: Home, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    state = {key: tensor.double() for key, tensor in state.items()}
    state["1.bias"][0] = 1e300
    torch.save(state, tmp_path / "mine.pt")
    with pytest.raises(ZooError, match="do not fit into float32"):
        add(home, tmp_path / "mine.pt", **MINE)


def test_half_precision_is_computed_in_float32(
    home: Home, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    torch.save({key: tensor.half() for key, tensor in state.items()}, tmp_path / "mine.pt")
    entry = add(home, tmp_path / "mine.pt", **MINE)
    model = load_model(entry, fetch(entry, home).path)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert torch.equal(model.net.state_dict()["1.bias"], state["1.bias"].half().float())
