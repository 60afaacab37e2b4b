"""Metrics of distribution inference, on numbers worked by hand and against their definitions."""

import math

import numpy as np
import pytest

from harness.metrics.distribution import (
    distinguishing_accuracy,
    distribution,
    n_leaked,
)


def test_the_threshold_is_zero_and_was_not_chosen() -> None:
    """All scores of world 1 are larger, but the threshold is where it was."""
    scores, world = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1])
    assert distinguishing_accuracy(scores, world) == 0.5
    assert distinguishing_accuracy(scores - 2.5, world) == 1.0
    assert distinguishing_accuracy(2.5 - scores, world) == 0.0


def test_both_worlds_weigh_the_same_and_a_draw_is_half_right() -> None:
    scores = np.array([-1.0, -1.0, -1.0, 1.0, 0.0])
    assert distinguishing_accuracy(scores, np.array([0, 0, 0, 0, 1])) == (0.75 + 0.5) / 2
    assert distinguishing_accuracy(np.zeros(4), np.array([0, 1, 1, 1])) == 0.5


@pytest.mark.parametrize(("ratio0", "ratio1"), [(0.2, 0.8), (0.5, 0.1), (0.0, 0.3), (0.6, 1.0)])
def test_so_many_examples_tell_as_much(ratio0: float, ratio1: float) -> None:
    low, high = min(ratio0, ratio1), max(ratio0, ratio1)
    for n in (1, 3.5, 8):
        # The paper's two bounds; an attacker with n examples gets no further than the smaller.
        bound = min(
            0.5 + 0.5 * math.sqrt(1 - (low / high) ** n),
            0.5 + 0.5 * math.sqrt(1 - ((1 - high) / (1 - low)) ** n),
        )
        assert n_leaked(bound, ratio0, ratio1) == pytest.approx(n)
        assert n_leaked(bound, ratio1, ratio0) == pytest.approx(n)


def test_a_number_worked_by_hand() -> None:
    # 4 * .9 * .1 = .36; the shares .2 and .8 both have the quotient 1/4.
    assert n_leaked(0.9, 0.2, 0.8) == pytest.approx(math.log(0.36) / math.log(0.25))


def test_below_chance_nothing_is_leaked() -> None:
    assert n_leaked(0.5, 0.2, 0.8) == 0
    assert n_leaked(0.1, 0.2, 0.8) == 0


@pytest.mark.parametrize("args", [(1.0, 0.2, 0.8), (0.7, 0.5, 0.5), (0.7, 0.0, 1.0)])
def test_where_no_number_is_defined_there_is_none(args) -> None:
    assert n_leaked(*args) is None


def test_perfect_separation_still_has_a_finite_lower_bound() -> None:
    scores = np.array([-1.0, -2.0, -0.5, -1.0, 1.0, 2.0, 0.5, 1.0])
    found = distribution(scores, np.repeat([0, 1], 4), ratio0=0.2, ratio1=0.8)
    assert found["distinguishing_accuracy"] == found["auc"] == 1
    assert found["n_leaked"] is None
    assert found["n_leaked_low"] == pytest.approx(n_leaked(0.05 ** (1 / 8), 0.2, 0.8))


def test_scores_that_are_no_numbers_are_not_judged() -> None:
    with pytest.raises(ValueError, match="finite"):
        distribution(np.array([0.0, np.nan]), np.array([0, 1]), ratio0=0.2, ratio1=0.8)
