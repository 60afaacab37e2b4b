"""A dataset: pictures of stripes that need no file."""

from __future__ import annotations

import numpy as np
import torch

from harness.data.dataset import DataLocation, Dataset


def stripes(source: DataLocation) -> Dataset:
    """600 pictures of 8x8 in three classes: horizontal, vertical and diagonal stripes, with noise.

    Args:
        source: Folders where the files of datasets are looked for; this one has none.
    """
    rng = np.random.default_rng(0)  # the same on every machine: results are of these examples
    row, column = np.mgrid[:8, :8]
    labels = np.arange(600) % 3
    phase = rng.integers(4, size=(600, 1, 1))
    place = np.stack([row, column, row + column])[labels]
    pixels = 0.5 + 0.3 * np.sin(np.pi / 2 * (place + phase)) + 0.2 * rng.normal(size=(600, 8, 8))
    return Dataset(
        name="stripes",
        num_classes=3,
        x=torch.from_numpy(pixels.clip(0, 1).astype(np.float32))[:, None],
        y=torch.from_numpy(labels),
        epsilon={"linf": 0.1, "l2": 0.5},
    )
