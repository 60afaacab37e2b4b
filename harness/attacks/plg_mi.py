"""Model inversion with a generator that learned from the target what each class looks like.

References:
    Yuan et al. (2023). Pseudo Label-Guided Model Inversion Attack via Conditional Generative
        Adversarial Network. AAAI.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.attacks.protocol import AuxiliaryData
from harness.attacks.shared import convergence, gan
from harness.data.dataset import Dataset
from harness.seeds import generator, seeded
from harness.target import BlackBox
from harness.types import Access, Aux, Risk

SMALLEST_CROP = 0.8
"""Share of the image that the smallest crop keeps; this and the next two after the paper's."""

TURN = math.radians(5)
"""Largest rotation."""

JITTER = 0.2
"""Largest relative change of the mean brightness and of the contrast."""


@dataclass(frozen=True, kw_only=True)
class PLGMI:
    """Label the attacker's images by the target, learn to make each class, then search.

    Of every class, the images that the target is surest of train a conditional GAN, whose generator
    also has to please the target. Then the noise of every image is moved by Adam until the target
    tells its class from the runner-up by a wide margin. The target always looks at randomly
    cropped, turned and brightened copies, so that a picture that only works as it is does not
    count; they are not mirrored as in the paper, because that makes another sign of a sign. Unlike
    in the paper, the noise is kept in a box: without it, it went far from any that the generator
    was trained on, and the images became black and white.

    The settings of the search and the first two are the paper's. Those of the networks are smaller:
    the paper trains residual ones on faces of 64x64 for 30,000 steps. There the attacker's faces
    are of other people than the target's; data of the target's own classes are an easier case.

    Attributes:
        top: How many of the attacker's images each class gets.
        weight: Of the margin in the generator's loss.
        latent: Size of the noise.
        width: Channels of both networks at half the image's size.
        gan_steps: Steps of the generator's training.
        judge_steps: Steps of the discriminator for each of them.
        gan_lr: Learning rate of both networks' Adam.
        batch_size: Images per step.
        lr: Of the search's Adam.
        iterations: Steps of the search.
        clip: Largest absolute value of the noise.
        samples: Random starts for each class, the ends of which are all returned.
    """

    name: ClassVar[str] = "plg-mi"
    risk: ClassVar[Risk] = Risk.DATA_RECONSTRUCTION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW, Aux.PARTIAL, Aux.OOD)
    reference: ClassVar[str] = "Yuan et al. (2023), https://arxiv.org/abs/2302.09814"

    top: int = 30
    weight: float = 0.2
    latent: int = 64
    width: int = 32
    gan_steps: int = 400
    judge_steps: int = 2
    gan_lr: float = 1e-3
    batch_size: int = 64
    lr: float = 0.1
    iterations: int = 600
    clip: float = 1.0
    samples: int = 5

    def __post_init__(self) -> None:
        gan.check_settings(
            self,
            above=("gan_lr", "lr", "clip"),
            at_least={"weight": 0, "top": 1, "judge_steps": 1},
        )

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse what is not an image.

        Raises:
            NotApplicableError: The networks cannot make such inputs.
        """
        gan.check(self.name, dataset)
        return self

    def run(self, target: BlackBox, data: AuxiliaryData, *, seed: int) -> Tensor:
        """Inputs of each class, (num_classes, samples, *input_shape) in [0, 1]."""
        maker = self._learn(target, data, seed)
        y = torch.arange(data.num_classes, device=target.device).repeat_interleave(self.samples)
        stream = generator("search", seed)
        noise = torch.randn(len(y), self.latent, generator=stream).to(y.device).requires_grad_()
        optimizer = torch.optim.Adam([noise], lr=self.lr)
        for _ in range(self.iterations):
            x = maker(noise, y)
            twice = torch.cat([augmented(x, stream), augmented(x, stream)])
            optimizer.zero_grad()
            margin_loss(target.model(twice), y.repeat(2)).sum().backward()
            optimizer.step()
            with torch.no_grad():
                noise.clamp_(-self.clip, self.clip)
        with torch.no_grad():
            return maker(noise, y).unflatten(0, (data.num_classes, self.samples))

    def _learn(self, target: BlackBox, data: AuxiliaryData, seed: int) -> nn.Module:
        """A generator of each class's images, in eval mode and frozen."""
        images = data.aux.x
        shape, device = tuple(images.shape[1:]), images.device
        images = pseudo_labelled(images, target.scores(images), self.top)
        top, num_classes = images.shape[:2]
        with seeded("gan", seed):
            maker = gan.Generator(shape, self.latent, self.width, num_classes).to(device)
            judge = gan.Discriminator(shape, self.width, num_classes).to(device)
        stream = generator("gan", seed)
        maker_optimizer, judge_optimizer = (
            torch.optim.Adam(net.parameters(), lr=self.gan_lr, betas=(0.0, 0.9), fused=True)
            for net in (maker, judge)
        )

        def classes() -> Tensor:
            return torch.randint(num_classes, (self.batch_size,), generator=stream).to(device)

        def make(y: Tensor) -> Tensor:
            noise = torch.randn(self.batch_size, self.latent, generator=stream)
            return maker(noise.to(device), y)

        for _ in range(self.gan_steps):
            for _ in range(self.judge_steps):
                y = classes()
                which = torch.randint(top, (self.batch_size,), generator=stream).to(device)
                with torch.no_grad():
                    fake = make(y)
                judged = judge(torch.cat([images[which, y], fake]), y.repeat(2))
                judge_optimizer.zero_grad()
                gan.hinge(*judged.chunk(2)).backward()
                judge_optimizer.step()
            y = classes()
            fake = make(y)
            margin = margin_loss(target.model(augmented(fake, stream)), y)
            maker_optimizer.zero_grad()
            (self.weight * margin - judge(fake, y)).mean().backward()
            maker_optimizer.step()
        maker.eval().requires_grad_(False)
        rows = torch.arange(gan.SAMPLE, device=device)
        noise = torch.randn(gan.SAMPLE, self.latent, generator=generator("check", seed))
        made = maker(noise.to(device), rows % num_classes)
        real = images.flatten(0, 1)  # the classes side by side
        convergence.generates(data, "the generator", made, real[: gan.SAMPLE])
        return maker


