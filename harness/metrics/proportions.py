"""Exact intervals of a share that was counted.

References:
    Clopper and Pearson (1934). The Use of Confidence or Fiducial Limits Illustrated in the Case of
    the Binomial. Biometrika.
"""

from __future__ import annotations

from typing import Any

import numpy as np

CONFIDENCE = 0.95
"""Of both ends together."""


def interval(hits: Any, tries: Any, *, confidence: float = CONFIDENCE) -> tuple[Any, Any]:
    """The lower and the upper end, like ``hits``: numbers or arrays.

    Args:
        hits: 0 .. tries.
        tries: At least 1.
        confidence: That the interval holds the share.
    """
    from statsmodels.stats.proportion import proportion_confint

    ends = proportion_confint(hits, tries, alpha=1 - confidence, method="beta")
    low, high = map(np.asarray, ends)
    return (low, high) if low.ndim else (low.item(), high.item())


def lower_bound(hits: Any, tries: Any, *, error: float) -> Any:
    """What the share is at least, but for a probability of ``error`` that it is smaller."""
    return interval(hits, tries, confidence=1 - 2 * error)[0]
