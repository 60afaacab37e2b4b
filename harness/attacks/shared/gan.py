"""Generative adversarial networks for the attackers: small ones, for images of any size.

References:
    Radford, Metz and Chintala (2016). Unsupervised Representation Learning with Deep Convolutional
        Generative Adversarial Networks. ICLR.
    Gulrajani et al. (2017). Improved Training of Wasserstein GANs. NeurIPS.
    Miyato and Koyama (2018). cGANs with Projection Discriminator. ICLR.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from harness.data.dataset import Dataset
from harness.types import UnfitError
from zoo.errors import ZooError

SMALLEST = 4
"""Pixels of the smallest side: both networks change the size by a factor of four."""

SAMPLE = 256
"""Images by which a generator is judged, and as many real ones."""


def check(name: str, dataset: Dataset) -> None:
    """Refuse what the networks cannot make.

    Raises:
        NotApplicableError: The inputs are no images, or are too small.
    """
    shape = dataset.input_shape
    if len(shape) != 3 or min(shape[1:]) < SMALLEST:
        raise UnfitError(
            f"{name} wants images of at least {SMALLEST}x{SMALLEST}, found inputs of shape {shape}."
        )


def check_settings(attack: Any, *, above: Sequence[str], at_least: Mapping[str, float]) -> None:
    """Refuse settings that no attack with a GAN can have, and those named.

    Args:
        attack: Has ``latent``, ``width``, ``gan_steps``, ``batch_size``, ``iterations`` and
            ``samples``.
        above: Settings that have to be above 0.
        at_least: More settings and their least values.

    Raises:
        ZooError: One is out of range.
    """
    name, common = attack.name, {"gan_steps": 0, "batch_size": 2, "iterations": 0}
    ones = dict.fromkeys(("latent", "width", "samples"), 1)
    for setting, least in {**common, **ones, **at_least}.items():
        if getattr(attack, setting) < least:
            raise ZooError(
                f"{name} wants {setting} of at least {least}, found {getattr(attack, setting)}."
            )
    for setting in above:
        if not getattr(attack, setting) > 0:
            raise ZooError(f"{name} wants {setting} above 0, found {getattr(attack, setting)}.")


class ConditionalNorm(nn.Module):
    """Batch norm with a scale and a shift for each class."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Embedding(num_classes, channels)
        self.shift = nn.Embedding(num_classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Normalised features (n, channels, height, width) of examples of classes ``y`` (n,)."""
        scale, shift = self.scale(y)[:, :, None, None], self.shift(y)[:, :, None, None]
        return scale * self.norm(x) + shift


class Generator(nn.Module):
    """Noise to images in [0, 1]: a quarter of the size, doubled twice, and cut to size.

    Args:
        input_shape: (channels, height, width) of the images.
        latent: Size of the noise.
        width: Channels at half the size.
        num_classes: How many classes it can be told to make; None if it is not told any.
    """

    def __init__(
        self, input_shape: tuple[int, ...], latent: int, width: int, num_classes: int | None = None
    ) -> None:
        super().__init__()
        channels, *self.size = input_shape
        self.start = (2 * width, *(-(-side // 4) for side in self.size))
        self.conditional = num_classes is not None
        self.project = nn.Linear(latent, torch.Size(self.start).numel(), bias=False)
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(wide) if num_classes is None else ConditionalNorm(wide, num_classes)
            for wide in (2 * width, width)
        )
        self.grow = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False)
        self.paint = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)

    def forward(self, noise: Tensor, y: Tensor | None = None) -> Tensor:
        """Images (n, *input_shape) from noise (n, latent), of classes ``y`` (n,) if conditional."""
        told = (y,) if self.conditional else ()
        x = self.norms[0](self.project(noise).view(-1, *self.start), *told).relu()
        x = self.norms[1](self.grow(x), *told).relu()
        height, width = self.size
        return self.paint(x)[..., :height, :width].sigmoid()


class Discriminator(nn.Module):
    """Images to how real they look, any number.

    With classes it also judges whether the image is of its class, and every layer has spectral norm
    1, as the hinge loss wants it (Miyato and Koyama 2018). It has no batch norm: a gradient penalty
    is on each example by itself.

    Args:
        input_shape: (channels, height, width) of the images.
        width: Channels at half the size.
        num_classes: How many classes there are; None if it is not told any.
    """

    def __init__(
        self, input_shape: tuple[int, ...], width: int, num_classes: int | None = None
    ) -> None:
        super().__init__()
        channels, *size = input_shape
        features = 2 * width * torch.Size(side // 4 for side in size).numel()
        halve = nn.Conv2d(channels, width, 4, stride=2, padding=1)
        quarter = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        judge = nn.Linear(features, 1)
        prototypes = None if num_classes is None else nn.Embedding(num_classes, features)
        if prototypes is not None:
            halve, quarter, judge, prototypes = map(
                spectral_norm, (halve, quarter, judge, prototypes)
            )
        self.features = nn.Sequential(
            halve, nn.LeakyReLU(0.2), quarter, nn.LeakyReLU(0.2), nn.Flatten()
        )
        self.judge, self.prototypes = judge, prototypes

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Judgements (n,) of images (n, *input_shape), of classes ``y`` (n,) if conditional."""
        features = self.features(x)
        judged = self.judge(features)[:, 0]
        if self.prototypes is None:
            return judged
        return judged + (self.prototypes(y) * features).sum(1)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, stream: torch.Generator
) -> Tensor:
    """How far the critic's slope is from 1, squared, between real and fake: a mean.

    Args:
        critic: From images (n, ...) to judgements (n,).
        real: (n, ...).
        fake: The same shape; each is joined with one of ``real`` by a line.
        stream: Of the point on each line.
    """
    share = torch.rand(len(real), *(1 for _ in real.shape[1:]), generator=stream).to(real.device)
    between = torch.lerp(real, fake, share).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """What a discriminator minimises that judged real and fake images (n,) each: a mean."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
