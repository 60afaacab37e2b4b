"""True-positive rates at low false-positive rates, and how sure they are."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from harness.metrics.membership import (
    LEVELS,
    membership,
    threshold,
    tpr_at_fpr,
    unattainable,
)

MEMBER = np.array([True] * 4 + [False] * 4)
SCORES = np.array([0.9, 0.8, 0.3, 0.2, 0.7, 0.25, 0.1, 0.05])


@pytest.mark.parametrize(
    ("fpr", "found"), [(0.0, 0.7), (0.24, 0.7), (0.25, 0.25), (0.75, 0.05), (1.0, -np.inf)]
)
def test_the_threshold_is_the_first_non_member_that_may_not_be_accused(fpr, found) -> None:
    assert threshold(SCORES, MEMBER, fpr) == found


def test_the_threshold_does_not_depend_on_the_members() -> None:
    other = np.where(MEMBER, -SCORES, SCORES)
    for fpr in np.linspace(0, 1, 21):
        assert threshold(other, MEMBER, fpr) == threshold(SCORES, MEMBER, fpr)


@pytest.mark.parametrize("ties", [False, True])
def test_rates_are_those_of_scikit_learns_curve(ties) -> None:
    rng = np.random.default_rng(1)
    member = rng.random(999) < 0.3
    scores = rng.normal(size=999) + member
    scores = scores.round(1) if ties else scores
    false, true, _ = roc_curve(member, scores, drop_intermediate=False)
    for fpr in [*LEVELS.values(), *np.linspace(0, 1, 101), 29 / (~member).sum()]:
        assert tpr_at_fpr(scores, member, fpr) == pytest.approx(true[false <= fpr].max())


def test_every_level_has_a_rate_between_its_bounds() -> None:
    rng = np.random.default_rng(2)
    member = np.arange(40_000) < 20_000
    scores = rng.normal(size=40_000) + 2 * member
    found = membership(scores, member)
    rates = []
    for level in ("1pct", "0.1pct", "0.01pct"):
        name = f"tpr_at_{level}_fpr"
        assert 0 <= found[f"{name}_low"] < found[name] < found[f"{name}_high"] <= 1
        assert found[f"{name}_high"] - found[f"{name}_low"] < 0.02
        rates.append(found[name])
    # Of two unit normals 2 apart, at the quantiles of 1, 0.1 and 0.01 %.
    assert rates == pytest.approx([0.372, 0.138, 0.043], abs=0.035)


def test_a_level_below_one_non_member_is_not_attainable() -> None:
    """1 % of 100 is one false positive; a tenth of that is none, whatever the scores."""
    member = np.arange(200) < 100
    found, why = membership(member.astype(float), member), unattainable(member)
    assert found["tpr_at_1pct_fpr"] == 1
    for level in ("0.1pct", "0.01pct"):
        for end in ("", "_low", "_high"):
            assert found[f"tpr_at_{level}_fpr{end}"] is None
    assert why == {
        "tpr_at_0.1pct_fpr": "0.1 % of 100 non-members is less than one",
        "tpr_at_0.01pct_fpr": "0.01 % of 100 non-members is less than one",
    }


def test_all_metrics_are_made_again_from_scores_and_membership() -> None:
    """What a cell stores per candidate gives the whole curve, in any order."""
    rng = np.random.default_rng(3)
    member = rng.random(500) < 0.5
    scores = rng.normal(size=500) + member
    found, order = membership(scores, member), rng.permutation(500)
    again = membership(scores[order], member[order])
    del found["balanced_accuracy"], again["balanced_accuracy"]  # deals candidates in their order
    assert again == found
    assert found["auc"] == pytest.approx(roc_auc_score(member, scores))
