"""Data-free extraction: its gradients are right, its queries are counted, and it copies."""

import pytest
import torch
from torch import nn

from harness.attacks.data_free import DataFree, Generator, estimate, logits, squash
from harness.attacks.protocol import AttackerData
from harness.target import AccessDeniedError, BlackBox
from harness.types import Access
from zoo.errors import ZooError


def test_an_estimated_gradient_is_the_gradient() -> None:
    """Of a function with a known one, averaged over many directions."""
    x = torch.tensor([[1.0, -0.5, 0.0], [2.0, 0.3, -1.0]], dtype=torch.float64).view(2, 1, 1, 3)
    stream = torch.Generator().manual_seed(0)
    found = estimate(lambda v: v.pow(3).flatten(1).sum(1), x, 5000, 1e-5, stream)
    torch.testing.assert_close(found, 3 * x**2, rtol=0.05, atol=0.3)


def test_one_direction_gives_the_slope_along_it() -> None:
    """A linear function of one pixel: any direction is the right one, and it is exact."""
    x = torch.zeros(5, 1, 1, 1)
    found = estimate(lambda v: 3 * v.flatten(1)[:, 0], x, 1, 0.5, torch.Generator())
    torch.testing.assert_close(found, torch.full_like(x, 3.0))


def test_logits_come_back_from_scores_up_to_a_constant() -> None:
    wanted = torch.tensor([[2.0, -1.0, -1.0]])
    torch.testing.assert_close(logits((wanted + 7).softmax(1)), wanted)
    assert logits(torch.tensor([[1.0, 0.0, 0.0]])).isfinite().all()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 4, 4), (3, 35, 35), (1, 5, 9)])
def test_the_generator_makes_images_of_any_shape(shape) -> None:
    made = squash(Generator(shape, 16, 4)(torch.randn(6, 16)))
    assert made.shape == (6, *shape)
    assert 0 <= made.min() < 0.3 < 0.7 < made.max() <= 1


@pytest.mark.parametrize("budget", [1, 2, 129, 1000])
@pytest.mark.parametrize("directions", [1, 3])
def test_the_budget_is_spent_to_the_last_query(budget, directions, victim, thief) -> None:
    target = BlackBox(victim, Access.SCORES, budget=budget)
    DataFree(epochs=1, directions=directions).run(target, thief, seed=0)
    assert target.queries == budget


def test_without_a_budget_it_sets_its_own(victim, thief) -> None:
    target = BlackBox(victim, Access.SCORES)
    DataFree(queries=321, epochs=1).run(target, thief, seed=0)
    assert target.queries == 321


def test_a_model_is_copied_without_any_data(victim, thief, fidelity) -> None:
    copy = DataFree(queries=6000, epochs=10).run(BlackBox(victim, Access.SCORES), thief, seed=0)
    assert fidelity(copy) > 0.7


def test_with_next_to_no_queries_it_knows_next_to_nothing(victim, thief, fidelity) -> None:
    found = [
        fidelity(DataFree(queries=10).run(BlackBox(victim, Access.SCORES), thief, seed=seed))
        for seed in range(5)
    ]
    assert sum(found) / len(found) < 0.3


def test_the_generator_learns_to_find_disagreement() -> None:
    """Only a bright first pixel tells target and surrogate apart: that is where it goes."""
    seen = []

    class Target(nn.Module):
        def forward(self, x):
            seen.append(x[:, 0, 0, 0])
            first = 8 * x[:, 0, 0, 0] + 0 * x.flatten(1).sum(1)
            return torch.stack([first, -first], 1)

    data = AttackerData(num_classes=2, architecture="mlp-128", input_shape=(1, 4, 4))
    means = {}
    for rate in (1e-12, 1e-2):
        seen.clear()
        DataFree(queries=8000, lr=1e-9, epochs=1, generator_lr=rate, directions=4).run(
            BlackBox(Target(), Access.SCORES), data, seed=0
        )
        means[rate] = torch.cat(seen)[-2000:].mean().item()
    assert means[1e-2] > means[1e-12] + 0.1


def test_it_needs_scores(victim, thief) -> None:
    with pytest.raises(AccessDeniedError, match="wants scores, but the target gives labels only"):
        DataFree().run(BlackBox(victim, Access.LABELS), thief, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queries": 0}, "data-free wants queries of at least 1, found 0"),
        ({"batch_size": 1}, "data-free wants batch_size of at least 2, found 1"),
        ({"step": 0.0}, "data-free wants step above 0, found 0.0"),
        ({"epochs": 0}, "epochs of at least 1, found 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        DataFree(**settings)
