"""Networks that are a plain row of layers."""

from collections.abc import Sequence

import torch
from torch import nn


def mlp(input_shape: tuple[int, ...], num_classes: int, *, hidden: Sequence[int]) -> nn.Sequential:
    """A perceptron with ReLU after each hidden layer; layer 0 flattens the input."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = torch.Size(input_shape).numel()
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()]
        width = units
    return nn.Sequential(*layers, nn.Linear(width, num_classes))


def cnn_small(input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Two 3x3 convolutions (16 and 32 channels), each with 2x2 pooling, then 64 hidden units."""
    features = [
        nn.Conv2d(input_shape[0], 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    ]
    width = num_features(features, input_shape)
    return nn.Sequential(*features, nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, num_classes))


def strided_cnn(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    channels: tuple[int, int],
    padding: int,
    hidden: Sequence[int],
) -> nn.Sequential:
    """Two 4x4 convolutions of stride 2, then hidden linear layers: the verification benchmarks'.

    References:
        Wong and Kolter (2018). Provable Defenses against Adversarial Examples via the Convex
        Outer Adversarial Polytope. ICML.
    """
    first, second = channels
    layers: list[nn.Module] = [
        nn.Conv2d(input_shape[0], first, 4, stride=2, padding=padding),
        nn.ReLU(),
        nn.Conv2d(first, second, 4, stride=2, padding=padding),
        nn.ReLU(),
        nn.Flatten(),
    ]
    width = num_features(layers, input_shape)
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()]
        width = units
    return nn.Sequential(*layers, nn.Linear(width, num_classes))


def num_features(layers: Sequence[nn.Module], input_shape: tuple[int, ...]) -> int:
    """How many numbers come out of ``layers`` for one input.

    Raises:
        RuntimeError: The input is too small for the layers.
    """
    with torch.no_grad():
        return nn.Sequential(*layers)(torch.zeros(1, *input_shape)).numel()
