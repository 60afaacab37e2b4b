"""Metrics of attribute inference: by hand, against scikit-learn, and computed a slow way."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from harness.metrics.attribute import attribute, auc, balanced_accuracy, memorised, ppv_at
from harness.metrics.susceptibility import susceptibility
from harness.types import Risk

TRUTH = np.array([0, 0, 1, 1, 1, 2])
SCORES = np.array([
    [0.6, 0.2, 0.2],
    [0.3, 0.5, 0.2],
    [0.2, 0.7, 0.1],
    [0.5, 0.4, 0.1],
    [0.1, 0.6, 0.3],
    [0.3, 0.1, 0.6],
])  # fmt: skip


def _made(n: int, values: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores with some truth in them, rows that sum to 1."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(values, size=n, p=np.arange(1, values + 1) / sum(range(values + 1)))
    logits = rng.normal(size=(n, values)) + np.eye(values)[truth]
    scores = np.exp(logits)
    return scores / scores.sum(1, keepdims=True), truth


def test_auc_by_hand() -> None:
    # Value 0 (rows 0 and 1): .6 above four of four others; .3 above two, level with one.
    # Value 1: .7 and .6 above three of three; .4 above two. Value 2: .6 above all.
    assert auc(SCORES, TRUTH) == pytest.approx(np.mean([(4 + 2.5) / 8, 8 / 9, 1]))


@pytest.mark.parametrize("values", [3, 5])
def test_auc_is_scikit_learns_one_against_the_rest(values) -> None:
    scores, truth = _made(300, values)
    expected = roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    assert auc(scores, truth) == pytest.approx(expected, abs=1e-12)


def test_of_two_values_it_is_the_usual_auc() -> None:
    scores, truth = _made(300, 2)
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores[:, 1]), abs=1e-12)


def test_a_value_that_nobody_has_does_not_count() -> None:
    scores, truth = _made(300, 2)
    wider = np.c_[scores[:, :1], np.full(300, 0.1), scores[:, 1:]]
    assert auc(wider, truth * 2) == auc(scores, truth)
    rows = wider / wider.sum(1, keepdims=True)
    assert balanced_accuracy(rows, truth * 2) <= 1
    found = attribute(rows, rows, rows, truth * 2)
    assert found["rarest_share"] == np.bincount(truth).min() / 300


def test_a_rare_value_is_called_where_its_score_is_higher_than_usual() -> None:
    """The likeliest value is 0 for everybody, and yet the scores tell all ten apart."""
    truth = np.array([0] * 9 + [1])
    rare = np.where(truth == 1, 0.3, 0.05)
    scores = np.c_[1 - rare, rare]
    assert balanced_accuracy_score(truth, scores.argmax(1)) == 0.5
    assert balanced_accuracy(scores, truth) == 1


def test_balanced_accuracy_is_scikit_learns() -> None:
    scores, truth = _made(300, 4)
    called = np.array([max(range(4), key=lambda v: row[v] / scores[:, v].mean()) for row in scores])
    expected = balanced_accuracy_score(truth, called)
    assert balanced_accuracy(scores, truth) == pytest.approx(expected)
    assert expected != pytest.approx(balanced_accuracy_score(truth, scores.argmax(1)), abs=0.01)


@pytest.mark.parametrize("values", [2, 5])
def test_the_same_scores_for_everybody_are_chance(values) -> None:
    _, truth = _made(300, values)
    prior = np.tile(np.bincount(truth) / 300, (300, 1))
    found = attribute(prior, prior, prior, truth)
    assert found["auc"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx(1 / values)
    assert found["ppv_at_100"] == pytest.approx(found["rarest_share"])
    assert found["advantage"] == 0


def test_ppv_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    positive = np.array([True, False, True, True])
    assert [ppv_at(scores, positive, k) for k in (1, 2, 3, 4, 9)] == [1, 1 / 2, 2 / 3, 3 / 4, 3 / 4]


def test_ties_at_the_last_place_are_broken_at_random() -> None:
    scores = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.1])
    positive = np.array([True, True, False, False, False, True])
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(4000):
        order = rng.permutation(6)
        top = order[np.argsort(-scores[order], kind="stable")[:3]]
        drawn.append(positive[top].mean())
    assert ppv_at(scores, positive, 3) == pytest.approx((1 + 2 * 1 / 4) / 3)
    assert ppv_at(scores, positive, 3) == pytest.approx(np.mean(drawn), abs=0.01)


def test_the_top_is_that_of_the_rarest_value() -> None:
    truth = np.array([0] * 600 + [1] * 250 + [2] * 150)
    scores = np.full((1000, 3), 1 / 3)
    scores[600:850] = [0.1, 0.8, 0.1]  # right about the second value, ignorant of the third
    found = attribute(scores, scores, scores, truth)
    assert found["rarest_share"] == 0.15
    assert found["ppv_at_100"] == pytest.approx(150 / 750)


def test_susceptibility_is_what_the_model_adds() -> None:
    scores, truth = _made(300, 2)
    perfect, blind = np.eye(2)[truth], np.full((300, 2), 0.5)
    assert susceptibility(Risk.ATTRIBUTE_INFERENCE, attribute(perfect, blind, blind, truth)) == 1
    assert susceptibility(Risk.ATTRIBUTE_INFERENCE, attribute(scores, scores, blind, truth)) == 0
    found = attribute(scores, blind, perfect, truth)
    assert found["features_imputation_auc"] == 1
    assert found["advantage"] == pytest.approx(2 * (found["auc"] - 0.5))
    found = attribute(perfect, scores, blind, truth)
    assert found["advantage"] == pytest.approx(2 * (1 - auc(scores, truth)))


@pytest.mark.parametrize("position", range(3))
def test_scores_that_are_no_numbers_are_an_error(position) -> None:
    given = [SCORES] * 3
    given[position] = np.where(SCORES == 0.7, np.nan, SCORES)
    with pytest.raises(ValueError, match="finite"):
        attribute(*given, TRUTH)


def test_what_is_remembered_is_what_is_found_of_members_beyond_others() -> None:
    scores, truth = _made(400, 3)
    _, candidate_split = _made(400, 3, seed=1)
    imputed = np.eye(3)[np.where(np.arange(400) % 4, candidate_split, truth)] + 0.1
    member = np.arange(400) % 2 == 0
    counted = np.arange(400) > 100
    found = memorised(scores, imputed, truth, member, counted)

    def ovr(given, rows):
        return roc_auc_score(np.eye(3)[truth[rows]], given[rows], average="macro")

    others = counted & ~member
    assert found["member_auc"] == pytest.approx(ovr(scores, member))
    assert found["member_imputation_auc"] == pytest.approx(ovr(imputed, member))
    advantages = [2 * (ovr(scores, rows) - ovr(imputed, rows)) for rows in (member, others)]
    assert found["member_advantage"] == pytest.approx(advantages[0])
    assert found["memorised_advantage"] == pytest.approx(advantages[0] - advantages[1])
    same = memorised(scores, scores, truth, member, counted)
    assert same["member_advantage"] == same["memorised_advantage"] == 0


def test_what_is_remembered_of_nobody_is_unknown() -> None:
    scores, truth = _made(40, 2)
    nobody, everybody = np.zeros(40, dtype=bool), np.ones(40, dtype=bool)
    assert set(memorised(scores, scores, truth, nobody, everybody).values()) == {None}
    alike = memorised(scores, scores, truth, truth == 1, everybody)
    assert set(alike.values()) == {None}
    no_others = memorised(scores, scores, truth, everybody, everybody)
    assert no_others["member_auc"] == auc(scores, truth)
    assert no_others["memorised_advantage"] is None
