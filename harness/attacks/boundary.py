"""Membership inference from labels alone: members are farther from the decision boundary.

References:
    Choquette-Choo et al. (2021). Label-Only Membership Inference Attacks. ICML.
    Li and Zhang (2021). Membership Leakage in Label-Only Exposures. CCS.
    Chen, Jordan and Wainwright (2020). HopSkipJumpAttack: A Query-Efficient Decision-Based Attack.
    IEEE S&P.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared import perturbation
from harness.attacks.shared.perturbation import PIXELS, per_example, sizes
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError

FIRST_RADIUS = 0.1  # Chen et al. 2020; of the first sphere on which a gradient is estimated
HALVINGS = 10  # of a step that does not stay beyond the boundary

Wrong = Callable[[Tensor, Tensor], Tensor]
"""Inputs (m, ...) and the rows (m,) they were made from: which are misclassified, (m,) bool."""


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """Score a candidate by how far it has to be moved until its label is lost; 0 if it never was.

    The distance is HopSkipJump's, in L2, for a batch of candidates at once. Every search starts at
    the nearest candidate that the target calls something else, which costs no query, where the
    paper looks for a misclassified point in noise. Moved inputs stay in [0, 1], but a moved row of
    a table need not be one that a person could have.

    Attributes:
        queries: Most queries about one candidate; fewer if the budget is less.
        samples: Queries for the first estimate of a gradient; more for later ones.
        candidates: How many candidates are judged; all of them if not given.
        batch_size: Candidates at once.
    """

    name: ClassVar[str] = "boundary"
    risk: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Choquette-Choo et al. (2021), https://arxiv.org/abs/2007.14321"

    queries: int = 1000
    samples: int = 100  # Chen et al. 2020
    candidates: int | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        perturbation.check_counts(self, "queries", "samples", "batch_size")
        if self.candidates is not None and self.candidates < 2:
            raise ZooError(f"boundary wants candidates of at least 2, found {self.candidates}.")

    def check_questions(
        self, *, numbers: int, candidates: int, budget: int | None, shadows: int
    ) -> None:
        """Refuse fewer queries than it takes to find the boundary at all.

        Raises:
            ZooError: It is so.
        """
        queries, least = self._queries(candidates, budget), 1 + search_steps(numbers)
        if queries < least:
            raise ZooError(
                f"boundary asks about {candidates} candidates at least {least} times each, but "
                f"{queries} queries about each are granted. Raise boundary.queries or --queries."
            )

    def _queries(self, candidates: int, budget: int | None) -> int:
        """About each candidate."""
        return self.queries if budget is None else min(self.queries, budget // candidates)

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """The distance of each candidate from the boundary, (n,).

        Raises:
            ZooError: The queries do not suffice to find the boundary at all.
        """
        x, y = data.points.x, data.points.y
        self.check_questions(
            numbers=x[0].numel(), candidates=len(x), budget=target.budget, shadows=0
        )
        queries = self._queries(len(x), target.budget)
        called = target.labels(x)
        # Nothing in the data's range is farther away than its diagonal.
        found = torch.full_like(y, math.sqrt(x[0].numel()), dtype=x.dtype)
        found[called != y] = 0
        stream = generator("boundary", seed)
        for row in (called == y).nonzero()[:, 0].split(self.batch_size):
            start, reached = nearest(x[row], x, called[None] != y[row, None])
            row = row[reached]
            if len(row):
                found[row] = self._distances(target, x[row], y[row], start, queries - 1, stream)
        return found

    def _distances(
        self,
        target: BlackBox,
        x: Tensor,
        y: Tensor,
        start: Tensor,
        queries: int,
        stream: torch.Generator,
    ) -> Tensor:
        """HopSkipJump (Chen et al. 2020, algorithm 2) from misclassified ``start``."""

        def wrong(moved: Tensor, row: Tensor) -> Tensor:
            return target.labels(moved) != y[row]

        dim = x[0].numel()
        steps = search_steps(dim)
        edge = search(wrong, x, start, steps)
        distance = sizes(edge - x, "l2")
        least, asked, turn = distance, steps, 1
        while True:
            samples = int(self.samples * math.sqrt(turn))
            asked += samples + 1 + HALVINGS + steps
            if asked > queries:
                return least
            radius = distance / dim if turn > 1 else torch.full_like(distance, FIRST_RADIUS)
            ascent = normal(wrong, edge, radius, samples, stream)
            far = hop(wrong, edge, ascent, distance / math.sqrt(turn))
            edge = search(wrong, x, far, steps)
            distance = sizes(edge - x, "l2")
            least = torch.minimum(least, distance)
            turn += 1


def search_steps(numbers: int) -> int:
    """Halvings until the boundary is known to d^-1.5 of the way, d ``numbers`` to an input."""
    return max(1, math.ceil(1.5 * math.log2(numbers)))


def nearest(x: Tensor, others: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """For each of ``x`` (n, ...) the nearest of ``others`` (m, ...) that it may have.

    Args:
        x: Inputs.
        others: Inputs.
        allowed: (n, m) bool.

    Returns:
        Those of the inputs that may have any, (k, ...), and which those are, (n,) bool.
    """
    far = torch.cdist(x.flatten(1), others.flatten(1)).masked_fill(~allowed, torch.inf)
    reached = allowed.any(1)
    return others[far[reached].argmin(1)], reached


def search(wrong: Wrong, x: Tensor, far: Tensor, steps: int) -> Tensor:
    """The misclassified point on the way from ``x`` to the misclassified ``far``, by bisection."""
    row = torch.arange(len(x), device=x.device)
    low, high = torch.zeros_like(row, dtype=x.dtype), torch.ones_like(row, dtype=x.dtype)
    for _ in range(steps):
        middle = (low + high) / 2
        beyond = wrong(x + per_example(middle, x) * (far - x), row)
        low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
    return x + per_example(high, x) * (far - x)


def normal(
    wrong: Wrong, edge: Tensor, radius: Tensor, samples: int, stream: torch.Generator
) -> Tensor:
    """The direction of length 1 that leads away from the right label, by Monte Carlo.

    Args:
        wrong: Says which inputs are misclassified.
        edge: Points on the boundary (n, ...).
        radius: (n,), of the sphere around each on which is asked.
        samples: How many questions about each. All points are moved along the same directions.
        stream: Of those.
    """
    n, shape = len(edge), edge.shape[1:]
    ways = torch.randn(samples, *shape, generator=stream)
    ways = (ways / perturbation.norms(ways)).to(edge.device)
    length = per_example(radius, edge)[:, None]
    moved = (edge[:, None] + length * ways).clamp(*PIXELS)
    row = torch.arange(n, device=edge.device).repeat_interleave(samples)
    beyond = wrong(moved.flatten(0, 1), row).view(n, samples).to(edge.dtype)
    # Less their mean, as in the paper's equation 16; where all agree, all of them count.
    mean = beyond.mean(1, keepdim=True)
    weight = torch.where((mean == 0) | (mean == 1), 2 * mean - 1, beyond - mean)
    taken = (moved - edge[:, None]) / length
    return perturbation.direction(torch.einsum("nb,nb...->n...", weight, taken), "l2")


def hop(wrong: Wrong, edge: Tensor, ascent: Tensor, step: Tensor) -> Tensor:
    """A misclassified point along ``ascent``, at ``step`` (n,) or the first half that works.

    Points for which no half works stay where they are.
    """
    out, row = edge.clone(), torch.arange(len(edge), device=edge.device)
    for _ in range(HALVINGS + 1):
        moved = (edge[row] + per_example(step, edge) * ascent[row]).clamp(*PIXELS)
        beyond = wrong(moved, row)
        out[row[beyond]] = moved[beyond]
        row, step = row[~beyond], step[~beyond] / 2
        if not len(row):
            break
    return out
