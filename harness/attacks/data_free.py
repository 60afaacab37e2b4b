"""Extraction without any data: a generator makes the inputs that are asked.

The generator looks for inputs on which the surrogate and the target disagree; the surrogate learns
the target's answers to them. The target cannot be differentiated, so the generator's gradient is
estimated from answers to inputs moved a little in random directions. Those answers are queries too.
Rows of a table are made by another generator: see `harness.attacks.shared.row_generator`.

References:
    Truong, Maini, Walls and Papernot (2021). Data-Free Model Extraction. CVPR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from harness.attacks.protocol import AttackerData
from harness.attacks.shared import convergence, surrogate
from harness.attacks.shared.row_generator import RowGenerator, drawn, slope_of
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.learning.fit import fit, make_optimizer
from harness.seeds import derive, generator, seeded
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError
from zoo.recipe import Recipe

SMALLEST = 1e-12
"""What a score counts as at least: one that was rounded to 0 has no logarithm."""


@dataclass(frozen=True, kw_only=True)
class DataFree:
    """Let a generator and a surrogate play against each other until the budget is spent.

    Both are judged by the absolute difference between the surrogate's logits and the target's,
    which its scores tell up to a constant. Unlike in the paper, answers are kept, and the surrogate
    is trained on all of them in the end: that costs no queries.

    Attributes:
        queries: Query budget if the threat model sets none.
        surrogate: Architecture of the surrogate; the target's own if not given.
        lr: Learning rate of the surrogate's Adam.
        epochs: Passes over all answers in the end.
        batch_size: Inputs per step.
        generator_lr: Learning rate of the generator's Adam.
        surrogate_steps: Steps of the surrogate for each step of the generator.
        directions: Random directions in which a gradient is estimated; one query for each, and one.
        step: How far an input is moved, before it is squashed into the pixel range.
        latent: Size of the noise that an input is made from.
        width: Channels of the generator's last hidden layer; that of a table's rows has four times
            as many units.
    """

    name: ClassVar[str] = "data-free"
    risk: ClassVar[Risk] = Risk.EXTRACTION
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Truong et al. (2021), https://arxiv.org/abs/2011.14779"

    queries: int = 20_000
    surrogate: str | None = None
    lr: float = 2e-3
    epochs: int = 20
    batch_size: int = 64
    generator_lr: float = 1e-3
    surrogate_steps: int = 5  # as the authors' code, like the next two
    directions: int = 1
    step: float = 1e-3
    latent: int = 64
    width: int = 32

    def __post_init__(self) -> None:
        _ = self.recipe
        for name, low in (
            ("queries", 1), ("batch_size", 2), ("surrogate_steps", 1), ("directions", 1),
            ("latent", 1), ("width", 1),
        ):  # fmt: skip
            if getattr(self, name) < low:
                raise ZooError(
                    f"data-free wants {name} of at least {low}, found {getattr(self, name)}."
                )
        for name in ("generator_lr", "step"):
            if not getattr(self, name) > 0:
                raise ZooError(f"data-free wants {name} above 0, found {getattr(self, name)}.")

    @property
    def recipe(self) -> Recipe:
        """How the surrogate is trained."""
        return Recipe(lr=self.lr, epochs=self.epochs, batch_size=self.batch_size)

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse a surrogate that does not fit the dataset.

        Raises:
            ZooError: It is unknown, or its input or its classes do not fit.
        """
        surrogate.check(self.surrogate, dataset)
        return self

    def run(self, target: BlackBox, data: AttackerData, *, seed: int) -> nn.Module:
        """Steal ``target`` and return the surrogate, in eval mode."""
        stream, device = generator("data-free", seed), target.device
        copy = surrogate.build(self.surrogate, data, seed).to(device)
        images = len(data.input_shape) == 3
        with seeded("generator", seed):
            if images:
                maker = Generator(data.input_shape, self.latent, self.width)
            else:
                maker = RowGenerator(data.input_shape[0], self.latent, self.width)
        maker.to(device)
        optimizer = make_optimizer(list(copy.parameters()), self.recipe)
        maker_optimizer = torch.optim.Adam(maker.parameters(), lr=self.generator_lr)
        budget = self.queries if target.budget is None else target.budget
        left = budget
        xs, answers = [], []

        def make(n: int) -> Tensor:
            # Always a whole batch, which batch norm needs.
            noise = torch.randn(self.batch_size, self.latent, generator=stream)
            return maker(noise.to(device))[:n]

        def finished(raw: Tensor) -> Tensor:
            return squash(raw) if images else drawn(raw, data.columns, squash, stream)

        def agreement(x: Tensor) -> Tensor:
            return -(copy(x) - logits(target.scores(x))).abs().mean(1)

        def slope_at(raw: Tensor) -> Tensor:
            if images:
                return estimate(
                    lambda raw: agreement(squash(raw)), raw, self.directions, self.step, stream
                )
            return slope_of(
                agreement, raw, data.columns, squash=squash, directions=self.directions,
                step=self.step, stream=stream,
            )  # fmt: skip

        with seeded("dropout", derive("surrogate", seed)):
            while left:
                copy.train()
                for _ in range(self.surrogate_steps):
                    n = min(self.batch_size, left)
                    if n == 0:
                        break
                    with torch.no_grad():
                        x = finished(make(n))
                    wanted = logits(target.scores(x))
                    left -= n
                    xs.append(x)
                    answers.append(wanted)
                    if n > 1:  # batch norm cannot be trained on one example
                        optimizer.zero_grad()
                        (copy(x) - wanted).abs().mean().backward()
                        optimizer.step()
                copy.eval()
                n = min(self.batch_size, left // (1 + self.directions))
                if n:
                    raw = make(n)
                    slope = slope_at(raw.detach())
                    left -= n * (1 + self.directions)
                    maker_optimizer.zero_grad()
                    raw.backward(slope / n)
                    maker_optimizer.step()
        x, wanted = torch.cat(xs), torch.cat(answers)
        fit(
            copy,
            Split(x, wanted),
            self.recipe,
            seed=derive("surrogate", seed),
            loss=lambda model, batch, _: (model(batch.x) - batch.y).abs().mean(1),
        )
        if len(wanted.argmax(1).unique()) == 1:
            data.doubts.append(
                "the generator learned nothing: the target answers all that it made with one class."
            )
        convergence.classifies(data, "the surrogate", copy, x, wanted.softmax(1))
        return copy


def squash(raw: Tensor) -> Tensor:
    """Any numbers as pixels in [0, 1]: the hyperbolic tangent of the paper, moved there."""
    return (2 * raw).sigmoid()


def logits(scores: Tensor) -> Tensor:
    """The logits (n, classes) behind scores, up to the constant that makes their mean 0."""
    found = scores.clamp_min(SMALLEST).log()
    return found - found.mean(1, keepdim=True)


@torch.no_grad()
def estimate(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    directions: int,
    step: float,
    stream: torch.Generator,
) -> Tensor:
    """The gradient of ``function`` at each of ``x``, by forward differences; the shape of ``x``.

    Args:
        function: From inputs (n, ...) to one value for each (n,).
        x: Where to estimate (n, ...).
        directions: How many to average over, drawn uniformly from the unit sphere.
        step: Length of the differences.
        stream: Of the directions.
    """
    here = function(x)
    each = (-1, *[1] * (x.dim() - 1))
    found = torch.zeros_like(x)
    for _ in range(directions):
        u = torch.randn(x.shape, generator=stream).to(x.device)
        u /= u.flatten(1).norm(dim=1).view(each)
        found += (function(x + step * u) - here).view(each) / step * u
    # The mean of u u' over the sphere is the identity divided by the number of pixels.
    return found * x[0].numel() / directions


class Generator(nn.Module):
    """Noise (n, latent) to images (n, channels, height, width) that are not squashed yet."""

    def __init__(self, input_shape: tuple[int, ...], latent: int, width: int) -> None:
        super().__init__()
        channels, *full = input_shape
        half, quarter = ([-(-side // part) for side in full] for part in (2, 4))
        self.start = (2 * width, *quarter)
        self.project = nn.Linear(latent, 2 * width * quarter[0] * quarter[1])
        self.layers = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            nn.Upsample(tuple(half)),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Upsample(tuple(full)),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.BatchNorm2d(channels, affine=False),
        )

    def forward(self, noise: Tensor) -> Tensor:
        """Images of mean 0 and deviation 1 over the batch."""
        return self.layers(self.project(noise).view(-1, *self.start))
