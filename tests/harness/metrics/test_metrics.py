"""Metrics on numbers worked by hand, and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from harness.metrics.classification import accuracy
from harness.metrics.extraction import extraction
from harness.metrics.membership import balanced_accuracy, membership, tpr_at_fpr
from harness.metrics.robustness import robustness
from harness.metrics.susceptibility import DIRECTIONS, FORMULAS, PRIMARY, susceptibility
from harness.types import Risk

Y = torch.tensor([0, 1, 2, 0, 1])


def test_accuracy_is_the_share_of_equal_labels() -> None:
    assert accuracy(torch.tensor([0, 1, 2, 2, 2]), Y) == pytest.approx(0.6)


def test_accuracy_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="found 0 and 0"):
        accuracy(torch.tensor([]), torch.tensor([]))


def test_an_attack_that_repairs_a_mistake_does_not_count_for_the_model() -> None:
    clean, after = torch.tensor([0, 1, 2, 1, 1]), torch.tensor([0, 0, 2, 0, 1])
    delta = torch.zeros(5, 1, 1, 2)
    delta[1] = torch.tensor([0.3, 0.4])
    linf, l2 = delta.flatten(1).abs().amax(1), delta.flatten(1).norm(dim=1)
    found = robustness(clean, after, Y, linf=linf, l2=l2)
    # Right on both: examples 0, 2, 4. The fourth is wrong on the clean input.
    assert found == pytest.approx(
        {"robust_accuracy": 0.6, "clean_accuracy": 0.8, "mean_linf": 0.08, "mean_l2": 0.1}
    )
    assert susceptibility(Risk.EVASION, found) == pytest.approx(1 - 0.6 / 0.8)


def test_evasion_of_a_model_that_is_never_right_is_not_defined() -> None:
    assert susceptibility(Risk.EVASION, {"clean_accuracy": 0.0, "robust_accuracy": 0.0}) is None


def test_extraction_by_hand() -> None:
    target, surrogate = torch.tensor([0, 1, 0, 0, 0]), torch.tensor([0, 1, 0, 1, 1])
    twin = torch.tensor([0, 1, 2, 2, 2])
    found = extraction(surrogate, target, Y, twin)
    assert found == pytest.approx(
        {
            "fidelity": 0.6,  # examples 0, 1, 2
            "correct_fidelity": 2 / 3,  # the target is right on 0, 1, 3
            "twin_fidelity": 0.4,  # examples 0, 1
            "surrogate_accuracy": 0.6,  # examples 0, 1, 4
            "twin_accuracy": 0.6,  # examples 0, 1, 2
            "accuracy_gain": 0,
            "target_accuracy": 0.6,
            "majority_agreement": 0.8,  # the target says 0 four times
        }
    )
    assert susceptibility(Risk.EXTRACTION, found) == pytest.approx(0.6 - 0.4)


def test_what_a_copy_has_beyond_the_twin_is_what_was_stolen() -> None:
    """Not divided by what the twin leaves over: where that is one example, one would be all."""
    target = torch.tensor([0, 1, 0, 0, 0])
    twin = torch.tensor([0, 1, 0, 0, 1])
    for copy, stolen in ((target, 0.2), (twin, 0.0), (1 - target, -0.8)):
        found = extraction(copy, target, Y, twin)
        assert susceptibility(Risk.EXTRACTION, found) == pytest.approx(stolen)


def test_of_a_target_with_one_answer_nothing_is_stolen_that_is_not_known_at_once() -> None:
    """A constant target has a fidelity of 1 to give, and the most frequent answer has it too."""
    constant = torch.zeros(5, dtype=torch.long)
    assert susceptibility(Risk.EXTRACTION, extraction(constant, constant, Y, constant)) == 0


def test_behaviour_and_skill_can_be_stolen_in_opposite_directions() -> None:
    """Who copies a bad model copies its mistakes, and unlearns what the labels teach."""
    target = (Y + 1) % 3
    found = extraction(target, target, Y, twin=Y)
    assert susceptibility(Risk.EXTRACTION, found) == 1
    assert found["accuracy_gain"] == -1


def test_correct_fidelity_of_a_target_that_is_never_right_is_unknown() -> None:
    found = extraction(Y, (Y + 1) % 3, Y, Y)
    assert found["correct_fidelity"] is None


MEMBER = np.array([True, True, True, True, False, False, False, False])
SCORES = np.array([0.9, 0.8, 0.3, 0.2, 0.7, 0.25, 0.1, 0.05])


@pytest.mark.parametrize(("fpr", "tpr"), [(0.0, 0.5), (0.24, 0.5), (0.25, 0.75), (0.5, 1.0)])
def test_tpr_at_fpr_by_hand(fpr, tpr) -> None:
    assert tpr_at_fpr(SCORES, MEMBER, fpr) == tpr


def test_ties_are_not_split_to_the_attackers_advantage() -> None:
    assert tpr_at_fpr(np.ones(8), MEMBER, 0.01) == 0


def test_auc_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    member = rng.random(500) < 0.4
    scores = rng.normal(size=500) + member
    found = membership(scores, member)
    assert found["auc"] == pytest.approx(roc_auc_score(member, scores), abs=1e-12)
    assert susceptibility(Risk.MEMBERSHIP_INFERENCE, found) == pytest.approx(2 * found["auc"] - 1)


def test_scores_of_pure_noise_give_chance_even_with_the_threshold_chosen() -> None:
    """The best threshold on the judged data itself would find .53 here."""
    rng = np.random.default_rng(0)
    member = np.arange(400) < 200
    found = [balanced_accuracy(rng.normal(size=400), member) for _ in range(200)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.005)


def test_scores_that_separate_perfectly_give_one() -> None:
    assert balanced_accuracy(MEMBER.astype(float), MEMBER) == 1
    many = np.repeat(MEMBER, 1000)
    assert membership(many.astype(float), many)["tpr_at_0.1pct_fpr"] == 1


def test_scores_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(ValueError, match="finite"):
        membership(np.array([np.nan] * 8), MEMBER)


def test_every_primary_metric_has_a_formula() -> None:
    everything = {
        "robust_accuracy": 0.4, "clean_accuracy": 0.8, "fidelity": 0.9, "twin_fidelity": 0.1,
        "attack_success_rate": 0.7, "clean_model_success_rate": 0.1,
        "auc": 0.6, "imputation_auc": 0.55, "centred_correlation": 0.3,
        "distinguishing_accuracy": 0.8, "equalized_odds_difference": 0.2,
        "equalized_odds_chance": 0.1,
    }  # fmt: skip
    assert PRIMARY.keys() == FORMULAS.keys()
    assert set(PRIMARY.values()) == DIRECTIONS.keys()
    assert PRIMARY.keys() == set(Risk)
    for risk in PRIMARY:
        assert susceptibility(risk, everything) is not None


def test_a_gap_counts_from_what_luck_would_show() -> None:
    def of(gap: float | None, chance: float | None) -> float | None:
        found = {"equalized_odds_difference": gap, "equalized_odds_chance": chance}
        return susceptibility(Risk.DISCRIMINATORY_BEHAVIOR, found)

    assert of(0.25, 0.25) == 0
    assert of(1.0, 0.25) == 1
    assert of(0.4, 0.2) == pytest.approx(0.25)
    assert of(0.1, 0.2) == pytest.approx(-0.125)
    assert of(None, None) is None  # too few examples of the groups
