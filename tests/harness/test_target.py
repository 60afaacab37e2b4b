"""A black box answers as the model does, and leaves the model to its owner as it was."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from harness.target import BlackBox
from harness.types import Access


@pytest.fixture
def model() -> nn.Module:
    """Batch norm and dropout tell training from evaluation; one layer is frozen by its owner."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 3)
    )
    made[1].requires_grad_(False)
    made(torch.rand(8, 1, 2, 2))
    return made.train()


def test_the_callers_model_is_left_exactly_as_it_was(model) -> None:
    x = torch.rand(5, 1, 2, 2)
    before = deepcopy(model.state_dict())
    box = BlackBox(model, Access.WEIGHTS)
    box.scores(x)
    box.model.get_parameter("1.weight").data.zero_()  # what an attacker does with its copy
    box.model.train()(x)
    assert [part.training for part in model.modules()] == [True] * 6
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, True, True]
    assert model.state_dict().keys() == before.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in model.parameters())


def test_the_box_answers_as_the_model_in_eval_mode(model) -> None:
    x = torch.rand(5, 1, 2, 2)
    box = BlackBox(model, Access.WEIGHTS)
    assert not any(p.requires_grad for p in box.model.parameters())
    scores = box.scores(x)
    with torch.no_grad():
        wanted = model.eval()(x).softmax(1)
    torch.testing.assert_close(scores, wanted, rtol=0, atol=0)
