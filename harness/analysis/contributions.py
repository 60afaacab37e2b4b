"""What each example adds to a measurement: values whose mean is the number. Pure.

A rate is the mean of its examples. What is made from several rates is linearised (delta method),
and areas and rates under a ROC curve are taken apart into each example's place among those of the
other side (DeLong). So the variance of the mean of these values is, to first order, that of the
number itself, whatever the number is; `harness.analysis.intervals` goes on from there.

References:
    DeLong, DeLong and Clarke-Pearson (1988). Comparing the Areas under Two or More Correlated
    Receiver Operating Characteristic Curves. Biometrics.
    Hsieh and Turnbull (1996). Nonparametric and Semiparametric Estimation of the Receiver Operating
    Characteristic Curve. Annals of Statistics. (the variance of a true-positive rate at a threshold
    that the negatives set)
    Tukey (1958). Bias and Confidence in Not-quite Large Samples. (jackknife pseudo-values)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.analysis.intervals import Values
from harness.metrics import group_tables
from harness.metrics.fairness import POSITIVE
from harness.metrics.filtered import answered
from harness.metrics.further import Metric, Samples, measured
from harness.results import Evaluation
from harness.types import Risk

Measure = Callable[[Samples, Evaluation], Values | None]
"""From an evaluation and its samples to the values; None where no example has any."""


def _flipped(samples: Samples, evaluation: Evaluation) -> Values | None:
    """1 - robust / clean accuracy."""
    clean = samples["clean"] == samples["label"]
    robust = clean & (samples["perturbed"] == samples["label"])
    accuracy = clean.mean()
    if not accuracy:
        return None
    level = 1 - robust.mean() / accuracy
    return Values(samples["index"], level + ((1 - level) * clean - robust) / accuracy)


def _poisoned(samples: Samples, evaluation: Evaluation) -> Values | None:
    """The attack's success above that of the clean model, by the room that this leaves."""
    applies = samples["applies"].astype(bool)
    if "clean_model_success" not in samples or not applies.any():
        return None
    names = (
        "success",
        "clean_model_success",
        "rejected_triggered",
        "clean_model_rejected_triggered",
    )
    flags = (samples[name].astype(bool) if name in samples else None for name in names)
    hit, chance = (side[applies].astype(float) for side in answered(*flags))
    room = 1 - chance.mean()
    if not room:
        return None
    level = 1 - (1 - hit.mean()) / room
    moved = (hit - hit.mean()) / room - (1 - hit.mean()) * (chance - chance.mean()) / room**2
    return Values(samples["index"][applies], level + moved)


def _agreement(one: str, other: str) -> Measure:
    """How often two columns of answers agree."""

    def values(samples: Samples, evaluation: Evaluation) -> Values | None:
        if one not in samples:
            return None
        return Values(samples["index"], (samples[one] == samples[other]).astype(float))

    return values


def _difference(first: Measure, second: Measure) -> Measure:
    def values(samples: Samples, evaluation: Evaluation) -> Values | None:
        one, other = first(samples, evaluation), second(samples, evaluation)
        return one.minus(other) if one is not None and other is not None else None

    return values


def _members(samples: Samples, evaluation: Evaluation) -> Values | None:
    """Twice the AUC less 1, over the candidates that count."""
    counted = samples.get("counted", np.ones(len(samples["member"]), bool)).astype(bool)
    found = area(samples["score"][counted], samples["member"][counted].astype(bool))
    return None if found is None else Values(samples["index"][counted], 2 * found - 1)


def _collected(samples: Samples, evaluation: Evaluation) -> Values | None:
    """The AUC over all candidates."""
    found = area(samples["score"], samples["member"].astype(bool))
    return None if found is None else Values(samples["index"], found)


def _low_rate(samples: Samples, evaluation: Evaluation) -> Values | None:
    """The true-positive rate at 1 % false positives."""
    counted = samples.get("counted", np.ones(len(samples["member"]), bool)).astype(bool)
    score, member = samples["score"][counted], samples["member"][counted].astype(bool)
    found = rate_at(score, member, 0.01)
    return None if found is None else Values(samples["index"][counted], found)


