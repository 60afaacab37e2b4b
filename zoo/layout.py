"""Where in a checkpoint the tensors of a network are, and under which prefix."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.entry import Artifact, ModelEntry
from zoo.errors import ZooError
from zoo.loading import follow, network, read_checkpoint

_DEPTH = 3
"""Checkpoints nest their state dicts no deeper: ``{"ema": {"module": {...}}}``."""


def found_in(entry: ModelEntry, path: Path, artifact: Artifact) -> Artifact:
    """The artifact with the place of the tensors and the prefix of their names, if not told.

    What the user said is kept. A file that fits as it is described is taken so. Otherwise every
    state dict in it is held against the names and shapes of the entry's network, with every prefix;
    the only one that fits is taken.

    Args:
        entry: Of the network.
        path: A checkpoint, which is read without running anything in it.
        artifact: What is known of it.

    Returns:
        The artifact as it was, also if nothing fits, or the one that fits.

    Raises:
        ZooError: The file cannot be read, several state dicts in it fit, or there are some and none
            does.
    """
    content = read_checkpoint(path)
    wanted = {
        key: tuple(value.shape)
        for key, value in network(entry).state_dict().items()
        if not key.endswith(".num_batches_tracked")
    }
    if not wanted or _fits(content, artifact, wanted, path):
        return artifact
    readings = [
        replace(artifact, state_dict=route, strip_prefix=prefix)
        for route, state in _state_dicts(content, "", _DEPTH)
        if artifact.state_dict in ("", route)
        for prefix in _prefixes(state, next(iter(wanted)))
        if artifact.strip_prefix in ("", prefix)
    ]
    fitting = [one for one in readings if _fits(content, one, wanted, path)]
    if len(fitting) > 1:
        told = " or ".join(options(one) for one in fitting)
        raise ZooError(
            f"{path} holds {len(fitting)} state dicts that fit {entry.architecture}. Say which one "
            f"you mean: {told}."
        )
    if fitting:
        return fitting[0]
    if not artifact.state_dict and isinstance(content, Mapping):
        nested = {route: next(iter(state)) for route, state in _state_dicts(content, "", _DEPTH)}
        if nested and "" not in nested:
            told = ", ".join(f"{route!r} ({name}, ...)" for route, name in nested.items())
            raise ZooError(
                f"{path} holds tensors at {told}, but the network {entry.architecture} has others "
                f"({next(iter(wanted))}, ...). Say which with --state-dict and what to drop from "
                "their names with --strip-prefix, or name another architecture."
            )
    return artifact


def options(artifact: Artifact) -> str:
    """How a user says where the tensors are."""
    said = {"--state-dict": artifact.state_dict, "--strip-prefix": artifact.strip_prefix}
    return " ".join(f"{option} {value}" for option, value in said.items() if value)


def _state_dicts(found: Any, route: str, depth: int) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Every mapping that has tensors, by its route; a step with a dot in it cannot be told."""
    if isinstance(found, Mapping):
        if any(isinstance(value, Tensor) for value in found.values()):
            yield route, {k: v for k, v in found.items() if isinstance(k, str)}
        steps = [(k, v) for k, v in found.items() if isinstance(k, str) and "." not in k]
    elif isinstance(found, list | tuple):
        steps = [(str(k), value) for k, value in enumerate(found)]
    else:
        return
    for step, value in steps if depth else ():
        yield from _state_dicts(value, f"{route}.{step}" if route else step, depth - 1)


def _prefixes(state: Mapping[str, Tensor], key: str) -> set[str]:
    """What may stand before the names: that of one tensor is among them, or with a prefix."""
    return {name.removesuffix(key) for name in state if name.endswith(key)}


def _fits(
    content: Any, artifact: Artifact, wanted: Mapping[str, tuple[int, ...]], path: Path
) -> bool:
    """Whether a reading has every tensor of a network, of its shape, and no other."""
    try:
        state = follow(content, artifact, path)
    except ZooError:
        return False
    shapes = {
        key: tuple(value.shape)
        for key, value in state.items()
        if not key.endswith(".num_batches_tracked")
    }
    return shapes == wanted
