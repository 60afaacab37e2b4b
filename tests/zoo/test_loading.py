"""Weight files are recognised, read whole, and never run."""

import importlib
import os
import pickle
import struct
import subprocess
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.loading import (
    load_model,
    load_network,
    load_weights,
    read_state_dict,
    sniff,
    to_safetensors,
)
from zoo.nets import build

PLAIN = Artifact(sha256="0" * 64, size=1, mirror_path=None, url=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("save", "format"),
    [
        (torch.save, "torch-zip"),
        (legacy, "torch-legacy"),
        (safetensors.torch.save_file, "safetensors"),
    ],
)
def test_each_format_is_recognised_and_read_back(
    path: Path, state: dict[str, Tensor], save: Callable[[Any, Path], None], format: str
) -> None:
    save(dict(state), path)
    assert sniff(path) == format
    torch.testing.assert_close(read_state_dict(path, PLAIN), state)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "holds a web page, not weights"),
        (b"\n  <html><head></head></html>", "holds a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"\x80\x04\x95\x10", "bare Python pickle"),
        (b"GGUF\x03\x00\x00\x00", "begins with b'GGUF"),
        (b"\x89HDF\r\n\x1a\n", "begins with b'.x89HDF"),
        (b"", "begins with b''"),
        (struct.pack("<Q", 10**9) + b"{}", "begins with"),
    ],
)
def test_what_is_not_a_weight_file_is_named_for_what_it_is(
    path: Path, content: bytes, said: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(ZooError, match=said):
        sniff(path)


def test_tensors_are_found_inside_a_checkpoint(path: Path, state: dict[str, Tensor]) -> None:
    wrapped = {"epoch": 3, "state_dict": [{f"module.{k}": v for k, v in state.items()}]}
    torch.save(wrapped, path)
    artifact = replace(PLAIN, state_dict="state_dict.0", strip_prefix="module.")
    torch.testing.assert_close(read_state_dict(path, artifact), state)


@pytest.mark.parametrize(
    ("value", "route", "said"),
    [
        (
            {"model": {}},
            "state_dict",
            "nothing at 'state_dict': 'state_dict' is not in a dict of mod",
        ),
        (
            {"state_dict": []},
            "state_dict.0",
            "nothing at 'state_dict.0': '0' is not in a list of 0",
        ),
        ([1], "", "holds a list of 1 at its top, not a state dict"),
        ({"epoch": 3}, "", "not a state dict: 'epoch' holds a int, not a tensor"),
        ({"a": torch.ones(1), "module.a": torch.ones(1)}, "", "both with and without 'module.'"),
    ],
)
def test_a_checkpoint_of_another_form_is_described(
    path: Path, value: Any, route: str, said: str
) -> None:
    torch.save(value, path)
    with pytest.raises(ZooError, match=said):
        read_state_dict(path, replace(PLAIN, state_dict=route, strip_prefix="module."))


class Calls:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


class Lookup(Calls):
    """Pickles as ``getattr(owner, name)``, so that no function is named in the pickle itself."""

    def __init__(self, owner: Any, name: str) -> None:
        super().__init__(getattr, owner, name)

    def __call__(self) -> None:
        """Pickle wants the function of a call to be callable."""


class Restored:
    """Pickles as an object that acts when its state is put back."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __setstate__(self, state: dict[str, Path]) -> None:
        state["marker"].touch()


class TrojanNet(torch.nn.Linear):
    """A whole network that acts when it is loaded."""

    def __init__(self, marker: Path) -> None:
        super().__init__(2, 2)
        self.marker = marker

    def __setstate__(self, state: dict[str, Any]) -> None:
        state["marker"].touch()


def attacks(marker: Path) -> dict[str, Any]:
    """Pickles that create ``marker`` when they are run."""
    command, code = f"touch {marker}", f"open({str(marker)!r}, 'w')"
    return {
        "os.system": Calls(os.system, command),
        "subprocess": Calls(subprocess.check_call, ["touch", str(marker)]),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "open": Calls(open, str(marker), "w"),
        "getattr chain": Calls(Lookup(Calls(importlib.import_module, "builtins"), "eval"), code),
        "torch function": Calls(torch.save, torch.ones(1), str(marker)),
        "torch.hub": Calls(torch.hub._import_module, "m", f"{marker}.py"),
        "pickle in a pickle": Calls(pickle.loads, pickle.dumps(Calls(os.system, command))),
        "state put back": Restored(marker),
        "whole network": TrojanNet(marker),
        "hidden in a tensor's dict": {"weight": torch.ones(1), "hook": Calls(os.system, command)},
    }


NAMES = list(attacks(Path("marker")))


def bare(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


def torn_header(value: Any, path: Path) -> None:
    """A zip checkpoint whose pickle was swapped for one that calls."""
    torch.save({"weight": torch.ones(1)}, path)
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, pickle.dumps(value) if name.endswith("data.pkl") else content)


@pytest.mark.parametrize("save", [torch.save, legacy, bare, torn_header])
@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_that_calls_something_is_refused_and_not_run(
    tmp_path: Path, path: Path, name: str, save: Callable[[Any, Path], None]
) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "marker.py").write_text(f"open({str(marker)!r}, 'w')")
    save(attacks(marker)[name], path)

    with pytest.raises(ZooError, match=r"(?i)not executed") as caught:
        read_state_dict(path, PLAIN)

    assert not marker.exists()
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_these_pickles_do_run_when_they_are_loaded_carelessly(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "marker.py").write_text(f"open({str(marker)!r}, 'w')")
    pickle.loads(pickle.dumps(attacks(marker)[name]))
    assert marker.exists()


def test_torchs_own_warnings_are_not_shown(path: Path) -> None:
    torn_header({"weight": 1}, path)  # a pickle of another protocol than torch's
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(ZooError):
            read_state_dict(path, PLAIN)
    assert seen == []


def test_the_blocked_function_is_named(path: Path) -> None:
    torch.save(Calls(os.system, "true"), path)
    with pytest.raises(ZooError, match=r"\((posix|nt)\.system\)"):
        read_state_dict(path, PLAIN)


def test_a_whole_pickled_network_is_refused(path: Path) -> None:
    torch.save(build("mlp-128", (1, 8, 8), 10), path)
    with pytest.raises(ZooError, match=r"torch\.nn\.modules\.\w+\.Sequential.* NOT executed"):
        read_state_dict(path, PLAIN)


@pytest.mark.parametrize("save", [torch.save, legacy, safetensors.torch.save_file])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.99])
def test_a_truncated_file_is_refused_in_one_line(
    path: Path, state: dict[str, Tensor], save: Callable[[Any, Path], None], kept: float
) -> None:
    save(dict(state), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ZooError) as caught:
        read_state_dict(path, PLAIN)
    assert "\n" not in str(caught.value)


def test_equal_tensors_make_equal_files(path: Path, state: dict[str, Tensor]) -> None:
    to_safetensors(state, path)
    first = path.read_bytes()
    to_safetensors(dict(reversed(state.items())), path)
    assert path.read_bytes() == first


def test_views_of_one_storage_are_saved_as_what_they_show(path: Path) -> None:
    both = torch.arange(6.0)
    to_safetensors({"a": both[:2], "b": both[1:4], "c": both.view(2, 3).T}, path)
    found = safetensors.torch.load_file(path)
    assert found["b"].tolist() == [1.0, 2.0, 3.0]
    assert found["c"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


def test_loading_is_strict_and_reports_every_kind_of_misfit(
    entry: ModelEntry, state: dict[str, Tensor]
) -> None:
    state["1.bias"] = torch.zeros(7)
    state["extra"] = state.pop("3.weight")
    with pytest.raises(ZooError) as caught:
        load_weights(entry, state)
    assert str(caught.value) == (
        "The weights of me/mlp-digits do not fit architecture mlp-128: missing 3.weight; "
        "unexpected extra; wrong shape of 1.bias (7,) instead of (128,)."
    )


def test_only_the_batch_counters_of_old_batch_norms_may_be_missing(entry: ModelEntry) -> None:
    entry = replace(entry, architecture="resnet8")
    state = build("resnet8", (1, 8, 8), 10).state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    assert load_weights(entry, old).state_dict()["bn1.num_batches_tracked"] == 0

    del old["bn1.running_mean"]
    with pytest.raises(ZooError, match=r"missing bn1\.running_mean"):
        load_weights(entry, old)


def test_a_loaded_model_scales_its_input_and_is_in_eval_mode(
    path: Path, entry: ModelEntry, state: dict[str, Tensor]
) -> None:
    to_safetensors(state, path)
    model, net = load_model(entry, path), load_network(entry, path)
    x = torch.rand(2, 1, 8, 8)
    assert not model.training
    torch.testing.assert_close(model(x), net((x - 0.25) / 0.5))


def test_damaged_safetensors_are_refused(path: Path, entry: ModelEntry) -> None:
    path.write_bytes(b"nonsense")
    with pytest.raises(ZooError, match="damaged safetensors"):
        load_network(entry, path)
