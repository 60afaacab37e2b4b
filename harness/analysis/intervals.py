"""How sure a mean effect is, over seeds and over examples at once. Pure.

Seeds deal one finite dataset anew, so their results share examples: an interval over seeds alone
says how well these data are known, not how the effect is on new examples of the same population,
and gets the shorter the more seeds there are, whatever the data. What is estimated here is the mean
effect on **new examples of the same population and, where models are trained, over new trainings**.

Every seed ``s`` gives values ``v`` of its examples ``i``, the mean of which is the effect at that
seed. They are seen as ``mean + seed + example + remainder``, all independent: the three variances
follow from the squared differences of pairs of values that share the seed, the example or neither
(moments for unbalanced crossed random effects), and the variance of the mean over seeds from those.

References:
    Searle, Casella and McCulloch (1992). Variance Components. Wiley. (estimation by moments)
    Owen (2007). The Pigeonhole Bootstrap. Annals of Applied Statistics. (crossed resampling, and
    what resampling one factor alone misses)
    Satterthwaite (1946). An Approximate Distribution of Estimates of Variance Components.
    Schuirmann (1987). A Comparison of the Two One-Sided Tests Procedure. J. Pharmacokin. Biopharm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Basis = Literal["seeds and examples", "examples", "seeds"]
"""What an interval is over, and so what it generalises to."""

ROUNDING = 1e-12
"""What rounding may leave of a number that is 0."""

MOST_SEEDS = 1_000
"""Up to this many seeds are tried to say how many would resolve an effect."""


@dataclass(frozen=True, eq=False)
class Values:
    """Values of the examples of one seed.

    Attributes:
        index: (n,) int64, which examples, each once.
        value: (n,), the mean of which is what was measured at this seed.
        blocks: Whether they are not examples but blocks of many.
    """

    index: np.ndarray
    value: np.ndarray
    blocks: bool = False

    def minus(self, other: Values) -> Values:
        """The difference of both means, example by example.

        An example that only one side has adds to that side alone; the mean of the values that are
        returned is the difference of the means all the same.
        """
        index = np.union1d(self.index, other.index)
        value = np.full(len(index), self.value.mean() - other.value.mean())
        for one, sign in ((self, 1), (other, -1)):
            share = len(index) / len(one.index)
            value[np.searchsorted(index, one.index)] += (
                sign * share * (one.value - one.value.mean())
            )
        return Values(index, value, self.blocks)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What the variance of a mean over seeds is made of.

    Attributes:
        seed: Variance between seeds: other trainings, other luck of the attack.
        example: Variance between examples.
        remainder: Variance of an example at a seed beyond both.
        seeds: How many.
        per_seed: Examples of one seed, the harmonic mean.
        shared: Examples that two seeds have in common, on average.
        examples: Distinct examples, or blocks of them; 0 if nothing is known of them.
        unseen: Whether these are examples: of a kind that none of them is, there may be a share of
            up to 1 - .05^(1 / examples) in the population.
    """

    seed: float
    example: float
    remainder: float
    seeds: int
    per_seed: float
    shared: float
    examples: int
    unseen: bool = False

    def variance(self, seeds: int) -> float:
        """Of the mean over ``seeds`` seeds that are dealt like these."""
        own = self.seed + (self.example + self.remainder) / self.per_seed
        return own / seeds + self._common * (1 - 1 / seeds)

    @property
    def _common(self) -> float:
        """Covariance of two seeds, by the examples that they share: more seeds do not lower it."""
        return self.example * self.shared / self.per_seed**2

    @property
    def countable(self) -> int:
        """How many examples speak for those that were not seen; 0 if none do."""
        return self.examples if self.unseen else 0

    def unlike_zero(self, effect: float) -> float:
        """The p-value below which so few examples cannot tell ``effect`` from none.

        None of them may be of the kind that moves: this is the chance to see none of a share of
        ``abs(effect)``.
        """
        return (1 - abs(effect)) ** self.countable if self.countable else 0.0

    def unlike_margin(self, effect: float, margin: float) -> float | None:
        """The same of an effect within ``margin``: the chance to miss what lacks to it.

        None where nothing is known of examples.
        """
        if not self.countable:
            return None
        return (1 - max(0.0, margin - abs(effect))) ** self.countable

    def freedom(self, seeds: int) -> float:
        """Degrees of freedom of the variance with ``seeds`` seeds, after Satterthwaite."""
        common = self._common * (1 - 1 / seeds)
        own = self.variance(seeds) - common
        if seeds == 1:  # nothing is known between seeds; the rest is over examples
            return max(1, self.examples - 1)
        lost = own**2 / (seeds - 1) + common**2 / max(1, self.examples - 1)
        return (own + common) ** 2 / lost if lost else float(seeds - 1)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean effect and what may be said of it.

    Attributes:
        effect: The mean over seeds.
        low: Lower end of the interval; None where there is no variance to be had.
        high: Upper end.
        p: Two-sided, of no effect.
        p_equivalence: That the effect lies outside the margin, by two one-sided tests.
        basis: What the interval is over.
        seeds_needed: About how many seeds would tell this effect from 0, or from the margin; None
            if no number would, or there is no variance.
    """

    effect: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_equivalence: float | None = None
    basis: Basis = "seeds"
    seeds_needed: int | None = None


def over_seeds_and_examples(
    values: Sequence[Values], *, alpha: float, margin: float, trained: bool
) -> Estimate:
    """The mean over seeds, with its interval over seeds and examples.

    Args:
        values: One for each seed.
        alpha: Level of the tests and, as 1 - alpha, of the interval.
        margin: Effects within plus or minus this are equivalent to none.
        trained: Whether seeds are trainings: then a single one tells nothing about others. Where
            they only are the luck of an attack, a single one has an interval over examples.
    """
    effect = float(np.mean([one.value.mean() for one in values]))
    if len(values) == 1 and trained:
        return Estimate(effect=effect)
    basis: Basis = "examples" if len(values) == 1 else "seeds and examples"
    return _estimate(effect, components(values), alpha, margin, basis)


def over_seeds(effects: Sequence[float], *, alpha: float, margin: float) -> Estimate:
    """The mean over seeds of something that no single example has, with Student's interval.

    It leaves out what other examples would give.
    """
    found = np.asarray(effects, float)
    if len(found) == 1:
        return Estimate(effect=float(found[0]))
    spread = Spread(
        seed=float(found.var(ddof=1)), example=0.0, remainder=0.0, seeds=len(found), per_seed=1.0,
        shared=0.0, examples=0,
    )  # fmt: skip
    return _estimate(float(found.mean()), spread, alpha, margin, "seeds")


def components(values: Sequence[Values]) -> Spread:
    """The variances between seeds, between examples and of the remainder, from their moments.

    Half the mean squared difference of two values is the sum of the variances of what they do not
    share. Estimates below 0 are 0. Where no example has two seeds, example and remainder cannot be
    told apart, and need not be.

    Args:
        values: One for each seed; at least one.
    """
    seed = np.repeat(np.arange(len(values)), [len(one.index) for one in values])
    _, example = np.unique(np.concatenate([one.index for one in values]), return_inverse=True)
    value = np.concatenate([one.value for one in values])
    value = value - value.mean()  # against cancellation below
    total, n = len(value), np.array([len(one.index) for one in values])
    count = np.bincount(example)
    all_pairs = total * np.square(value).sum() - value.sum() ** 2
    of_seeds, of_examples = (
        (k * np.bincount(of, np.square(value)) - np.square(np.bincount(of, value))).sum()
        for of, k in ((seed, n), (example, count))
    )
    seed_pairs, example_pairs = ((k * (k - 1)).sum() for k in (n, count))
    neither_pairs = total * (total - 1) - seed_pairs - example_pairs
    within_seed = of_seeds / seed_pairs if seed_pairs else 0.0
    within_example = of_examples / example_pairs if example_pairs else 0.0
    apart = within_seed
    if neither_pairs:
        apart = (all_pairs - of_seeds - of_examples) / neither_pairs
    between_examples = max(0.0, apart - within_example) if example_pairs else within_seed
    return Spread(
        seed=max(0.0, apart - within_seed),
        example=between_examples,
        remainder=max(0.0, within_seed - between_examples),
        seeds=len(values),
        per_seed=float(stats.hmean(n)),
        shared=example_pairs / (len(n) * (len(n) - 1)) if len(n) > 1 else 0.0,
        examples=len(count),
        unseen=not values[0].blocks,
    )


def _estimate(effect: float, spread: Spread, alpha: float, margin: float, basis: Basis) -> Estimate:
    seeds = spread.seeds
    effect = 0.0 if abs(effect) < ROUNDING else effect
    error: float = spread.variance(seeds) ** 0.5
    few = spread.countable
    floor = 1 - alpha ** (1 / few) if few else 0.0
    unseen, missed = spread.unlike_zero(effect), spread.unlike_margin(effect, margin)
    if error < ROUNDING:
        # Nothing varies: the effect is as sure as signs of so many seeds, or so many examples, are.
        by_signs = 1 + math.ceil(-math.log2(alpha))
        can_be_told = effect != 0 and unseen < alpha
        can_be_within = abs(effect) < margin and (missed is None or missed < alpha)
        within = 2.0 ** (1 - seeds) if missed is None else missed
        return Estimate(
            effect=effect,
            low=effect - floor,
            high=effect + floor,
            p=1.0 if effect == 0 else max(2.0 ** (1 - seeds), unseen),
            p_equivalence=within if abs(effect) < margin else 1.0,
            basis=basis,
            seeds_needed=by_signs if can_be_told or can_be_within else None,
        )
    law = stats.t(spread.freedom(seeds))
    reach = max(floor, float(law.ppf(1 - alpha / 2)) * error)
    within = float(law.sf((margin - abs(effect)) / error))
    return Estimate(
        effect=effect,
        low=effect - reach,
        high=effect + reach,
        p=max(float(2 * law.sf(abs(effect) / error)), unseen),
        p_equivalence=within if missed is None else max(within, missed),
        basis=basis,
        seeds_needed=_seeds_needed(effect, spread, alpha, margin),
    )


def _seeds_needed(effect: float, spread: Spread, alpha: float, margin: float) -> int | None:
    """The fewest seeds by which an effect of this size is told from 0 or is within the margin."""
    seeds = np.unique(np.geomspace(2, MOST_SEEDS, 200).round().astype(int))
    error = np.array([spread.variance(k) ** 0.5 for k in seeds])
    freedom = np.array([spread.freedom(k) for k in seeds])
    told = np.abs(effect) > stats.t.ppf(1 - alpha / 2, freedom) * error
    within = margin - np.abs(effect) > stats.t.ppf(1 - alpha, freedom) * error
    # What was never seen among so few examples, more seeds on the same ones do not show.
    missed = spread.unlike_margin(effect, margin)
    told &= spread.unlike_zero(effect) < alpha
    within &= missed is None or missed < alpha
    enough = seeds[told | within]
    return int(enough[0]) if len(enough) else None
