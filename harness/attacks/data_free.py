"""Extraction without any data: a generator makes the inputs that are asked.

The generator looks for inputs on which the surrogate and the target disagree, the surrogate learns
the target's answers to them. The target cannot be differentiated, so the generator's gradient is
estimated from answers to inputs moved a little in random directions; those answers are queries too.

References:
    Truong, Maini, Walls and Papernot (2021). Data-Free Model Extraction. CVPR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.attacks import surrogate
from harness.attacks.protocol import AttackerData
from harness.datasets import Dataset
from harness.seeds import derive, generator, seeded
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError

SMALLEST = 1e-12
"""Scores below this count as this, since a rounded score of 0 has no logarithm."""


@dataclass(frozen=True, kw_only=True)
class DataFree:
    """Let a generator and a surrogate play against each other until the budget is spent.

    Both are judged by the mean absolute difference of logits, which the target's scores give up to
    a constant. Unlike in the paper, answers are kept: each step of the surrogate also sees as many
    old ones again, which costs no queries.

    Attributes:
        queries: Query budget if the threat model sets none.
        surrogate: Architecture of the surrogate; the target's own if not given.
        lr: Learning rate of the surrogate's Adam.
        generator_lr: Learning rate of the generator's Adam.
        batch_size: Inputs per step.
        surrogate_steps: Steps of the surrogate for each step of the generator.
        directions: Random directions per input in which the gradient is estimated.
        step: How far the inputs are moved along them, before they are squashed into the pixel range.
        latent: Size of the noise that the generator starts from.
        width: Channels of the generator's last hidden layer.
        final_epochs: Passes of the surrogate over all answers once the budget is spent.
    """

    name: ClassVar[str] = "data-free"
    risk: ClassVar[Risk] = Risk.EXTRACTION
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Truong et al. (2021), https://arxiv.org/abs/2011.14779"

    queries: int = 20_000
    surrogate: str | None = None
    lr: float = 1e-3
    generator_lr: float = 1e-3
    batch_size: int = 64
    surrogate_steps: int = 5  # Truong et al. 2021
    directions: int = 1  # Truong et al. 2021
    step: float = 1e-3  # Truong et al. 2021
    latent: int = 64
    width: int = 32
    final_epochs: int = 0

    def resolve(self, dataset: Dataset) -> Self:
        surrogate.check(self.surrogate, dataset)
        return self

    def run(self, target: BlackBox, data: AttackerData, *, seed: int) -> nn.Module:
        """Steal ``target`` and return the surrogate, in eval mode."""
        device = target.device
        stream = generator("data-free", seed)
        copy = surrogate.build(self.surrogate, data, seed).to(device)
        with seeded("generator", seed):
            maker = Generator(data.input_shape, self.latent, self.width).to(device)
        optimizer = torch.optim.Adam(copy.parameters(), lr=self.lr)
        maker_optimizer = torch.optim.Adam(maker.parameters(), lr=self.generator_lr)
        left = self.queries if target.budget is None else target.budget
        xs, ys = [], []

        def noise(n):
            return torch.randn(n, self.latent, generator=stream).to(device)

        def learn(x, y):
            optimizer.zero_grad()
            (copy.train()(x) - y).abs().mean().backward()
            optimizer.step()

        with seeded("dropout", derive("surrogate", seed)):
            while left >= 1:
                n = min(self.batch_size, left // (1 + self.directions))
                if n > 1:
                    raw = maker.train()(noise(n))

                    def disagreement(x):
                        return (copy.eval()(x) - logits(target.scores(x))).abs().mean(1)
                    gradient = estimate(lambda r: -disagreement(r.mul(SCALE).sigmoid()), raw.detach(), self.directions, self.step, stream)
                    maker_optimizer.zero_grad()
                    raw.backward(gradient / n)
                    maker_optimizer.step()
                    left -= n * (1 + self.directions)
                for _ in range(self.surrogate_steps):
                    n = min(self.batch_size, left)
                    if n < 1: break
                    with torch.no_grad():
                        x = maker.train()(noise(max(n,2)))[:n].mul(SCALE).sigmoid()
                    y = logits(target.scores(x))
                    left -= n
                    xs.append(x); ys.append(y)
                    if REPLAY and len(xs) > 1:
                        old = int(torch.randint(len(xs), (1,), generator=stream))
                        x = torch.cat([x, xs[old]]); y = torch.cat([y, ys[old]])
                    if len(x) > 1: learn(x, y)
            X, Y = torch.cat(xs), torch.cat(ys)
            for _ in range(self.final_epochs):
                for b in torch.randperm(len(X), generator=stream).split(256):
                    learn(X[b], Y[b])
        self_stats.append(X)
        return copy.eval()
REPLAY=True; SCALE=2.0
self_stats=[]

def logits(scores: Tensor) -> Tensor:
    """The logits (n, classes) behind scores, up to the constant that makes their mean 0."""
    found = scores.clamp_min(SMALLEST).log()
    return found - found.mean(1, keepdim=True)


def estimate(f, x, directions, step, stream):
    with torch.no_grad():
        here = f(x)
        out = torch.zeros_like(x)
        dim = x[0].numel()
        for _ in range(directions):
            u = torch.randn(x.shape, generator=stream).to(x.device)
            u = u / u.flatten(1).norm(dim=1).view(-1, *[1] * (x.dim() - 1))
            slope = (f(x + step * u) - here) / step
            out += dim * slope.view(-1, *[1] * (x.dim() - 1)) * u
        return out / directions


class Generator(nn.Module):
    """Noise (n, latent) to images before the squashing, by three convolutions."""

    def __init__(self, input_shape: tuple[int, int, int], latent: int, width: int) -> None:
        super().__init__()
        channels, height, width_ = input_shape
        self.start = (2 * width, -(-height // 4), -(-width_ // 4))
        self.first = nn.Linear(latent, 2 * width * self.start[1] * self.start[2])
        self.layers = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            nn.Upsample((-(-height // 2), -(-width_ // 2))),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Upsample((height, width_)),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.BatchNorm2d(channels, affine=False),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(self.first(z).view(-1, *self.start))
