"""Damaged weight files of every format: told in one line or read as they are, and never a crash."""

import io
import warnings
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
from zoo.loading import load_network, load_weights, read_state_dict
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
    return load_weights(replace(entry, input_shape=SHAPE, num_classes=CLASSES), found)


def or_one_line(read: Callable[[], nn.Module]) -> nn.Module | None:
    """What is read, or None if it is refused as it should be."""
    try:
        return read()
    except ZooError as problem:
        if "\n" in str(problem):
            raise
        return None


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
    net = or_one_line(lambda: read(entry, path, format))
    if net is not None:
        shapes = {key: value.shape for key, value in net.state_dict().items()}
        assert shapes == {key: value.shape for key, value in state().items()}


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
    known = replace(entry, input_shape=SHAPE, num_classes=CLASSES)
    or_one_line(lambda: load_network(known, path))


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


REFUSED: dict[str, Callable[[Tensor], Any]] = {
    "sparse": lambda value: value.to_sparse(),
    "complex": lambda value: value.to(torch.complex64),
    "meta": lambda value: value.to("meta"),
    "quantized": lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
}
TAKEN: dict[str, Callable[[Tensor], Any]] = {
    "half": lambda value: value.half(),
    "double": lambda value: value.double(),
    "transposed": lambda value: value.t().contiguous().t(),
    "expanded": lambda value: value[:1, :1].expand_as(value),
}


def odd_one(make: Callable[[Tensor], Any], path: Path) -> Any:
    """Save the weights with one odd tensor among them, and give that."""
    odd = dict(state())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what torch will not have any more
        odd["1.weight"] = make(odd["1.weight"])
    torch.save({"state_dict": odd}, path)
    return odd["1.weight"]


@pytest.mark.parametrize("kind", REFUSED)
def test_a_tensor_without_plain_numbers_is_a_problem(
    entry: ModelEntry, tmp_path: Path, kind: str
) -> None:
    odd_one(REFUSED[kind], tmp_path / "weights")
    with pytest.raises(ZooError, match="1.weight|damaged|NOT executed"):
        read(entry, tmp_path / "weights", "torch-zip")


@pytest.mark.parametrize("kind", TAKEN)
def test_a_tensor_of_another_form_is_read_as_its_values(
    entry: ModelEntry, tmp_path: Path, kind: str
) -> None:
    odd = odd_one(TAKEN[kind], tmp_path / "weights")
    net = read(entry, tmp_path / "weights", "torch-zip")
    torch.testing.assert_close(net.state_dict()["1.weight"], odd.float())
