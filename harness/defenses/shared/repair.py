"""What the defenses have in common that repair a trained model with a few trusted examples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from harness.batches import at_once
from harness.data.examples import Split
from harness.data.images import moved
from harness.learning.features import evaluating
from harness.learning.fit import fit
from harness.learning.mixture import need_one_network
from harness.types import UnfitError
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from harness.learning.fit import LossOf


def fine_tune(
    model: nn.Module,
    data: Split,
    *,
    steps: int,
    lr: float,
    batch_size: int,
    seed: int,
    loss: LossOf | None = None,
) -> nn.Module:
    """Train ``model`` in place for about ``steps`` steps of SGD and return it in eval mode.

    The number of steps, not of epochs, is what matters: the trusted examples may be fifty or a
    thousand.
    """
    epochs = math.ceil(steps / math.ceil(len(data) / batch_size))
    recipe = Recipe(
        optimizer="sgd",
        lr=lr,
        momentum=0.9,
        epochs=epochs,
        batch_size=batch_size,
        weight_decay=5e-4,
        schedule="cosine",
    )
    return fit(model, data, recipe, seed=seed, loss=loss, inputs=shifted)


def shifted(model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
    """Images moved by up to an eighth of a side, as Li et al. (2021) do; what enters is black.

    With a few trusted examples and no change to them, a model learns them by heart before it
    forgets a backdoor. Inputs that are no images stay as they are.
    """
    x = batch.x
    if x.dim() != 4:
        return x
    rows, columns = (
        torch.randint(-(side // 8), side // 8 + 1, (len(x),), generator=stream)
        for side in x.shape[2:]
    )
    return moved(x, rows, columns, repeat_edges=False)


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    """The convolutions of ``model``; one that cuts its input into patches is none."""
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d)
        and not (layer.stride == layer.kernel_size and max(layer.kernel_size) > 1)
    ]


def need_convolutions(name: str, model: nn.Module, why: str) -> list[nn.Conv2d]:
    """The convolutions of ``model``.

    Raises:
        NotApplicableError: There are none, and the defense called ``name`` needs some; or the model
            is a mixture.
    """
    need_one_network(model)
    found = convolutions(model)
    if not found:
        raise UnfitError(f"{name} {why}, but the network has no convolution.")
    return found


@torch.no_grad()
def accuracy_on(model: nn.Module, data: Split, *, batch_size: int = 1024) -> float:
    """Share of ``data`` that ``model`` gets right in eval mode."""
    size = at_once(data.x, batch_size)
    with evaluating(model):
        right: list[Tensor] = [
            (model(x).argmax(1) == y).sum()
            for x, y in zip(data.x.split(size), data.y.split(size), strict=True)
        ]
    return float(torch.stack(right).sum()) / len(data)
