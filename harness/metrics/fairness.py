"""How differently a model treats groups of people, and how much of that luck would explain.

Differences are the largest minus the smallest of all groups. With two classes, class 1 is the
positive one. With more, each class is held against all others, and what stands for all is the worst
class; accuracy needs no such split. A rate that rests on too few examples of a group
is left out, and where fewer than two groups are left, a difference is not defined.

References:
    Hardt, Price and Srebro (2016). Equality of Opportunity in Supervised Learning. NeurIPS.
    Zafar et al. (2017). Fairness Constraints: Mechanisms for Fair Classification. AISTATS.
    Chouldechova (2017). Fair Prediction with Disparate Impact. Big Data.
    Kleinberg, Mullainathan and Raghavan (2017). Inherent Trade-Offs in the Fair Determination of
        Risk Scores. ITCS.
    Pleiss et al. (2017). On Fairness and Calibration. NeurIPS.
    Guo et al. (2017). On Calibration of Modern Neural Networks. ICML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.metrics import group_tables
from harness.metrics.group_tables import Ends, Rates
from harness.metrics.proportions import interval

# fairlearn, scikit-learn and statsmodels are imported where they are used: they take long to start.

POSITIVE = 1
"""The class that is wanted where there are two."""

BINS = 15
"""Of the probability of a class, all of the same width; Guo et al. (2017) use as many."""

PER_CLASS = (
    "demographic_parity_difference",
    "equalized_odds_difference",
    "equal_opportunity_difference",
    "predictive_parity_difference",
)
"""What is kept for each class where there are more than two."""

OF_A_GROUP = ("accuracy", "selection_rate", "tpr", "fpr", "ppv")
"""What is kept for each group where there are two classes, with the interval of each."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Fairness:
    """What was found of the groups.

    Attributes:
        metrics: By name; None where one is not defined. See `fairness`.
        bands: By name of a rate, (groups, 3): the rate and the ends of its 95 % interval; NaN where
            it rests on too few examples. Of the class ``shown``.
        shown: The positive class; of more than two, the one with the largest difference in
            equalized odds.
        too_small: By name of a group, what could not be said of it.
    """

    metrics: dict[str, float | None]
    bands: dict[str, np.ndarray]
    shown: int
    too_small: dict[str, list[str]]


def fairness(
    predicted: np.ndarray,
    y: np.ndarray,
    group: np.ndarray,
    names: Sequence[str],
    *,
    num_classes: int,
    smallest: int,
    scores: np.ndarray | None = None,
) -> Fairness:
    """Compare the groups.

    Args:
        predicted: (n,) labels that the model gives.
        y: (n,) true labels.
        group: (n,) int, 0 .. len(names) - 1.
        names: Of the groups; one may have no examples.
        num_classes: Labels are 0 .. num_classes - 1.
        smallest: Fewest examples of a group that a rate may rest on.
        scores: (n, num_classes) probabilities, if the model gives any.

    Returns:
        In ``metrics``: ``demographic_parity_difference`` and its ``_ratio`` (smallest over largest
        share of positive answers; None if nobody gets one), ``p_rule`` (the ratio in percent),
        ``equalized_odds_difference`` (the larger of the differences in true- and false-positive
        rates), ``equal_opportunity_difference`` (true-positive rates alone),
        ``predictive_parity_difference`` (share of the positive answers that are right),
        ``accuracy_difference``, ``worst_group_accuracy`` and ``base_rate_difference`` (of the
        labels themselves), each with a 95 % interval ``_low``, ``_high``, from `group_tables`. How
        many positive answers a group gets depends on the model: which groups
        ``predictive_parity_difference`` is about may differ between two models.

        ``calibration_difference``, in the groups' calibration errors (`calibration_errors`), which
        are the larger the fewer examples they rest on, whatever the model, so that groups of
        different sizes differ in them. ``miscalibration_difference``, in mean score minus share of
        the class, which has no such bias but sees no error that cancels out within a group. Both
        None without scores. ``equalized_odds_chance``: what the difference in equalized odds would
        be on average if the groups were dealt anew among examples of the same true label.
        ``classes_judged``: in how many classes it is defined.

        ``n[group]``; ``accuracy[group]``, and with two classes ``selection_rate``, ``tpr``, ``fpr``
        and ``ppv`` likewise, each with Clopper and Pearson's interval ``[group]_low``,
        ``[group]_high``; ``ece[group]``, the calibration error, with more classes that of the
        worst; with two ``miscalibration[group]``, above 0 where scores are too high. With more
        classes, `PER_CLASS` as ``name[class 3]``.

    Raises:
        ValueError: Labels, answers or groups are not what they have to be.
    """
    _check(predicted, y, group, names, num_classes, scores)
    # Whole numbers in other dtypes, as data frames give them, are no indices.
    predicted, y, group = (values.astype(np.int64) for values in (predicted, y, group))
    classes = [POSITIVE] if num_classes == 2 else list(range(num_classes))
    table = group_tables.counted(predicted, y, group, groups=len(names), num_classes=num_classes)
    resting = group_tables.resting_on(table, classes)
    judged = {name: rests >= smallest for name, rests in resting.items()}
    found = (
        _by_fairlearn(predicted, y, group, len(names))
        if num_classes == 2
        else group_tables.rates(table, classes)
    )
    drawn = group_tables.redrawn(table, classes)
    gaps = group_tables.gaps(found, judged)
    odds = gaps["equalized_odds_difference"]
    lucky = group_tables.rates(group_tables.shuffled(table), classes)
    chance = group_tables.worst(group_tables.gaps(lucky, judged)["equalized_odds_difference"])
    metrics = {
        **_headlines(found, drawn, judged),
        **_ratios(found, drawn, judged, resting),
        "equalized_odds_chance": float(chance.mean()),
        "classes_judged": float(np.isfinite(odds).sum()),
        **_calibration(scores, y, group, names, judged["accuracy"][:, 0], classes),
    }
    column = int(np.where(np.isfinite(odds), odds, -1).argmax())
    bands = _bands(found, resting, judged, column)
    for i, name in enumerate(names):
        metrics[f"n[{name}]"] = float(resting["accuracy"][i, 0])
        for rate in OF_A_GROUP if num_classes == 2 else ("accuracy",):
            for end, value in zip(("", "_low", "_high"), bands[rate][i], strict=True):
                metrics[f"{rate}[{name}]{end}"] = value
    if num_classes > 2:
        for gap in PER_CLASS:
            metrics |= {f"{gap}[class {c}]": float(gaps[gap][c]) for c in classes}
    return Fairness(
        metrics={name: float(v) if np.isfinite(v) else None for name, v in metrics.items()},
        bands=bands,
        shown=classes[column],
        too_small=_too_small(names, judged, classes),
    )


