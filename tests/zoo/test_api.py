"""A model by its name, in one call."""

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from zoo.catalog import Catalog
from zoo.entry import ModelEntry
from zoo.errors import ZooError, unknown
from zoo.home import Home
from zoo.nets import build


@pytest.fixture
def catalog(published: ModelEntry, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModelEntry]:
    """What the catalog has: the perceptron, and variants of it that cannot be used."""
    found = {
        "me/mlp-digits": published,
        "me/unscaled": replace(published, name="me/unscaled", mean=None),
        "me/uncoded": replace(published, name="me/uncoded", architecture="robustbench/net"),
        "me/guarded": replace(published, name="me/guarded", licence="CC-BY-NC-4.0"),
    }

    def entry(_: Catalog, name: str) -> ModelEntry:
        if name not in found:
            raise unknown("model", name, found)
        return found[name]

    monkeypatch.setattr(Catalog, "entry", entry)
    monkeypatch.setattr("zoo.api.open_catalog", Catalog)
    return found


@pytest.mark.usefixtures("catalog")
def test_a_model_is_fetched_scaled_and_ready_to_be_used(
    home: Home, state: dict[str, Tensor]
) -> None:
    model = zoo.load("me/mlp-digits", home)
    assert not model.training
    net = build("mlp-128", (1, 8, 8), 10)
    net.load_state_dict(state)
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(model(x), net((x - 0.25) / 0.5))


@pytest.mark.usefixtures("catalog")
def test_the_store_of_the_environment_is_used(home_dir: Path, server: Any) -> None:
    zoo.load("me/mlp-digits")
    zoo.load("me/mlp-digits", home_dir, offline=True)
    assert server.asked == ["/mlp.pt"]


@pytest.mark.usefixtures("catalog")
def test_a_mirror_is_used(home: Home, server: Any, site: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (site / "mlp.pt").rename(tmp_path / "weights/mlp.pt")
    zoo.load("me/mlp-digits", home, mirror=tmp_path)
    assert server.asked == []


@pytest.mark.usefixtures("catalog")
def test_offline_a_model_that_is_not_here_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "create_connection", None)
    with pytest.raises(ZooError, match="not in the store, and --offline"):
        zoo.load("me/mlp-digits", home, offline=True)


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("me/nothing", "No model 'me/nothing'"),
        ("me/unscaled", "does not say how to scale its input"),
        ("me/uncoded", "no code here for its architecture robustbench/net"),
        ("me/guarded", "zoo fetch me/guarded --accept-licence"),
    ],
)
def test_what_cannot_be_used_says_why(home: Home, name: str, said: str) -> None:
    with pytest.raises(ZooError, match=said):
        zoo.load(name, home)


@pytest.mark.usefixtures("catalog")
def test_a_licence_can_be_accepted_here(home: Home) -> None:
    zoo.load("me/guarded", home, accept_licence=True)
    zoo.load("me/guarded", home)
    assert json.loads((home.model("me/guarded") / "accepted.json").read_text())["licence"]
