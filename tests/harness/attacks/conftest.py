"""Models of digits to steal and to evade, and how to judge what comes of it."""

import pytest
import torch

from harness.attacks.protocol import AttackedPoints, AuxiliaryData, Evaded
from harness.attacks.shared import perturbation
from harness.data.quarters import quarters
from harness.metrics.classification import accuracy
from harness.target import BlackBox
from harness.training.single import train_alone
from harness.types import Access, Regime
from zoo.recipe import Recipe


@pytest.fixture(scope="session")
def victim(digits, job_for):
    job = job_for(recipe=Recipe(lr=3e-3, epochs=60))
    return train_alone(job, digits.all.take(job.index), None).model


@pytest.fixture(scope="session")
def thief(digits) -> AuxiliaryData:
    """A thief with 898 digits that the victim never saw."""
    split = quarters(digits, 0, Regime.FROM_SCRATCH)
    return AuxiliaryData(
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
        return accuracy(copy(test.x).argmax(1), victim(test.x).argmax(1))

    return judge


@pytest.fixture(scope="session")
def trained(digits, job_for):
    """A small CNN to evade, undefended."""
    job = job_for("cnn-small", recipe=Recipe(lr=3e-3, epochs=20))
    return train_alone(job, digits.all.take(job.index), None).model


@pytest.fixture(scope="session")
def points(digits):
    """200 digits to perturb."""
    return digits.all.take(torch.arange(1000, 1200))


@pytest.fixture(scope="session")
def robust(points):
    """Robust accuracy of a model under an attack on some examples, 200 digits if not given."""

    def rate(
        model, attack, given=points, *, access=Access.WEIGHTS, seed=0, num_classes=10
    ) -> float:
        data = AttackedPoints(
            points=given,
            num_classes=num_classes,
            architecture="cnn-small",
            input_shape=tuple(given.x.shape[1:]),
        )
        found = attack.run(BlackBox(model, access), data, seed=seed)
        x = found.x if isinstance(found, Evaded) else found
        size = perturbation.sizes(x - given.x, attack.norm)
        assert size.max() <= attack.epsilon + 1e-5
        assert 0 <= x.min() <= x.max() <= 1
        judge = BlackBox(model, Access.LABELS)
        right = (judge.labels(given.x) == given.y) & (judge.labels(x) == given.y)
        return right.double().mean().item()

    return rate
