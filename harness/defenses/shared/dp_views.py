"""Several random views of each training image, for differentially private training.

References:
    De et al. (2022). Unlocking High-Accuracy Differentially Private Image Classification through
    Scale. https://arxiv.org/abs/2204.13650
    Hoffer et al. (2020). Augment Your Batch. CVPR. https://arxiv.org/abs/1901.09335
"""

from __future__ import annotations

import torch
from torch import Tensor

MIRRORS = frozenset({"cifar10", "fashion-mnist", "photo-patches"})
"""Datasets whose labels are right in a mirror too; those of digits and of traffic signs are not."""


def random_views(x: Tensor, count: int, *, flips: bool, stream: torch.Generator) -> Tensor:
    """Random views of images: shifted, and mirrored left to right if labels allow it.

    Shifts are whole pixels, up to an eighth of the shorter side either way: 4 pixels of 32. What
    enters is the image's own mirror image at that edge, the outermost pixels included.

    Args:
        x: (n, channels, height, width), on any device.
        count: Views of each image.
        flips: Whether each view is mirrored with probability one half.
        stream: CPU generator of the shifts and flips.

    Returns:
        (n * count, channels, height, width); the views of one image follow each other.
    """
    height, width = x.shape[2:]
    views = len(x) * count
    reach = max(1, round(min(height, width) / 8))
    moves = torch.randint(-reach, reach + 1, (2, views), generator=stream)
    rows = _across_edges(torch.arange(height) + moves[0, :, None], height)
    columns = _across_edges(torch.arange(width) + moves[1, :, None], width)
    if flips:
        mirrored = torch.rand(views, generator=stream) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    image = torch.arange(len(x)).repeat_interleave(count)[:, None, None].to(x.device)
    rows, columns = rows[:, :, None].to(x.device), columns[:, None, :].to(x.device)
    return x[image, :, rows, columns].movedim(-1, 1)


def _across_edges(index: Tensor, side: int) -> Tensor:
    """Positions less than ``side`` beyond 0 .. side - 1, as those that they mirror."""
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= side, 2 * side - 1 - index, index)
