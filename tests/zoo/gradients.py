"""What the trainings ask of every network: gradients of each model, and of each example."""

import copy

import torch
import torch.nn.functional as F  # noqa: N812
from opacus import GradSampleModule
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from zoo import nets


def gradients(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    net.zero_grad()
    F.cross_entropy(net(x), y).backward()
    return {name: weight.grad for name, weight in net.named_parameters() if weight.grad is not None}


def check_stacked(name: str, x: Tensor, y: Tensor, num_classes: int) -> None:
    """Two models on inputs (2, n, ...) with one vmapped step, against each by itself."""
    models = [nets.build(name, tuple(x.shape[2:]), num_classes).train() for _ in range(2)]
    weights, buffers = stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")

    def loss(weights: dict, buffers: dict, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(base, (weights, buffers), (x,)), y)

    found = vmap(grad(loss))(weights, buffers, x, y)
    for i, model in enumerate(models):
        expected = gradients(model, x[i], y[i])
        assert expected.keys() == found.keys()
        for key, gradient in expected.items():
            torch.testing.assert_close(found[key][i], gradient)


def check_per_example(name: str, x: Tensor, y: Tensor, num_classes: int) -> None:
    """Opacus's gradients of examples (n, ...), against each by itself."""
    net = nets.build(name, tuple(x.shape[1:]), num_classes)
    watched = GradSampleModule(copy.deepcopy(net), loss_reduction="sum")
    F.cross_entropy(watched(x), y, reduction="sum").backward()
    per_sample = {
        key.removeprefix("_module."): getattr(weight, "grad_sample")  # noqa: B009
        for key, weight in watched.named_parameters()
    }
    for i in range(len(x)):
        expected = gradients(net, x[i : i + 1], y[i : i + 1])
        assert expected.keys() == per_sample.keys()
        for key, gradient in expected.items():
            torch.testing.assert_close(per_sample[key][i], gradient)
