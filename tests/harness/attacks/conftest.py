"""A model of digits to steal, what a thief may hold, and how good a copy is."""

import pytest
import torch

from harness.attacks.protocol import AttackerData
from harness.datasets import quarters
from harness.metrics.extraction import extraction
from harness.training import train_alone
from harness.types import Regime
from zoo.recipe import Recipe


@pytest.fixture(scope="session")
def victim(digits, job_for):
    job = job_for(recipe=Recipe(lr=3e-3, epochs=60))
    return train_alone(job, digits.all.take(job.index), None).model


@pytest.fixture(scope="session")
def thief(digits) -> AttackerData:
    """A thief with 898 digits that the victim never saw."""
    split = quarters(digits, 0, Regime.FROM_SCRATCH)
    return AttackerData(
        aux=digits.all.take(torch.cat([split.shadow_train, split.shadow_test])),
        num_classes=10,
        architecture="mlp-128",
        input_shape=(1, 8, 8),
    )


@pytest.fixture(scope="session")
def fidelity(digits, victim):
    """Of a copy of the victim, on data that neither has seen."""
    test = digits.all.take(quarters(digits, 0, Regime.FROM_SCRATCH).target_test)

    def judge(copy) -> float:
        assert not copy.training
        answers = victim(test.x).argmax(1)
        return extraction(copy(test.x).argmax(1), answers, test.y)["fidelity"]

    return judge
