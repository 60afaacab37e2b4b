"""How well scores tell members from non-members.

References:
    Carlini et al. (2022). Membership Inference Attacks From First Principles. IEEE S&P.
"""

from __future__ import annotations

import numpy as np

# scikit-learn is imported where it is used: it takes longer to start than all else here.


def tpr_at_fpr(scores: np.ndarray, member: np.ndarray, fpr: float) -> float:
    """Largest true-positive rate of any threshold whose false-positive rate is at most ``fpr``.

    Args:
        scores: (n,), larger means more likely a member.
        member: (n,) bool.
        fpr: In [0, 1]. Below 1 / (number of non-members) it means: no false positive at all.
    """
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(member, scores, drop_intermediate=False)
    return float(true[false <= fpr].max())


def balanced_accuracy(scores: np.ndarray, member: np.ndarray) -> float:
    """Mean of both classes' recall, at a threshold chosen without looking at the judged example.

    The candidates are dealt alternately, class by class, into two halves; each half is judged at
    the threshold that is best on the other. Choosing and judging on the same candidates would find
    more than .5 in pure noise.

    Args:
        scores: (n,), larger means more likely a member.
        member: (n,) bool.
    """
    from sklearn.metrics import roc_curve

    half = np.empty(len(scores), dtype=bool)
    for value in (True, False):
        index = np.flatnonzero(member == value)
        half[index] = np.arange(len(index)) % 2
    called = np.empty(len(scores), dtype=bool)
    for part in (half, ~half):
        false, true, thresholds = roc_curve(member[~part], scores[~part])
        called[part] = scores[part] >= thresholds[np.argmax(true - false)]
    return float((called[member].mean() + (~called[~member]).mean()) / 2)


def membership(scores: np.ndarray, member: np.ndarray) -> dict[str, float]:
    """Metrics of a membership attack.

    Args:
        scores: (n,), larger means more likely a member.
        member: (n,) bool.

    Returns:
        ``auc``, ``balanced_accuracy``, ``tpr_at_1pct_fpr``, ``tpr_at_0.1pct_fpr``.
    """
    from sklearn.metrics import roc_auc_score

    if not np.isfinite(scores).all():
        raise ValueError("membership scores have to be finite")
    return {
        "auc": float(roc_auc_score(member, scores)),
        "balanced_accuracy": balanced_accuracy(scores, member),
        "tpr_at_1pct_fpr": tpr_at_fpr(scores, member, 0.01),
        "tpr_at_0.1pct_fpr": tpr_at_fpr(scores, member, 0.001),
    }
