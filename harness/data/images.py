"""Tensors as pictures for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def to_bytes(image: Tensor) -> np.ndarray:
    """An image (channels, height, width) in [0, 1], with 1 or 3 channels, as uint8.

    Returns:
        (height, width) if it is grey, else (height, width, 3).
    """
    pixels = (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy()


def side_by_side(images: Tensor) -> Tensor:
    """Images (n, channels, height, width) as one, a white pixel between them."""
    framed = torch.nn.functional.pad(images.detach().cpu(), (0, 1, 0, 0), value=1.0)
    return torch.cat(list(framed), dim=2)


def grid(images: Tensor) -> np.ndarray:
    """`side_by_side` as `to_bytes`."""
    return to_bytes(side_by_side(images))


def rows(images: Sequence[Tensor]) -> np.ndarray:
    """Rows of as many images each, one below the other with a white line between, as `to_bytes`."""
    framed = [torch.nn.functional.pad(side_by_side(row), (0, 0, 0, 1), value=1.0) for row in images]
    return to_bytes(torch.cat(framed, dim=1))


def moved(x: Tensor, rows: Tensor, columns: Tensor, *, repeat_edges: bool) -> Tensor:
    """Images (n, channels, height, width), each moved by its own whole number of pixels.

    Args:
        x: On any device.
        rows: (n,) int64, how far each is moved up.
        columns: (n,) int64, how far each is moved to the left.
        repeat_edges: Whether what enters is the edge of the image, or black.
    """
    height, width = x.shape[2:]
    index, inside = [], []
    for side, move in ((height, rows), (width, columns)):
        wanted = (torch.arange(side) + move[:, None]).to(x.device)  # (n, side)
        index.append(wanted.clamp(0, side - 1))
        inside.append(wanted == index[-1])
    one = torch.arange(len(x), device=x.device)[:, None, None]
    found = x[one, :, index[0][:, :, None], index[1][:, None, :]].movedim(-1, 1)
    if repeat_edges:
        return found
    return found * (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def as_images(x: np.ndarray) -> Tensor:
    """Bytes (n, height, width[, channels]) as float32 (n, channels, height, width) in [0, 1]."""
    if x.ndim == 3:
        x = x[..., None]
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).float().div_(255)
