"""Another dataset's inputs as inputs of a target: what fits, and what cannot be made to."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812

from harness.datasets import Dataset
from harness.types import NotApplicableError, Split


def check(other: Dataset, dataset: Dataset) -> None:
    """Refuse inputs that a model of ``dataset`` cannot be asked about.

    Images are resized, but a row of a table is one of another table only where the same features
    stand for numbers and for categories.

    Raises:
        NotApplicableError: With both shapes.
    """
    images = len(dataset.input_shape) == 3
    if images != (len(other.input_shape) == 3):
        kind = "images" if images else "rows of a table"
        raise NotApplicableError(
            f"The attacker's other data are to be {kind} like those of {dataset.name} "
            f"({_shape(dataset)}), but {other.name} has inputs of {_shape(other)}. Choose other "
            f"data with --aux shadow or --aux ood:DATASET."
        )
    if not images and _blocks(other) != _blocks(dataset):
        raise NotApplicableError(
            f"Rows of {other.name} ({_shape(other)} features) are none of {dataset.name} "
            f"({_shape(dataset)} features): their columns are not in the same places. Choose other "
            f"data with --aux shadow or --aux ood:DATASET."
        )


def fitted(other: Dataset, dataset: Dataset) -> Split:
    """The inputs of ``other`` as those of ``dataset``: grey or coloured and resized, or as is."""
    if len(dataset.input_shape) == 1:
        return other.all
    x, (channels, height, width) = other.x, dataset.input_shape
    if x.shape[1] != channels:
        x = x.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    x = F.interpolate(x, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return Split(x.clamp(0, 1).contiguous(), other.y)


def _shape(dataset: Dataset) -> str:
    return "x".join(map(str, dataset.input_shape))


def _blocks(dataset: Dataset) -> tuple[int, list[tuple[int, int]]]:
    """How many features there are, and which of them are the values of one category."""
    return dataset.x.shape[1], [(c.start, c.stop) for c in dataset.columns if c.values]
