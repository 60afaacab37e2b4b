"""The bound against its formula in loops, and against mechanisms whose budget is known."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from harness.metrics.audit import CONFIDENCE, PRECISION, audit, lower_bound, p_value


def _slow(*, canaries, guesses, correct, dp_epsilon, dp_delta):
    """Steinke et al. (2023), theorem 5.2, one probability at a time."""
    q = math.exp(dp_epsilon) / (1 + math.exp(dp_epsilon))

    def exactly(k):
        return math.comb(guesses, k) * q**k * (1 - q) ** (guesses - k)

    at_least = sum(exactly(k) for k in range(correct, guesses + 1))
    most = 0.0
    for i in range(1, canaries + 1):
        short = sum(exactly(k) for k in range(max(0, correct - i), correct))
        most = max(most, 2 * short / i)
    return min(1.0, at_least + most * canaries * dp_delta)


@pytest.mark.parametrize("dp_epsilon", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("dp_delta", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize(("guesses", "correct"), [(20, 20), (20, 15), (20, 0), (40, 27)])
def test_the_p_value_is_that_of_the_theorem(guesses, correct, dp_epsilon, dp_delta) -> None:
    given = {
        "canaries": 50, "guesses": guesses, "correct": correct,
        "dp_epsilon": dp_epsilon, "dp_delta": dp_delta,
    }  # fmt: skip
    assert p_value(**given) == pytest.approx(_slow(**given), rel=1e-9, abs=1e-14)


def test_the_bound_by_hand() -> None:
    """All of 10 guesses right: refuted are budgets whose q has q ** 10 < .05."""
    q = 0.05**0.1
    found = lower_bound(canaries=10, guesses=10, correct=10, dp_delta=0.0)
    assert found == pytest.approx(math.log(q / (1 - q)), abs=PRECISION)


def test_a_larger_delta_and_a_wrong_guess_prove_less() -> None:
    base = lower_bound(canaries=100, guesses=50, correct=48, dp_delta=1e-5)
    assert 0 < lower_bound(canaries=100, guesses=50, correct=48, dp_delta=1e-3) < base
    assert 0 < lower_bound(canaries=100, guesses=50, correct=47, dp_delta=1e-5) < base
    assert lower_bound(canaries=100, guesses=50, correct=25, dp_delta=1e-5) == 0


@pytest.mark.parametrize("dp_delta", [0.0, 1e-5, 1e-3, 1e-2])
@pytest.mark.parametrize("correct", [30, 45, 50])
def test_a_weaker_budget_is_never_easier_to_refute(correct, dp_delta) -> None:
    found = [
        p_value(canaries=100, guesses=50, correct=correct, dp_epsilon=e, dp_delta=dp_delta)
        for e in np.linspace(0, 8, 200)
    ]
    assert (np.diff(found) >= -1e-12).all()


@pytest.mark.parametrize(("guesses", "dp_epsilon"), [(40, 0.5), (40, 2.0), (200, 1.0), (200, 3.0)])
def test_randomised_response_is_overstated_in_one_run_of_twenty_at_most(
    guesses, dp_epsilon
) -> None:
    """Each answer is right with probability q: the coverage is a sum over the binomial."""
    q = 1 / (1 + math.exp(-dp_epsilon))
    counts = np.arange(guesses + 1)
    wrong = [
        lower_bound(canaries=guesses, guesses=guesses, correct=int(c), dp_delta=0.0) > dp_epsilon
        for c in counts
    ]
    overstated = binom.pmf(counts, guesses, q)[wrong].sum()
    assert overstated <= 1 - CONFIDENCE
    # The mechanism is the worst that the budget allows, so the bound is close to it.
    assert overstated > 0.005


@pytest.mark.parametrize("dp_delta", [1e-3, 1e-2])
def test_a_mechanism_that_fails_with_delta_is_not_overstated(dp_delta) -> None:
    """Each bit is published with probability delta, else answered at random."""
    dp_epsilon, canaries, guesses = 1.0, 100, 20
    q = 1 / (1 + math.exp(-dp_epsilon))
    rng = np.random.default_rng(0)
    over, runs = 0, 2000
    bounds = [
        lower_bound(canaries=canaries, guesses=guesses, correct=c, dp_delta=dp_delta)
        for c in range(guesses + 1)
    ]
    for _ in range(runs):
        published = min(guesses, rng.binomial(canaries, dp_delta))  # the auditor guesses these
        correct = published + rng.binomial(guesses - published, q)
        over += bounds[correct] > dp_epsilon
    assert over / runs <= 1 - CONFIDENCE


def test_guesses_are_at_both_ends_and_the_middle_is_left_out() -> None:
    scores = np.array([3.0, 0.0, 5.0, 1.0, 4.0, 2.0, 6.0, 7.0])
    member = np.array([False, False, True, False, False, True, True, True])
    found = audit(scores, member, guessed=0.5, dp_delta=1e-5)
    assert found["guesses"] == found["correct_guesses"] == 4
    found = audit(scores, member, guessed=1.0, dp_delta=1e-5)
    assert (found["guesses"], found["correct_guesses"]) == (8, 6)
    found = audit(-scores, member, guessed=0.5, dp_delta=1e-5)
    assert found == {"audited_epsilon": 0.0, "guesses": 4.0, "correct_guesses": 0.0}


def test_noise_shows_nothing_and_a_certain_auditor_much() -> None:
    rng = np.random.default_rng(0)
    member = rng.random(200) < 0.5
    noise = [
        audit(rng.normal(size=200), member, guessed=0.5, dp_delta=1e-5)["audited_epsilon"]
        for _ in range(100)
    ]
    assert np.mean(np.array(noise) > 0) <= 0.1
    assert max(noise) < 1
    sure = audit(member + rng.random(200) / 2, member, guessed=0.5, dp_delta=1e-5)
    assert 3 < sure["audited_epsilon"] < 4
