"""Names of tensors in the checkpoints that libraries publish, turned into those of their networks.

Each library keeps reading its own old files, by rules that it has in its code. They are used as
they are, on tensors that were read safely; nothing is downloaded and no pickle is opened.
"""

import logging
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from zoo.nets.libraries import Shape
from zoo.nets.registry import build

State = Mapping[str, Tensor]


def translate(
    architecture: str, input_shape: Shape, num_classes: int, state: State
) -> State | None:
    """A published state dict under today's names; None if its library does not know how.

    Args:
        architecture: As of `zoo.nets.build`.
        input_shape: (channels, height, width) of the scaled input.
        num_classes: Number of logits.
        state: Tensors of a published checkpoint.
    """
    library, _, name = architecture.partition("/")
    if library not in _LIBRARIES:
        return None
    try:
        return _LIBRARIES[library](name, input_shape, num_classes, state)
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, OSError):
        return None  # the library's code was not made for these tensors


_LENIENT = ("dla", "inception_v3")
"""Beginnings of the names of those networks whose surplus tensors timm drops unseen. Only those of
one head for training, which was published with ``inception_v3``, may be dropped."""


def _timm(name: str, input_shape: Shape, num_classes: int, state: State) -> State | None:
    import timm

    # It tells of every tensor that it leaves out; what does not fit is told by the caller.
    logging.getLogger("timm").setLevel(logging.ERROR)

    def read(tensors: State) -> State:
        """What timm's network holds after timm itself has loaded the tensors."""
        return timm.create_model(
            name,
            pretrained=True,
            num_classes=num_classes,
            in_chans=input_shape[0],
            pretrained_cfg_overlay={
                "state_dict": dict(tensors),
                **dict.fromkeys(("hf_hub_id", "url", "file")),  # no place to get others from
                "source": "",
                "custom_load": False,
                "num_classes": num_classes,
                "input_size": input_shape,
            },
        ).state_dict()

    # A few networks are loaded without complaint when tensors are missing. Such a tensor keeps its
    # fresh value, where every one that is read from a checkpoint of NaN is NaN.
    numbers = {k: v for k, v in state.items() if v.is_floating_point()}
    others = {k: v for k, v in state.items() if not v.is_floating_point()}
    if not numbers:
        return None  # which timm takes for none at all, and gets its own from the network instead
    probe = read({k: torch.full_like(v, torch.nan) for k, v in numbers.items()} | others)
    if any(v.is_floating_point() and not v.isnan().any() for v in probe.values()):
        return None
    found = read(state)
    surplus = [key for key in state.keys() - found.keys() if not key.startswith("AuxLogits.")]
    return None if surplus and name.startswith(_LENIENT) else found


def _torchvision(name: str, input_shape: Shape, num_classes: int, state: State) -> State | None:
    found = {}
    for key, value in state.items():
        if name == "googlenet" and key.startswith(("aux1.", "aux2.")):
            continue  # heads for training, which were published untrained
        if name.startswith("densenet"):
            key = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)
        found[key] = value
    # Some of its modules rename what older versions of them have saved.
    net = build(f"torchvision/{name}", input_shape, num_classes)
    net.load_state_dict(found)
    return net.state_dict()


# Pytorchcv's own loader drops every tensor that its network does not have, so it would take the
# checkpoint of a larger network. None of its classifiers has a head for training only that its
# files could hold besides, so nothing has to be dropped, and it has no other rules.
_LIBRARIES: dict[str, Callable[[str, Shape, int, State], State | None]] = {
    "timm": _timm,
    "torchvision": _torchvision,
}
