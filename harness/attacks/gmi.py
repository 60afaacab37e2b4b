"""GAN-based model inversion: search a generator's images for those that the target recognises.

References:
    Zhang et al. (2020). The Secret Revealer: Generative Model-Inversion Attacks Against Deep
        Neural Networks. CVPR.
    Liu et al. (2022). ML-Doctor. USENIX Security. (The settings of the search.)
"""

from __future__ import annotations

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
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class GMI:
    """Learn from the attacker's images what images look like; then find those of each class.

    A Wasserstein GAN learns the attacker's images, without their labels. Then noise is moved until
    the target calls the image made from it by the class, and the critic still calls it real: down
    ``weight * identity - judgement``, by Nesterov's momentum. Every noise is searched for by
    itself, all of them in one batch; the authors' code takes the mean over the batch, which makes
    the steps of one depend on how many others there are.

    The search has ML-Doctor's settings; the paper's has an ``lr`` of 2e-2 and five starts. The
    networks are smaller than theirs, for small images. In the paper the attacker's faces are of
    other people than the target's; data of the target's own classes are an easier case.

    Attributes:
        latent: Size of the noise.
        width: Channels of both networks at half the image's size.
        gan_steps: Steps of the generator's training.
        critic_steps: Steps of the critic for each of them.
        gan_lr: Learning rate of both networks' Adam.
        batch_size: Images per step.
        penalty: Weight of the critic's gradient penalty.
        lr: Of the search.
        momentum: Of the search.
        weight: Of the identity loss, which is the target's cross-entropy.
        iterations: Steps of the search.
        clip: Largest absolute value of the noise.
        starts: Random starts for each class.
        samples: How many of them are returned, those with the lowest loss.
    """

    name: ClassVar[str] = "gmi"
    risk: ClassVar[Risk] = Risk.DATA_RECONSTRUCTION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW, Aux.PARTIAL, Aux.OOD)
    reference: ClassVar[str] = "Zhang et al. (2020), https://arxiv.org/abs/1911.07135"

    latent: int = 100  # ML-Doctor's, like those of the search
    width: int = 32
    gan_steps: int = 500
    critic_steps: int = 2
    gan_lr: float = 1e-3
    batch_size: int = 64
    penalty: float = 10.0
    lr: float = 1e-3
    momentum: float = 0.9
    weight: float = 100.0
    iterations: int = 1500
    clip: float = 1.0
    starts: int = 10
    samples: int = 5

    def __post_init__(self) -> None:
        gan.check_settings(
            self,
            above=("gan_lr", "lr", "clip"),
            at_least={"weight": 0, "penalty": 0, "critic_steps": 1, "starts": 1},
        )
        if self.samples > self.starts:
            raise ZooError(
                f"gmi wants samples of at most starts, {self.starts}, found {self.samples}."
            )
        if not 0 <= self.momentum < 1:
            raise ZooError(f"gmi wants momentum from 0 to below 1, found {self.momentum}.")

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse what is not an image.

        Raises:
            NotApplicableError: The networks cannot make such inputs.
        """
        gan.check(self.name, dataset)
        return self

    def run(self, target: BlackBox, data: AuxiliaryData, *, seed: int) -> Tensor:
        """Inputs of each class, (num_classes, samples, *input_shape) in [0, 1]."""
        maker, critic = self._learn(data.aux.x, seed)
        noise = torch.randn(gan.SAMPLE, self.latent, generator=generator("check", seed))
        sample = maker(noise.to(data.aux.x.device))
        convergence.generates(data, "the generator", sample, data.aux.x[: gan.SAMPLE])
        y = torch.arange(data.num_classes, device=target.device).repeat_interleave(self.starts)
        noise = torch.randn(len(y), self.latent, generator=generator("starts", seed)).to(y.device)

        def made(noise: Tensor) -> tuple[Tensor, Tensor]:
            x = maker(noise)
            identity = F.cross_entropy(target.model(x), y, reduction="none")
            return x, self.weight * identity - critic(x)

        speed = torch.zeros_like(noise)
        for _ in range(self.iterations):
            _, cost = made(noise.requires_grad_())
            (gradient,) = torch.autograd.grad(cost.sum(), noise)
            faster = self.momentum * speed - self.lr * gradient
            step = (1 + self.momentum) * faster - self.momentum * speed
            noise, speed = (noise.detach() + step).clamp(-self.clip, self.clip), faster
        with torch.no_grad():
            x, cost = made(noise)
        return best(x, cost.view(data.num_classes, self.starts), self.samples)

    def _learn(self, images: Tensor, seed: int) -> tuple[nn.Module, nn.Module]:
        """A generator of such images and its critic, both in eval mode and frozen."""
        shape, device = tuple(images.shape[1:]), images.device
        with seeded("gan", seed):
            maker = gan.Generator(shape, self.latent, self.width).to(device)
            critic = gan.Discriminator(shape, self.width).to(device)
        stream = generator("gan", seed)
        maker_optimizer, critic_optimizer = (
            torch.optim.Adam(net.parameters(), lr=self.gan_lr, betas=(0.5, 0.9), fused=True)
            for net in (maker, critic)
        )

        def make() -> Tensor:
            noise = torch.randn(self.batch_size, self.latent, generator=stream)
            return maker(noise.to(device))

        for _ in range(self.gan_steps):
            for _ in range(self.critic_steps):
                which = torch.randint(len(images), (self.batch_size,), generator=stream)
                real = images[which.to(device)]
                with torch.no_grad():
                    fake = make()
                judged = critic(torch.cat([real, fake]))
                on_real, on_fake = judged.chunk(2)
                slope = gan.gradient_penalty(critic, real, fake, stream)
                critic_optimizer.zero_grad()
                ((on_fake - on_real).mean() + self.penalty * slope).backward()
                critic_optimizer.step()
            maker_optimizer.zero_grad()
            (-critic(make()).mean()).backward()
            maker_optimizer.step()
        return maker.eval().requires_grad_(False), critic.eval().requires_grad_(False)


def best(x: Tensor, cost: Tensor, samples: int) -> Tensor:
    """The cheapest of each class, cheapest first: (classes, samples, ...).

    Args:
        x: (classes * starts, ...), the starts of a class next to each other.
        cost: (classes, starts).
        samples: How many of each class, at most ``starts``.
    """
    chosen = cost.topk(samples, dim=1, largest=False).indices
    classes = torch.arange(len(cost), device=x.device)[:, None]
    return x.unflatten(0, cost.shape)[classes, chosen]
