"""Model inversion of tables whose most telling row is known."""

import pytest
import torch
from torch import nn

from harness.attacks.protocol import AttackerData
from harness.attacks.tabular_inversion import TabularInversion
from harness.data.examples import Column
from harness.target import BlackBox
from harness.types import Access
from zoo.errors import ZooError

COLUMNS = (
    Column("age", 0, 1),
    Column("colour", 1, 5, values=("red", "green", "blue", "grey")),
    Column("height", 5, 6),
    Column("size", 6, 9, values=("s", "m", "l")),
)
DATA = AttackerData(num_classes=2, architecture="", input_shape=(9,), columns=COLUMNS)


def _linear(difference: list[float]) -> nn.Module:
    """Logits (-d . x + c / 2, d . x - c / 2) with c so that an average row is undecided."""
    layer = nn.Linear(9, 2)
    weight = torch.tensor(difference)
    layer.weight.data = torch.stack([-weight, weight])
    middle = torch.tensor([0.5, *[0.25] * 4, 0.5, *[1 / 3] * 3]) @ weight
    layer.bias.data = torch.stack([middle, -middle])
    return layer


def _invert(model, seed=0, **settings) -> torch.Tensor:
    return TabularInversion(**settings).run(BlackBox(model, Access.WEIGHTS), DATA, seed=seed)


def test_the_most_telling_values_are_found() -> None:
    model = _linear([0.9, -0.3, 1.2, 0.0, 0.3, -0.9, 0.0, -1.5, 1.5])
    found = _invert(model, threshold=1.0, steps=400)
    assert found.shape == (2, 16, 9)
    # Class 1: old, green, short, large; class 0: young, red, tall, medium.
    assert (found[1, :, [1, 2, 3, 4]] == torch.tensor([0.0, 1.0, 0.0, 0.0])).all()
    assert (found[1, :, [6, 7, 8]] == torch.tensor([0.0, 0.0, 1.0])).all()
    assert (found[0, :, [1, 2, 3, 4]] == torch.tensor([1.0, 0.0, 0.0, 0.0])).all()
    assert (found[0, :, [6, 7, 8]] == torch.tensor([0.0, 1.0, 0.0])).all()
    assert (found[1, :, 0] > 0.7).all()
    assert (found[1, :, 5] < 0.3).all()
    assert (found[0, :, 0] < 0.3).all()
    assert (found[0, :, 5] > 0.7).all()


def test_every_row_could_be_in_the_table() -> None:
    found = _invert(_linear([1.0, 2.0, -1.0, 0.5, 0.0, 1.0, 0.0, -1.0, 1.0]), steps=20)
    assert 0 <= found.min() <= found.max() <= 1
    for start, stop in ((1, 5), (6, 9)):
        part = found[..., start:stop]
        assert ((part == 0) | (part == 1)).all()
        assert (part.sum(-1) == 1).all()


def test_a_row_that_is_certain_enough_is_left_as_it_is() -> None:
    model = _linear([1.0, 2.0, -1.0, 0.5, 0.0, 1.0, 0.0, -1.0, 1.0])
    start = _invert(model, steps=1, lr=1e-9)
    eager = _invert(model, steps=50, threshold=0.5)
    certain = model(start.flatten(0, 1)).softmax(1)
    certain = certain.gather(1, torch.tensor([0, 1]).repeat_interleave(16)[:, None]).view(2, 16)
    # Half of the rows are certain from the start, but for what rounding changes.
    same = (eager == start).all(-1)
    assert same[certain > 0.9].float().mean() > 0.8
    assert not same[certain < 0.1].any()


def test_a_model_that_tells_the_classes_by_nothing_gives_nothing_away() -> None:
    found = _invert(_linear([0.0] * 9), samples=500, steps=20)
    profile = found.mean(1)
    assert profile[0].tolist() == pytest.approx(profile[1].tolist(), abs=0.1)
    assert profile[0].tolist() == pytest.approx([0.5, *[0.25] * 4, 0.5, *[1 / 3] * 3], abs=0.1)


def test_images_are_refused(digits) -> None:
    with pytest.raises(ZooError, match="wants a table, but digits has images. Use fredrikson"):
        TabularInversion().resolve(digits)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples of at least 1, found 0"),
        ({"steps": 0}, "steps of at least 1, found 0"),
        ({"lr": 0.0}, "lr above 0, found 0.0"),
        ({"threshold": 1.5}, "threshold above 0 and up to 1, found 1.5"),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=f"tabular-inversion wants {message}"):
        TabularInversion(**settings)
