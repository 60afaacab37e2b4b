"""MemGuard: noise on the scores that a classifier of members cannot see through.

References:
    Jia et al. (2019). MemGuard: Defending against Black-Box Membership Inference Attacks via
    Adversarial Examples. CCS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.batches import parts
from harness.data.examples import Split
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.rewritten_scores import Rewritten, secret, uniform
from harness.learning.fit import fit
from harness.learning.scores import FLOOR
from harness.seeds import derive, generator, seeded
from harness.types import Part, Risk
from zoo.errors import ZooError
from zoo.nets.sequential import mlp
from zoo.recipe import Recipe

WIDTHS = (256, 128, 64)
"""Hidden layers of the owner's classifier, as in the paper."""

KEEP_LABEL = 10.0
"""Weight of the decision in the search, c2 of the paper."""

SMALL_NOISE = 0.1
"""Weight of the noise's size in the search, c3 of the paper. The paper raises it tenfold for as
long as the search succeeds; on digits that took 25 times as long and made the noise 0.1 % smaller,
so it is left as it begins."""

STEP = 0.1
"""Length of a step of the search, in logits."""

HALVINGS = 40
"""Of the last step, to where the odds are even."""

Classifier = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class MemGuard:
    """Find for each answer the small noise that leaves the owner's own attack at a loss.

    The owner trains a second model on half of the training data, without defenses, and a classifier
    that tells from its sorted scores which half an example is from. The noise of an answer takes
    that classifier to even odds and keeps the decision. It is added with the probability that keeps
    its expected size within the budget, drawn once for each input. Attackers with the weights, and
    those who only use the decisions, are not hindered.

    The classifier is made from the training data as they are: beside dpsgd, the guarantee is that
    of the weights, not of the answers.

    Attributes:
        budget: Expected L1 distance of the answer from the scores, of at most 2.
        steps: Most gradient steps that the search for the noise of an answer takes.
        epochs: Passes over the scores in the training of the classifier.
        lr: Learning rate of Adam, in the same.
    """

    name: ClassVar[str] = "memguard"
    guards: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    looks_at: ClassVar[str] = "the training examples, from which its classifier of members is made"
    reference: ClassVar[str] = "Jia et al. (2019), https://arxiv.org/abs/1909.10594"

    budget: float = 1.0
    steps: int = 300
    epochs: int = 30
    lr: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("budget", "lr"):
            if not getattr(self, name) > 0:
                raise ZooError(f"memguard wants {name} above 0, found {getattr(self, name)}.")
        if self.steps < 1 or self.epochs < 1:
            raise ZooError(
                f"memguard wants steps and epochs of at least 1, found {self.steps} and "
                f"{self.epochs}."
            )

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        """``model`` with noisy scores.

        Raises:
            NotApplicableError: The model is not trained here, so no second one can be.
        """
        return Rewritten(
            model, partial(self._rewrite, _classifier(self, defender), secret(self.name, defender))
        )

    def second(self, n: int, seed: int) -> Tensor:
        """Half of the training data, at random."""
        return self.halves(n, seed)[0]

    def halves(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Which of ``n`` training examples the second model sees, and which it does not."""
        first, other = torch.randperm(n, generator=generator(self.name, seed)).tensor_split(2)
        return first, other

    def _rewrite(self, member: Classifier, key: str, x: Tensor, scores: Tensor) -> Tensor:
        exact = scores.double()
        noisy = representative(member, exact, steps=self.steps)
        helps = member(noisy).abs() < member(exact).abs()
        size = (noisy - exact).abs().sum(1)
        drawn = uniform(key, x, 1)[:, 0] * size < self.budget
        return torch.where((helps & drawn)[:, None], noisy, exact).to(scores.dtype)


# A cell guards with the same means more than once.
@lru_cache(maxsize=2)
def _classifier(defense: MemGuard, defender: DefenderData) -> Classifier:
    """The owner's attack: from scores (b, k) float64 to the log-odds of membership (b,)."""
    planned = defender.seconds.get(defense.name)
    halves = defense.halves(len(defender.data), planned.seed if planned else defender.seed)
    inside, outside = (defender.data.take(rows.to(defender.data.x.device)) for rows in halves)
    second = planned.model if planned else defender.train(inside)
    with torch.no_grad():
        scores = torch.cat(
            [second(x).softmax(1) for half in (inside, outside) for x in parts(half.x)]
        )
    truth = (torch.arange(len(scores), device=scores.device) < len(inside)).long()
    with seeded(defense.name, defender.seed):
        net = mlp((scores.shape[1],), 2, hidden=WIDTHS).to(scores.device)
    fit(
        net,
        Split(scores.sort(dim=1).values, truth),
        Recipe(lr=defense.lr, epochs=defense.epochs),
        seed=derive(defense.name, defender.seed),
    )
    net.double().requires_grad_(False)

    def member(scores: Tensor) -> Tensor:
        logits = net(scores.sort(dim=1).values)
        return logits[:, 1] - logits[:, 0]

    return member


@torch.enable_grad()
def representative(member: Classifier, scores: Tensor, *, steps: int) -> Tensor:
    """Scores (b, k) near ``scores`` that keep the decision and are even odds to ``member``.

    Where none are found, the scores themselves.

    Args:
        member: From scores to the log-odds of membership (b,).
        scores: (b, k) float64.
        steps: Of gradient descent, each of length `STEP` in logits.
    """
    at = scores.clamp_min(FLOOR).log()
    decided, side = at.argmax(1), member(scores).sign()

    def across(logits: Tensor, rows: Tensor) -> Tensor:
        beyond = member(logits.softmax(1)) * side[rows] <= 0
        return beyond & (logits.argmax(1) == decided[rows])

    every = torch.arange(len(at), device=at.device)
    before, rows = at.clone(), every  # of the last step; rows that are still on their side
    for _ in range(steps):
        here, own = at[rows].requires_grad_(), decided[rows, None]
        shown = here.softmax(1)
        lead = here.gather(1, own)[:, 0] - here.scatter(1, own, -torch.inf).amax(1)
        size = (shown - scores[rows]).abs().sum(1)
        loss = member(shown).abs() + KEEP_LABEL * F.relu(-lead) + SMALL_NOISE * size
        (slope,) = torch.autograd.grad(loss.sum(), here)
        before[rows] = here.detach()
        at[rows] = before[rows] - STEP * F.normalize(slope, dim=1)
        rows = rows[~across(at[rows], rows)]
        if not len(rows):
            break
    # A whole step too far says as much as none: every member would be taken for a non-member.
    for _ in range(HALVINGS):
        middle = (before + at) / 2
        there = across(middle, every)[:, None]
        before, at = torch.where(there, before, middle), torch.where(there, middle, at)
    found = at.softmax(1)
    found[rows] = scores[rows]
    return found
