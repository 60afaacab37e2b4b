"""What a network makes of its inputs before the last layer, for any architecture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.finite import check_tensor
from harness.learning.mixture import need_one_network
from harness.types import UnfitError


@torch.no_grad()
def features(model: nn.Module, x: Tensor, *, batch_size: int = 1024) -> Tensor:
    """The input of the last linear layer, the one that gives the logits.

    Args:
        model: Any classifier; it is evaluated in eval mode and left in the mode that it is in.
        x: Inputs (n, ...) on any device.
        batch_size: Inputs on the model's device at once.

    Returns:
        (n, width), on the device of ``x``.

    Raises:
        NotApplicableError: No linear layer of the model gives as many numbers as the model does.
        NotFiniteError: A feature is NaN or infinite.
    """
    layer = head(model, x)
    device = next(model.parameters()).device
    found: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].flatten(1)))
    try:
        with evaluating(model):
            parts = []
            for part in x.split(batch_size):
                model(part.to(device))
                # A layer that is called more than once gives the logits in its last call.
                parts.append(found[-1].to(x.device))
                found.clear()
    finally:
        hook.remove()
    return check_tensor(torch.cat(parts), "the model's features")


@torch.no_grad()
def head(model: nn.Module, x: Tensor) -> nn.Linear:
    """The last linear layer that ran and gives as many numbers as the model does.

    Args:
        model: Any classifier.
        x: At least one input.

    Raises:
        NotApplicableError: There is none, or one for each network of a mixture.
    """
    need_one_network(model)
    ran: list[nn.Linear] = []
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]

    hooks = [
        layer.register_forward_hook(lambda *_, layer=layer: ran.append(layer)) for layer in layers
    ]
    try:
        with evaluating(model):
            logits = model(x[:1].to(next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    for layer in reversed(ran):
        if layer.out_features == logits.shape[1]:
            return layer
    raise UnfitError(
        f"The last layer of {type(model).__name__} is not linear, so the model has no features "
        f"before it."
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run a block with ``model`` in eval mode, then give every layer the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
