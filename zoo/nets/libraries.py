"""Networks that installed packages define: ``timm/resnet50``, ``torchvision/resnet50``.

Weights are never downloaded here; every network comes with fresh ones.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType

from torch import nn

from zoo.errors import ZooError, unknown

Shape = tuple[int, ...]


def _timm(name: str, input_shape: Shape, num_classes: int) -> nn.Module:
    timm = _package("timm", "timm")
    if not timm.is_model(name):
        raise unknown("architecture", f"timm/{name}", [f"timm/{n}" for n in timm.list_models()])
    # The overlay reaches those networks only whose weights depend on the size of the image.
    return timm.create_model(
        name,
        num_classes=num_classes,
        in_chans=input_shape[0],
        pretrained_cfg_overlay={"input_size": input_shape},
    )


def _torchvision(name: str, input_shape: Shape, num_classes: int) -> nn.Module:
    models = _package("torchvision.models", "torchvision")
    try:
        builder = models.get_model_builder(name)
    except ValueError as problem:
        known = [f"torchvision/{n}" for n in models.list_models(module=models)]
        raise unknown("architecture", f"torchvision/{name}", known) from problem
    wanted: dict[str, object] = {"num_classes": num_classes}
    if name == "googlenet":  # its published weights drop the auxiliary heads
        wanted |= {"aux_logits": False, "init_weights": False, "transform_input": True}
    elif name == "inception_v3":
        wanted |= {"init_weights": False, "transform_input": True}
    elif name.startswith("vit_"):
        wanted["image_size"] = input_shape[1]
    if input_shape[0] != 3:
        same = f", such as timm/{name}" if _package("timm", "timm").is_model(name) else ""
        raise ZooError(
            f"Architecture torchvision/{name} takes images of 3 channels, not {input_shape[0]}. "
            f"Choose another{same}."
        )
    return builder(weights=None, **wanted)


def _pytorchcv(name: str, input_shape: Shape, num_classes: int) -> nn.Module:
    provider = _package("pytorchcv.model_provider", "pytorchcv requests")
    if name not in provider._models:
        known = [f"pytorchcv/{n}" for n in provider._models]
        raise unknown("architecture", f"pytorchcv/{name}", known)
    builder: Callable[..., nn.Module] = provider._models[name]
    net = builder(pretrained=False, in_channels=input_shape[0], num_classes=num_classes)
    if getattr(net, "in_size", input_shape[1:]) != input_shape[1:]:
        net = builder(
            pretrained=False,
            in_channels=input_shape[0],
            num_classes=num_classes,
            in_size=input_shape[1:],
        )
    return net


LIBRARIES: dict[str, Callable[[str, Shape, int], nn.Module]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "pytorchcv": _pytorchcv,
}


@cache
def library_names(library: str) -> frozenset[str]:
    """Every network that a library has.

    Args:
        library: One of `LIBRARIES`.

    Raises:
        ZooError: It is not installed.
    """
    if library == "timm":
        return frozenset(_package("timm", "timm").list_models())
    if library == "torchvision":
        models = _package("torchvision.models", "torchvision")
        return frozenset(models.list_models(module=models))
    return frozenset(_package("pytorchcv.model_provider", "pytorchcv requests")._models)


def _package(module: str, install: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as problem:
        raise ZooError(
            f"This network is defined by a package that is not installed ({problem}). "
            f"Install it with: pip install {install}"
        ) from problem
