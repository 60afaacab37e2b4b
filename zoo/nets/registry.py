"""Every architecture by name.

Other packages add theirs with the entry point group ``zoo.networks``: a function from the shape of
the input and the number of classes to a network that gives logits.
"""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import nn

from zoo import plugins
from zoo.errors import UnknownNameError, ZooError, unknown
from zoo.nets import own_code
from zoo.nets.lenet import LeNet5Wide, SpatialTransformerCNN
from zoo.nets.libraries import LIBRARIES, library_names
from zoo.nets.residual import CifarResNet, PlainResNet, WideResNet
from zoo.nets.sequential import cnn_small, mlp, strided_cnn
from zoo.nets.small_images import BasicBlock, Bottleneck, PreactivationBlock, StemResNet
from zoo.nets.tabular import ResidualPerceptron, tabular_transformer
from zoo.nets.vit import VisionTransformer
from zoo.plugins import LeftOut, Plugins

ARCHITECTURES: dict[str, Callable[[tuple[int, ...], int], nn.Module]] = {
    "cifar-resnet20": partial(CifarResNet, blocks=3),
    "cifar-resnet32": partial(CifarResNet, blocks=5),
    "cifar-resnet44": partial(CifarResNet, blocks=7),
    "cifar-resnet56": partial(CifarResNet, blocks=9),
    "cifar-resnet110": partial(CifarResNet, blocks=18),
    "cnn-small": cnn_small,
    "conv-base": partial(strided_cnn, channels=(8, 16), padding=1, hidden=(100,)),
    "conv-marabou-large": partial(strided_cnn, channels=(32, 64), padding=0, hidden=(128, 64)),
    "conv-marabou-small": partial(strided_cnn, channels=(8, 16), padding=0, hidden=(128, 64)),
    "conv-small": partial(strided_cnn, channels=(16, 32), padding=0, hidden=(100,)),
    "conv-wide": partial(strided_cnn, channels=(16, 32), padding=1, hidden=(100,)),
    "gtsrb-stn": SpatialTransformerCNN,
    "lenet5-wide": LeNet5Wide,
    "mlp-128": partial(mlp, hidden=(128,)),
    "mlp-32": partial(mlp, hidden=(32,)),
    "mlp-6x100": partial(mlp, hidden=(100,) * 5),
    "resnet2b": partial(PlainResNet, channels=8, stages=1),
    "resnet4b": partial(PlainResNet, channels=16, stages=2),
    "preactresnet18-stem3": partial(StemResNet, block=PreactivationBlock, blocks=(2, 2, 2, 2)),
    "residual-mlp": partial(ResidualPerceptron, dim=64, hidden=128, depth=2),
    "resnet18-stem3": partial(StemResNet, block=BasicBlock, blocks=(2, 2, 2, 2)),
    "resnet50-stem3": partial(StemResNet, block=Bottleneck, blocks=(3, 4, 6, 3)),
    "resnet8": partial(CifarResNet, blocks=1),
    "vit-tiny-patch2": partial(VisionTransformer, patch=2, dim=64, depth=3, heads=4, mlp_ratio=2),
    **{
        f"wrn-{6 * blocks + 4}-{widen}": partial(WideResNet, blocks=blocks, widen=widen)
        for blocks, widen in (
            (2, 1),
            (4, 4),
            (4, 10),
            (5, 10),
            (5, 15),
            (5, 20),
            (6, 2),
            (11, 16),
            (13, 8),
            (15, 16),
            (17, 16),
        )
    },
}

SHAPED: dict[str, Callable[[str, tuple[int, ...], int], nn.Module]] = {
    "tabular-transformer": tabular_transformer,
}
"""Networks whose name goes on, after a slash, with what they must know of their input."""


@cache
def _plugins() -> Plugins:
    def wrong(name: str, found: object) -> str | None:
        if "/" in name:
            return "a slash stands behind the name of a library. Rename it."
        return None if callable(found) else f"it is no function but {found!r:.80}."

    taken = {*ARCHITECTURES, *SHAPED, *LIBRARIES}
    return plugins.find("zoo.networks", "network", taken=taken, wrong=wrong)


def left_out() -> tuple[LeftOut, ...]:
    """The networks of other packages that cannot be used."""
    return _plugins().left_out


def names() -> list[str]:
    """Every architecture that has no slash in its name, sorted; also those of other packages."""
    return sorted({*ARCHITECTURES, *_plugins().found})


def build(architecture: str, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A network with fresh weights from torch's global random numbers.

    Args:
        architecture: One of `names`; ``tabular-transformer/1,8,1`` with the number of features of
            each column; ``library/name`` of an installed library: ``timm``, ``torchvision`` or
            ``pytorchcv``; or a user's own code, see `zoo.nets.own_code`.
        input_shape: (channels, height, width) of the scaled input, or (features,).
        num_classes: Number of logits.

    Raises:
        UnknownNameError: There is no such architecture.
        ZooError: It cannot take such an input, or its library is not installed.
    """
    if own_code.is_one(architecture):
        return own_code.build(architecture)
    library, _, name = architecture.partition("/")
    if architecture in ARCHITECTURES:
        make = ARCHITECTURES[architecture]
    elif library in SHAPED:
        make = partial(SHAPED[library], name)
    elif library in LIBRARIES:
        make = partial(LIBRARIES[library], name)
    elif architecture in _plugins().found:
        make = _plugins().found[architecture]
    else:
        raise unknown("architecture", architecture, names())
    try:
        return make(input_shape, num_classes)
    except ZooError:
        raise
    except Exception as problem:  # libraries refuse an input in any way
        shape = "x".join(map(str, input_shape))
        raise ZooError(
            f"Architecture {architecture} cannot take inputs of {shape}: {problem}. "
            "Choose another architecture."
        ) from problem


def skeleton(architecture: str, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """The network of `build` without memory for its weights: on torch's ``meta`` device.

    Raises:
        UnknownNameError: As `build`.
        ZooError: Likewise.
    """
    try:
        with torch.device("meta"):
            net = build(architecture, input_shape, num_classes)
    except UnknownNameError:
        raise
    except ZooError:  # some read a number out of a tensor, which that device does not have
        net = build(architecture, input_shape, num_classes)
    return net.to("meta")  # `torch.Tensor(...)` asks for no device and is given memory


def known(architecture: str) -> bool:
    """Whether `build` has code for an architecture, or a library of its that is installed."""
    if own_code.is_one(architecture):
        return True
    library, _, name = architecture.partition("/")
    if library not in LIBRARIES:
        return architecture in names() or library in SHAPED
    try:
        return name in library_names(library)
    except ZooError:
        return False
