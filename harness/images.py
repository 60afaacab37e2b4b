"""Tensors as pictures for people."""

from __future__ import annotations

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
