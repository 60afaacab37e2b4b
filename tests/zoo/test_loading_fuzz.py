"""Damaged weight files of every format: told in one line or read as they are, and never a crash."""

import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.loading import fit, load_network, read_state_dict
from zoo.nets import build

SHAPE, CLASSES = (1, 4, 4), 3


@cache
def state() -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dict(build("mlp-128", SHAPE, CLASSES).state_dict())


def saved(save: Callable[[Any, Any], object]) -> bytes:
    file = io.BytesIO()
    save({"state_dict": state()}, file)
    return file.getvalue()


def legacy(value: Any, file: Any) -> None:
    torch.save(value, file, _use_new_zipfile_serialization=False)


FORMATS: dict[str, Callable[[], bytes]] = {
    "torch-zip": lambda: saved(torch.save),
    "torch-legacy": lambda: saved(legacy),
    "safetensors": lambda: safetensors.torch.save(state()),
}

damage = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
    # The beginning of a file is where its structure is.
    st.tuples(st.just("flip"), st.floats(0, 0.05, exclude_max=True), st.integers(1, 255)),
    st.tuples(st.just("insert"), st.floats(0, 1), st.integers(0, 255)),
)


def damaged(content: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    for kind, place, value in changes:
        at = int(place * len(content))
        if kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + bytes([value]) + content[at:]
        elif at < len(content):
            content = content[:at] + bytes([content[at] ^ value]) + content[at + 1 :]
    return content


def read(entry: ModelEntry, path: Path, format: str) -> nn.Module:
    route = "" if format == "safetensors" else "state_dict"
    found = read_state_dict(path, Artifact(state_dict=route))
    return fit(replace(entry, input_shape=SHAPE, num_classes=CLASSES), found)


@pytest.mark.parametrize("format", FORMATS)
def test_the_undamaged_file_is_read(entry: ModelEntry, tmp_path: Path, format: str) -> None:
    path = tmp_path / "weights"
    path.write_bytes(FORMATS[format]())
    torch.testing.assert_close(dict(read(entry, path, format).state_dict()), state())


@pytest.mark.parametrize("format", FORMATS)
@given(changes=st.lists(damage, min_size=1, max_size=4))
@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_damaged_file_is_a_problem_in_one_line_or_weights_that_fit(
    entry: ModelEntry, tmp_path: Path, format: str, changes: list[tuple[str, float, int]]
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(damaged(FORMATS[format](), changes))
    try:
        net = read(entry, path, format)
    except ZooError as problem:
        assert "\n" not in str(problem)
        return
    found = net.state_dict()
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in state().items()}
    if format == "torch-zip":  # it has checksums
        torch.testing.assert_close(dict(found), state())


@given(changes=st.lists(damage, min_size=1, max_size=4))
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_damaged_file_in_the_store_is_a_problem_in_one_line_or_weights_that_fit(
    entry: ModelEntry, tmp_path: Path, changes: list[tuple[str, float, int]]
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(damaged(FORMATS["safetensors"](), changes))
    try:
        load_network(replace(entry, input_shape=SHAPE, num_classes=CLASSES), path)
    except ZooError as problem:
        assert "\n" not in str(problem)


@given(content=st.binary(max_size=200), begin=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02"]))
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_file_of_anything_is_a_problem_in_one_line(
    tmp_path: Path, content: bytes, begin: bytes
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(begin + content)
    with pytest.raises(ZooError) as caught:
        read_state_dict(path, Artifact())
    assert "\n" not in str(caught.value)


ODD: dict[str, Callable[[Tensor], Any]] = {
    "sparse": lambda value: value.to_sparse(),
    "complex": lambda value: value.to(torch.complex64),
    "meta": lambda value: value.to("meta"),
    "quantized": lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
    "half": lambda value: value.half(),
    "double": lambda value: value.double(),
    "transposed": lambda value: value.t().contiguous().t(),
    "expanded": lambda value: value[:1, :1].expand_as(value),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_a_tensor_of_an_odd_kind_is_a_problem_or_is_read_as_its_values(
    entry: ModelEntry, tmp_path: Path, kind: str
) -> None:
    odd = dict(state())
    odd["1.weight"] = ODD[kind](odd["1.weight"])
    torch.save({"state_dict": odd}, tmp_path / "weights")
    try:
        net = read(entry, tmp_path / "weights", "torch-zip")
    except ZooError as problem:
        assert kind in ("sparse", "complex", "meta", "quantized"), problem
        return
    assert kind not in ("sparse", "complex", "meta", "quantized")
    torch.testing.assert_close(net.state_dict()["1.weight"], odd["1.weight"].float())