def pseudo_labelled(images: Tensor, scores: Tensor, top: int) -> Tensor:
    """Of each class, the ``top`` images that score highest: (top, classes, *input_shape).

    An image may stand for several classes: where the target calls none of them by a class, the
    likeliest are taken.

    Args:
        images: (m, *input_shape); all of them if there are fewer than ``top``.
        scores: (m, classes).
        top: How many.
    """
    return images[scores.topk(min(top, len(images)), dim=0).indices]


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    """The runner-up's logit less that of the class, (n,): the lower, the wider the margin.

    Unlike cross-entropy it keeps its slope where the target is sure already.

    Args:
        logits: (n, classes).
        y: (n,) int64.
    """
    own = y[:, None]
    return (logits.scatter(1, own, -torch.inf).amax(1, keepdim=True) - logits.gather(1, own))[:, 0]


def augmented(x: Tensor, stream: torch.Generator) -> Tensor:
    """Images (n, channels, height, width), each cropped, turned and brightened by chance."""
    n = len(x)
    u = torch.rand(n, 6, generator=stream).to(x.device)
    u[:, 1:] = 2 * u[:, 1:] - 1
    side = (SMALLEST_CROP + (1 - SMALLEST_CROP) * u[:, 0]).sqrt()
    turn = TURN * u[:, 1]
    place = (1 - side)[:, None] * u[:, 2:4]
    cos, sin = side * turn.cos(), side * turn.sin()
    rows = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    grid = F.affine_grid(
        torch.cat([rows, place[:, :, None]], 2), list(x.shape), align_corners=False
    )
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    brightness, contrast = (1 + JITTER * u[:, 4:]).view(n, 2, 1, 1, 1).unbind(1)
    mean = x.mean((1, 2, 3), keepdim=True)
    return (contrast * (x - mean) + brightness * mean).clamp(0, 1)
