"""How sure an AUC is.

References:
    DeLong, DeLong and Clarke-Pearson (1988). Comparing the Areas under Two or More Correlated
    Receiver Operating Characteristic Curves. Biometrics.
"""

from __future__ import annotations

import numpy as np

from harness.metrics.proportions import interval

FEW = 5
"""Examples of the rarer kind on the wrong side, as the AUC counts them, below which it is near."""


def auc_interval(
    scores: np.ndarray, member: np.ndarray, *, alpha: float = 0.05
) -> tuple[float, float, float]:
    """The AUC and the ends of its interval, by DeLong's variance on the logit scale.

    Near 0 and 1 it is too narrow, and of scores that are apart it is a point. So an end is never
    nearer to 0 or 1 than that of Clopper and Pearson for as many tries as there are examples of the
    rarer kind, all of which would have gone one way.

    Args:
        scores: (n,), larger means more likely a member.
        member: (n,) bool, of either kind two at least.
        alpha: 1 minus the confidence of both ends together.

    Returns:
        All in [0, 1].
    """
    from scipy.stats import norm, rankdata

    inside, outside = scores[member], scores[~member]
    m, n = len(inside), len(outside)
    together = rankdata(np.concatenate([inside, outside]))
    # Shares of the other kind that each is above, ties counted half.
    above = (together[:m] - rankdata(inside)) / n
    below = 1 - (together[m:] - rankdata(outside)) / m
    auc = float(above.mean())
    variance = above.var(ddof=1) / m + below.var(ddof=1) / n
    least = 0.5 / (m * n)
    inner = min(max(auc, least), 1 - least)
    width = norm.ppf(1 - alpha / 2) * np.sqrt(variance) / (inner * (1 - inner))
    middle = np.log(inner / (1 - inner))
    low, high = (1 / (1 + np.exp(-(middle + side * width))) for side in (-1, 1))
    tries = min(m, n)
    exact = interval(auc * tries, tries, confidence=1 - alpha)
    if min(above.var(), below.var()) == 0 or tries * min(auc, 1 - auc) < FEW:
        low, high = min(low, exact[0]), max(high, exact[1])
    return auc, float(min(low, auc)), float(max(high, auc))
