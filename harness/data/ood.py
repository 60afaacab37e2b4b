"""Another dataset's inputs as inputs of a target: what fits, and what cannot be made to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.data.lazy_images import LazyImages
from harness.types import UnfitError
from zoo.entry import Preparation

SHARED = 0.1
"""Share of another dataset's inputs that may be the target's too, as rows of tables are by chance.

Data that are the target's own in another guise are not out of its distribution.
"""

LEVELS = 100
"""Levels of brightness by which pictures are compared."""


def check(other: Dataset, dataset: Dataset) -> None:
    """Refuse inputs that a model of ``dataset`` cannot be asked about.

    Images are resized, but a row of a table is one of another table only where the same features
    stand for numbers and for categories.

    Raises:
        NotApplicableError: With both shapes; or more than `SHARED` of the inputs are the target's.
    """
    images = len(dataset.input_shape) == 3
    if images != (len(other.input_shape) == 3):
        kind = "images" if images else "rows of a table"
        raise UnfitError(
            f"The attacker's other data are to be {kind} like those of {dataset.name} "
            f"({_shape(dataset)}), but {other.name} has inputs of {_shape(other)}. Choose other "
            f"data with --aux shadow or --aux ood:DATASET."
        )
    if not images and _blocks(other) != _blocks(dataset):
        raise UnfitError(
            f"Rows of {other.name} ({_shape(other)} features) are none of {dataset.name} "
            f"({_shape(dataset)} features): their columns are not in the same places. Choose other "
            f"data with --aux shadow or --aux ood:DATASET."
        )
    share = _share(other, dataset)
    if share > SHARED:
        raise UnfitError(
            f"{share:.0%} of the inputs of {other.name} are among those of {dataset.name}, so they "
            f"are no other data. Choose --aux shadow, or --aux ood:DATASET with another one."
        )


@lru_cache(maxsize=16)
def _share(other: Dataset, dataset: Dataset) -> float:
    """Share of the inputs of ``other`` that ``dataset`` has, in any colour or brightness."""
    if other.fingerprint == dataset.fingerprint:
        return 1.0
    if dataset.hashes or other.hashes:  # nobody has pictures of both kinds
        known = set(dataset.hashes)
        return sum(one in known for one in other.hashes) / max(1, len(other))
    ours = set(_looks(dataset.x))
    theirs = _looks(adapt(other, dataset).x)
    return sum(look in ours for look in theirs) / max(1, len(theirs))


def _looks(x: Tensor) -> list[bytes]:
    """Each input as bytes: a row as it is, an image grey and as bright as can be."""
    if x.dim() == 4:
        grey = x.mean(1)
        brightest = grey.amax((1, 2), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        x = (LEVELS * grey / brightest).round().to(torch.uint8)
    return [one.tobytes() for one in x.contiguous().numpy()]


def adapt(other: Dataset, dataset: Dataset) -> Split:
    """The inputs of ``other`` as those of ``dataset``: grey or coloured and resized, or as is."""
    if len(dataset.input_shape) == 1:
        return other.all
    x, (channels, height, width) = other.x, dataset.input_shape
    if other.photographs is not None:
        how = Preparation(size=(height, width), resize=min(height, width))
        prepared = replace(other.photographs, preparation=how, channels=channels)
        return Split(LazyImages(prepared), other.y)
    if dataset.photographs is not None:
        return Split(LazyImages(_Resized(x, dataset.photographs.shape)), other.y)
    return Split(_resized(x, dataset.input_shape), other.y)


@dataclass(frozen=True, eq=False)
class _Resized:
    """Small images as inputs of a network for photographs: all of them at once are too many.

    Attributes:
        x: (n, channels, height, width) in [0, 1].
        shape: (channels, height, width) that each becomes.
    """

    x: Tensor
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.x)

    def read(self, rows: Sequence[int]) -> Tensor:
        """The images at ``rows``, (n, *shape) float32."""
        return _resized(self.x[list(rows)], self.shape)


def _resized(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Images grey or coloured and of another size; see `adapt`."""
    channels, height, width = shape
    if x.shape[1] != channels:
        x = x.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    x = F.interpolate(x, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return x.clamp(0, 1).contiguous()


def _shape(dataset: Dataset) -> str:
    return "x".join(map(str, dataset.input_shape))


def _blocks(dataset: Dataset) -> tuple[int, list[tuple[int, int]]]:
    """How many features there are, and which of them are the values of one category."""
    return dataset.x.shape[1], [(c.start, c.stop) for c in dataset.columns if c.values]
