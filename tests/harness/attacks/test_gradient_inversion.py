"""Gradient inversion where the example that a gradient is of is known."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from harness.attacks.gradient_inversion import (
    GradientInversion,
    _gradient_of,
    inferred_labels,
    total_variation,
)
from harness.attacks.protocol import AttackerData
from harness.attacks.shared.attacker_data import InvertsGradients, Released
from harness.data.examples import Column, Split
from harness.defenses.dpsgd import DPSGD
from harness.defenses.shared.defender import DefenderData
from harness.defenses.stack import Stack
from harness.metrics.reconstruction import mse
from harness.target import BlackBox
from harness.types import Access
from zoo import nets
from zoo.errors import ZooError

DATA = AttackerData(num_classes=10, architecture="mlp-128", input_shape=(1, 8, 8))
NOTHING = Split(torch.zeros(0, 1), torch.zeros(0).long())
OWNER = DefenderData(
    data=NOTHING, trusted=NOTHING, num_classes=10, train=lambda data: nn.Identity(), recipe=None,
    seed=0,
)  # fmt: skip
ATTACK = GradientInversion(observed=6, restarts=1, steps=200)


@pytest.fixture(scope="module")
def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nets.build("mlp-128", (1, 8, 8), 10).eval()


def _released(model, x, y, stack=(), **changes) -> Released:
    """What is seen of one step on each of ``x`` (o, b, ...)."""
    model.requires_grad_()
    steps = [
        Stack.of(stack).release(model, Split(x[i], y[i]), OWNER, seed=i) for i in range(len(x))
    ]
    gradients = tuple(map(torch.stack, zip(*steps, strict=True)))
    return Released(**{**vars(DATA), "gradients": gradients, **changes})


@pytest.fixture(scope="module")
def steps(digits) -> Split:
    """Six steps of one example each."""
    return Split(digits.x[:6, None], digits.y[:6, None])


def _error(attack, model, released, x) -> torch.Tensor:
    found = attack.run(BlackBox(model, Access.WEIGHTS), released, seed=0)
    assert found.shape == x.shape
    assert 0 <= found.min() <= found.max() <= 1
    return mse(found.flatten(0, 1), x.flatten(0, 1))


def test_the_gradient_of_a_linear_layer_is_its_input_and_that_is_found(steps) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    released = _released(model, steps.x, steps.y)
    weight, bias = released.gradients
    # Each row is the input times the gradient by that row's bias (Geiping et al. 2020, prop. 3.1).
    torch.testing.assert_close(weight / bias[:, :, None], steps.x.flatten(2).expand(6, 10, 64))
    assert _error(ATTACK, model, released, steps.x).max() < 1e-3


def test_an_example_is_found_in_the_gradient_of_a_network(mlp, steps) -> None:
    assert _error(ATTACK, mlp, _released(mlp, steps.x, steps.y), steps.x).max() < 5e-3


def test_nothing_is_found_in_noise(mlp, steps, digits) -> None:
    stream = torch.Generator().manual_seed(0)
    released = _released(mlp, steps.x, steps.y)
    noise = tuple(torch.randn(g.shape, generator=stream) for g in released.gradients)
    blank = mse(digits.x.mean(0).expand(6, 1, 8, 8), steps.x.flatten(0, 1)).mean()
    assert _error(ATTACK, mlp, replace(released, gradients=noise), steps.x).mean() > blank


def test_the_gradient_of_another_example_gives_that_one_and_not_this(mlp, steps) -> None:
    released = _released(mlp, steps.x, steps.y)
    other = replace(released, gradients=tuple(g.roll(1, 0) for g in released.gradients))
    assert _error(ATTACK, mlp, other, steps.x).min() > 0.02
    assert _error(ATTACK, mlp, other, steps.x.roll(1, 0)).max() < 5e-3


def test_private_training_stops_it(mlp, steps, digits) -> None:
    private = _released(mlp, steps.x, steps.y, stack=(DPSGD(noise_multiplier=1.0),))
    blank = mse(digits.x.mean(0).expand(6, 1, 8, 8), steps.x.flatten(0, 1)).mean()
    assert _error(ATTACK, mlp, private, steps.x).mean() > blank


def test_only_the_direction_matters_to_the_cosine(mlp, steps) -> None:
    """A well trained model's gradients are tiny, and no less telling."""
    released = _released(mlp, steps.x, steps.y)
    small = replace(released, gradients=tuple(1e-5 * g for g in released.gradients))
    assert _error(ATTACK, mlp, small, steps.x).max() < 5e-3
    far = replace(ATTACK, distance="l2")
    assert _error(far, mlp, released, steps.x).max() < 5e-3
    assert _error(far, mlp, small, steps.x).mean() > 0.05


@pytest.mark.parametrize("bias", [True, False])
def test_the_label_of_one_example_is_read_off_the_last_layer(bias, digits) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10, bias=bias)
    ).eval()
    y = torch.arange(20).view(20, 1) % 10  # whatever the digits are
    released = _released(model, digits.x[:20, None], y)
    assert torch.equal(inferred_labels(released.gradients, 10), y[:, 0])


