"""A lower bound on the privacy budget that a training run spent, from one run.

Each canary is put into the training data with probability 1/2, independently. Whoever guesses
better than an (epsilon, delta)-private training allows, has shown that it is not.

References:
    Steinke, Nasr and Jagielski (2023). Privacy Auditing with One (1) Training Run. NeurIPS.
    https://arxiv.org/abs/2305.08846
"""

from __future__ import annotations

import math

import numpy as np

# SciPy is imported where it is used: it takes longer to start than all else here.

CONFIDENCE = 0.95
"""Probability with which the bound is right."""

PRECISION = 1e-4
"""The bound is given to this precision, rounded down."""


def p_value(
    *, canaries: int, guesses: int, correct: int, dp_epsilon: float, dp_delta: float
) -> float:
    """How probable as many right guesses are at most, if the training is private.

    Under pure privacy no guess is right with more than the probability q of randomised response,
    so the number of right ones is at most binomial. With ``dp_delta`` the auditor may be lucky i
    times more often than that, for which Steinke et al. (2023), theorem 5.2, add
    2 m delta max_i P[correct > Binomial(guesses, q) >= correct - i] / i.

    Args:
        canaries: m, put in or left out.
        guesses: About how many of them something was said.
        correct: How many guesses are right.
        dp_epsilon: The budget that is doubted.
        dp_delta: Its probability of failure.

    Returns:
        In [0, 1].
    """
    from scipy.stats import binom

    q = 1 / (1 + math.exp(-dp_epsilon))
    tail = binom.sf(correct - 1, guesses, q)
    luck = np.arange(1, correct + 1)
    between = binom.sf(correct - luck - 1, guesses, q) - tail
    excess = 2 * canaries * dp_delta * np.max(between / luck, initial=0.0)
    return float(min(1.0, tail + excess))


def lower_bound(*, canaries: int, guesses: int, correct: int, dp_delta: float) -> float:
    """The largest budget that these guesses refute with `CONFIDENCE`, 0 if they refute none.

    Args:
        canaries: Put in or left out, each with probability 1/2.
        guesses: About how many of them something was said; fixed before the truth was known.
        correct: How many guesses are right.
        dp_delta: Of the budgets.
    """

    def refuted(dp_epsilon: float) -> bool:
        found = p_value(
            canaries=canaries,
            guesses=guesses,
            correct=correct,
            dp_epsilon=dp_epsilon,
            dp_delta=dp_delta,
        )
        return found < 1 - CONFIDENCE

    low, high = 0.0, 1.0
    if not refuted(low):
        return 0.0
    while refuted(high):
        low, high = high, 2 * high
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def audit(
    scores: np.ndarray, member: np.ndarray, *, guessed: float, dp_delta: float
) -> dict[str, float]:
    """Guess that the canaries with the highest scores are in and those with the lowest are out.

    Args:
        scores: (m,), larger means more likely in.
        member: (m,) bool, which are in.
        guessed: Share of the canaries that something is said about, half of them in.
        dp_delta: Of the budget.

    Returns:
        ``audited_epsilon``, ``guesses`` and ``correct_guesses``.
    """
    order = np.argsort(scores, kind="stable")
    half = int(guessed * len(order) / 2)
    correct = member[order[len(order) - half :]].sum() + (~member[order[:half]]).sum()
    bound = lower_bound(
        canaries=len(order), guesses=2 * half, correct=int(correct), dp_delta=dp_delta
    )
    return {
        "audited_epsilon": bound,
        "guesses": float(2 * half),
        "correct_guesses": float(correct),
    }
