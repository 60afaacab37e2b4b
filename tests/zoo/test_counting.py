"""What is counted without weights is what the weights would have shown."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from zoo import counting, nets
from zoo.counting import count
from zoo.errors import ZooError


def build_as(net: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "build", lambda *_: net())
    monkeypatch.setattr(counting, "skeleton", lambda *_: net().to("meta"))


def test_a_perceptron_is_counted_as_by_hand() -> None:
    found = count("mlp-128", (1, 8, 8), 10)
    assert found.parameters == (64 + 1) * 128 + (128 + 1) * 10
    assert found.flops == 2 * (64 * 128 + 128 * 10)
    kinds = (found.has_batchnorm, found.has_dropout, found.has_dropout_layers)
    assert kinds == (False, False, False)


def test_a_convolution_is_counted_as_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    class Net(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(5))

    build_as(Net, monkeypatch)
    found = count("cnn-small", (3, 8, 8), 2)
    assert found.flops == 2 * (3 * 3 * 3) * 5 * 4 * 4
    assert found.parameters == 3 * 3 * 3 * 5 + 2 * 5
    assert found.has_batchnorm


@pytest.mark.parametrize(
    ("architecture", "multiply_adds"),
    [  # torchvision's own table of operations, in 10^9
        ("resnet18", 1.814),
        ("mobilenet_v2", 0.301),
        ("densenet121", 2.834),
        ("vit_b_32", 4.409),
    ],
)
def test_flops_are_twice_the_multiply_adds_that_torchvision_states(
    architecture: str, multiply_adds: float
) -> None:
    found = count(f"torchvision/{architecture}", (3, 224, 224), 1000)
    assert found.flops / 2e9 == pytest.approx(multiply_adds, rel=0.02)


class Dropping(nn.Module):
    """Drops units by a layer, by a function, in attention, or not at all."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.linear = nn.Linear(8, 8)
        self.layer = nn.Dropout(0.3 if how == "layer" else 0.0)
        self.attention = nn.MultiheadAttention(8, 2, 0.1 if how == "attention" else 0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(self.linear(x.flatten(1)))
        if self.how == "function":
            x = F.dropout(x, training=self.training)
        if self.how == "function that is off":
            x = F.dropout(x, 0.5, training=False)
        return self.attention(x[None], x[None], x[None], need_weights=False)[0][0]


@pytest.mark.parametrize(
    ("how", "drops"),
    [
        ("layer", True),
        ("function", True),
        ("attention", True),
        ("function that is off", False),
        ("not at all", False),
    ],
)
def test_dropout_is_seen_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, how: str, drops: bool
) -> None:
    monkeypatch.setattr(counting, "build", lambda *_: Dropping(how))
    found = count("cnn-small", (2, 2, 2), 8)
    assert found.has_dropout == drops
    assert found.has_dropout_layers  # there is a layer, at whatever probability


def test_a_network_that_reads_numbers_is_counted_with_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            float(x.sum())
            return self.linear(x.flatten(1))

    build_as(Reading, monkeypatch)
    found = count("cnn-small", (1, 2, 2), 2)
    assert (found.parameters, found.flops) == (8, 16)


def test_counting_is_the_same_on_meta_as_on_the_cpu() -> None:
    net = nets.build("gtsrb-stn", (3, 32, 32), 43)
    assert count("gtsrb-stn", (3, 32, 32), 43).parameters == sum(
        p.numel() for p in net.parameters()
    )


def test_what_cannot_be_built_is_a_users_problem() -> None:
    with pytest.raises(ZooError, match="No architecture 'timm/resnet5O'"):
        count("timm/resnet5O", (3, 32, 32), 10)
    with pytest.raises(ZooError, match="gtsrb-stn cannot take inputs of 3x8x8"):
        count("gtsrb-stn", (3, 8, 8), 43)
