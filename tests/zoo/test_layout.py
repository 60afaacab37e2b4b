"""A checkpoint is looked into: the only reading that fits is taken, and said."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.add import add
from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.layout import found_in
from zoo.loading import load_model, read_state_dict, sniff

MINE: dict[str, Any] = {
    "name": "me/mlp", "dataset": "digits", "architecture": "mlp-128", "mean": [0.0], "std": [1.0],
}  # fmt: skip
State = dict[str, Tensor]


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "模型 é [1]*"
    folder.mkdir()
    return folder / "mine é.pt"


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.", "_orig_mod.", "module.net."])
@pytest.mark.parametrize("route", ["", "state_dict", "ema.module", "models.1"])
def test_the_only_reading_that_fits_is_found(
    entry: ModelEntry, path: Path, state: State, prefix: str, route: str
) -> None:
    inner: Any = under(prefix, dict(state))
    for step in reversed(route.split(".") if route else []):
        inner = [{}, inner] if step == "1" else {"epoch": 3, step: inner}
    torch.save(inner, path)
    found = found_in(entry, path, Artifact())
    assert found == Artifact(state_dict=route, strip_prefix=prefix)
    torch.testing.assert_close(read_state_dict(path, found), dict(state))


def test_what_is_taken_is_said_and_kept(home: Home, path: Path, state: State) -> None:
    torch.save({"epoch": 3, "state_dict": under("module.", dict(state))}, path)
    told = "is read with --state-dict state_dict --strip-prefix module.: nothing else in it fits"
    with pytest.warns(UserWarning, match=told):
        entry = add(home, path, **MINE)
    found = load_model(entry, fetch(entry, home).path).net.state_dict()
    torch.testing.assert_close(dict(found), dict(state))


def test_of_two_readings_one_has_to_be_named(entry: ModelEntry, path: Path, state: State) -> None:
    names = ("state_dict", "state_dict_ema")
    torch.save({name: under("module.", dict(state)) for name in names}, path)
    with pytest.raises(ZooError) as caught:
        found_in(entry, path, Artifact())
    assert "holds 2 state dicts that fit mlp-128. Say which one you mean: " in str(caught.value)
    assert "--state-dict state_dict_ema --strip-prefix module." in str(caught.value)
    found = found_in(entry, path, Artifact(state_dict="state_dict_ema"))
    assert found == Artifact(state_dict="state_dict_ema", strip_prefix="module.")


def test_what_fits_nothing_is_refused_with_what_was_found(
    home: Home, path: Path, state: State
) -> None:
    torch.save({"epoch": 1, "state_dict": {"other.weight": torch.ones(2)}}, path)
    with pytest.raises(ZooError, match=r"holds tensors at 'state_dict' \(other\.weight, \.\.\.\)"):
        add(home, path, **MINE)
    torch.save(
        {"epoch": 1, "state_dict": under("module.", dict(state)) | {"more": torch.ones(1)}}, path
    )
    with pytest.raises(ZooError, match=r"Say which with --state-dict and what to drop"):
        add(home, path, **MINE)
    assert not list(home.root.glob("models/*"))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.uint8])
def test_whole_numbers_are_no_weights(
    home: Home, path: Path, state: State, dtype: torch.dtype
) -> None:
    torch.save({**state, "1.weight": (state["1.weight"] * 100).to(dtype)}, path)
    with pytest.raises(ZooError, match=r"whole numbers instead of real ones in 1\.weight \(u?int"):
        add(home, path, **MINE)


def test_archives_of_other_kinds_are_called_what_they_are(path: Path, state: State) -> None:
    net = torch.nn.Linear(2, 2)
    torch.jit.save(torch.jit.script(net), path)
    with pytest.raises(
        ZooError, match="is a TorchScript archive: load it with torch.jit.load, and"
    ):
        sniff(path)
    program = io.BytesIO()
    torch.export.save(torch.export.export(net, (torch.ones(1, 2),)), program)
    path.write_bytes(program.getvalue())
    with pytest.raises(ZooError, match=r"is a program of torch\.export \(\.pt2\)"):
        sniff(path)
    with path.open("wb") as file:
        np.savez(file, **{key: value.numpy() for key, value in state.items()})
    with pytest.raises(ZooError, match=r"is an archive of numpy arrays \(\.npz\)"):
        sniff(path)