def _advantage(of_members: bool, *, counted: bool = False) -> Measure:
    """Twice the AUC about an attribute above that of the imputation, of one population.

    Args:
        of_members: Of the members, or of the others.
        counted: Only of those that correspond to what the target was trained on.
    """

    def values(samples: Samples, evaluation: Evaluation) -> Values | None:
        member = samples.get("member", np.zeros(len(samples["z"]), bool)).astype(bool)
        asked = member == of_members
        if counted and "counted" in samples:
            asked &= samples["counted"].astype(bool)
        if not asked.any():
            return None
        z = samples["z"][asked]
        found = [
            np.mean([one for one in areas if one is not None], axis=0)
            for prefix in ("score", "imputation")
            if (areas := [area(samples[f"{prefix}_{v}"][asked], z == v) for v in np.unique(z)])
            and any(one is not None for one in areas)
        ]
        if len(found) < 2:
            return None
        return Values(samples["index"][asked], 2 * (found[0] - found[1]))

    return values


def _examples(column: str) -> Measure:
    """A column itself, where the rows are examples."""

    def values(samples: Samples, evaluation: Evaluation) -> Values | None:
        if "index" not in samples or column not in samples:
            return None
        return Values(samples["index"], samples[column].astype(float))

    return values


BLOCKS = 20
"""Into so many blocks the rows of a dataset are dealt, of which one at a time is left out."""


def _gap(name: str, *, above_chance: bool = False) -> Measure:
    """What `harness.metrics.fairness` makes of the groups, by leaving out blocks of examples.

    The largest of several differences has no slope where another one becomes the largest, so it is
    not linearised: the values are jackknife pseudo-values of blocks of rows, the same at every
    seed.

    Args:
        name: Of the metric.
        above_chance: Whether what luck gives is taken off, as susceptibility does.
    """

    def values(samples: Samples, evaluation: Evaluation) -> Values | None:
        found = evaluation.metrics.get(name)
        if found is None:
            return None
        block = samples["index"] % BLOCKS
        columns = [samples[c].astype(int) for c in ("predicted", "label", "group")]
        sizes = {
            "groups": int(columns[2].max()) + 1,
            "num_classes": int(max(columns[0].max(), columns[1].max())) + 1,
        }
        two = sizes["num_classes"] <= 2
        sizes["num_classes"] = max(2, sizes["num_classes"])
        classes = [POSITIVE] if two else list(range(sizes["num_classes"]))
        whole = group_tables.counted(*columns, **sizes)
        parts = [
            group_tables.counted(*(c[block == b] for c in columns), **sizes) for b in range(BLOCKS)
        ]
        smallest = int(dict(evaluation.cell.attack.params).get("smallest") or 1)
        judged = {
            rate: n >= smallest for rate, n in group_tables.resting_on(whole, classes).items()
        }
        with np.errstate(invalid="ignore", divide="ignore"):
            rates = group_tables.rates(whole - np.stack(parts), classes)
        if name == "worst_group_accuracy":
            left = np.where(judged["accuracy"], rates["accuracy"], np.inf).min(-2)[..., 0]
        else:
            left = group_tables.worst(group_tables.gaps(rates, judged)[name])
        if not np.isfinite(left).all():
            return None
        pseudo = found - (BLOCKS - 1) * (left - left.mean())
        if above_chance:
            chance = evaluation.metrics.get("equalized_odds_chance") or 0.0
            pseudo = (pseudo - chance) / (1 - chance)
        return Values(np.arange(BLOCKS), pseudo, blocks=True)

    return values


def of_blocks(metric: Metric) -> Measure:
    """What another package's metric makes of the examples, by leaving out blocks of them.

    Nobody knows how it is made, so it is not linearised: the values are jackknife pseudo-values, as
    of `_gap`. They are right for what changes smoothly with the examples, as means, rates and areas
    do.
    """

    def values(samples: Samples, evaluation: Evaluation) -> Values | None:
        found = evaluation.metrics.get(metric.name)
        if found is None or "index" not in samples:
            return None
        block = samples["index"] % BLOCKS
        left: list[float] = []
        for b in range(BLOCKS):
            try:
                part = {name: column[block != b] for name, column in samples.items()}
                one = measured(metric, part)
            except Exception:  # somebody else's code may fail in any way
                return None
            if one is None:
                return None
            left.append(one)
        pseudo = found - (BLOCKS - 1) * (np.array(left) - np.mean(left))
        return Values(np.arange(BLOCKS), pseudo, blocks=True)

    return values


