"""The bars on what a model of incomes says about sex and race, over five seeds each.

4,000 rows of Adult to train on and 4,000 to judge; sex and race are not among the features.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.examples import Attribute
from harness.data.quarters import quarters
from harness.games import attribute
from harness.metrics.classification import accuracy
from harness.training.job import Job
from harness.training.single import train_alone
from harness.types import Access, Aux, Regime, ThreatModel
from zoo.recipe import Recipe

pytestmark = [pytest.mark.mirror, pytest.mark.whole]

SEEDS = range(5)
ROWS = 4000
SCORES = ThreatModel(access=Access.SCORES, aux=Aux.SHADOW)


@pytest.fixture(scope="module")
def adult(mirror):
    """Race is white or not, and one more attribute is sex dealt out at random."""
    data = datasets.load("adult", DataLocation(mirror=mirror))
    sex, race = data.z["sex"], data.z["race"]
    white = (race.values == race.names.index("White")).long()
    candidate_split = torch.from_numpy(np.random.default_rng(0).permutation(sex.values.numpy()))
    return replace(
        data,
        z={
            "sex": sex,
            "race": Attribute(white, ("not white", "white")),
            "dealt": Attribute(candidate_split, sex.names),
        },
    )


def _split(adult, seed):
    """The first rows of every quarter."""
    split = quarters(adult, seed, Regime.FROM_SCRATCH)
    half = ROWS // 2
    return replace(
        split,
        target_train=split.target_train[:ROWS],
        target_test=split.target_test[:ROWS],
        shadow_train=split.shadow_train[:half],
        shadow_test=split.shadow_test[:half],
    )


@pytest.fixture(scope="module")
def models(adult):
    found = []
    for seed in SEEDS:
        job = Job(
            dataset="adult", fingerprint=adult.fingerprint, index=_split(adult, seed).target_train,
            architecture="mlp-32", input_shape=adult.input_shape, num_classes=2, mean=(0.0,),
            std=(1.0,), recipe=Recipe(epochs=20, batch_size=128), seed=seed,
        )  # fmt: skip
        found.append(train_alone(job, adult.all.take(job.index), None).model)
    return found


@pytest.fixture(scope="module")
def leaks(adult, models, scenario_for):
    """Mean metrics of the attack on the scores, which knows nothing else of a record."""

    def measure(name):
        attack = registry.make(
            "attack", "attribute-scores", {"attribute": name, "knows": "nothing", "epochs": 10}
        )
        found = []
        for seed, model in enumerate(models):
            table = scenario_for(adult, model, seed, threat=SCORES, quarters=_split(adult, seed))
            found.append(attribute.play(attack, table).metrics)
        return {key: np.mean([metrics[key] for metrics in found]) for key in found[0]}

    return measure


def test_bar_4_an_attribute_that_is_dealt_at_random_is_not_found(leaks) -> None:
    found = leaks("dealt")
    assert found["auc"] == pytest.approx(0.5, abs=0.02)
    assert found["balanced_accuracy"] == pytest.approx(0.5, abs=0.02)
    assert found["features_imputation_auc"] == pytest.approx(0.5, abs=0.02)
    assert found["ppv_at_100"] == pytest.approx(found["rarest_share"], abs=0.06)


def test_bar_24_incomes_are_predicted_as_well_as_everybody_does(adult, models) -> None:
    right, gap = [], []
    for seed, model in enumerate(models):
        index = _split(adult, seed).target_test
        answers = model(adult.x[index]).argmax(1)
        right.append(accuracy(answers, adult.y[index]))
        male = adult.z["sex"].values[index].bool()
        rich = answers.double()
        gap.append((rich[male].mean() - rich[~male].mean()).item())
    assert 0.83 < np.mean(right) < 0.86
    assert 0.15 < np.mean(gap) < 0.22


@pytest.mark.parametrize(("name", "low", "high"), [("sex", 0.66, 0.74), ("race", 0.57, 0.64)])
def test_bar_26_scores_tell_of_sex_and_race(leaks, name, low, high) -> None:
    found = leaks(name)
    assert low < found["auc"] < high
    assert found["imputation_auc"] == 0.5
    assert found["features_imputation_auc"] > high  # incomes are not needed for that
