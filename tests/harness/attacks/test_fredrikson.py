"""Model inversion against models whose gradients are worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from harness.attacks.fredrikson import Fredrikson
from harness.attacks.protocol import AttackerData
from harness.learning.fit import fit
from harness.metrics.reconstruction import class_means, correlation
from harness.target import BlackBox
from harness.types import Access
from zoo import nets
from zoo.errors import ZooError
from zoo.recipe import Recipe

DATA = AttackerData(num_classes=10, architecture="mlp-128", input_shape=(1, 8, 8))


def _invert(model, data=DATA, **settings) -> torch.Tensor:
    return Fredrikson(**settings).run(BlackBox(model, Access.WEIGHTS), data, seed=0)


def _linear(weight: torch.Tensor) -> nn.Module:
    layer = nn.Linear(weight.shape[1], len(weight), bias=False)
    layer.weight.data = weight
    return nn.Sequential(nn.Flatten(), layer)


def _by_hand(weight: np.ndarray, label: int, attack: Fredrikson) -> tuple[np.ndarray, list[float]]:
    """Algorithm 1 for one class of softmax(weight @ x), and the probability of every step."""
    x = np.zeros(weight.shape[1])
    inputs, found = [], []
    for _ in range(attack.iterations + 1):
        scores = np.exp(weight @ x)
        scores /= scores.sum()
        inputs.append(x)
        found.append(scores[label])
        since = len(found) - 1 - int(np.argmax(found))
        if max(found) >= attack.threshold or since >= attack.patience:
            break
        rise = scores[label] * (weight[label] - scores @ weight)
        x = np.clip(x + attack.lr * rise, 0, 1)
    return inputs[int(np.argmax(found))], found


WEIGHT = 3 * torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
SETTINGS = {
    "some reach it": Fredrikson(iterations=300, threshold=0.9, lr=0.1),
    "some give up": Fredrikson(iterations=300, threshold=0.9, lr=3.0, patience=2),
    "few steps": Fredrikson(iterations=7, threshold=0.9, lr=0.1),
}


@pytest.mark.parametrize("attack", SETTINGS.values(), ids=SETTINGS)
def test_each_class_is_what_the_algorithm_finds_for_it_alone(attack) -> None:
    data = AttackerData(num_classes=4, architecture="", input_shape=(6,))
    found = attack.run(BlackBox(_linear(WEIGHT), Access.WEIGHTS), data, seed=0)
    assert found.shape == (4, 1, 6)
    for label in range(4):
        expected, _ = _by_hand(WEIGHT.double().numpy(), label, attack)
        assert found[label, 0].numpy() == pytest.approx(expected, abs=1e-4)


def test_those_settings_stop_for_every_reason() -> None:
    """The test above would show little if every class stopped for the same one."""

    def peaks(attack) -> np.ndarray:
        found = [_by_hand(WEIGHT.double().numpy(), label, attack)[1] for label in range(4)]
        return np.array([max(each) for each in found])

    reached = peaks(SETTINGS["some reach it"])
    assert reached.min() < 0.9 <= reached.max()
    hasty = SETTINGS["some give up"]
    assert (peaks(replace(hasty, patience=300)) - peaks(hasty)).max() > 0.01
    assert peaks(SETTINGS["few steps"]).min() < reached.min()


def test_what_is_certain_from_the_start_stays_black() -> None:
    class Sure(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :10] + 3 * (torch.arange(10) == 3)

    found = _invert(Sure(), iterations=50, threshold=0.6)
    assert found[3].count_nonzero() == 0
    assert found[4].count_nonzero() == 1


def test_inputs_stay_in_range() -> None:
    found = _invert(_linear(50 * torch.randn(10, 64, generator=torch.Generator().manual_seed(0))))
    assert 0 <= found.min() <= found.max() <= 1


def test_a_model_that_gives_no_numbers_gives_nothing_away() -> None:
    found = _invert(_linear(torch.full((10, 64), torch.nan)), iterations=10)
    assert found.count_nonzero() == 0


@pytest.fixture(scope="module")
def members(digits, job_for):
    return digits.all.take(job_for().index)


def _centred(model, digits, members) -> float:
    """How much of what sets a class apart from the mean digit is found, mean over classes."""
    mean = digits.x.mean(0)
    found = _invert(model, iterations=150, lr=0.2)[:, 0]
    return correlation(found - mean, class_means(members, 10) - mean).mean().item()


def test_a_linear_model_gives_its_classes_away_and_an_untrained_one_nothing(
    digits, members
) -> None:
    torch.manual_seed(0)
    linear = nets.Scaled(_linear(torch.zeros(10, 64)), (0.0,), (1.0,), (1, 8, 8))
    fit(linear, members, Recipe(lr=1e-2, epochs=60, batch_size=64), seed=0)
    assert _centred(linear, digits, members) > 0.4
    blank = []
    for _ in range(5):
        blank.append(_centred(nets.build("mlp-128", (1, 8, 8), 10).eval(), digits, members))
    assert abs(np.mean(blank)) < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.0}, "threshold above 0 and up to 1, found 0.0"),
        ({"lr": -1.0}, "lr above 0, found -1.0"),
        ({"iterations": 0}, "iterations of at least 1, found 0"),
        ({"patience": 0}, "patience of at least 1, found 0"),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=f"fredrikson wants {message}"):
        Fredrikson(**settings)
