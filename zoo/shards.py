"""Weights in several files, which an index beside them names: ``model.safetensors.index.json``."""

import json
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from zoo.errors import ZooError
from zoo.loading import read_checkpoint, to_safetensors

_INDEX = ".index.json"
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.\w+")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The file with all weights that ``path`` stands for, while the block runs.

    An index, and each shard that an index beside it names, stand for all shards of that index, of
    which one file is made. Any other file stands for itself. A shard that the index does not name
    is left out, with a warning.

    Args:
        path: A weight file or an index.

    Raises:
        ZooError: The file is named as a shard but no index beside it names it, or the index names
            what is not there, or is none.
    """
    index = _index_of(path)
    if index is None:
        yield path
        return
    state = _joined(index)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{index.name.removesuffix(_INDEX)}.safetensors"
        to_safetensors(state, file)
        yield file


def _index_of(path: Path) -> Path | None:
    """The index that ``path`` is or that names it; None if it stands for itself."""
    if path.name.endswith(_INDEX):
        return path
    shard = _SHARD.fullmatch(path.name)
    beside = sorted(one for one in path.parent.iterdir() if one.name.endswith(_INDEX))
    for index in beside:
        try:
            if path.name in _places(index).values():
                return index
        except ZooError:  # what is no index of shards says nothing of a file that is no shard
            if shard:
                raise
    if shard and beside:
        raise ZooError(
            f"{path} is a shard that {beside[0].name} does not name, from another time or model. "
            f"Give {beside[0]} for the shards that it names."
        )
    if shard:
        raise ZooError(
            f"{path} is one of several shards, and the index that names them is not beside it. Get "
            f"{shard[1]}{path.suffix}{_INDEX} and the other shards."
        )
    return None


def _places(index: Path) -> dict[str, str]:
    """The shard of each tensor, by the tensor's name."""
    try:
        places = json.loads(index.read_text())["weight_map"]
        shards = set(places.values())
        if not shards or not all(isinstance(one, str) and Path(one).name == one for one in shards):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise ZooError(
            f"{index} is no index of shards: it needs a weight_map from each tensor's name to a "
            "file beside it. Get it again, or give the weights in one file."
        ) from problem
    return places


def _joined(index: Path) -> dict[str, Tensor]:
    """The tensors of all shards.

    Raises:
        ZooError: A shard is not there, or holds other tensors than the index says.
    """
    places = _places(index)
    stale = f"The index is stale, or a file is. Get all files of {index.parent} again."
    shards = sorted(set(places.values()))
    if absent := [name for name in shards if not (index.parent / name).is_file()]:
        raise ZooError(f"{index} names {absent[0]}, which is not beside it. {stale}")
    state: dict[str, Tensor] = {}
    for name in shards:
        found = read_checkpoint(index.parent / name)
        if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
            raise ZooError(f"{index.parent / name} holds something else than tensors by name.")
        said = {key for key, place in places.items() if place == name}
        if missing := sorted(said - found.keys()):
            raise ZooError(f"{index} says that {missing[0]} is in {name}, which lacks it. {stale}")
        if more := sorted(map(str, found.keys() - said)):
            raise ZooError(f"{name} holds {more[0]}, which {index} does not place in it. {stale}")
        state |= found
    stem = index.name.removesuffix(_INDEX).rpartition(".")[0]
    stray = sorted(
        one.name
        for one in index.parent.iterdir()
        if one.name not in shards and (of := _SHARD.fullmatch(one.name)) and of[1] == stem
    )
    if stray:
        warnings.warn(
            f"{', '.join(stray)} beside {index} is left out: the index does not name it.",
            stacklevel=5,
        )
    return state
