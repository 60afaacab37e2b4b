"""Randomized smoothing: let many noisy copies of the input vote, and prove how far that reaches.

References:
    Cohen, Rosenfeld and Kolter (2019). Certified Adversarial Robustness via Randomized Smoothing.
    ICML.
    Salman et al. (2019). Provably Robust Deep Learning via Adversarially Trained Smoothed
    Classifiers. NeurIPS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harness.attacks.shared import tabular_perturbation
from harness.data.dataset import Dataset
from harness.data.examples import Column
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.noise_level import check_sigma, customary_sigma
from harness.defenses.shared.rewritten_scores import noise
from harness.learning.scores import Draws, differentiates, to_logits
from harness.metrics.proportions import lower_bound
from harness.seeds import generator
from harness.types import Covered, Part, Risk
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

    Of a table, the numbers get noise and the categories stay. For each combination of categories
    that is a smoothed classifier of the numbers, so the radius is how far the *numbers* may move
    while the categories stay; noise on indicators would ask about nobody, and prove something about
    distances between categories that nobody can go.

    Attributes:
        sigma: Standard deviation of the noise in units of the pixel range; half the dataset's
            customary L2 radius if not given.
        votes: Noisy copies of each input for an answer.
        n0: Noisy copies to guess the label to certify.
        n: Noisy copies to bound its share of the votes. They limit the radius: to 2.46 * sigma with
            1,000 and to 3.81 * sigma with the paper's 100,000.
        alpha: Probability that a certificate is wrong.
        batch_size: Noisy copies on the device at once, or all of one input's.
    """

    name: ClassVar[str] = "randomized-smoothing"
    guards: ClassVar[Risk] = Risk.EVASION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    looks_at: ClassVar[Covered] = Covered.POST_PROCESSING
    reference: ClassVar[str] = "Cohen et al. (2019), https://arxiv.org/abs/1902.02918"

    sigma: float | None = None
    votes: int = 100
    n0: int = 100
    n: int = 1000
    alpha: float = 0.001
    batch_size: int = 512

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
        """Fill in the noise that goes with the dataset.

        Raises:
            NotApplicableError: The dataset has nothing that noise could be added to.
        """
        tabular_perturbation.check(self.name, dataset)
        return replace(self, sigma=customary_sigma(self.sigma, dataset))

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        """``model`` with the votes of noisy copies as its answers."""
        assert self.sigma is not None, "resolve() first"
        return Smoothed(
            model,
            sigma=self.sigma,
            votes=self.votes,
            batch_size=self.batch_size,
            columns=defender.data.columns,
        )

    @torch.no_grad()
    def certify(
        self, model: nn.Module, x: Tensor, defender: DefenderData, *, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Certified labels (n,) int64, -1 for none, and L2 radii (n,), 0 where there is none."""
        assert self.sigma is not None, "resolve() first"
        stream = generator("certify", seed)
        sigma = self.sigma * tabular_perturbation.movable(x, defender.data.columns).cpu()
        both = list(zip(x, sigma, strict=True))
        guesses = [self._count(model, one, by, self.n0, stream).argmax() for one, by in both]
        counts = [self._count(model, one, by, self.n, stream) for one, by in both]
        guess = torch.stack(guesses)
        hits = torch.stack(counts).gather(1, guess[:, None]).squeeze(1)
        share = torch.from_numpy(lower_bound(hits.cpu().numpy(), self.n, error=self.alpha))
        radius = self.sigma * torch.special.ndtri(share).clamp_min(0)
        label = torch.where(share > 0.5, guess.cpu(), ABSTAIN)
        return label.to(x.device), radius.to(x.device)

    def _count(
        self, model: nn.Module, x: Tensor, sigma: Tensor, n: int, stream: torch.Generator
    ) -> Tensor:
        """How many of ``n`` noisy copies of one input each class gets, (k,) int64."""
        device = next((p.device for p in model.parameters()), x.device)
        counts = []
        for start in range(0, n, self.batch_size):
            size = min(self.batch_size, n - start)
            shift = sigma * torch.randn((size, *x.shape), generator=stream)
            logits = model(x.to(device) + shift.to(device))
            counts.append(F.one_hot(logits.argmax(1), logits.shape[1]).sum(0))
        return torch.stack(counts).sum(0)


class Smoothed(Draws):
    """The votes of noisy copies, as logits whose softmax are the classes' shares."""

    def __init__(
        self,
        model: nn.Module,
        *,
        sigma: float,
        votes: int,
        batch_size: int,
        columns: Sequence[Column],
    ) -> None:
        super().__init__("randomized-smoothing")
        self.model = model
        self._sigma = sigma
        self._votes = votes
        self._columns = columns
        self._inputs_at_once = max(1, batch_size // votes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, k)."""
        return torch.cat([self._answer(part) for part in x.split(self._inputs_at_once)])

    def _answer(self, x: Tensor) -> Tensor:
        shift = self._sigma * noise(self.key, x, self._votes, *x.shape[1:])
        shift = shift * tabular_perturbation.movable(x, self._columns)[:, None]
        if differentiates(x):
            # Activations are not kept but computed again for the gradient: there are many copies.
            mean = checkpoint(self._mean, x, shift, use_reentrant=False, preserve_rng_state=False)
            assert isinstance(mean, Tensor)
            return mean
        logits = self._copies(x, shift)
        counts = F.one_hot(logits.argmax(2), logits.shape[2]).sum(1)
        return to_logits(counts / self._votes)

    def _copies(self, x: Tensor, shift: Tensor) -> Tensor:
        """Logits (b, votes, k) of the noisy copies."""
        return self.model((x[:, None] + shift).flatten(0, 1)).unflatten(0, shift.shape[:2])

    def _mean(self, x: Tensor, shift: Tensor) -> Tensor:
        """Logarithm of the copies' mean scores (b, k)."""
        return self._copies(x, shift).log_softmax(2).logsumexp(1) - math.log(self._votes)
