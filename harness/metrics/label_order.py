"""Whether a model numbers the classes otherwise than its data does.

A checkpoint whose classes are in another order answers almost always wrong, and whatever is then
measured on it is about a model that nobody uses.
"""

from __future__ import annotations

import numpy as np

# SciPy is imported where it is used: it takes longer to start than all else here.

LEVEL = 1e-4
"""How often at most a model that knows nothing is called renumbered."""

CHANCE_LEVEL = 0.05
"""Level of the one-sided exact test that a model is better than always the most frequent class."""

SHOWN = 10
"""Classes whose numbers are named one by one."""


def p_majority(right: int, y: np.ndarray) -> float:
    """Exact binomial p of at least ``right`` right answers from always the most frequent class.

    Args:
        right: How many are.
        y: (n,) true labels, at least one.
    """
    from scipy.stats import binomtest

    most = int(np.bincount(y).max())
    return float(binomtest(right, len(y), most / len(y), alternative="greater").pvalue)


def doubt(predicted: np.ndarray, y: np.ndarray, num_classes: int) -> str | None:
    """Say so if answers are mostly right once they are renumbered, and hardly ever as they are.

    The order is chosen on every other example of a class and judged on the rest: chosen and judged
    on the same ones, random answers would look better than they are, and most so with many classes
    and few examples. There, it has to leave at most half the mistakes of always answering the most
    frequent class, and to be right more often than that by an exact binomial test at `LEVEL`. No
    model whose answers have nothing to do with the labels is right more often than that class in
    expectation, whatever the order.

    Args:
        predicted: (n,) labels that the model gives.
        y: (n,) true labels.
        num_classes: Both are 0 .. num_classes - 1.

    Returns:
        For people; None where nothing speaks for another order.
    """
    if p_majority(int((predicted == y).sum()), y) <= CHANCE_LEVEL:
        return None
    judged = np.empty(len(y), dtype=bool)
    for label in range(num_classes):
        rows = np.flatnonzero(y == label)
        judged[rows] = np.arange(len(rows)) % 2
    if not judged.any():
        return None
    order = best_order(predicted[~judged], y[~judged], num_classes)
    truth = y[judged]
    n, right = len(truth), int((order[predicted[judged]] == truth).sum())
    most = int(np.bincount(truth).max())
    if n - right > (n - most) / 2 or p_majority(right, truth) > LEVEL:
        return None
    return (
        f"accuracy {np.mean(predicted == y):.3f}, but {right / n:.3f} if labels were renumbered "
        f"({_words(order)}): check the label order"
    )


def best_order(predicted: np.ndarray, y: np.ndarray, num_classes: int) -> np.ndarray:
    """(num_classes,) a permutation that makes most answers right: ``order[predicted]``.

    Args:
        predicted: (n,) labels that the model gives.
        y: (n,) true labels.
        num_classes: Both are 0 .. num_classes - 1.
    """
    from scipy.optimize import linear_sum_assignment

    pairs = np.ravel_multi_index((predicted, y), (num_classes, num_classes))
    table = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    return linear_sum_assignment(table, maximize=True)[1]


def _words(order: np.ndarray) -> str:
    """An order as its numbers, the model's before the data's."""
    n = len(order)
    if list(order) == list(range(n))[::-1]:
        return f"0 to {n - 1} in reverse"
    moved = [f"{k} is {int(to)}" for k, to in enumerate(order) if k != to]
    return ", ".join(moved[:SHOWN]) + (", …" if len(moved) > SHOWN else "")
