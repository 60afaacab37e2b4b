"""Rates of groups from the table of group by label by answer, and what luck does to them.

A rate depends on the table alone, so tables are drawn here in place of examples: the law is the
same, and a thousand draws take milliseconds.

References:
    Rubin (1981). The Bayesian Bootstrap. Annals of Statistics.
    Dempster (1966). New Methods for Reasoning Towards Posterior Distributions Based on Sample Data.
        Annals of Mathematical Statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

GAPS: dict[str, tuple[str, ...]] = {
    "demographic_parity_difference": ("selection_rate",),
    "equalized_odds_difference": ("tpr", "fpr"),
    "equal_opportunity_difference": ("tpr",),
    "predictive_parity_difference": ("ppv",),
    "accuracy_difference": ("accuracy",),
    "base_rate_difference": ("base_rate",),
}
"""Differences between groups, and the rates that they are about."""

CONFIDENCE = 0.95
"""Of every interval."""

DRAWS = 1_000
"""Of every rate, for an interval."""

SHUFFLES = 200
"""Tables that a mean under chance rests on."""

Rates = Mapping[str, np.ndarray]
"""By name, (..., groups, classes): of each class against all others. The accuracy, and the share of
all examples, are the same for every class."""

Ends = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""By name of a rate, the least and the most that it is in each draw: (draws, groups, classes)."""


def counted(
    predicted: np.ndarray, y: np.ndarray, group: np.ndarray, *, groups: int, num_classes: int
) -> np.ndarray:
    """The table of examples (n,) by group, label and answer: (groups, classes, classes) int64."""
    shape = (groups, num_classes, num_classes)
    cell = np.ravel_multi_index((group, y, predicted), shape)
    return np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape)


def resting_on(table: np.ndarray, classes: Sequence[int]) -> dict[str, np.ndarray]:
    """How many examples each rate rests on, as `Rates`.

    Args:
        table: (..., groups, classes, classes).
        classes: Those of interest.
    """
    n = table.sum((-1, -2))[..., None]
    positive, called = table.sum(-1)[..., classes], table.sum(-2)[..., classes]
    everybody = np.broadcast_to(n, positive.shape)
    return {
        "selection_rate": everybody,
        "base_rate": everybody,
        "accuracy": everybody,
        "tpr": positive,
        "fpr": everybody - positive,
        "ppv": called,
    }


def counts(table: np.ndarray, classes: Sequence[int]) -> dict[str, np.ndarray]:
    """How many of the examples that a rate rests on count for it, as `Rates`."""
    positive, called = table.sum(-1)[..., classes], table.sum(-2)[..., classes]
    right = np.diagonal(table, axis1=-2, axis2=-1)
    hits = right[..., classes]
    return {
        "selection_rate": called,
        "base_rate": positive,
        "accuracy": np.broadcast_to(right.sum(-1)[..., None], positive.shape),
        "tpr": hits,
        "fpr": called - hits,
        "ppv": hits,
    }


def rates(table: np.ndarray, classes: Sequence[int]) -> dict[str, np.ndarray]:
    """`Rates` of tables (..., groups, classes, classes); NaN where one rests on nothing."""
    above, below = counts(table, classes), resting_on(table, classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: above[name] / below[name] for name in above}


