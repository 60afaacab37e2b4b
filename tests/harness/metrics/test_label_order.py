"""libreyolo 348: classes in another order are seen, and a model that knows nothing is no such case."""

import re

import numpy as np
import pytest

from harness.metrics.label_order import best_order, doubt


def _answers(y: np.ndarray, classes: int, right: float, rng: np.random.Generator) -> np.ndarray:
    """Labels of which a share is right and the others are drawn among the other classes."""
    wrong = (y + rng.integers(1, classes, len(y))) % classes
    return np.where(rng.random(len(y)) < right, y, wrong)


@pytest.mark.parametrize("classes", [2, 3, 10, 43])
def test_a_reversed_order_is_found_and_told_with_both_accuracies(classes) -> None:
    rng = np.random.default_rng(classes)
    y = np.arange(2_000) % classes
    y = rng.permutation(y)
    said = doubt(classes - 1 - _answers(y, classes, 0.93, rng), y, classes)
    assert said is not None
    as_it_is, renumbered = (float(word) for word in re.findall(r"0\.\d+", said))
    middle = classes % 2 / classes  # a class that stays where it is
    expected = 0.93 * middle + 0.07 * (1 - middle) / (classes - 1)
    assert as_it_is == pytest.approx(expected, abs=0.03)
    assert renumbered == pytest.approx(0.93, abs=0.03)
    assert said.endswith(f"(0 to {classes - 1} in reverse): check the label order")


def test_another_order_is_told_class_by_class() -> None:
    y = np.arange(400) % 4
    said = doubt(np.array([1, 2, 0, 3])[y], y, 4)  # a quarter is right, which is chance
    assert said is not None
    assert "accuracy 0.250, but 1.000 if labels were renumbered (0 is 2, 1 is 0, 2 is 1)" in said
    said = doubt(np.array([1, 2, 3, 0])[y], y, 4)
    assert said is not None
    assert "(0 is 3, 1 is 0, 2 is 1, 3 is 2)" in said


@pytest.mark.parametrize("classes", [2, 10, 43])
@pytest.mark.parametrize("n", [10, 50, 500])
@pytest.mark.parametrize("skewed", [False, True])
def test_random_answers_are_never_called_renumbered(classes, n, skewed) -> None:
    """2,000 models that know nothing: at 1 in 10,000, more than 3 warnings have a chance of 6e-5."""
    rng = np.random.default_rng(n)
    shares = np.ones(classes)
    if skewed:
        shares = 1 / np.arange(1, classes + 1)
    shares /= shares.sum()
    warned = 0
    for _ in range(2_000):
        y = rng.choice(classes, n, p=shares)
        predicted = rng.choice(classes, n, p=rng.permutation(shares))
        warned += doubt(predicted, y, classes) is not None
    assert warned <= 3


def test_chosen_and_judged_on_the_same_examples_random_answers_would_look_good() -> None:
    """Why the order is judged on other examples than it is chosen on."""
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(0, 43, (2, 50))
    assert (best_order(predicted, y, 43)[predicted] == y).mean() > 0.4
    y, predicted = rng.integers(0, 43, (2, 50))
    assert doubt(predicted, y, 43) is None


def test_a_model_that_always_says_the_same_is_not_renumbered() -> None:
    """Of 100, 70 are of class 1; that class 0 could be called 1 is no finding."""
    y = (np.arange(100) % 10 < 7).astype(int)
    assert doubt(np.zeros(100, dtype=int), y, 2) is None


@pytest.mark.parametrize("right", [0.3, 0.6, 1.0])
def test_a_model_that_is_shown_to_know_something_has_the_right_order(right) -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 10, 1_000)
    assert doubt(_answers(y, 10, right, rng), y, 10) is None


def test_one_example_says_nothing() -> None:
    assert doubt(np.array([1]), np.array([0]), 2) is None
