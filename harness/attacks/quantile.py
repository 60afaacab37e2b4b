"""Membership inference by quantile regression: how sure the target would be of a non-member.

No shadow model is trained. A single network learns, from examples that the target was not trained
on, how confident the target is in an example that is no member.

References:
    Bertran et al. (2023). Scalable Membership Inference Attacks via Quantile Regression. NeurIPS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from harness.attacks.shared import convergence, surrogate
from harness.attacks.shared.attack_network import affordable, answers
from harness.attacks.shared.attacker_data import Candidates
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.learning.fit import fit
from harness.seeds import derive, seeded
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo import nets
from zoo.errors import ZooError
from zoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """Score a candidate by how far the target's confidence in it exceeds that in a non-member.

    The confidence is by how much the true class's logit leads the next. The network gives a
    forecast for each class that an example may have, and that of its label counts, so that a wrong
    label is expected to be mistrusted.

    Attributes:
        level: Forecast this quantile of a non-member's confidence, and score by the difference;
            without it, forecast mean and deviation, and score by how many deviations above the
            mean, which orders the candidates as all quantiles of that Gaussian would.
        network: Architecture of the forecaster; the target's own if not given.
        lr: Learning rate of Adam.
        epochs: Passes over the attacker's examples.
        batch_size: Examples per step.
        weight_decay: L2 penalty.
    """

    name: ClassVar[str] = "quantile"
    risk: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW,)
    reference: ClassVar[str] = "Bertran et al. (2023), https://arxiv.org/abs/2307.03694"

    level: float | None = None
    network: str | None = None
    lr: float = 1e-3
    epochs: int = 20
    batch_size: int = 64
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.level is not None and not 0 < self.level < 1:
            raise ZooError(f"quantile wants level between 0 and 1, found {self.level}.")
        _ = self.recipe

    @property
    def recipe(self) -> Recipe:
        """How the forecaster is trained."""
        return Recipe(
            lr=self.lr,
            epochs=self.epochs,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
        )

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse a network that does not fit the dataset.

        Raises:
            ZooError: It is unknown, or its input or its classes do not fit.
        """
        surrogate.check(self.network, dataset)
        return self

    def check_questions(
        self, *, numbers: int, candidates: int, budget: int | None, shadows: int
    ) -> None:
        """Refuse a budget that leaves less than two answers to learn from.

        Raises:
            ZooError: It is so.
        """
        if budget is not None and budget < candidates + 2:
            raise ZooError(
                f"quantile learns from the target's answers to examples of the attacker, but after "
                f"{candidates} candidates the query budget of {budget} leaves "
                f"{max(0, budget - candidates)}. Raise --queries."
            )

    def run(self, target: BlackBox, data: Candidates, *, seed: int) -> Tensor:
        """How far above the forecast each candidate is, (n,).

        Raises:
            ZooError: The budget does not suffice for the attacker's own examples.
        """
        self.check_questions(
            numbers=data.points.x[0].numel(),
            candidates=len(data.points),
            budget=target.budget,
            shadows=len(data.shadows),
        )
        known = data.aux.take(affordable(target, data, seed=seed))
        found = lead(target.scores(known.x), known.y)
        # The forecaster works on a scale on which the attacker's examples have mean 0 and
        # deviation 1; the order of the candidates does not depend on it.
        mean, spread = found.mean(), found.std().clamp_min(torch.finfo(found.dtype).tiny)
        outputs = 2 if self.level is None else 1
        with seeded("quantile", seed):
            network = nets.build(
                self.network or data.architecture, data.input_shape, outputs * data.num_classes
            ).to(known.x.device)
        goal = torch.stack([known.y.to(found.dtype), (found - mean) / spread], 1)
        loss = gaussian if self.level is None else pinball(self.level)

        def losses(net: nn.Module, batch: Split, _: torch.Generator) -> Tensor:
            return loss(_own(net(batch.x), batch.y[:, 0].long(), outputs), batch.y[:, 1])

        fit(
            network,
            Split(known.x, goal),
            self.recipe,
            seed=derive("quantile", seed),
            loss=losses,
        )
        self._check(data, _own(answers(network, known.x), known.y, outputs), goal[:, 1])
        points = data.points
        forecast = _own(answers(network, points.x), points.y, outputs)
        above = (lead(target.scores(points.x), points.y) - mean) / spread - forecast[:, 0]
        return above if self.level is not None else above / forecast[:, 1].exp()

    def _check(self, data: Candidates, forecast: Tensor, value: Tensor) -> None:
        """Compare the forecasts (n, outputs) of what was learned from with the best constant."""
        what = "the forecaster"
        if self.level is None:
            return convergence.fits(data, what, forecast[:, :1], value[:, None])
        loss, same = pinball(self.level), value.quantile(self.level).expand(len(value), 1)
        error, constant = (loss(found, value).mean().item() for found in (forecast, same))
        convergence.check(data, what, error, constant)


def lead(scores: Tensor, y: Tensor) -> Tensor:
    """By how much the logit of each true class leads the largest other one, (n,).

    Args:
        scores: (n, classes) probabilities; their logarithms are logits up to a shift.
        y: (n,) true labels.
    """
    logits = scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
    own = logits.gather(1, y[:, None])[:, 0]
    return own - logits.scatter(1, y[:, None], -torch.inf).amax(1)


def gaussian(forecast: Tensor, value: Tensor) -> Tensor:
    """Minus the log-likelihood of each value, up to a constant, (n,).

    Args:
        forecast: (n, 2), mean and logarithm of the deviation.
        value: (n,).
    """
    mean, log_deviation = forecast[:, 0], forecast[:, 1]
    return log_deviation + ((value - mean) * (-log_deviation).exp()).square() / 2


def pinball(level: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that is least, on average, where the forecast (n, 1) is the quantile ``level``."""

    def loss(forecast: Tensor, value: Tensor) -> Tensor:
        above = value - forecast[:, 0]
        return torch.maximum(level * above, (level - 1) * above)

    return loss


def _own(found: Tensor, y: Tensor, outputs: int) -> Tensor:
    """The outputs (n, outputs) that belong to each example's label."""
    return found.unflatten(1, (outputs, -1)).gather(2, y[:, None, None].expand(-1, outputs, 1))[
        ..., 0
    ]
