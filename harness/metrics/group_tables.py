"""Rates of groups from the table of group by label by answer, and what luck does to them.

Whoever draws examples anew with replacement draws such a table from a multinomial distribution with
the observed shares, and a rate depends on the table alone. So tables are drawn here in place of
examples: the law is the same, and a thousand draws take milliseconds.
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
"""Tables that an interval rests on."""

SHUFFLES = 200
"""Tables that a mean under chance rests on."""

Rates = Mapping[str, np.ndarray]
"""By name, (..., groups, classes): of each class against all others. The accuracy, and the share of
all examples, are the same for every class."""


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


def rates(table: np.ndarray, classes: Sequence[int]) -> dict[str, np.ndarray]:
    """`Rates` of tables (..., groups, classes, classes); NaN where one rests on nothing."""
    positive, called = table.sum(-1)[..., classes], table.sum(-2)[..., classes]
    right = np.diagonal(table, axis1=-2, axis2=-1)
    hits = right[..., classes]
    above = {
        "selection_rate": called,
        "base_rate": positive,
        "accuracy": np.broadcast_to(right.sum(-1)[..., None], positive.shape),
        "tpr": hits,
        "fpr": called - hits,
        "ppv": hits,
    }
    below = resting_on(table, classes)
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


def redrawn(table: np.ndarray) -> np.ndarray:
    """`DRAWS` tables of examples that are drawn from those of ``table`` with replacement."""
    n = int(table.sum())
    flat = np.random.default_rng(0).multinomial(n, table.ravel() / n, size=DRAWS)
    return flat.reshape(DRAWS, *table.shape)


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


def margins(observed: Rates, drawn: Rates, judged: Rates) -> dict[str, float]:
    """How far from the observed worst difference the true one may be, for each of `GAPS`.

    The quantile of a difference in redrawn tables would not do: a difference is never negative, so
    that of luck alone lies above 0 in every draw, and an interval of quantiles would never reach
    the 0 that is the truth. So the margin is what no single pair of groups deviates by more than,
    in 95 % of the draws: then the largest difference does not either, be it 0 or not. With more
    groups or rates than one, the interval is wide rather than narrow.

    Args:
        observed: Rates (groups, classes).
        drawn: The same of redrawn tables, (draws, groups, classes).
        judged: For each rate (groups, classes) bool, which groups count.

    Returns:
        By name; NaN where the difference is not defined.
    """
    away = gaps({name: drawn[name] - observed[name] for name in observed}, judged)
    return {
        name: _quantile(worst(np.where(np.isfinite(gap), away[name], np.nan)))
        for name, gap in gaps(observed, judged).items()
    }


def margin_of_least(observed: np.ndarray, drawn: np.ndarray, judged: np.ndarray) -> float:
    """The same for the least of the groups' rates.

    Args:
        observed: (groups,).
        drawn: (draws, groups).
        judged: (groups,) bool, which groups count.
    """
    return _quantile(worst(np.abs(drawn - observed)[:, judged])) if judged.any() else np.nan


def _quantile(distance: np.ndarray) -> float:
    known = distance[np.isfinite(distance)]
    return float(np.quantile(known, CONFIDENCE)) if len(known) else np.nan
