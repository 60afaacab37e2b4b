"""Pretrained classifiers of pytorchcv (osmr/imgclsmob)."""

import csv
import math
import re
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from zoo.curate.listing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Listing,
    Row,
    accuracy,
    by_name,
    excluded,
)

_RELEASES = "https://github.com/osmr/imgclsmob/releases/download"
_CIFAR_SCALING = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_IMAGENET = ("imagenet-1k", 1000, 50000)
_SMALL = {  # by the end of the name: dataset, classes, test images
    "_cifar10": ("cifar10", 10, 10000),
    "_cifar100": ("cifar100", 100, 10000),
    "_svhn": ("svhn", 10, 26032),
}
_ORIGINALS = {
    "fbnet_cb": "timm/fbnetc_100.rmsp_in1k",
    "nasnet_6a4032": "timm/nasnetalarge.tf_in1k",
    "pnasnet5large": "timm/pnasnet5large.tf_in1k",
    "regnety032": "timm/regnety_032.ra_in1k",
}
_PHOTOGRAPH: Row = {"fit": "crop", "interpolation": "bilinear"}
_CROP = 0.875  # share of the shorter side that is cut out, of all models, in the author's script
_CUB = ("cub-200-2011", 200, 5794)


def list_models() -> Listing:
    """Every classifier whose weights the package can name.

    Its table gives the top-1 error in ten-thousandths, but for ImageNet the top-5 error.

    Raises:
        ImportError: pytorchcv is not installed.
    """
    table = files("pytorchcv").joinpath("models/common/model_metainfos.csv")
    found = Listing(version("pytorchcv"), metrics=[])
    assert found.metrics is not None
    for facts in csv.DictReader(table.read_text(encoding="utf-8").splitlines()):
        if facts["checksum"] == "NA" or facts["test_dataset"] not in ("in1k", "cf", "cub"):
            continue
        row, images = _row(facts)
        found.models.append(row)
        value = 1 - int(facts["error_value"]) / 10000
        metric = "top5_accuracy" if row["dataset"] == "imagenet-1k" else "accuracy"
        found.metrics.append(accuracy(row["name"], row["dataset"], value, images, metric))
        if facts["remark"] != "NA":
            origin = facts["remark"].strip("[]*").replace("...", "…")
            row["notes"] = f"converted from the weights of {origin}"
            if original := _original(facts["model_name"]):
                found.exclusions.append(
                    excluded(row["name"], "duplicate", str(row["notes"]), original)
                )
    found.models = by_name(found.models)
    return found


def _original(name: str) -> str | None:
    """The model of timm that a converted one is, where its name tells."""
    if match := re.fullmatch(r"efficientnet_(b\d)([bc])", name):
        return f"timm/tf_efficientnet_{match[1]}.{'aa' if match[2] == 'b' else 'ap'}_in1k"
    if match := re.fullmatch(r"efficientnet_edge_(large|medium|small)_b", name):
        size = {"large": "el", "medium": "em", "small": "es"}[match[1]]
        return f"timm/tf_efficientnet_{size}.in1k"
    return _ORIGINALS.get(name)


def _row(facts: dict[str, str]) -> tuple[Row, int]:
    name = facts["model_name"]
    ending = next((end for end in _SMALL if name.endswith(end)), None)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if ending is None else _CIFAR_SCALING
    size = 32
    if ending is None:
        size = _image_size(name) if facts["img_size"] == "NA" else int(facts["img_size"])
    key, classes, images = _SMALL[ending] if ending else _IMAGENET
    if facts["test_dataset"] == "cub":
        key, classes, images = _CUB
    file = f"{name}-{facts['error_value']}-{facts['checksum'][:8]}.pth"
    return {
        "name": f"pytorchcv/{name}",
        "source_name": name,
        "purpose": "benchmark",
        "task": "image classification",
        "dataset": key,
        "architecture": f"pytorchcv/{name}",
        "input_shape": (3, size, size),
        "num_classes": classes,
        "mean": mean,
        "std": std,
        **(_PHOTOGRAPH | {"resize": math.ceil(size / _CROP)} if ending is None else {}),
        "licence": "MIT",
        "pretraining": ("none",),
        "extra_data": "none",
        "backdoored": False,
        "url": f"{_RELEASES}/{facts['repo_release_tag']}/{file}.zip",
        "sha1": facts["checksum"],
        "member": file,
    }, images


def _image_size(name: str) -> int:
    """Height and width that a network was made for, where the table does not say."""
    from pytorchcv.model_provider import get_model

    net: Any = get_model(name, pretrained=False)
    return net.in_size[0]
