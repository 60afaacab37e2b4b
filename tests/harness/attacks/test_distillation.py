"""Distillation against a linear target, whose every answer is known."""

import pytest
import torch
from torch import nn

from harness.attacks.distillation import Distillation
from harness.attacks.protocol import AttackerData
from harness.metrics.classification import accuracy
from harness.target import BlackBox, BudgetError
from harness.types import Access, Split

ATTACK = Distillation(epochs=30, lr=1e-2)


class Linear(nn.Module):
    """Class 1 where the first pixel is the larger."""

    def forward(self, x):
        return 10 * x.flatten(1)[:, [1, 0]]


@pytest.fixture
def data() -> AttackerData:
    x = torch.rand(500, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    # The labels are wrong on purpose: the attack must not use them.
    return AttackerData(
        aux=Split(x, torch.zeros(500, dtype=torch.long)),
        num_classes=2,
        architecture="mlp-128",
        input_shape=(1, 1, 2),
    )


def _agreement(surrogate: nn.Module) -> float:
    x = torch.rand(1000, 1, 1, 2, generator=torch.Generator().manual_seed(1))
    return accuracy(surrogate(x).argmax(1), Linear()(x).argmax(1))


@pytest.mark.parametrize("access", [Access.LABELS, Access.SCORES])
def test_the_surrogate_copies_a_linear_target(data, access) -> None:
    surrogate = ATTACK.run(BlackBox(Linear(), access), data, seed=0)
    assert _agreement(surrogate) > 0.97
    assert not surrogate.training


def test_without_training_the_surrogate_knows_nothing(data) -> None:
    idle = Distillation(epochs=1, lr=1e-12)
    found = [
        _agreement(idle.run(BlackBox(Linear(), Access.SCORES), data, seed=s)) for s in range(30)
    ]
    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.15)


def test_with_scores_it_learns_more_than_the_labels(data) -> None:
    """The probabilities themselves come out right, which labels cannot teach."""
    x = data.aux.x
    wanted = Linear()(x).softmax(1)
    gaps = {
        access: (ATTACK.run(BlackBox(Linear(), access), data, seed=0)(x).softmax(1) - wanted)
        .abs()
        .mean()
        for access in (Access.SCORES, Access.LABELS)
    }
    assert gaps[Access.SCORES] < 0.03 < gaps[Access.LABELS]


@pytest.mark.parametrize(("budget", "asked"), [(None, 500), (120, 120)])
def test_it_asks_each_input_once_and_keeps_to_its_budget(data, budget, asked) -> None:
    target = BlackBox(Linear(), Access.SCORES, budget=budget)
    ATTACK.run(target, data, seed=0)
    assert target.queries == asked


def test_a_target_over_its_budget_answers_no_more() -> None:
    target = BlackBox(Linear(), Access.SCORES, budget=10)
    target.labels(torch.rand(8, 1, 1, 2))
    with pytest.raises(BudgetError, match="wants 11 answers, but the query budget is 10"):
        target.labels(torch.rand(3, 1, 1, 2))
    assert target.queries == 8


def test_the_surrogates_architecture_can_be_chosen(data) -> None:
    found = Distillation(epochs=1, surrogate="mlp-6x100").run(
        BlackBox(Linear(), Access.SCORES), data, seed=0
    )
    assert sum(isinstance(m, nn.Linear) for m in found.modules()) == 6
