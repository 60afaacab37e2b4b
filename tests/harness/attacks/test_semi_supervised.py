"""Semi-supervised extraction: MixMatch's parts by hand, and what the unanswered inputs are worth."""

import numpy as np
import pytest
import torch

from harness.attacks.semi_supervised import SemiSupervised, mixed, sharpen
from harness.target import BlackBox
from harness.types import Access
from zoo.errors import ZooError


def test_sharpening_by_hand() -> None:
    found = sharpen(torch.tensor([[0.8, 0.2]]), 0.5)
    torch.testing.assert_close(found, torch.tensor([[0.64, 0.04]]) / 0.68)
    same = torch.tensor([[0.7, 0.2, 0.1]])
    torch.testing.assert_close(sharpen(same, 1.0), same)


def test_a_mixed_example_is_mostly_itself() -> None:
    n = 200
    x = torch.arange(n).float().view(n, 1, 1, 1)
    y = torch.eye(n)
    new_x, new_y = mixed(x, y, 0.75, np.random.default_rng(0))
    own = new_y.diagonal()
    assert own.min() >= 0.5
    torch.testing.assert_close(new_y.sum(1), torch.ones(n))
    # Input and label are mixed with the same other example, by the same part.
    torch.testing.assert_close(new_x.flatten(), new_y @ x.flatten(), rtol=1e-4, atol=1e-3)
    assert 0.5 < own.mean() < 0.95


def test_a_shift_moves_an_image_by_whole_pixels() -> None:
    x = torch.rand(50, 2, 8, 8)
    moved = SemiSupervised(shift=0.125)._shifted(x, np.random.default_rng(0))
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    kinds = set()
    for before, after in zip(padded, moved, strict=True):
        found = [
            (dy, dx)
            for dy in range(3)
            for dx in range(3)
            if torch.equal(before[:, dy : dy + 8, dx : dx + 8], after)
        ]
        assert len(found) == 1
        kinds.add(found[0])
    assert len(kinds) == 9
    assert torch.equal(SemiSupervised(shift=0.0)._shifted(x, np.random.default_rng(0)), x)


def test_the_unanswered_inputs_are_worth_something(victim, thief, fidelity) -> None:
    """The same answers, the same number of steps, with and without the other inputs."""
    with_rest, alone = [], []
    for seed in range(4):
        for weight, found in ((SemiSupervised().weight, with_rest), (0.0, alone)):
            target = BlackBox(victim, Access.SCORES, budget=30)
            found.append(fidelity(SemiSupervised(weight=weight).run(target, thief, seed=seed)))
            assert target.queries == 30
    assert np.mean(with_rest) > np.mean(alone) + 0.01
    assert np.mean(with_rest) > 0.7


@pytest.mark.parametrize("access", [Access.LABELS, Access.SCORES])
def test_without_a_budget_a_share_is_asked(access, victim, thief, fidelity) -> None:
    target = BlackBox(victim, access)
    copy = SemiSupervised().run(target, thief, seed=0)
    assert target.queries == 180  # a fifth of 898
    assert fidelity(copy) > 0.9


def test_it_runs_where_every_input_is_asked(victim, thief, fidelity) -> None:
    target = BlackBox(victim, Access.SCORES, budget=898)
    assert fidelity(SemiSupervised(epochs=20).run(target, thief, seed=0)) > 0.9
    assert target.queries == 898


def test_untrained_it_knows_nothing(victim, thief, fidelity) -> None:
    idle = SemiSupervised(epochs=1, lr=1e-12)
    target = BlackBox(victim, Access.SCORES)
    assert np.mean([fidelity(idle.run(target, thief, seed=s)) for s in range(10)]) < 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 0.0}, "share above 0 and at most 1, found 0.0"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"alpha": -1.0}, "alpha above 0"),
        ({"weight": -1.0}, "weight of at least 0"),
        ({"shift": 1.0}, "shift of at least 0 and below 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=f"semi-supervised wants {message}"):
        SemiSupervised(**settings)
