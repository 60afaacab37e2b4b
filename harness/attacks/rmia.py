"""RMIA: is the target more partial to an example than to others that it was not trained on?

How much more likely the target makes an example than the world does, is compared with the same
ratio of many examples of a population. A few reference models stand for the world.

References:
    Zarifzadeh, Liu and Shokri (2024). Low-Cost High-Power Membership Inference Attacks. ICML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.lira import SMALLEST_SCORE
from harness.attacks.shared.attack_network import affordable
from harness.attacks.shared.attacker_data import Candidates
from harness.data.examples import Split
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class RMIA:
    """Score a candidate by the share of the population that it dominates.

    Attributes:
        shadows: How many reference models; each candidate is in the training data of one of four.
        online: Whether reference models trained on an example count for its probability. Without,
            what they would say is interpolated from the others.
        gamma: By which factor a candidate has to exceed one of the population.
        a: Of the interpolation: the probability under models trained on an example is taken to be
            a * p + 1 - a, where p is that under the others. Without effect online.
    """

    name: ClassVar[str] = "rmia"
    risk: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW,)
    reference: ClassVar[str] = "Zarifzadeh et al. (2024), https://arxiv.org/abs/2312.03262"

    shadows: int = 4
    online: bool = True
    gamma: float = 2.0  # the paper's, which found little difference between values
    a: float = 0.3  # the paper's for CIFAR-10

    def __post_init__(self) -> None:
        if self.shadows < 2:
            raise ZooError(
                f"rmia wants at least 2 reference models, found shadows={self.shadows}: one alone "
                f"was trained on a quarter of the candidates. Raise rmia.shadows."
            )
        if not self.gamma > 0:
            raise ZooError(f"rmia wants gamma above 0, found {self.gamma}.")
        if not 0 <= self.a <= 1:
            raise ZooError(f"rmia wants a between 0 and 1, found {self.a}.")

    def check_questions(
        self, *, numbers: int, candidates: int, budget: int | None, shadows: int
    ) -> None:
        """Refuse a budget that leaves nothing of the population.

        Raises:
            ZooError: It is so.
        """
        if budget is not None and budget <= candidates:
            raise ZooError(
                f"rmia compares candidates with other examples, but the query budget of {budget} "
                f"only suffices for {candidates} candidates. Raise --queries."
            )

    def run(self, target: BlackBox, data: Candidates, *, seed: int) -> Tensor:
        """The share of the population that each candidate dominates, (n,) float64 in [0, 1].

        Args:
            target: Asked once for each candidate and each example of the population.
            data: ``aux`` is the population; a query budget may allow for some of it only.
            seed: Which, in that case.

        Raises:
            ZooError: The budget leaves nothing of it.
        """
        self.check_questions(
            numbers=data.points.x[0].numel(),
            candidates=len(data.points),
            budget=target.budget,
            shadows=len(data.shadows),
        )
        rows = affordable(target, data, seed=seed)
        candidates = self._ratio(target, data, data.points, None)
        population = self._ratio(target, data, data.aux.take(rows), rows)
        ordered = (self.gamma * population).sort().values
        return torch.searchsorted(ordered, candidates, right=True).double() / len(rows)

    def _ratio(
        self, target: BlackBox, data: Candidates, given: Split, rows: Tensor | None
    ) -> Tensor:
        """Probability of the label under the target over that in general, (n,) float64.

        Args:
            target: Asked once for each.
            data: Has the reference models.
            given: Candidates, or those of ``aux`` at ``rows``.
            rows: None for candidates.
        """
        held = torch.stack(
            [s.members if rows is None else s.aux_members[rows] for s in data.shadows]
        )
        answers = torch.stack([_probability(s.box, given) for s in data.shadows])
        general = self.general(answers, held).clamp_min(SMALLEST_SCORE)
        return _probability(target, given) / general

    def general(self, answers: Tensor, held: Tensor) -> Tensor:
        """Probability of each example's label under models that may be trained on it, (n,).

        Args:
            answers: (shadows, n), the reference models' probabilities.
            held: (shadows, n) bool, whether they were trained on the example.
        """
        outside = _mean(answers, ~held)
        # What the data have many times may be in all of them; then these say the most there is.
        outside = torch.where(held.all(0), _mean(answers, held), outside)
        inside = self.a * outside + 1 - self.a
        if self.online:
            inside = torch.where(held.any(0), _mean(answers, held), inside)
        return (inside + outside) / 2


def _probability(box: BlackBox, given: Split) -> Tensor:
    return box.scores(given.x).double().gather(1, given.y[:, None])[:, 0]


def _mean(answers: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(chosen, answers, 0).sum(0) / chosen.sum(0).clamp_min(1)
