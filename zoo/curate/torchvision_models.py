"""Pretrained classifiers of torchvision."""

import re

from zoo.curate.listing import Listing, accuracy, by_name, excluded

_PORTED = {  # their files are named after the author of timm
    "torchvision/efficientnet_b0.imagenet1k_v1": "timm/efficientnet_b0.ra_in1k",
    "torchvision/efficientnet_b1.imagenet1k_v1": "timm/efficientnet_b1.ft_in1k",
    "torchvision/efficientnet_b2.imagenet1k_v1": "timm/efficientnet_b2.ra_in1k",
    "torchvision/efficientnet_b3.imagenet1k_v1": "timm/efficientnet_b3.ra2_in1k",
    "torchvision/efficientnet_b4.imagenet1k_v1": "timm/efficientnet_b4.ra2_in1k",
}


def list_models() -> Listing:
    """Every set of weights of its classification models.

    Raises:
        ImportError: torchvision is not installed.
    """
    import torchvision
    from torchvision import models

    found = Listing(torchvision.__version__.split("+")[0], metrics=[])
    assert found.metrics is not None
    for architecture in models.list_models(module=models):
        for weights in models.get_model_weights(architecture):
            name = f"torchvision/{architecture}.{weights.name.lower()}"
            if not weights.meta["categories"]:
                found.exclusions.append(
                    excluded(name, "not classification", "features without a classifier")
                )
                continue
            transform = weights.transforms()
            hash_prefix = re.search(r"-([0-9a-f]{8,})\.pth$", weights.url)
            assert hash_prefix, weights.url
            swag = "SWAG" in weights.name
            found.models.append(
                {
                    "name": name,
                    "source_name": f"{architecture} {weights.name}",
                    "purpose": "benchmark",
                    "task": "image classification",
                    "dataset": "imagenet-1k",
                    "architecture": f"torchvision/{architecture}",
                    "input_shape": (3, transform.crop_size[0], transform.crop_size[0]),
                    "num_classes": len(weights.meta["categories"]),
                    "mean": tuple(transform.mean),
                    "std": tuple(transform.std),
                    "resize": transform.resize_size[0],
                    "fit": "crop",
                    "interpolation": transform.interpolation.value,
                    "licence": "CC-BY-NC-4.0" if swag else "BSD-3-Clause",
                    "pretraining": ("instagram-3.6b",) if swag else ("none",),
                    "extra_data": "weakly labelled" if swag else "none",
                    "backdoored": False,
                    "url": weights.url,
                    "sha256_prefix": hash_prefix[1],
                }
            )
            if name in _PORTED:
                found.exclusions.append(
                    excluded(name, "duplicate", "ported from timm's weights", _PORTED[name])
                )
            top1 = weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
            found.metrics.append(accuracy(name, "imagenet-1k", top1 / 100, 50000))
    found.models = by_name(found.models)
    return found
