"""Semi-supervised extraction: MixMatch's parts by hand, and what the unanswered inputs are worth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from harness.attacks.distillation import Distillation
from harness.attacks.protocol import AuxiliaryData
from harness.attacks.semi_supervised import SemiSupervised, corrupted, mixed, sharpen
from harness.data.examples import Column, Split
from harness.metrics.classification import accuracy
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


COLUMNS = (Column("age", 0, 1), Column("colour", 1, 4, values=("red", "green", "blue")))


def test_a_corrupted_row_has_whole_columns_of_other_rows() -> None:
    rng = np.random.default_rng(0)
    pool = Split(
        torch.tensor([[0.1, 1, 0, 0], [0.2, 1, 0, 0]]), torch.zeros(2).long(), {}, None, COLUMNS
    )
    x = torch.tensor([[0.9, 0.0, 0.0, 1.0]]).expand(4000, 4)
    before = x.clone()
    found = corrupted(x, pool, 0.3, rng)
    assert torch.equal(x, before)
    ages, colours = found[:, 0], found[:, 1:]
    replaced = colours[:, 0] == 1
    assert torch.equal(
        colours[replaced], torch.tensor([[1.0, 0, 0]]).expand(int(replaced.sum()), 3)
    )
    assert torch.equal(colours[~replaced], x[~replaced, 1:])
    # Each column by itself, and by either row of the pool.
    assert replaced.double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert (ages != 0.9).double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert ((ages != 0.9) & replaced).double().mean().item() == pytest.approx(0.09, abs=0.02)
    assert (ages == 0.1).sum().item() == pytest.approx((ages == 0.2).sum().item(), rel=0.2)
    assert torch.equal(corrupted(x, pool, 0.0, rng), x)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"shift": 0.1}, (4,), "no shift for inputs of tiny, which are rows of a table, found 0.1"),
        ({"corruption": 0.1}, (1, 4, 4), "no corruption for inputs of tiny, which are images"),
    ],
)
def test_what_is_no_augmentation_of_such_inputs_is_refused(settings, shape, message, tiny) -> None:
    data = replace(tiny, x=torch.rand(64, *shape))
    with pytest.raises(ZooError, match=message):
        SemiSupervised(**settings).resolve(data)


class Halves(nn.Module):
    """Class 1 in the right half of the unit square."""

    def forward(self, x):
        right = 20 * (x.flatten(1)[:, 0] - 0.5)
        return torch.stack([-right, right], 1)


def test_the_unanswered_inputs_are_worth_something() -> None:
    """Six answers do not say where two clouds part; where the others lie does."""
    stream = torch.Generator().manual_seed(0)
    across = 0.35 + 0.3 * (torch.arange(256) % 2) + 0.04 * torch.randn(256, generator=stream)
    x = torch.stack([across, torch.rand(256, generator=stream)], 1).view(-1, 1, 1, 2)
    data = AuxiliaryData(
        aux=Split(x, torch.zeros(256, dtype=torch.long)),
        num_classes=2, architecture="mlp-128", input_shape=(1, 1, 2),
    )  # fmt: skip
    found: dict[str, list[float]] = {}
    for attack in (SemiSupervised(epochs=40, temperature=1.0), Distillation(epochs=300)):
        for seed in range(5):
            target = BlackBox(Halves(), Access.LABELS, budget=6)
            copy = attack.run(target, data, seed=seed)
            assert target.queries == 6
            agreement = accuracy(copy(x).argmax(1), Halves()(x).argmax(1))
            found.setdefault(attack.name, []).append(agreement)
    assert np.mean(found["semi-supervised"]) > np.mean(found["distillation"]) + 0.05


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
        ({"corruption": 1.0}, "corruption of at least 0 and below 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=f"semi-supervised wants {message}"):
        SemiSupervised(**settings)