def spread(rate: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Largest minus smallest over the groups.

    Args:
        rate: (..., groups, classes).
        judged: (groups, classes) bool, which groups count.

    Returns:
        (..., classes), NaN where fewer than two groups are left.
    """
    counts = judged & np.isfinite(rate)
    largest = np.where(counts, rate, -np.inf).max(-2)
    smallest = np.where(counts, rate, np.inf).min(-2)
    with np.errstate(invalid="ignore"):
        return np.where(counts.sum(-2) >= 2, largest - smallest, np.nan)


def gaps(found: Rates, judged: Rates) -> dict[str, np.ndarray]:
    """Every difference of `GAPS`, (..., classes), NaN where one of its rates has none.

    Args:
        found: The rates.
        judged: For each rate (groups, classes) bool, which groups count.
    """
    return {
        name: np.stack([spread(found[rate], judged[rate]) for rate in about]).max(0)
        for name, about in GAPS.items()
    }


def worst(gap: np.ndarray) -> np.ndarray:
    """The largest of (..., classes) of those that are defined; NaN where none is."""
    defined = np.isfinite(gap)
    return np.where(defined.any(-1), np.where(defined, gap, -np.inf).max(-1), np.nan)


def redrawn(table: np.ndarray, classes: Sequence[int]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """`DRAWS` of every rate from the examples it rests on and one more, as `Ends`.

    This is Rubin's bootstrap, in which every example gets a random weight instead of being drawn or
    not. Without the one more, a rate of 0 or 1 would be the same in every draw, however few
    examples it rests on, and the interval would exclude a truth of .95. What the one more would be
    answered is not known. So each draw has two ends: it counts against the rate, or for it. Alone,
    the lower 2.5 % of the one and the upper 2.5 % of the other are the ends of Clopper and
    Pearson's interval. With many examples, one more does not matter.
    """
    rng = np.random.default_rng(0)
    above, below = counts(table, classes), resting_on(table, classes)
    found = {}
    for name, shape in ((name, n.shape) for name, n in below.items()):
        columns = slice(1) if name == "accuracy" else slice(None)  # one number for all classes
        for_it, n = above[name][:, columns], below[name][:, columns]
        size = (DRAWS, *n.shape)
        pro, con = rng.standard_gamma(for_it, size), rng.standard_gamma(n - for_it, size)
        more = rng.standard_exponential(size)
        total = pro + con + more
        found[name] = tuple(
            np.broadcast_to(share / total, (DRAWS, *shape)) for share in (pro, pro + more)
        )
    return found


def shuffled(table: np.ndarray) -> np.ndarray:
    """`SHUFFLES` tables in which groups are dealt anew among the examples of each true label.

    How often each label has each answer stays as it is, and how many of a label are of each group;
    the answer says nothing of the group beyond what the label does.
    """
    from scipy.stats import random_table

    rng = np.random.default_rng(0)
    found = np.zeros((SHUFFLES, *table.shape), dtype=np.int64)
    for label in range(table.shape[1]):
        of_label = table[:, label]
        if of_label.any():
            law = random_table(of_label.sum(1), of_label.sum(0))
            found[:, :, label] = law.rvs(SHUFFLES, random_state=rng)
    return found


def margins(observed: Rates, drawn: Ends, judged: Rates) -> dict[str, float]:
    """How far from the observed worst difference the true one may be, for each of `GAPS`.

    The quantile of a difference in redrawn tables would not do: a difference is never negative, so
    that of luck alone lies above 0 in every draw, and an interval of quantiles would never reach
    the 0 that is the truth. So the margin is what no single pair of groups deviates by more than,
    in 95 % of the draws: then the largest difference does not either, be it 0 or not. With more
    groups or rates than one, the interval is wide rather than narrow.

    Args:
        observed: Rates (groups, classes).
        drawn: The same of redrawn tables.
        judged: For each rate (groups, classes) bool, which groups count.

    Returns:
        By name; NaN where the difference is not defined.
    """
    away = {
        name: _farthest(high - observed[name], observed[name] - low, judged[name])
        for name, (low, high) in drawn.items()
    }
    return {
        name: _quantile(worst(np.stack([away[rate] for rate in about]).max(0)))
        for name, about in GAPS.items()
    }


def margin_of_least(observed: np.ndarray, drawn: np.ndarray, judged: np.ndarray) -> float:
    """The same for the least of the groups' rates.

    Args:
        observed: (groups,).
        drawn: (2, draws, groups), both ends.
        judged: (groups,) bool, which groups count.
    """
    if not judged.any():
        return np.nan
    low, high = drawn
    return _quantile(worst(np.maximum(high - observed, observed - low)[:, judged]))


def ratio_ends(table: np.ndarray, drawn: Ends, judged: np.ndarray) -> tuple[float, float]:
    """Ends of the 95 % interval of the smallest ratio of two groups' shares of positive answers.

    As `margins`, with ratios in place of differences: what no pair is off by more than. Where a
    group has no positive answer, its true share may be as near to 0 as you like, and so may the
    ratio; the upper end then takes half an answer for none.

    Args:
        table: Counts of positive answers, and of examples: (2, groups, classes).
        drawn: Of redrawn tables.
        judged: (groups, classes) bool, which groups count.

    Returns:
        Both NaN where no ratio is defined.
    """
    given, n = table
    judged = judged & (np.where(judged, given, 0).sum(0) > 0) & (judged.sum(0) >= 2)
    if not judged.any():
        return np.nan, np.nan
    centre = np.log(np.where(judged, np.maximum(given, 0.5) / np.maximum(n, 1), 1.0))
    low, high = drawn["selection_rate"]
    with np.errstate(divide="ignore"):  # of draws of no answer at all, which are left out
        up, down = np.log(high) - centre, centre - np.log(low)
    factor = np.exp(_quantile(worst(_farthest(up, down, judged, below=judged & (given > 0)))))
    least = np.where(judged, centre, np.inf).min(0)
    smallest = np.exp((least - np.where(judged, centre, -np.inf).max(0))[judged.any(0)].min())
    nobody = (judged & (given == 0)).any()
    return 0.0 if nobody else smallest / factor, min(1.0, smallest * factor)


def _farthest(
    up: np.ndarray, down: np.ndarray, judged: np.ndarray, below: np.ndarray | None = None
) -> np.ndarray:
    """The most by which one group may be too high, and one too low, at once.

    That of both being the same group, as far off as one example, is hardly ever the most.

    Args:
        up: (draws, groups, classes), how far above what was observed.
        down: Likewise, how far below.
        judged: (groups, classes) bool, which groups count.
        below: Which of them may be the one that is below; all if not given.

    Returns:
        (draws, classes), NaN where there are no two groups.
    """
    highest = np.where(judged, up, -np.inf).max(1)
    lowest = np.where(judged if below is None else below, down, -np.inf).max(1)
    return np.where(judged.sum(0) >= 2, highest + lowest, np.nan)


def _quantile(distance: np.ndarray) -> float:
    known = distance[np.isfinite(distance)]
    return float(np.quantile(known, CONFIDENCE)) if len(known) else np.nan
