"""How well an owner tells copies from models that have nothing to do with the own one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
        `harness.metrics.ownership.ALPHA`. ``false_claims``: share of the independent models
        that are claimed; None without any. ``claimed_at_5pct_fpr``: see `claimed_by_rank`; its mean
        over seeds is the true-positive rate at that false-positive rate.
    """
    false_claims = None
    if independent:
        false_claims = sum(v.claimed for v in independent) / len(independent)
    return {
        "p_value": copy.p_value,
        "own_p_value": own.p_value,
        "claimed": float(copy.claimed),
        "own_claimed": float(own.claimed),
        "false_claims": false_claims,
        "claimed_at_5pct_fpr": claimed_by_rank(
            copy.statistic, [v.statistic for v in independent], FPR
        ),
    }


def claimed_by_rank(statistic: float, independent: Sequence[float], fpr: float) -> float | None:
    """Whether a suspect stands out among independent models, which needs no trust in a p-value.

    A suspect that has nothing to do with the owner's model is exchangeable with the ``n``
    independent ones, so it is as likely to take any of the ``n + 1`` ranks. It is claimed if at
    most ``floor(fpr * (n + 1)) - 1`` of them are at or above it, which then happens with a
    probability of at most ``fpr``.

    Args:
        statistic: Of the suspect; larger is more suspicious.
        independent: Of the independent models, (n,).
        fpr: The false-positive rate, in (0, 1).

    Returns:
        1 or 0; None where so few models cannot attain the rate: at 5 % it takes 19.
    """
    # Rounded first: a product that should be whole may be a little less in floating point.
    allowed = math.floor(round(fpr * (len(independent) + 1), 9)) - 1
    if allowed < 0:
        return None
    return float(sum(other >= statistic for other in independent) <= allowed)


ALPHA = 0.01
"""A model is claimed if its p-value is below this: the stated false-positive rate."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a test of one suspect found.

    Attributes:
        p_value: How likely a model that has nothing to do with the owner's looks like this, or
            more so; in [0, 1].
        statistic: Larger is more suspicious; comparable between suspects of one owner.
    """

    p_value: float
    statistic: float

    @property
    def claimed(self) -> bool:
        """Whether the owner claims the suspect."""
        return self.p_value < ALPHA
