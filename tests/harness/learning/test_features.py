"""Features are the input of the layer that gives the logits, whatever the architecture."""

import pytest
import torch
from torch import nn

from harness.learning.features import evaluating, features, head
from harness.types import NotApplicableError
from zoo import nets

X = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))

ARCHITECTURES = [
    "mlp-128",
    "cnn-small",
    "resnet8",
    "wrn-16-1",
    "resnet4b",
    "preactresnet18-stem3",
    "vit-tiny-patch2",
    "timm/resnet18",
    "torchvision/mobilenet_v3_small",
]


def _model(architecture: str) -> nn.Module:
    torch.manual_seed(0)
    return nets.Scaled(
        nets.build(architecture, (3, 16, 16), 7), (0.1,) * 3, (0.9,) * 3, (3, 16, 16)
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_last_layer_makes_the_logits_of_them(architecture) -> None:
    model = _model(architecture).eval()
    found = features(model, X, batch_size=2)
    layer = head(model, X)
    assert found.shape == (5, layer.in_features)
    torch.testing.assert_close(layer(found), model(X), rtol=1e-4, atol=1e-5)
    assert not found.requires_grad


def test_a_network_that_is_a_known_function() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3))
    model[1].weight.data, model[1].bias.data = torch.eye(2), torch.tensor([0.0, -1.0])
    x = torch.tensor([[0.25, 0.5], [2.0, 3.0]])
    assert torch.equal(features(model, x), torch.tensor([[0.25, 0.0], [2.0, 2.0]]))


def test_it_leaves_no_trace_and_uses_eval_mode() -> None:
    model = _model("resnet8").train()
    model.net.layer2.eval()  # a frozen part stays frozen
    state = {key: value.clone() for key, value in model.state_dict().items()}
    first = features(model, X)
    assert model.training
    assert model.net.layer1.training
    assert not model.net.layer2.training
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    with evaluating(model):
        assert torch.equal(first, features(model, X))


def test_an_auxiliary_linear_layer_is_not_taken_for_the_last() -> None:
    """The locator of a spatial transformer runs first and gives 6 numbers, not the logits."""
    torch.manual_seed(0)
    model = nets.build("gtsrb-stn", (3, 32, 32), 43).eval()
    x = torch.rand(2, 3, 32, 32)
    assert head(model, x) is model.fc2
    assert features(model, x).shape == (2, 350)


def test_a_model_without_a_linear_head_is_refused() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Conv2d(3, 7, 16), nn.Flatten())
    with pytest.raises(NotApplicableError, match="last layer of Sequential is not linear"):
        features(model, X)
