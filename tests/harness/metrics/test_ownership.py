"""Ownership metrics against numbers worked by hand."""

import math

import numpy as np
import pytest
import torch

from harness.defenses.shared.ownership import margins
from harness.metrics.ownership import Verification, claimed_by_rank, ownership


def _found(statistic: float, p_value: float = 0.5) -> Verification:
    return Verification(p_value=p_value, statistic=statistic)


def _claimed(statistic: float, n: int) -> float | None:
    """Of a copy, where n independent models have the statistics 0 .. n - 1."""
    independent = [_found(float(i)) for i in range(n)]
    return ownership(_found(statistic), _found(99.0), independent)["claimed_at_5pct_fpr"]


@pytest.mark.parametrize(
    ("n", "statistic", "claimed"),
    [
        # One of 20 above the copy would be 2 of 21 ranks, which is 9.5 %.
        (20, 18.5, 0.0),
        (20, 19.0, 0.0),  # a tie is no lead
        (20, 19.5, 1.0),
        (19, 18.0, 0.0),
        (19, 18.1, 1.0),  # 1 of 20 ranks
        (18, 99.0, None),  # 1 of 19 ranks is more than 5 %
        (1, 99.0, None),
        (39, 37.5, 1.0),  # one may lie above: 2 of 40 ranks
        (39, 37.0, 0.0),
        (38, 36.5, 0.0),
        (59, 56.5, 1.0),  # two of 59; .05 * 60 is 3 in floating point as well
    ],
)
def test_at_five_percent_a_copy_takes_one_of_the_ranks_that_this_leaves(n, statistic, claimed):
    assert _claimed(statistic, n) == claimed


@pytest.mark.parametrize("n", [19, 20, 30, 39, 100])
def test_an_independent_suspect_is_claimed_in_at_most_five_percent(n) -> None:
    rng = np.random.default_rng(n)
    draws = 4000
    found = [claimed_by_rank(s[0], s[1:], 0.05) for s in rng.normal(size=(draws, n + 1)).tolist()]
    expected = math.floor(0.05 * (n + 1)) / (n + 1)
    assert expected <= 0.05
    # Four standard errors of a share over the draws.
    assert np.mean(found) == pytest.approx(expected, abs=4 * math.sqrt(0.05 * 0.95 / draws))


def test_claims_are_below_one_percent() -> None:
    independent = [_found(0.0, p) for p in (0.009, 0.01, 0.5, 0.001)]
    found = ownership(_found(0, 0.0099), _found(0, 0.01), independent)
    assert (found["claimed"], found["own_claimed"], found["false_claims"]) == (1.0, 0.0, 0.5)
    assert (found["p_value"], found["own_p_value"]) == (0.0099, 0.01)


def test_without_independent_models_nothing_is_said_of_them() -> None:
    found = ownership(_found(0), _found(0), [])
    assert found["false_claims"] is None
    assert found["claimed_at_5pct_fpr"] is None


def test_margins_are_log_odds_also_where_probabilities_saturate() -> None:
    scores = torch.tensor([[0.5, 0.25, 0.25], [1.0, 1e-20, 0.0]])
    found = margins(scores, torch.tensor([1, 0]))
    assert found[0].item() == pytest.approx(-1.0986, abs=1e-4)  # log(1/3)
    assert found[1].item() == pytest.approx(46.05, abs=0.01)  # 20 log 10
