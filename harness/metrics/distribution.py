"""How well scores tell models of two training distributions apart.

References:
    Suri and Evans (2022). Formalizing and Estimating Distribution Inference Risks. PoPETs.
"""

from __future__ import annotations

import math

import numpy as np

from harness.metrics.proportions import CONFIDENCE, lower_bound
from harness.metrics.two_sides import check_two


def distinguishing_accuracy(scores: np.ndarray, world: np.ndarray) -> float:
    """Mean of both worlds' recall at the threshold 0, which was fixed beforehand.

    A score of exactly 0 says nothing and counts as half right.

    Args:
        scores: (n,), positive says world 1.
        world: (n,) 0 or 1, each at least once.

    Raises:
        NotApplicableError: All are of one world.
    """
    check_two(world, "a distinguishing accuracy", "models of both worlds")
    right = (1 + np.sign(scores) * np.where(world == 1, 1, -1)) / 2
    return float((right[world == 0].mean() + right[world == 1].mean()) / 2)


def n_leaked(accuracy: float, ratio0: float, ratio1: float) -> float | None:
    """How many examples, drawn from the training distribution, would tell as much as the attack.

    Whoever sees n examples of one of two worlds that differ in the share of a property tells the
    worlds apart with an accuracy of at most

        1/2 + 1/2 sqrt(1 - max(low / high, (1 - high) / (1 - low)) ** n)

    where low and high are the two shares (Suri and Evans 2022, section 4). The n at which this
    bound is ``accuracy``.

    Args:
        accuracy: Distinguishing accuracy; up to .5 nothing is leaked.
        ratio0: Share in world 0.
        ratio1: Share in world 1.

    Returns:
        None where no number is defined: the accuracy is 1, for which no number of examples is
        enough; the shares are equal, and nothing can be told; or they are 0 and 1, and one
        example tells all.
    """
    low, high = sorted((ratio0, ratio1))
    if low == high or (low, high) == (0, 1) or accuracy >= 1:
        return None
    if accuracy <= 0.5:
        return 0.0
    return math.log(4 * accuracy * (1 - accuracy)) / math.log(
        max(low / high, (1 - high) / (1 - low))
    )


def _at_least(accuracy: float, n: int) -> float:
    """One-sided bound on an accuracy measured on ``n`` models."""
    return lower_bound(math.floor(accuracy * n), n, error=1 - CONFIDENCE)


def distribution(
    scores: np.ndarray, world: np.ndarray, *, ratio0: float, ratio1: float
) -> dict[str, float | None]:
    """Metrics of an attack on the training distribution.

    Args:
        scores: (n,) of the victims, positive says world 1.
        world: (n,) 0 or 1, each at least once.
        ratio0: Share of the property in world 0.
        ratio1: Share of the property in world 1.

    Returns:
        ``distinguishing_accuracy``, ``auc``, ``n_leaked`` and ``n_leaked_low``, which is what the
        lower end of the accuracy's one-sided 95 % interval amounts to.

    Raises:
        NotApplicableError: All are of one world.
    """
    from sklearn.metrics import roc_auc_score

    if not np.isfinite(scores).all():
        raise ValueError("scores of models have to be finite")
    accuracy = distinguishing_accuracy(scores, world)
    return {
        "distinguishing_accuracy": accuracy,
        "auc": float(roc_auc_score(world, scores)),
        "n_leaked": n_leaked(accuracy, ratio0, ratio1),
        "n_leaked_low": n_leaked(_at_least(accuracy, len(scores)), ratio0, ratio1),
    }
