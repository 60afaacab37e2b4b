"""A network: one convolution and the mean over all places.

References:
    Lin, Chen and Yan (2014). Network In Network. ICLR. (global average pooling)
"""

from __future__ import annotations

from torch import nn

from zoo.errors import ZooError


def pooled_cnn(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A network with fresh weights from torch's global random numbers, in inputs (n, ...) to logits.

    Args:
        input_shape: (channels, height, width) of images, or (features,) of a table.
        num_classes: Number of logits.
    """
    if len(input_shape) != 3:
        raise ZooError(f"pooled-cnn wants images, found inputs of shape {input_shape}.")
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, num_classes),
    )
