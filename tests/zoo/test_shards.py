"""Weights in several files: the index says which, and what it says has to be so."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from zoo.add import add
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model, to_safetensors

MINE: dict[str, Any] = {
    "name": "me/mlp", "dataset": "digits", "architecture": "mlp-128", "mean": [0.0], "std": [1.0],
}  # fmt: skip
OTHER = {**MINE, "name": "me/other"}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def index(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    places = {key: SHARDS[place % 2] for place, key in enumerate(state)}
    for shard in SHARDS:
        to_safetensors({k: v for k, v in state.items() if places[k] == shard}, tmp_path / shard)
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": places}))
    return path


@pytest.mark.parametrize("given", ["model.safetensors.index.json", *SHARDS])
def test_an_index_or_a_shard_of_it_stands_for_all(
    home: Home, index: Path, state: dict[str, Tensor], given: str
) -> None:
    entry = add(home, index.with_name(given), **MINE)
    found = load_model(entry, fetch(entry, home).path).net.state_dict()
    assert all(found[key].equal(value) for key, value in state.items())


def test_a_stray_shard_is_left_out_and_said(
    home: Home, index: Path, state: dict[str, Tensor]
) -> None:
    """mlx-vlm 1464."""
    stray = index.with_name("model-00003-of-00003.safetensors")
    to_safetensors({key: value + 1 for key, value in state.items()}, stray)
    with pytest.warns(UserWarning, match=f"{stray.name} beside .* is left out"):
        entry = add(home, index, **MINE)
    found = load_model(entry, fetch(entry, home).path).net.state_dict()
    assert all(found[key].equal(value) for key, value in state.items())
    with pytest.raises(ZooError, match=r"is a shard that model\.safetensors\.index\.json does not"):
        add(home, stray, **OTHER)
    index.unlink()
    with pytest.raises(ZooError, match="is one of several shards, and the index that names them"):
        add(home, stray, **OTHER)


def test_a_whole_file_beside_an_index_stands_for_itself(
    home: Home, index: Path, state: dict[str, Tensor]
) -> None:
    single = index.with_name("consolidated.safetensors")
    to_safetensors({key: value + 1 for key, value in state.items()}, single)
    index.with_name("pages.index.json").write_text("[]")
    entry = add(home, single, **MINE)
    found = load_model(entry, fetch(entry, home).path).net.state_dict()
    assert all(found[key].equal(value + 1) for key, value in state.items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda places: places | {"more": SHARDS[0]}, "says that more is in .* which lacks it"),
        (lambda places: places | {"more": "gone.safetensors"}, "names gone.safetensors, which is"),
        (lambda places: dict(list(places.items())[1:]), "holds .* does not place in it"),
        (lambda places: places | {"more": "../x.safetensors"}, "is no index of shards"),
        (lambda places: list(places), "is no index of shards"),
        (lambda places: {}, "is no index of shards"),
    ],
)
def test_a_stale_index_is_refused_in_one_line(home: Home, index: Path, change: Any, said) -> None:
    """mlx-vlm 1827."""
    places = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": change(places)}))
    with pytest.raises(ZooError, match=said) as caught:
        add(home, index, **MINE)
    assert "\n" not in str(caught.value)
    assert not list(home.root.glob("models/*"))
