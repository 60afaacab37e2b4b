"""How well an owner tells copies from models that have nothing to do with the own one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.ownership import Verification

FPR = 0.05
"""The false-positive rate at which `ownership` gives the true-positive rate."""


def ownership(
    copy: Verification, own: Verification, independent: Sequence[Verification]
) -> dict[str, float | None]:
    """Metrics of one verification.

    Args:
        copy: Of the thief's model.
        own: Of the owner's model.
        independent: Of models trained on other data of the same distribution.

    Returns:
        ``p_value`` and ``own_p_value``. ``claimed`` and ``own_claimed``: 1 if the p-value is below
        `harness.ownership.ALPHA`. ``false_claims``: share of the independent models that are
        claimed. ``claimed_at_5pct_fpr``: 1 if the copy's statistic is above that of all but 5 % of
        the independent models, which needs no trust in the p-value; its mean over seeds is the
        true-positive rate at that false-positive rate. The last two are None without independent
        models.
    """
    at_fpr = false_claims = None
    if independent:
        false_claims = sum(v.claimed for v in independent) / len(independent)
        # At most FPR of the independent models may lie at or above the threshold.
        allowed = math.floor(FPR * len(independent))
        threshold = sorted((v.statistic for v in independent), reverse=True)[allowed]
        at_fpr = float(copy.statistic > threshold)
    return {
        "p_value": copy.p_value,
        "own_p_value": own.p_value,
        "claimed": float(copy.claimed),
        "own_claimed": float(own.claimed),
        "false_claims": false_claims,
        "claimed_at_5pct_fpr": at_fpr,
    }
