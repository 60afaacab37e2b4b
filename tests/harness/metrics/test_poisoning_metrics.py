"""Metrics of poisoning: by hand, and computed a second way."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, recall_score

from harness.metrics.poisoning import poisoning
from harness.metrics.susceptibility import susceptibility
from harness.types import Risk

T, F = True, False


def _metrics(**changes):
    """Six test examples, target class 0; the first two are of that class."""
    given = {
        "y": torch.tensor([0, 0, 1, 1, 2, 2]),
        "clean": torch.tensor([0, 1, 1, 1, 2, 0]),
        "triggered": torch.tensor([0, 0, 0, 0, 0, 2]),
        "applies": torch.tensor([F, F, T, T, T, T]),
        "clean_model_success": torch.tensor([T, T, F, F, F, T]),
        **changes,
    }
    return poisoning(**{"success": given["triggered"] == 0, **given})


def test_by_hand() -> None:
    found = _metrics()
    assert found == {
        "attack_success_rate": 3 / 4,  # not the two of the target class
        "clean_model_success_rate": 1 / 4,
        "clean_accuracy": 4 / 6,
        "robust_accuracy": 1 / 4,
        "accuracy_without_filter": 4 / 6,
    }
    assert susceptibility(Risk.POISONING, found) == pytest.approx((0.75 - 0.25) / 0.75)


def test_what_a_filter_rejects_is_neither_success_nor_right() -> None:
    found = _metrics(
        rejected_clean=torch.tensor([F, F, T, F, F, F]),
        rejected_triggered=torch.tensor([T, F, T, T, F, T]),
        clean_model_rejected_triggered=torch.tensor([F, F, F, F, F, F]),
    )
    assert found == {
        "attack_success_rate": 1 / 4,
        "clean_model_success_rate": 0,  # its one success was never let through to either model
        "clean_accuracy": 3 / 6,
        "robust_accuracy": 0,
        "accuracy_without_filter": 4 / 6,
        "filter_tpr": 3 / 4,
        "filter_fpr": 1 / 6,
        "success_rate_without_filter": 3 / 4,
    }


@pytest.mark.parametrize(
    ("poisoned", "clean", "rates"),
    [
        ([T, T, T, T, T, T], [F, F, F, F, F, F], (0, 0)),  # a perfect filter
        ([F, F, F, F, F, F], [F, F, F, F, F, F], (3 / 4, 2 / 4)),
        ([F, F, F, F, F, F], [F, F, T, F, F, T], (3 / 4, 0)),
        ([F, F, F, F, F, T], [F, F, T, F, F, F], (3 / 4, 0)),
    ],
)
def test_filters_reject_on_both_sides(poisoned, clean, rates) -> None:
    found = _metrics(
        clean_model_success=torch.tensor([T, T, T, F, F, T]),
        rejected_clean=torch.zeros(6, dtype=torch.bool),
        rejected_triggered=torch.tensor(poisoned),
        clean_model_rejected_triggered=torch.tensor(clean),
    )
    assert (found["attack_success_rate"], found["clean_model_success_rate"]) == rates
    assert susceptibility(Risk.POISONING, found) >= 0


def test_a_rate_over_nothing_is_unknown_and_not_zero() -> None:
    found = _metrics(applies=torch.zeros(6, dtype=torch.bool))
    assert found["attack_success_rate"] is None
    assert found["robust_accuracy"] is None
    assert found["clean_accuracy"] == 4 / 6


def test_by_an_independent_computation() -> None:
    rng = np.random.default_rng(0)
    y, clean, triggered, before = rng.integers(0, 5, (4, 400))
    rejected = rng.random((3, 400)) < 0.3
    wanted = (y + 1) % 5
    applies = rng.random(400) < 0.7
    found = poisoning(
        clean=torch.tensor(clean),
        triggered=torch.tensor(triggered),
        y=torch.tensor(y),
        applies=torch.tensor(applies),
        success=torch.tensor(triggered == wanted),
        clean_model_success=torch.tensor(before == wanted),
        rejected_clean=torch.tensor(rejected[0]),
        rejected_triggered=torch.tensor(rejected[1]),
        clean_model_rejected_triggered=torch.tensor(rejected[2]),
    )
    sides = (rejected[0], rejected[1], rejected[1] | rejected[2])
    answers, triggered_answers, before_answers = (
        np.where(r, -1, a) for r, a in zip(sides, (clean, triggered, before), strict=True)
    )
    expected = {
        "attack_success_rate": accuracy_score(wanted[applies], triggered_answers[applies]),
        "clean_model_success_rate": accuracy_score(wanted[applies], before_answers[applies]),
        "clean_accuracy": accuracy_score(y, answers),
        "robust_accuracy": accuracy_score(y[applies], triggered_answers[applies]),
        "accuracy_without_filter": accuracy_score(y, clean),
        "filter_tpr": recall_score(np.ones(applies.sum()), rejected[1][applies]),
        "filter_fpr": 1 - recall_score(np.zeros(400), rejected[0], pos_label=0),
        "success_rate_without_filter": accuracy_score(wanted[applies], triggered[applies]),
    }
    assert found == pytest.approx(expected, abs=1e-12)
