"""How well scores tell members from non-members.

The samples of a cell hold every candidate's score and membership, so the whole ROC curve, on
logarithmic axes too, can be made again from them.

References:
    Carlini et al. (2022). Membership Inference Attacks From First Principles. IEEE S&P.
"""

from __future__ import annotations

import numpy as np

from harness.metrics.proportions import interval
from harness.metrics.two_sides import check_two
from harness.types import NotApplicableError

# scikit-learn and scipy are imported where they are used: they take long to start.

LEVELS = {"1pct": 0.01, "0.1pct": 0.001, "0.01pct": 0.0001}
"""False-positive rates at which attacks are compared, by what the metrics call them."""

SIDES = "members and non-members"
"""Whom scores are to tell apart."""


def threshold(scores: np.ndarray, member: np.ndarray, fpr: float) -> float:
    """What a score has to exceed so that at most a share ``fpr`` of the non-members is accused.

    It is chosen by the non-members alone: no member has a say in the threshold it is judged at.

    Args:
        scores: (n,), larger means more likely a member.
        member: (n,) bool, with at least one non-member.
        fpr: In [0, 1]. Below 1 / (number of non-members) it means: no false positive at all.

    Raises:
        NotApplicableError: There is no non-member.
    """
    if member.all():
        raise NotApplicableError("a threshold wants non-members, found none: it is not defined.")
    others = np.sort(scores[~member])[::-1]
    rates = np.arange(len(others) + 1) / len(others)
    accused = int(np.searchsorted(rates, fpr, side="right")) - 1
    return float(others[accused]) if accused < len(others) else -np.inf


def tpr_at_fpr(scores: np.ndarray, member: np.ndarray, fpr: float) -> float:
    """Largest true-positive rate of any threshold whose false-positive rate is at most ``fpr``.

    The arguments are those of `threshold`.

    Raises:
        NotApplicableError: There are only members, or none.
    """
    check_two(member, "a true-positive rate at a false-positive rate", SIDES)
    return float((scores[member] > threshold(scores, member, fpr)).mean())


def balanced_accuracy(scores: np.ndarray, member: np.ndarray) -> float | None:
    """Mean of both classes' recall, at a threshold chosen without looking at the judged example.

    The candidates are dealt alternately, class by class, into two halves; each half is judged at
    the threshold that is best on the other. Choosing and judging on the same candidates would find
    more than .5 in pure noise.

    Args:
        scores: (n,), larger means more likely a member.
        member: (n,) bool.

    Returns:
        None with fewer than two of a kind: one in each half.
    """
    from sklearn.metrics import roc_curve

    if min(member.sum(), (~member).sum()) < 2:
        return None
    half = np.empty(len(scores), dtype=bool)
    for value in (True, False):
        index = np.flatnonzero(member == value)
        half[index] = np.arange(len(index)) % 2
    called = np.empty(len(scores), dtype=bool)
    for part in (half, ~half):
        false, true, thresholds = roc_curve(member[~part], scores[~part])
        called[part] = scores[part] >= thresholds[np.argmax(true - false)]
    return float((called[member].mean() + (~called[~member]).mean()) / 2)


def auc(scores: np.ndarray, member: np.ndarray) -> float:
    """Chance that a member's score is above a non-member's; ties count half.

    Args:
        scores: (n,), larger means more likely a member.
        member: (n,) bool, of either kind at least one.

    Raises:
        NotApplicableError: There is only one kind.
    """
    from sklearn.metrics import roc_auc_score

    check_two(member, "an AUC", SIDES)

    return float(roc_auc_score(member, scores))


def unattainable(member: np.ndarray) -> dict[str, str]:
    """Why a true-positive rate is not defined, by its name: too few non-members.

    Args:
        member: (n,) bool.
    """
    others = int((~member).sum())
    return {
        f"tpr_at_{level}_fpr": f"{100 * fpr:g} % of {others} non-members is less than one"
        for level, fpr in LEVELS.items()
        if fpr * others < 1
    }


def membership(scores: np.ndarray, member: np.ndarray) -> dict[str, float | None]:
    """Metrics of a membership attack.

    Args:
        scores: (n,), larger means more likely a member.
        member: (n,) bool.

    Returns:
        ``auc``, ``balanced_accuracy``, and for every one of `LEVELS` ``tpr_at_1pct_fpr`` with its
        bounds ``tpr_at_1pct_fpr_low`` and ``tpr_at_1pct_fpr_high``. The bounds tell how sure the
        share of members is that exceeds this threshold; that the threshold too would be another
        with other non-members, they leave out. All three are None at a level that so few
        non-members cannot reach; `unattainable` says why.

    Raises:
        NotApplicableError: There are only members, or only non-members.
    """
    if not np.isfinite(scores).all():
        raise ValueError("membership scores have to be finite")
    found: dict[str, float | None] = {
        "auc": auc(scores, member),
        "balanced_accuracy": balanced_accuracy(scores, member),
    }
    trials, missing = int(member.sum()), unattainable(member)
    for level, fpr in LEVELS.items():
        name = f"tpr_at_{level}_fpr"
        if name in missing:
            found |= {name: None, f"{name}_low": None, f"{name}_high": None}
            continue
        rate = tpr_at_fpr(scores, member, fpr)
        low, high = interval(round(rate * trials), trials)
        found |= {name: rate, f"{name}_low": low, f"{name}_high": high}
    return found
