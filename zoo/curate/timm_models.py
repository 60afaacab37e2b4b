"""Pretrained classifiers of PyTorch Image Models (timm)."""

import math
from typing import Any

from zoo.curate.listing import Listing, Row, by_name, excluded

_DATASETS = {  # by the number of logits, which no tag contradicts
    1000: "imagenet-1k",
    11221: "imagenet-21k-p",
    11821: "imagenet-12k",
    19168: "imagenet-21k-w21",
    21841: "imagenet-22k",
    21842: "imagenet-22k",
    21843: "imagenet-22k",
    115217: "bamboo",
}

_ODD_CLASSES = {
    21842: "one logit more than ImageNet-22k has classes",
    21843: "two logits more than ImageNet-22k has classes",
}
_LICENCES = {  # SPDX identifiers; "unknown" is no licence
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "mit": "MIT",
    "unknown": None,
}
_FITS = {"center": "crop", "squash": "squash", "border": "border"}
_PAPERS = {"tf_adv_in1k": "kurakin2017", "tf_ens_adv_in1k": "tramer2018"}

# What a word of a tag says about data beyond the final dataset, and how that data was labelled.
_EXTRA = {
    "in22k": ("imagenet-22k", "labelled"),
    "in21k": ("imagenet-22k", "labelled"),
    "in12k": ("imagenet-12k", "labelled"),
    "inw21k": ("imagenet-21k-w21", "labelled"),
    "jft": ("jft-300m", "unlabelled"),  # noisy student
    "yfcc100m": ("yfcc100m", "unlabelled"),
    "seer": ("instagram-1b", "unlabelled"),
    "ig1b": ("instagram-1b", "weakly labelled"),
    "swag": ("instagram-3.6b", "weakly labelled"),
    "openai": ("wit-400m", "image-text"),
    "laion2b": ("laion-2b", "image-text"),
    "laiona": ("laion-aesthetic", "image-text"),
    "webli": ("webli", "image-text"),
    "m30m": ("merged-30m", "unlabelled"),
    "m38m": ("merged-38m", "unlabelled"),
    "clip": (None, "image-text"),
    "ssld": ("imagenet-22k", "unlabelled"),  # distillation on images mined from it
}
_WEAKEST_LAST = ("labelled", "weakly labelled", "unlabelled", "image-text")
_TORCHVISION = {"tv": "imagenet1k_v1", "tv2": "imagenet1k_v2"}


def list_models() -> Listing:
    """Every pretrained tag with a real label space; the others are listed as excluded.

    Raises:
        ImportError: timm or torchvision is not installed.
    """
    import timm

    found = Listing(timm.__version__)
    torchvision = _torchvision_urls()
    for full in timm.list_models(pretrained=True):
        config = timm.get_pretrained_cfg(full)
        assert config is not None
        if config.num_classes not in _DATASETS:
            what = f"{config.num_classes} outputs" if config.num_classes else "no classifier"
            found.exclusions.append(
                excluded(f"timm/{full}", "not classification", f"{what}: an embedding")
            )
            continue
        row = _row(full, config)
        found.models.append(row)
        original = torchvision.get(str(config.url)) or _named_after(full, set(torchvision.values()))
        if original is not None:
            found.exclusions.append(
                excluded(row["name"], "duplicate", "torchvision's weights", original)
            )
    found.models = by_name(found.models)
    return found


def _row(full: str, config: Any) -> Row:
    dataset = _DATASETS[config.num_classes]
    # The architecture's name may say what the tag leaves out: vit_base_patch16_224_miil.in21k
    words = f"{config.tag or ''}_miil" if "_miil" in config.architecture else config.tag or ""
    pretraining, regime = data_beyond(words, dataset)
    return {
        "name": f"timm/{full}",
        "source_name": full,
        "purpose": "security" if "adv" in (config.tag or "").split("_") else "benchmark",
        "task": "image classification",
        "dataset": dataset,
        "architecture": f"timm/{config.architecture}",
        "input_shape": tuple(config.input_size),
        "num_classes": config.num_classes,
        "mean": tuple(config.mean),
        "std": tuple(config.std),
        "resize": math.floor(min(config.input_size[1:]) / config.crop_pct),
        "fit": _FITS[config.crop_mode],
        "interpolation": config.interpolation,
        "licence": _LICENCES.get(config.license, config.license),
        "pretraining": pretraining,
        "extra_data": regime,
        "paper": _PAPERS.get(config.tag),
        "backdoored": False,
        "notes": _ODD_CLASSES.get(config.num_classes),
        "hub_repo": (config.hf_hub_id or "").rstrip("/") or None,
        "url": config.url or None,
    }


def data_beyond(tag: str, dataset: str) -> tuple[tuple[str, ...] | None, str]:
    """What a tag says of data other than ``dataset`` that the weights have seen.

    Args:
        tag: As ``augreg_in21k_ft_in1k``: stages of training joined by ``_ft_``.
        dataset: Key of the dataset that the weights classify.

    Returns:
        The data, in the order of training, or None if the tag says no more than its kind; and how
        it was labelled: the weakest of its kinds. ``none`` for both if there is none.
    """
    words = tag.split("_")
    told = [_EXTRA[word] for word in words if word in _EXTRA]
    if "miil" in words and "in21k" in words:
        told = [("imagenet-21k-p", "labelled")]
    told = [(key, kind) for key, kind in told if key != dataset]
    kinds = {kind for _, kind in told}
    keys = tuple(dict.fromkeys(key for key, _ in told if key is not None))
    if not kinds:
        return ("none",), "none"
    return keys or None, max(kinds, key=_WEAKEST_LAST.index)


def _torchvision_urls() -> dict[str, str]:
    from torchvision import models

    return {
        weights.url: f"torchvision/{name}.{weights.name.lower()}"
        for name in models.list_models(module=models)
        for weights in models.get_model_weights(name)
    }


def _named_after(full: str, originals: set[str]) -> str | None:
    """The torchvision model that a tag ``tv_…`` or ``tv2_…`` says it is."""
    architecture, _, tag = full.partition(".")
    weights = _TORCHVISION.get(tag.split("_")[0])
    name = f"torchvision/{architecture}.{weights}"
    return name if name in originals else None