def _check(
    predicted: np.ndarray,
    y: np.ndarray,
    group: np.ndarray,
    names: Sequence[str],
    num_classes: int,
    scores: np.ndarray | None,
) -> None:
    if not len(y) == len(predicted) == len(group) or not len(y):
        raise ValueError(
            f"fairness wants labels, answers and groups of one length above 0, found {len(y)}, "
            f"{len(predicted)} and {len(group)}"
        )
    if scores is not None and scores.shape != (len(y), num_classes):
        raise ValueError(
            f"fairness wants scores ({len(y)}, {num_classes}), found {tuple(scores.shape)}"
        )
    for what, values, end in (
        ("labels", y, num_classes),
        ("answers", predicted, num_classes),
        ("groups", group, len(names)),
    ):
        if not np.isin(values, np.arange(end)).all():
            odd = values[~np.isin(values, np.arange(end))][0]
            raise ValueError(f"fairness wants {what} from 0 to {end - 1}, found {odd}")


def _by_fairlearn(
    predicted: np.ndarray, y: np.ndarray, group: np.ndarray, groups: int
) -> dict[str, np.ndarray]:
    """The rates of every group, (groups, 1), with two classes; those of an absent one are NaN.

    With more classes a frame for each of them would take seconds, and what is counted is the same.
    """
    from fairlearn.metrics import (
        MetricFrame,
        false_positive_rate,
        mean_prediction,
        selection_rate,
        true_positive_rate,
    )
    from sklearn.metrics import accuracy_score, precision_score

    def base_rate(truth: np.ndarray, _: np.ndarray) -> float:
        return mean_prediction(truth, truth)

    def ppv(truth: np.ndarray, called: np.ndarray) -> float:
        return float(precision_score(truth, called, zero_division=np.nan))  # type: ignore[arg-type]

    metrics = {
        "selection_rate": selection_rate,
        "base_rate": base_rate,
        "accuracy": accuracy_score,
        "tpr": true_positive_rate,
        "fpr": false_positive_rate,
        "ppv": ppv,
    }
    frame = MetricFrame(
        metrics=metrics, y_true=y, y_pred=predicted, sensitive_features=group
    ).by_group.reindex(range(groups))
    return {name: frame[name].to_numpy(float)[:, None] for name in metrics}


def _headlines(found: Rates, drawn: Ends, judged: Rates) -> dict[str, float]:
    """Each of `GAPS` in its worst class and the accuracy of the worst group, with intervals."""
    margins = group_tables.margins(found, drawn, judged)
    values = {
        name: float(group_tables.worst(gap))
        for name, gap in group_tables.gaps(found, judged).items()
    }
    counts = judged["accuracy"][:, 0]
    accuracy = found["accuracy"][:, 0]
    values["worst_group_accuracy"] = float(accuracy[counts].min()) if counts.any() else np.nan
    margins["worst_group_accuracy"] = group_tables.margin_of_least(
        accuracy, np.stack(drawn["accuracy"])[..., 0], counts
    )
    metrics = {}
    for name, value in values.items():
        low, high = np.clip([value - margins[name], value + margins[name]], 0, 1)
        metrics |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return metrics


