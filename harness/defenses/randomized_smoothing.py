"""Randomized smoothing: let many noisy copies of the input vote, and prove how far that reaches.

References:
    Cohen, Rosenfeld and Kolter (2019). Certified Adversarial Robustness via Randomized Smoothing.
    ICML.
    Salman et al. (2019). Provably Robust Deep Learning via Adversarially Trained Smoothed
    Classifiers. NeurIPS.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harness.datasets import Dataset
from harness.defenses.answers import differentiates, streams, to_logits
from harness.defenses.gaussian_noise import check_sigma, customary_sigma
from harness.seeds import generator
from harness.types import Part, Risk
from zoo.errors import ZooError

ABSTAIN = -1


@dataclass(frozen=True, kw_only=True)
class RandomizedSmoothing:
    """Answer with the shares of votes that the classes get from noisy copies of the input.

    The certificate is on the vote of infinitely many copies: with probability 1 - ``alpha`` that
    vote is the certified label everywhere within the certified L2 radius. The answers are the
    vote of ``votes`` copies; they have no such guarantee where the vote is close. Models that were
    not trained with noise lose accuracy: combine with gaussian-noise.

    The noise of a copy depends on the input alone, so the same query gets the same answer. Whoever
    differentiates the answer by the input gets the mean score of the copies instead of their
    vote, whose gradient is 0 (Salman et al. 2019); each input has noise of its own, so that
    attack is adaptive.

    Attributes:
        sigma: Standard deviation of the noise in units of the pixel range; half the dataset's
            customary L2 radius if not given.
        votes: Noisy copies of each input for an answer.
        n0: Noisy copies to guess the label to certify.
        n: Noisy copies to bound its share of the votes. They limit the radius: to 2.46 * sigma with
            1,000 and to 3.81 * sigma with the paper's 100,000.
        alpha: Probability that a certificate is wrong.
        batch_size: Noisy copies on the device at once.
    """

    name: ClassVar[str] = "randomized-smoothing"
    guards: ClassVar[Risk] = Risk.EVASION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    reference: ClassVar[str] = "Cohen et al. (2019), https://arxiv.org/abs/1902.02918"

    sigma: float | None = None
    votes: int = 100
    n0: int = 100
    n: int = 1000
    alpha: float = 0.001
    batch_size: int = 1024

    def __post_init__(self) -> None:
        check_sigma(self.name, self.sigma)
        for name in ("votes", "n0", "n", "batch_size"):
            if getattr(self, name) < 1:
                raise ZooError(
                    f"randomized-smoothing wants {name} of at least 1, found {getattr(self, name)}."
                )
        if not 0 < self.alpha < 1:
            raise ZooError(f"randomized-smoothing wants alpha between 0 and 1, found {self.alpha}.")

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the noise that goes with the dataset."""
        return replace(self, sigma=customary_sigma(self.sigma, dataset))

    def guard(self, model: nn.Module) -> nn.Module:
        """``model`` with the votes of noisy copies as its answers."""
        assert self.sigma is not None, "resolve() first"
        return Smoothed(model, sigma=self.sigma, votes=self.votes, batch_size=self.batch_size)

    @torch.no_grad()
    def certify(self, model: nn.Module, x: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
        """Certified labels (n,) int64, -1 for none, and L2 radii (n,), 0 where there is none."""
        assert self.sigma is not None, "resolve() first"
        stream = generator("certify", seed)
        guesses = [self._count(model, example, self.n0, stream).argmax() for example in x]
        counts = [self._count(model, example, self.n, stream) for example in x]
        guess = torch.stack(guesses)
        hits = torch.stack(counts).gather(1, guess[:, None]).squeeze(1)
        share = torch.from_numpy(lower_bound(hits.cpu().numpy(), self.n, self.alpha))
        radius = self.sigma * torch.special.ndtri(share).clamp_min(0)
        label = torch.where(share > 0.5, guess.cpu(), ABSTAIN)
        return label.to(x.device), radius.to(x.device)

    def _count(self, model: nn.Module, x: Tensor, n: int, stream: torch.Generator) -> Tensor:
        """How many of ``n`` noisy copies of one input each class gets, (k,) int64."""
        assert self.sigma is not None, "resolve() first"
        device = next((p.device for p in model.parameters()), x.device)
        total: Tensor | int = 0
        for size in _chunks(n, self.batch_size):
            noise = torch.randn((size, *x.shape), generator=stream)
            logits = model((x + self.sigma * noise.to(x.device)).to(device))
            total = total + F.one_hot(logits.argmax(1), logits.shape[1]).sum(0)
        assert isinstance(total, Tensor)
        return total


class Smoothed(nn.Module):
    """The votes of noisy copies, as logits whose softmax are the classes' shares."""

    def __init__(self, model: nn.Module, *, sigma: float, votes: int, batch_size: int) -> None:
        super().__init__()
        self.model = model
        self._sigma = sigma
        self._votes = votes
        self._batch_size = batch_size

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, k)."""
        if differentiates(x):
            # Only one chunk's activations are kept: the others are computed again for the gradient.
            parts = [
                checkpoint(self._mean, x, noise, use_reentrant=False, preserve_rng_state=False)
                for noise in self._noise(x)
            ]
            return torch.stack(parts).logsumexp(0) - math.log(self._votes)
        counts = torch.stack([self._count(x, noise) for noise in self._noise(x)]).sum(0)
        return to_logits(counts / self._votes)

    def _noise(self, x: Tensor) -> Iterator[Tensor]:
        """Noise (b, chunk, ...) for some copies of every input at a time."""
        own = streams("randomized-smoothing", x)
        for size in _chunks(self._votes, max(1, self._batch_size // len(x))):
            noise = [torch.randn((size, *x.shape[1:]), generator=stream) for stream in own]
            yield self._sigma * torch.stack(noise).to(x.device)

    def _copies(self, x: Tensor, noise: Tensor) -> Tensor:
        """Logits (b, chunk, k) of the noisy copies."""
        return self.model((x[:, None] + noise).flatten(0, 1)).unflatten(0, noise.shape[:2])

    def _mean(self, x: Tensor, noise: Tensor) -> Tensor:
        """Logarithm of the sum of the copies' scores (b, k)."""
        return self._copies(x, noise).log_softmax(2).logsumexp(1)

    def _count(self, x: Tensor, noise: Tensor) -> Tensor:
        """How many of the copies each class gets (b, k)."""
        logits = self._copies(x, noise)
        return F.one_hot(logits.argmax(2), logits.shape[2]).sum(1)


def lower_bound(hits: np.ndarray, n: int, alpha: float) -> np.ndarray:
    """What a share is at least, with probability 1 - ``alpha``: the bound of Clopper and Pearson.

    Args:
        hits: (m,) how often it was hit in ``n`` tries.
        n: Number of tries.
        alpha: Probability that the share is smaller.
    """
    from scipy.stats import beta

    return np.where(hits > 0, beta.ppf(alpha, np.maximum(hits, 1), n - hits + 1), 0.0)


def _chunks(n: int, size: int) -> Iterator[int]:
    """``n`` in parts of at most ``size``."""
    for start in range(0, n, size):
        yield min(size, n - start)