def test_several_examples_of_a_step_are_told_apart(mlp, digits) -> None:
    attack = GradientInversion(
        batch=2, observed=3, labels="given", restarts=4, steps=300, total_variation=0.0
    )
    x, y = digits.x[:6].view(3, 2, 1, 8, 8), digits.y[:6].view(3, 2)
    found = attack.run(
        BlackBox(mlp, Access.WEIGHTS), _released(mlp, x, y, labels=y), seed=0
    )  # fmt: skip
    # All labels differ, so each is where its label is.
    assert mse(found.flatten(0, 1), x.flatten(0, 1)).median() < 0.01


def test_the_best_of_several_starts_is_kept(digits, job_for) -> None:
    torch.manual_seed(0)
    model = nets.build("cnn-small", (1, 8, 8), 10).eval()
    x, y = digits.x[:3, None], digits.y[:3, None]
    released = _released(model, x, y)
    gradient = torch.func.vmap(_gradient_of(model))
    wanted = torch.cat([g.flatten(1) for g in released.gradients], 1)

    def distance(restarts: int) -> torch.Tensor:
        attack = GradientInversion(observed=3, restarts=restarts, steps=25, total_variation=0.0)
        found = attack.run(BlackBox(model, Access.WEIGHTS), released, seed=0)
        reached = torch.cat([g.flatten(1) for g in gradient(found, y).values()], 1)
        return 1 - F.cosine_similarity(reached, wanted)

    assert distance(8).mean() < 0.8 * distance(1).mean()


@pytest.mark.parametrize("architecture", ["cnn-small", "resnet8"])
def test_the_attackers_gradient_is_that_of_a_training_step(architecture) -> None:
    """Batch norm included, which takes the statistics of the step."""
    torch.manual_seed(0)
    model = nets.build(architecture, (1, 8, 8), 10)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
            layer.running_mean.uniform_(-1, 1)
    model.eval().requires_grad_()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, y = torch.rand(2, 3, 1, 8, 8), torch.tensor([[1, 2, 3], [4, 4, 0]])
    found = torch.func.vmap(_gradient_of(model))(x, y)
    for i in range(2):
        wanted = Stack(()).release(model, Split(x[i], y[i]), OWNER, seed=0)
        for each, gradient in zip(found.values(), wanted, strict=True):
            torch.testing.assert_close(each[i], gradient, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_total_variation_by_hand() -> None:
    x = torch.tensor([[0.0, 1.0], [0.5, 0.5]]).view(1, 1, 1, 2, 2)
    assert total_variation(x) == pytest.approx((0.5 + 0.5) / 2 + (1.0 + 0.0) / 2)
    assert total_variation(torch.full((2, 3, 1, 4, 4), 0.7)).tolist() == [0, 0]


def test_rows_of_a_table_are_found_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    x, y = torch.rand(4, 1, 7), torch.tensor([[0], [1], [2], [0]])
    released = _released(model, x, y, num_classes=3, input_shape=(7,))
    assert _error(replace(ATTACK, observed=4, restarts=4), model, released, x).max() < 5e-3


def test_a_diverged_model_gives_inputs_all_the_same(mlp, steps) -> None:
    released = _released(mlp, steps.x, steps.y)
    broken = tuple(torch.full_like(g, torch.nan) for g in released.gradients)
    _error(replace(ATTACK, steps=3), mlp, replace(released, gradients=broken), steps.x)


def test_it_is_known_as_one_that_sees_gradients() -> None:
    assert isinstance(ATTACK, InvertsGradients)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 2}, "infers the label of one example, not of 2: set labels=given"),
        ({"observed": 0}, "wants observed of at least 1, found 0"),
        ({"restarts": 0}, "wants restarts of at least 1, found 0"),
        ({"steps": 0}, "wants steps of at least 1, found 0"),
        ({"lr": 0.0}, "wants lr above 0, found 0.0"),
        ({"total_variation": -1.0}, "wants total_variation of at least 0, found -1.0"),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=f"gradient-inversion {message}"):
        GradientInversion(**settings)


def test_rows_of_a_table_come_back_whole() -> None:
    columns = (Column("age", 0, 1), Column("colour", 1, 4, values=("red", "green", "blue")))
    colours = torch.eye(3)[torch.tensor([0, 2, 1, 0])]
    x = torch.cat([torch.tensor([[0.1], [0.9], [0.5], [0.7]]), colours], 1).view(4, 1, 4)
    torch.manual_seed(0)
    model = nets.build("mlp-128", (4,), 2).eval()
    released = _released(
        model, x, torch.tensor([[0], [1], [1], [0]]),
        num_classes=2, input_shape=(4,), columns=columns,
    )  # fmt: skip
    attack = GradientInversion(observed=4, restarts=1, steps=200)
    found = attack.run(BlackBox(model, Access.WEIGHTS), released, seed=0)
    assert torch.equal(found[..., 1:], x[..., 1:])
    torch.testing.assert_close(found[..., 0], x[..., 0], rtol=0, atol=0.02)
