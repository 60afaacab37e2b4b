"""Bars on discriminatory behavior: incomes by sex, over five seeds, and digits by their ink.

4,000 rows of Adult to train on; sex and race are not among the features.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness import registry
from harness.analysis.compare import compare
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Attribute
from harness.data.quarters import quarters
from harness.defenses.dpsgd import DPSGD
from harness.defenses.reweighing import Reweighing
from harness.games import discrimination
from harness.metrics.susceptibility import susceptibility
from harness.seeds import derive
from harness.training.job import Job, Trained
from harness.training.single import train_alone
from harness.types import Access, Regime, Risk, ThreatModel
from zoo.recipe import Recipe

pytestmark = pytest.mark.whole

SEEDS = range(5)
ROWS = 4000
LABELS = ThreatModel(access=Access.LABELS)
RECIPE = Recipe(epochs=20, batch_size=128)
NOISY = DPSGD(noise_multiplier=4.0, lr=0.01)
"""dp_epsilon 0.84 at 1e-5."""


@pytest.fixture(scope="module")
def adult(mirror) -> Dataset:
    return datasets.load("adult", DataLocation(mirror=mirror))


def _trained(data: Dataset, seed: int, *stack, rows: int | None = None, **changes) -> Trained:
    held = quarters(data, seed, Regime.FROM_SCRATCH).target_train[:rows]
    job = Job(
        **{
            "dataset": data.name, "fingerprint": data.fingerprint, "index": held,
            "architecture": "mlp-32", "input_shape": data.input_shape,
            "num_classes": data.num_classes, "mean": (0.0,) * data.input_shape[0],
            "std": (1.0,) * data.input_shape[0], "recipe": RECIPE, "seed": seed,
            "stack": tuple(map(registry.describe, stack)), **changes,
        }
    )  # fmt: skip
    return train_alone(job, data.collected.take(held), None)


@pytest.fixture(scope="module")
def models(adult) -> list[Trained]:
    return [_trained(adult, seed, rows=ROWS) for seed in SEEDS]


@pytest.fixture(scope="module")
def baselines(adult, models, measure):
    return [measure(adult, models[seed], seed, "group-audit")[0] for seed in SEEDS]


def _mean(evaluations, name: str) -> float:
    return float(np.mean([e.metrics[name] for e in evaluations]))


@pytest.mark.mirror
def test_bar_24_a_model_of_incomes_is_right_and_unequal_as_it_is_known_to_be(baselines) -> None:
    assert 0.83 <= _mean(baselines, "clean_accuracy") <= 0.86
    assert 0.15 <= _mean(baselines, "demographic_parity_difference") <= 0.22
    # Also of those who do have the income, women are found less often.
    assert _mean(baselines, "tpr[Male]") - _mean(baselines, "tpr[Female]") >= 0.08
    assert _mean(baselines, "equalized_odds_difference") >= 0.08
    assert np.mean([e.susceptibility for e in baselines]) >= 0.06


@pytest.mark.mirror
def test_there_is_no_gap_in_an_attribute_that_was_dealt_by_lot(adult, models, scenario_for) -> None:
    lots = np.random.default_rng(0).permutation(adult.z["sex"].values.numpy())
    candidate_split = Attribute(torch.from_numpy(lots), ("tails", "heads"))
    data = replace(adult, z={"dealt": candidate_split})
    attack = registry.make("attack", "group-audit", {}).resolve(data)
    found = []
    for seed in SEEDS:
        split = quarters(adult, seed, Regime.FROM_SCRATCH)
        table = scenario_for(data, models[seed].model, seed, quarters=split, threat=LABELS)
        found.append(discrimination.play(attack, table).metrics)
    levels = [susceptibility(Risk.DISCRIMINATORY_BEHAVIOR, metrics) for metrics in found]
    assert np.mean(levels) == pytest.approx(0, abs=0.02)
    for name in ("demographic_parity_difference", "equalized_odds_difference"):
        assert sum(metrics[f"{name}_low"] > 0 for metrics in found) <= 1


@pytest.mark.mirror
def test_dpsgd_lowers_the_demographic_gap_but_not_likewise_that_in_equalized_odds(
    adult, baselines, measure
) -> None:
    """Fewer are said to have the income, so shares differ less; but women who do lose more.

    Measured here: 0.188 -> 0.168, and 0.149 -> 0.181. A constant answer would have neither gap.
    """
    private = [
        measure(adult, _trained(adult, seed, NOISY, rows=ROWS), seed, "group-audit",
                stack=(NOISY,))[0]
        for seed in SEEDS
    ]  # fmt: skip
    [row] = compare([*baselines, *private])
    assert (row.metric, row.n_seeds) == ("equalized_odds_difference", len(SEEDS))
    demographic = row.metrics["demographic_parity_difference"]
    odds = row.metrics["equalized_odds_difference"]
    assert (row.baseline, row.defended) == odds
    assert demographic[1] <= demographic[0] - 0.01
    assert odds[1] / odds[0] >= demographic[1] / demographic[0] + 0.1
    assert row.defended_utility >= 0.8  # it has not given up


@pytest.mark.mirror
def test_bar_25_reweighing_halves_the_demographic_gap_for_little(adult, baselines, measure) -> None:
    """Measured here: 0.188 -> 0.093, and 0.837 -> 0.833 of the answers are right."""
    stack = (Reweighing(),)
    trained = [_trained(adult, seed, *stack, rows=ROWS) for seed in SEEDS]
    reweighed = [
        measure(adult, model, seed, "group-audit", stack=stack)[0]
        for seed, model in zip(SEEDS, trained, strict=True)
    ]
    [row] = compare([*baselines, *reweighed])
    demographic = row.metrics["demographic_parity_difference"]
    assert demographic[1] - demographic[0] <= -0.05
    assert row.defended_utility - row.baseline_utility >= -0.02


@pytest.fixture(scope="module")
def tinted() -> Dataset:
    return datasets.load("digits-tinted", DataLocation())


def test_ink_that_goes_with_parity_is_used_and_others_digits_are_missed(tinted, measure) -> None:
    """Where the ink says nothing of the digit, the same network treats both alike.

    Measured here: 0.39 and 0.04, and an interval above 0 for 5 seeds of 10 and for none.
    """
    lots = torch.from_numpy(np.random.default_rng(derive("lots")).integers(0, 2, len(tinted)))
    ink = torch.tensor([[0.4, 0.7, 1.0], [1.0, 0.7, 0.4]])[lots]
    grey = tinted.x / tinted.x.amax((1, 2, 3), keepdim=True)
    shape = grey.amax(1, keepdim=True)
    fair = replace(
        tinted,
        name="lots",
        x=shape * ink[:, :, None, None],
        z={"tint": Attribute(lots, tinted.z["tint"].names)},
    )
    found = {
        data.name: [
            measure(
                data,
                _trained(data, seed, recipe=Recipe(epochs=12, lr=3e-3), architecture="mlp-128"),
                seed,
                "group-audit",
            )[0]
            for seed in range(10)
        ]
        for data in (tinted, fair)
    }
    used, unused = (np.mean([e.susceptibility for e in found[d.name]]) for d in (tinted, fair))
    assert used >= 0.25
    assert used - unused >= 0.2
    assert unused == pytest.approx(0, abs=0.09)  # three standard errors
    shown = {
        name: sum((e.metrics["equalized_odds_difference_low"] or 0) > 0 for e in of)
        for name, of in found.items()
    }
    assert shown["lots"] <= 1
    assert shown["digits-tinted"] >= 3
