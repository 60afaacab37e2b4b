"""Early stopping: when it ends, what it keeps, and that held-out examples train nothing."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from harness import registry
from harness.data.examples import Split
from harness.defenses import early_stopping
from harness.defenses.early_stopping import EarlyStopping
from harness.defenses.label_smoothing import LabelSmoothing
from harness.learning.fit import fit
from harness.seeds import generator
from harness.training.single import train_alone
from zoo.errors import ZooError
from zoo.recipe import Recipe

RECIPE = Recipe(lr=1e-2, epochs=10, batch_size=8)
HALF = EarlyStopping(held_out=0.5, patience=2)


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def _parts(data: Split, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that are held out, and rows that are trained on, for a share of a half."""
    order = torch.randperm(len(data), generator=generator("early-stopping", seed))
    return order[: len(data) // 2], order[len(data) // 2 :]


@pytest.fixture
def losses(monkeypatch):
    """Say what the held-out losses are, one an epoch."""

    def say(*values: float) -> None:
        left = iter(values)
        monkeypatch.setattr(early_stopping, "_mean_loss", lambda model, data: next(left))

    return say


@pytest.mark.parametrize(
    ("found", "tried", "kept"),
    [
        ((3.0, 2.0, 2.5, 2.1), 4, 2),  # two in a row are no better: the patience is over
        ((3.0, 2.0, 2.5, 1.9, 5.0, 5.0), 6, 4),  # a better one in time starts it anew
        ((2.0, 2.0, 2.0), 3, 1),  # as good is not better
        ((9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5), 10, 10),
        ((float("nan"), float("nan"), float("nan")), 3, 1),
    ],
)
def test_the_best_epoch_is_kept(found, tried, kept, losses, tiny) -> None:
    losses(*found)
    model, expected = _net(), _net()
    evidence = HALF.fit(model, tiny.all, RECIPE, seed=4)
    left_out = evidence.pop("not_fitted_to")
    assert left_out == sorted(_parts(tiny.all, 4)[0].tolist())
    assert left_out == HALF.spared(model, tiny.all, RECIPE, seed=4).nonzero().flatten().tolist()
    lowest = found[kept - 1]
    assert evidence == {
        "epochs": kept,
        "epochs_tried": tried,
        "held_out": 32,
        "held_out_loss": lowest if lowest == lowest else None,
    }
    used = tiny.all.take(_parts(tiny.all, 4)[1])
    fit(expected, used, replace(RECIPE, epochs=kept), seed=4)
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert not model.training


def test_the_held_out_loss_is_a_mean_cross_entropy_in_eval_mode(tiny) -> None:
    model = nn.Sequential(_net(), nn.Dropout(0.9)).train()
    expected = F.cross_entropy(model[0](tiny.x), tiny.y).item()
    assert early_stopping._mean_loss(model, tiny.all) == pytest.approx(expected)
    assert model.training
    assert model[1].training


def test_held_out_examples_train_nothing(losses, tiny) -> None:
    rows = _parts(tiny.all, 4)[0]
    x, y = tiny.x.clone(), tiny.y.clone()
    x[rows], y[rows] = 0.5, 0
    found = []
    for data in (tiny.all, Split(x, y)):
        losses(3.0, 2.0, 2.5, 2.1)
        model = _net()
        HALF.fit(model, data, RECIPE, seed=4)
        found.append(model.state_dict())
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_what_can_only_be_learned_by_heart_is_not_learned(tiny) -> None:
    """Random labels: each epoch makes held-out loss worse, so it ends long before the recipe."""
    stream = torch.Generator().manual_seed(0)
    data = Split(tiny.x, torch.randint(3, (64,), generator=stream))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 3))
    full = copy.deepcopy(model)
    recipe = replace(RECIPE, epochs=300)
    evidence = EarlyStopping(held_out=0.25).fit(model, data, recipe, seed=0)
    fit(full, data, recipe, seed=0)
    assert evidence["epochs_tried"] < 60
    assert (full(data.x).argmax(1) == data.y).double().mean() > 0.95
    assert (model(data.x).argmax(1) == data.y).double().mean() < 0.7


def test_another_defenses_loss_is_the_one_that_is_trained(job_for, digits) -> None:
    recipe = Recipe(lr=1e-2, epochs=10)
    defenses = (EarlyStopping(), LabelSmoothing(alpha=0.3))
    made = [
        train_alone(job, digits.all.take(job.index), None)
        for job in (
            job_for(recipe=recipe, stack=tuple(map(registry.describe, stack)))
            for stack in (defenses, defenses[::-1], defenses[:1])
        )
    ]
    confidence = [m.model(digits.x[:200]).softmax(1).amax(1).mean().item() for m in made]
    assert confidence[0] == confidence[1] < confidence[2] - 0.05
    assert made[0].evidence["held_out"] == 45


def test_every_epoch_is_announced_even_where_its_last_batch_is_left_out(tiny) -> None:
    data = tiny.all.take(torch.arange(9))
    for layers in ([], [nn.BatchNorm1d(16)]):  # batch norm cannot take a single example
        seen = []

        def after(epoch: int, seen=seen) -> bool:
            seen.append(epoch)
            return epoch == 3

        model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(16, 3))
        fit(model, data, Recipe(epochs=5, batch_size=4), seed=0, after_epoch=after)
        assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(held_out=1.0), "held_out between 0 and 1, found 1.0"),
        (lambda: EarlyStopping(patience=0), "patience of at least 1, found 0"),
        (lambda: EarlyStopping().check(4, RECIPE), "held_out of 0.1 takes 0 of 4"),
        (lambda: EarlyStopping(held_out=0.9).check(4, RECIPE), "held_out of 0.9 takes 4 of 4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message) -> None:
    with pytest.raises(ZooError, match=message):
        make()
