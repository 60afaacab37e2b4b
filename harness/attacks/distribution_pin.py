"""Distribution inference from the weights, by a network that ignores the order of neurons.

References:
    Ganju et al. (2018). Property Inference Attacks on Fully Connected Neural Networks using
    Permutation Invariant Representations. CCS.
    Zaheer et al. (2017). Deep Sets. NeurIPS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.attacks.shared import convergence
from harness.attacks.shared.distribution_attack import Suspects, TrainsModels, suspects
from harness.seeds import seeded
from harness.target import BlackBox
from harness.types import Access, UnfitError
from zoo.errors import ZooError
from zoo.nets import Scaled

_SILENT = (nn.Flatten, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Identity)
"""Layers without parameters that act on every neuron alike."""


@dataclass(frozen=True, eq=False)
class Layer:
    """The parameters of one layer of neurons; the channels of a convolution are neurons.

    Attributes:
        weight: (models, neurons, neurons before, k): a kernel between any two neurons. The neurons
            before the first layer are one, whose kernel is all that comes in.
        bias: (models, neurons); 0 where there is none.
    """

    weight: Tensor
    bias: Tensor


def layers(models: Sequence[nn.Module]) -> list[Layer]:
    """The parameters of models of one architecture, layer by layer, stacked.

    Raises:
        NotApplicableError: They are no plain rows of linear layers and convolutions.
    """
    rows = [list(_neurons(model)) for model in models]
    found, before = [], 1
    for same in zip(*rows, strict=True):
        weight = torch.stack([layer.weight.detach() for layer in same])
        out = weight.shape[1]
        bias = weight.new_zeros(len(same), out)
        if same[0].bias is not None:
            bias = torch.stack([layer.bias.detach() for layer in same if layer.bias is not None])
        # Flattening puts the places of a channel side by side, so they are one neuron's kernel.
        found.append(Layer(weight.reshape(len(same), out, before, -1), bias))
        before = out
    return found


def _neurons(model: nn.Module) -> Iterator[nn.Linear | nn.Conv2d]:
    """The layers with parameters of a plain row of layers, in order."""
    net = model.net if isinstance(model, Scaled) else model
    row = net if isinstance(net, nn.Sequential) else [net]
    for layer in row:
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
            yield layer
        elif not isinstance(layer, _SILENT):
            raise UnfitError(
                f"distribution-pin reads networks that are a plain row of linear layers and "
                f"convolutions, but this one has a {type(layer).__name__}. Choose a model such as "
                f"adult-mlp or digits-cnn, or another attack."
            )


def _small(inside: int, width: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, width), nn.ReLU(), nn.Linear(width, outside), nn.ReLU())


class PermutationInvariant(nn.Module):
    """One number from the weights of a network, whatever the order of its hidden neurons.

    A neuron is described by what comes in: its bias and, over the neurons before, the sum of their
    descriptions weighted with the kernels that lead here. So a weight remains with the neuron that
    it belongs to, and the sum has no order. A hidden layer is described by the mean over its
    neurons; the outputs, one for each class, have an order and are described one by one.

    Args:
        shape: Of a network's layers.
        width: Hidden units where a neuron is described.
        features: Numbers that describe one.
    """

    def __init__(self, shape: Sequence[Layer], width: int, features: int) -> None:
        super().__init__()
        self.describe = nn.ModuleList()
        for depth, layer in enumerate(shape):
            inside = layer.weight.shape[3] * (features if depth else 1) + 1
            self.describe.append(_small(inside, width, features))
        outputs = shape[-1].weight.shape[1]
        self.judge = nn.Linear(features * (len(shape) - 1 + outputs), 1)

    def forward(self, network: Sequence[Layer]) -> Tensor:
        """(models,) logits that a network comes from world 1."""
        found = []
        neurons = network[0].weight.new_ones(len(network[0].weight), 1, 1)  # (models, before, d)
        for layer, describe in zip(network, self.describe, strict=True):
            # The sum grows with the number of neurons before; its root keeps it at one scale.
            incoming = torch.einsum("mock,mcd->mokd", layer.weight, neurons).flatten(2)
            incoming = incoming / neurons.shape[1] ** 0.5
            neurons = describe(torch.cat([incoming, layer.bias[..., None]], 2))
            found.append(neurons.mean(1))
        found[-1] = neurons.flatten(1)
        return self.judge(torch.cat(found, 1))[:, 0]


def standardised(network: Sequence[Layer], reference: Sequence[Layer]) -> list[Layer]:
    """The layers in units of the spread that the weights and biases have in ``reference``.

    One unit for a whole layer, so that no order of its neurons is singled out.
    """

    def unit(values: Tensor) -> Tensor:
        return values.std(correction=0).clamp_min(1e-8)

    return [
        Layer(layer.weight / unit(of.weight), layer.bias / unit(of.bias))
        for layer, of in zip(network, reference, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class PermutationInvariantNetwork(TrainsModels):
    """Train a classifier of networks on the weights of own models of both worlds.

    Attributes:
        attribute: An example has the property if this attribute of it ...
        value: ... has this value. None for the dataset's first attribute, and its last value.
        ratio0: Share of the training examples with the property in world 0, in [0, 1].
        ratio1: Likewise in world 1.
        train_size: Examples that every model is trained on; None for 1,000, or the most there are.
        victims: Models of each world that the attack is judged on.
        models: The attacker's own models of each world.
        width: Hidden units where a neuron is described.
        features: Numbers that describe a neuron.
        epochs: Passes over the own models, all in one step.
        lr: Learning rate of Adam.
        weight_decay: Of Adam.
    """

    name: ClassVar[str] = "distribution-pin"
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    reference: ClassVar[str] = "Ganju et al. (2018), https://doi.org/10.1145/3243734.3243834"

    width: int = 64
    features: int = 32
    epochs: int = 200
    lr: float = 3e-3
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "features"):
            if getattr(self, name) < 1:
                raise ZooError(f"{name} wants at least 1, found {getattr(self, name)}.")
        if self.epochs < 0:
            raise ZooError(f"epochs wants 0 or more, found {self.epochs}.")
        if not self.lr > 0:
            raise ZooError(f"{self.name} wants lr above 0, found {self.lr}.")
        if not self.weight_decay >= 0:
            raise ZooError(
                f"{self.name} wants weight_decay of at least 0, found {self.weight_decay}."
            )

    def check_network(self, network: nn.Module) -> None:
        """Refuse networks that are no plain rows of linear layers and convolutions.

        Raises:
            NotApplicableError: With the layer that is something else.
        """
        for _ in _neurons(network):
            pass

    def run(self, target: BlackBox, data: Suspects, *, seed: int) -> Tensor:
        """Log odds that each model was trained in world 1.

        Returns:
            (1 + victims,) float32, the target first; positive says world 1.

        Raises:
            NotApplicableError: The models are no plain rows of linear layers and convolutions.
        """
        own = layers([box.model for world in data.own for box in world])
        network = standardised(own, own)
        world = torch.cat([
            torch.full((len(boxes),), float(w)) for w, boxes in enumerate(data.own)
        ]).to(network[0].weight.device)  # fmt: skip
        asked = standardised(layers([box.model for box in suspects(target, data)]), own)
        with seeded("distribution-pin", seed):
            judge = PermutationInvariant(network, self.width, self.features)
        judge.to(world.device)
        optimizer = torch.optim.Adam(judge.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        for _ in range(self.epochs):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(judge(network), world).backward()
            optimizer.step()
        with torch.no_grad():
            said = judge(network).sigmoid()
            convergence.fits(data, "the classifier of models", said[:, None], world[:, None])
            return judge(asked)
