"""What can be counted on a network without its weights: parameters, FLOPs, kinds of layers."""

import inspect
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from zoo.errors import ZooError
from zoo.nets import LIBRARIES, build, skeleton


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Facts about one network, at one input size and number of classes.

    Attributes:
        parameters: Trainable weights; running statistics of batch norm are not among them.
        flops: Of one image, two per multiplication with addition; element-wise work is not
            counted.
        has_batchnorm: Whether any layer is a batch norm.
        has_dropout: Whether units are dropped with a probability above 0 when the network is
            trained as it is built; dropping whole residual branches is not dropout.
        has_dropout_layers: Whether there are layers of dropout at all, at whatever probability.
        counted_with: The programs and versions that counted.
    """

    parameters: int
    flops: int
    has_batchnorm: bool
    has_dropout: bool
    has_dropout_layers: bool
    counted_with: str


def count(architecture: str, input_shape: tuple[int, ...], num_classes: int) -> Counts:
    """Count on torch's ``meta`` device, which knows shapes but computes nothing, if it can be.

    Args:
        architecture: As of `zoo.nets.build`.
        input_shape: (channels, height, width) of one image.
        num_classes: Number of logits.

    Raises:
        ZooError: There is no such architecture, or it cannot take such an input.
    """
    try:
        net = skeleton(architecture, input_shape, num_classes)
        flops, drops = _run(net, input_shape)
    except Exception:  # its forward pass reads numbers, which ``meta`` does not have
        net = build(architecture, input_shape, num_classes)
        try:
            flops, drops = _run(net, input_shape)
        except Exception as problem:  # layers refuse an input in any way
            shape = "x".join(map(str, input_shape))
            raise ZooError(
                f"Architecture {architecture} cannot take inputs of {shape}: {problem}."
            ) from problem
    layers = list(net.modules())
    library = architecture.split("/")[0]
    return Counts(
        parameters=sum(p.numel() for p in net.parameters()),
        flops=flops,
        has_batchnorm=any(isinstance(layer, _BatchNorm) for layer in layers),
        has_dropout=drops,
        has_dropout_layers=any(isinstance(layer, _DropoutNd) for layer in layers),
        counted_with=f"torch {torch.__version__.split('+')[0]} FlopCounterMode"
        + (f", {library} {version(library)}" if library in LIBRARIES else ""),
    )


# The functions that drop units, and with what probability unless they are told. What a function
# calls in turn is not seen.
_DROPS: dict[Any, float] = {
    F.scaled_dot_product_attention: 0.0,
    F.multi_head_attention_forward: 0.0,
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout), 0.5),
}

# Written in C++, so that Python does not know what its arguments are called.
_PLACES = {F.scaled_dot_product_attention: ("query", "key", "value", "attn_mask", "dropout_p")}


class _DropoutSeen(TorchFunctionMode):
    """Notes whether anything is dropped, be it by a layer or by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DROPS:
            names = _PLACES.get(func) or list(inspect.signature(func).parameters)
            given = dict(zip(names, args, strict=False)) | kwargs
            probability = given.get("p", given.get("dropout_p", _DROPS[func]))
            self.seen |= given.get("training", True) and probability > 0
        return func(*args, **kwargs)


def _run(net: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, bool]:
    """FLOPs of one image, and whether units are dropped when the network is trained."""
    net.requires_grad_(False)  # else the counter wants gradients of views
    device = next(net.parameters()).device
    counter, dropout = FlopCounterMode(display=False), _DropoutSeen()
    with counter, torch.no_grad():
        net.eval()(torch.empty(1, *input_shape, device=device))
    with dropout, torch.no_grad():
        net.train()(torch.empty(2, *input_shape, device=device))
    return counter.get_total_flops(), dropout.seen
