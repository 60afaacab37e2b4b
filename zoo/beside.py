"""What the configuration files beside a checkpoint say of its model, held against the entry."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

from zoo.entry import ModelEntry

_FILES = ("config.json", "preprocessor_config.json")
_INNER = ("pretrained_cfg", "default_cfg")
"""Where timm puts what it says of the input inside its ``config.json``."""


def contradictions(entry: ModelEntry, path: Path) -> list[str]:
    """Sentences, one for each thing that the files beside a checkpoint say otherwise.

    Read are the files of transformers and timm: means and deviations, the size of the input,
    which is that of the crop, the number of classes, and names of the classes whose numbers are not
    0 to n - 1 in this order. A permutation of the classes fits every shape, so that nothing else
    tells it. What is no JSON object says nothing.

    Args:
        entry: What the user says.
        path: The checkpoint.
    """
    found = []
    for name in _FILES:
        file = path.with_name(name)
        for said in _parts(file):
            found += [f"{file} {sentence}" for sentence in _against(entry, said)]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Scaling:
    """How a file says that an input is scaled.

    Attributes:
        file: The file.
        mean: Per channel, of pixels in [0, 1].
        std: Likewise.
    """

    file: Path
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        return f"mean {_told(self.mean)}, std {_told(self.std)}"


def scaling_beside(path: Path) -> Scaling | None:
    """What the files beside a checkpoint say of the scaling of its input; None if nothing.

    Args:
        path: The checkpoint.
    """
    for name in _FILES:
        file = path.with_name(name)
        for said in _parts(file):
            mean = _numbers(said.get("mean", said.get("image_mean")))
            std = _numbers(said.get("std", said.get("image_std")))
            if mean and std:
                return Scaling(file, tuple(mean), tuple(std))
    return None


def _parts(file: Path) -> Iterator[Mapping[str, Any]]:
    """What a file says, and what the parts of it that are about the input say."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(said, Mapping):
        yield said
        yield from (said[key] for key in _INNER if isinstance(said.get(key), Mapping))


def _against(entry: ModelEntry, said: Mapping[str, Any]) -> Iterator[str]:
    for option, ours, keys in (
        ("--mean", entry.mean, ("mean", "image_mean")),
        ("--std", entry.std, ("std", "image_std")),
    ):
        for theirs in (_numbers(said.get(key)) for key in keys):
            if theirs and ours and not _same(ours, theirs):
                yield f"says {_told(theirs)}, where {option} is {_told(ours)}."
    size = said.get("crop_size", said.get("input_size", said.get("size", said.get("image_size"))))
    theirs, ours = _sides(size), entry.input_shape[-2:]
    if theirs and len(entry.input_shape) == 3 and theirs != ours:
        yield f"says images of {_told(theirs)}, where --input-shape ends in {_told(ours)}."
    names = said.get("id2label")
    if isinstance(names, Mapping) and names:
        ids = [str(number) for number in names]
        if len(ids) != entry.num_classes:
            yield f"names {len(ids)} classes, where {entry.dataset} has {entry.num_classes}."
        elif ids != [str(number) for number in range(len(ids))]:
            yield (
                f"numbers its classes {', '.join(ids[:3])}, ... in id2label, not 0 to "
                f"{len(ids) - 1} in order: they may be a permutation of those of {entry.dataset}."
            )
    for key in ("num_labels", "num_classes"):
        if isinstance(said.get(key), int) and said[key] != entry.num_classes:
            yield f"says {key} {said[key]}, where {entry.dataset} has {entry.num_classes}."


def _numbers(value: Any) -> tuple[float, ...] | None:
    """A list of numbers, or nothing."""
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(one, int | float) for one in value):
        return None
    return tuple(float(one) for one in value)


def _sides(size: Any) -> tuple[int, ...] | None:
    """Height and width, of the ways in which they are written; nothing if only one side is told."""
    if isinstance(size, Mapping):
        size = [size.get("height"), size.get("width")]
    if isinstance(size, int):
        size = [size, size]
    if not isinstance(size, list) or not all(isinstance(one, int) for one in size):
        return None
    return tuple(size[-2:]) if len(size) in (2, 3) else None


def _same(ours: tuple[float, ...], theirs: tuple[float, ...]) -> bool:
    """Whether they agree to the three digits to which such numbers are passed on."""
    return len(ours) == len(theirs) and all(
        isclose(a, b, abs_tol=0.001) for a, b in zip(ours, theirs, strict=True)
    )


def _told(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
