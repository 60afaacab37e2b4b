"""Bar 8: adversarial training pays on digits, over eight seeds, at little cost in accuracy."""

import numpy as np
import pytest

from harness import registry
from harness.defenses.adversarial_training import AdversarialTraining
from harness.training.single import train_alone
from zoo.recipe import Recipe

pytestmark = pytest.mark.whole

SEEDS = range(8)
RECIPE = Recipe(lr=3e-3, epochs=60, batch_size=64)


@pytest.fixture(scope="module")
def measured(digits, job_for, measure):
    """Mean clean accuracy and mean robust accuracy at .1 of models with a stack."""

    def run(*stack):
        found = []
        for seed in SEEDS:
            job = job_for(recipe=RECIPE, seed=seed, stack=tuple(map(registry.describe, stack)))
            trained = train_alone(job, digits.all.take(job.index), None)
            metrics = measure(digits, trained, seed, "pgd", epsilon=0.1, stack=stack)[0].metrics
            found.append((metrics["clean_accuracy"], metrics["robust_accuracy"]))
        return np.mean(found, axis=0)

    return run


def test_bar_8_adversarial_training_pays(digits, measured) -> None:
    clean, robust = measured()
    clean_defended, robust_defended = measured(AdversarialTraining(epsilon=0.1).resolve(digits))
    assert robust_defended - robust >= 0.25
    assert clean - clean_defended <= 0.03
