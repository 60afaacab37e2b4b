"""Geometry that evasion attacks share: steps and projections within an L∞ or L2 ball.

References:
    Madry et al. (2018). Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.types import Split
from zoo.errors import ZooError

Norm = Literal["linf", "l2"]

PIXELS = (0.0, 1.0)
"""The range that every input is in, and that a perturbed input has to stay in."""


def check_epsilon(name: str, epsilon: float, norm: Norm) -> None:
    """Refuse a radius that is no radius.

    Raises:
        ZooError: ``epsilon`` is negative, or larger than the pixel range allows.
    """
    if not epsilon >= 0:
        raise ZooError(f"{name} wants epsilon of at least 0, found {epsilon}.")
    if norm == "linf" and epsilon > 1:
        raise ZooError(
            f"{name} wants epsilon in the pixel range [0, 1], found {epsilon:g}; for a radius of "
            f"8 grey levels write {8 / 255:.4f}."
        )


def input_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of each example's own cross-entropy by its input; the shape of ``x``."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(model(x), y, reduction="sum")
        return torch.autograd.grad(loss, x)[0]


def norms(delta: Tensor) -> Tensor:
    """L2 norm of each example (n, ...), shaped to multiply it."""
    flat = delta.flatten(1).norm(dim=1)
    return flat.view(-1, *[1] * (delta.dim() - 1))


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The step of length 1 in ``norm`` along which the loss rises fastest."""
    if norm == "linf":
        return gradient.sign()
    return gradient / norms(gradient).clamp_min(1e-12)


def project(x: Tensor, start: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """The nearest point within ``epsilon`` of ``start``, then the nearest within the pixels."""
    delta = x - start
    if norm == "linf":
        delta = delta.clamp(-epsilon, epsilon)
    else:
        delta = delta * (epsilon / norms(delta).clamp_min(1e-12)).clamp(max=1)
    return (start + delta).clamp(*PIXELS)


def random_start(start: Tensor, epsilon: float, norm: Norm, generator: torch.Generator) -> Tensor:
    """A point drawn uniformly from the ball around each of ``start``, clipped to the pixels."""
    if norm == "linf":
        noise = torch.rand(start.shape, generator=generator).mul_(2).sub_(1) * epsilon
    else:
        noise = torch.randn(start.shape, generator=generator)
        dim = start[0].numel()
        radius = torch.rand(len(start), generator=generator) ** (1 / dim)
        noise = noise / norms(noise) * radius.view(-1, *[1] * (start.dim() - 1)) * epsilon
    return (start + noise.to(start.device)).clamp(*PIXELS)


@torch.no_grad()
def correct(model: nn.Module, data: Split) -> Tensor:
    """Which examples the model gets right, (n,) bool."""
    return model(data.x).argmax(1) == data.y