def _nobody(samples: Samples, evaluation: Evaluation) -> Values | None:
    return None


def area(score: np.ndarray, positive: np.ndarray) -> np.ndarray | None:
    """Values (n,) whose mean is the area under the ROC curve, by DeLong's structural components.

    Args:
        score: (n,), larger means more likely positive; ties count one half.
        positive: (n,) bool.

    Returns:
        None where one side has no example.
    """
    above, below = score[positive], score[~positive]
    if not len(above) or not len(below):
        return None
    place_above = _places(above, below)
    place_below = 1 - _places(below, above)
    level = place_above.mean()
    found = np.empty(len(score))
    found[positive] = (place_above - level) * len(score) / len(above)
    found[~positive] = (place_below - level) * len(score) / len(below)
    return level + found


def _places(score: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of ``others`` that each score exceeds, ties one half."""
    others = np.sort(others)
    sides = (np.searchsorted(others, score, side) for side in ("left", "right"))
    return np.add(*sides) / (2 * len(others))


def rate_at(score: np.ndarray, positive: np.ndarray, rate: float) -> np.ndarray | None:
    """Values (n,) whose mean is the true-positive rate at a false-positive rate.

    The negatives set the threshold: one more above it lowers it, by as much as the ROC curve is
    steep there.

    Args:
        score: (n,), larger means more likely positive.
        positive: (n,) bool.
        rate: Of false positives, in (0, 1).

    Returns:
        None where so few negatives as there are cannot reach the rate.
    """
    above, below = score[positive], np.sort(score[~positive])[::-1]
    if not len(above) or len(below) * rate < 1:
        return None

    def hits(accused: float) -> float:
        return float((above > below[min(int(accused), len(below) - 1)]).mean())

    accused = int(rate * len(below) + 1e-9)
    threshold = below[min(accused, len(below) - 1)]
    level = hits(accused)
    step = max(2, accused)
    slope = (hits(accused + step) - hits(max(0, accused - step))) / (
        (min(accused + step, len(below) - 1) - max(0, accused - step)) / len(below)
    )
    found = np.empty(len(score))
    over = score > threshold
    found[positive] = (over[positive] - level) * len(score) / len(above)
    false = over[~positive].astype(float)
    found[~positive] = -slope * (false - false.mean()) * len(score) / len(below)
    return level + found


SUSCEPTIBILITY: dict[Risk, Measure] = {
    Risk.EVASION: _flipped,
    Risk.POISONING: _poisoned,
    Risk.EXTRACTION: _difference(_agreement("surrogate", "target"), _agreement("twin", "target")),
    Risk.MEMBERSHIP_INFERENCE: _members,
    Risk.ATTRIBUTE_INFERENCE: _advantage(of_members=False),
    Risk.DATA_RECONSTRUCTION: _examples("centred_correlation"),
    Risk.DISTRIBUTION_INFERENCE: _nobody,
    Risk.DISCRIMINATORY_BEHAVIOR: _gap("equalized_odds_difference", above_chance=True),
}
"""Values whose mean is the susceptibility."""

OTHERS: dict[Risk, dict[str, Measure]] = {
    Risk.EXTRACTION: {
        "fidelity": _agreement("surrogate", "target"),
        "twin_fidelity": _agreement("twin", "target"),
        "accuracy_gain": _difference(_agreement("surrogate", "label"), _agreement("twin", "label")),
    },
    Risk.MEMBERSHIP_INFERENCE: {"tpr_at_1pct_fpr": _low_rate, "collected_auc": _collected},
    Risk.ATTRIBUTE_INFERENCE: {
        "member_advantage": _advantage(of_members=True),
        "memorised_advantage": _difference(
            _advantage(of_members=True), _advantage(of_members=False, counted=True)
        ),
    },
    Risk.DISCRIMINATORY_BEHAVIOR: {
        name: _gap(name) for name in ("demographic_parity_difference", "worst_group_accuracy")
    },
}
"""Metrics that stand beside the primary one with an interval of their own, and their values."""
