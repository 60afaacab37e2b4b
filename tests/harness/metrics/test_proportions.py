"""Exact intervals against an independent implementation, by hand, and by simulation."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from harness.metrics.proportions import interval, lower_bound


@pytest.mark.parametrize(("hits", "tries"), [(0, 10), (3, 10), (10, 10), (7, 449), (1, 1)])
def test_the_ends_are_scipys_exact_ones(hits, tries) -> None:
    exact = binomtest(hits, tries).proportion_ci(0.95, method="exact")
    assert interval(hits, tries) == pytest.approx((exact.low, exact.high))


def test_the_ends_by_hand() -> None:
    # None of ten: the largest rate that still gives that in one of forty times.
    assert interval(0, 10) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))
    assert interval(10, 10) == (pytest.approx(0.025 ** (1 / 10)), 1.0)
    # Tabulated: 8 out of 10.
    assert interval(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)


def test_many_shares_at_once() -> None:
    hits = np.array([0, 1, 500, 990, 1000])
    low, high = interval(hits, 1000)
    for row, count in enumerate(hits):
        assert (low[row], high[row]) == pytest.approx(interval(int(count), 1000))
    bound = lower_bound(hits, 1000, error=0.001)
    assert bound[0] == 0
    assert binom.sf(hits[1:] - 1, 1000, bound[1:]) == pytest.approx(0.001)


def test_the_interval_holds_the_true_rate_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for rate in (0.02, 0.3):
        low, high = interval(rng.binomial(200, rate, size=400), 200)
        assert np.mean((low <= rate) & (rate <= high)) >= 0.95 - 2 * 0.011
