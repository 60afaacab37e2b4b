"""Budgets against formulas written here, and what is said where there is no number."""

import math

import pytest
import torch
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp
from scipy.stats import norm
from torch import nn

from harness.data.examples import Split
from harness.defenses.dpsgd import DPSGD
from harness.defenses.shared import dp_accounting
from harness.defenses.shared.dp_accounting import noise_for, smallest, spent
from zoo.errors import ZooError
from zoo.recipe import Recipe

DELTA = 1e-5


def _renyi(noise: float, rate: float, steps: int) -> float:
    """Mironov et al. (2019), equation for integer orders, and the conversion of Balle et al. (2020).

    The moment of order a is a sum over how often the one example is among a draws.
    """
    found = []
    for a in range(2, 64):
        k = torch.arange(a + 1, dtype=torch.double).numpy()
        chosen = gammaln(a + 1) - gammaln(k + 1) - gammaln(a - k + 1)
        moment = logsumexp(
            chosen + k * math.log(rate) + (a - k) * math.log1p(-rate) + k * (k - 1) / 2 / noise**2
        )
        divergence = steps * moment / (a - 1)
        found.append(divergence + math.log1p(-1 / a) - math.log(DELTA * a) / (a - 1))
    return min(found)


def _gaussian(noise: float, steps: int) -> float:
    """Balle and Wang (2018): exact for whole batches, whose steps compose to one Gaussian."""
    mu = math.sqrt(steps) / noise

    def excess(epsilon: float) -> float:
        far = norm.cdf(-epsilon / mu - mu / 2)
        return norm.cdf(-epsilon / mu + mu / 2) - math.exp(epsilon) * far - DELTA

    return brentq(excess, 0, 100)


@pytest.mark.parametrize(
    ("noise", "rate", "steps"), [(4.0, 0.02, 500), (2.0, 0.01, 1_000), (10.0, 0.08, 800)]
)
def test_renyi_budgets_follow_from_the_formula(noise, rate, steps) -> None:
    # The best order is above 11 here; below, Opacus also tries fractions.
    assert spent("rdp", noise, rate, steps, DELTA) == pytest.approx(_renyi(noise, rate, steps))


@pytest.mark.parametrize(("noise", "steps"), [(5.0, 1), (5.0, 30), (20.0, 200)])
def test_prv_budgets_are_exact_where_an_exact_formula_exists(noise, steps) -> None:
    exact = _gaussian(noise, steps)
    found = spent("prv", noise, 1.0, steps, DELTA)
    assert exact <= found <= exact + 0.02  # it is an upper bound with a grid's error
    assert exact < spent("rdp", noise, 1.0, steps, DELTA)


def test_both_accountants_are_reported_and_the_chosen_one_counts() -> None:
    data = Split(torch.rand(100, 3), torch.arange(100) % 2)
    said = {}
    for name in ("rdp", "prv"):
        defense = DPSGD(noise_multiplier=2.0, accountant=name)
        said[name] = defense.fit(nn.Linear(3, 2), data, Recipe(epochs=1, batch_size=20), seed=0)
    for name, evidence in said.items():
        assert evidence["dp_epsilon_rdp"] == spent("rdp", 2.0, 0.2, 5, DELTA)
        assert evidence["dp_epsilon_prv"] == spent("prv", 2.0, 0.2, 5, DELTA)
        assert evidence["dp_epsilon"] == evidence[f"dp_epsilon_{name}"]
    assert said["prv"]["dp_epsilon"] < said["rdp"]["dp_epsilon"]


def test_prv_is_silent_where_its_grid_would_not_fit_into_memory() -> None:
    assert spent("rdp", 0.01, 0.14, 240, DELTA) > 1e6
    assert spent("prv", 0.01, 0.14, 240, DELTA) is None


def test_prv_is_silent_where_delta_is_below_its_precision() -> None:
    assert spent("prv", 1.0, 0.1, 10, 1e-17) is None
    assert spent("rdp", 1.0, 0.1, 10, 1e-17) > 0


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_the_smallest_budget_is_reached_and_below_it_nothing_is(accountant) -> None:
    least = smallest(accountant, 0.14, 10, DELTA)
    noise = noise_for(accountant, least, 0.14, 10, DELTA)
    assert spent(accountant, noise, 0.14, 10, DELTA) <= least
    with pytest.raises(
        ZooError, match=f"smallest that accountant={accountant} can show is {least:g}"
    ):
        noise_for(accountant, 0.97 * least, 0.14, 10, DELTA)


def test_the_smallest_renyi_budget_follows_from_the_largest_order() -> None:
    """With so much noise that nothing diverges, only the conversion at order 63 is left."""
    floor = math.log1p(-1 / 63) - math.log(DELTA * 63) / 62
    assert smallest("rdp", 0.14, 240, DELTA) == pytest.approx(floor, abs=5e-4)
    assert smallest("rdp", 0.14, 240, DELTA) >= floor


def test_a_refusal_says_what_to_ask_for() -> None:
    recipe = Recipe(epochs=2, batch_size=32)
    with pytest.raises(ZooError) as refused:
        DPSGD(dp_epsilon=0.05).check(100, recipe)
    least = float(str(refused.value).partition("can show is ")[2].split(". ")[0])
    DPSGD(dp_epsilon=least).check(100, recipe)


def test_a_budget_too_large_for_prv_is_refused() -> None:
    largest = dp_accounting.LARGEST_PRV
    with pytest.raises(ZooError, match=r"works up to 100; use accountant=rdp"):
        DPSGD(dp_epsilon=largest + 1, accountant="prv").check(100, Recipe())
    DPSGD(dp_epsilon=largest + 1).check(100, Recipe())


@pytest.mark.parametrize(("accountant", "budget"), [("rdp", 0.5), ("rdp", 8.0), ("prv", 0.5)])
def test_the_noise_of_a_budget_spends_it_and_less_would_not_do(accountant, budget) -> None:
    noise = noise_for(accountant, budget, 0.05, 20, DELTA)
    assert budget - 0.011 < spent(accountant, noise, 0.05, 20, DELTA) <= budget
    assert spent(accountant, 0.95 * noise, 0.05, 20, DELTA) > budget