def _ratios(found: Rates, drawn: Ends, judged: Rates, resting: Rates) -> dict[str, float]:
    """The ratio of the shares of positive answers, as such and in percent, with intervals."""
    rate, n, counts = (of["selection_rate"] for of in (found, resting, judged))
    given = np.rint(np.where(counts, rate * n, 0))
    ends = group_tables.ratio_ends(np.stack([given, n]), drawn, counts)
    metrics = {}
    for end, value in zip(("", "_low", "_high"), (_ratio(rate, counts), *ends), strict=True):
        metrics |= {f"demographic_parity_ratio{end}": value, f"p_rule{end}": 100 * value}
    return metrics


def _ratio(rate: np.ndarray, judged: np.ndarray) -> float:
    """The smallest ratio over classes of the groups' least to their largest rate; NaN if none."""
    counts = judged & np.isfinite(rate)
    least, most = np.where(counts, rate, np.inf).min(0), np.where(counts, rate, -np.inf).max(0)
    ratio = np.full(len(least), np.nan)
    np.divide(least, most, out=ratio, where=(counts.sum(0) >= 2) & (most > 0))
    return float(-group_tables.worst(-ratio))


def _calibration(
    scores: np.ndarray | None,
    y: np.ndarray,
    group: np.ndarray,
    names: Sequence[str],
    judged: np.ndarray,
    classes: Sequence[int],
) -> dict[str, float]:
    """The calibration errors of groups that are ``judged`` (groups,), and their differences."""
    if scores is None:
        return {"calibration_difference": np.nan, "miscalibration_difference": np.nan}
    ece, signed = calibration_errors(scores[:, classes], y[:, None] == classes, group, len(names))
    found = {
        f"{name}_difference": float(group_tables.worst(group_tables.spread(error, judged[:, None])))
        for name, error in (("calibration", ece), ("miscalibration", signed))
    }
    ece, signed = (np.where(judged[:, None], error, np.nan) for error in (ece, signed))
    for i, name in enumerate(names):
        found[f"ece[{name}]"] = float(group_tables.worst(ece[i]))
        if len(classes) == 1:
            found[f"miscalibration[{name}]"] = float(signed[i, 0])
    return found


def calibration_errors(
    scores: np.ndarray, truth: np.ndarray, group: np.ndarray, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """How far the probability of a class is from how often it is the true one.

    Args:
        scores: (n, classes), in [0, 1].
        truth: (n, classes) bool.
        group: (n,) int, 0 .. groups - 1.
        groups: How many.

    Returns:
        Both (groups, classes): the mean over `BINS` bins of the score of the distance within each,
        weighted by its examples; and the mean score minus the share that is true. NaN where a group
        has no examples, or scores that are no numbers.
    """
    shape = (groups, scores.shape[1], BINS)
    excess = scores - truth
    place = np.clip(np.nan_to_num(scores) * BINS, 0, BINS - 1).astype(int)
    cell = np.ravel_multi_index((group[:, None], np.arange(shape[1]), place), shape)
    sums = np.bincount(cell.ravel(), excess.ravel(), minlength=int(np.prod(shape))).reshape(shape)
    n = np.bincount(group, minlength=groups)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.abs(sums).sum(-1) / n, sums.sum(-1) / n


def _bands(found: Rates, resting: Rates, judged: Rates, column: int) -> dict[str, np.ndarray]:
    """Of one class the rates with their Clopper-Pearson intervals, (groups, 3)."""
    bands = {}
    for name in OF_A_GROUP:
        counts, rate, n = (of[name][:, column] for of in (judged, found, resting))
        band = np.full((len(rate), 3), np.nan)
        hits = np.rint(rate[counts] * n[counts])
        ends = interval(hits, n[counts], confidence=group_tables.CONFIDENCE)
        band[counts] = np.stack([rate[counts], *ends], axis=1)
        bands[name] = band
    return bands


def _too_small(names: Sequence[str], judged: Rates, classes: Sequence[int]) -> dict[str, list[str]]:
    """For each group what rests on too few of its examples."""
    found = {}
    for i, name in enumerate(names):
        missing = ["everything"] if not judged["accuracy"][i, 0] else [
            rate if len(classes) == 1 else f"{rate} of class {c}"
            for rate in ("tpr", "fpr", "ppv")
            for column, c in enumerate(classes)
            if not judged[rate][i, column]
        ]  # fmt: skip
        if missing:
            found[name] = missing
    return found
