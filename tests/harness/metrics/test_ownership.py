"""Ownership metrics against numbers worked by hand."""

import pytest
import torch

from harness.metrics.ownership import ownership
from harness.ownership import Verification, margins


def _found(statistic: float, p_value: float = 0.5) -> Verification:
    return Verification(p_value=p_value, statistic=statistic)


def test_the_copy_is_claimed_at_five_percent_if_it_beats_all_but_one_of_twenty() -> None:
    independent = [_found(float(i)) for i in range(20)]  # 0 .. 19: one may lie above
    for statistic, claimed in ((18.5, 1.0), (18.0, 0.0), (19.5, 1.0), (3.0, 0.0)):
        found = ownership(_found(statistic), _found(30.0), independent)
        assert found["claimed_at_5pct_fpr"] == claimed


def test_with_fewer_than_twenty_the_copy_must_beat_them_all() -> None:
    independent = [_found(float(i)) for i in range(19)]
    assert ownership(_found(18.0), _found(0), independent)["claimed_at_5pct_fpr"] == 0
    assert ownership(_found(18.1), _found(0), independent)["claimed_at_5pct_fpr"] == 1


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
