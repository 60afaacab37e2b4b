"""ImageNet: ILSVRC 2012, and Tiny ImageNet, which is a part of it.

References:
    Russakovsky et al. (2015). ImageNet Large Scale Visual Recognition Challenge. IJCV.
    Croce et al. (2021). RobustBench. NeurIPS Datasets and Benchmarks. (their 5,000 photographs)
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from harness.data import label_spaces
from harness.data.image_sets.listing import Listing, by_class, lines, malformed
from harness.data.photographs import Place
from zoo.entry import Preparation
from zoo.errors import ZooError

LAYOUT = (
    "imagenet-1k/val/n01440764/*.JPEG; or imagenet-1k/val/ILSVRC2012_val_00000001."
    "JPEG or imagenet-1k/ILSVRC2012_img_val.tar, with imagenet-1k/ILSVRC2012_devkit_t12 or its "
    ".tar.gz; and imagenet-1k/train/n01440764/*.JPEG for the members"
)
"""What is looked for."""

ROBUSTBENCH = "imagenet_test_image_ids.txt"
"""RobustBench's list of 5,000 validation images, as its package has it."""

TINY_LAYOUT = (
    "tiny-imagenet-200/wnids.txt, train/n01443537/images/*.JPEG, val/val_annotations.txt and "
    "val/images/*.JPEG"
)
"""What is looked for of Tiny ImageNet."""

_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG", re.IGNORECASE)


def imagenet(name: str, root: Path) -> Listing:
    """ILSVRC 2012: the validation part, after the training part where there is one.

    For the models of a larger ImageNet, those photographs of the validation part whose class they
    know: whatever they were trained on, nobody knows which of the others are members.
    """
    train, val, archive = root / "train", root / "val", root / "ILSVRC2012_img_val.tar"
    if not val.is_dir() and not archive.is_file():
        raise ZooError(f"{root} has no folder val and no {archive.name}. Wanted: {LAYOUT}.")
    classes = imagenet_classes()
    places: list[Place] = []
    labels: list[int] = []
    if name == "imagenet-1k" and train.is_dir():
        places, labels = by_class(train, classes)
    n_train = len(places)
    if not val.is_dir():
        judged, of_judged = _flat(_in_archive(archive), root)
    elif any(path.is_dir() for path in val.iterdir()):
        judged, of_judged = by_class(val, classes)
    else:
        found = [Place(path, f"val/{path.name}") for path in val.iterdir()]
        judged, of_judged = _flat(found, root)
    places, labels = places + judged, labels + of_judged
    if name == "imagenet-1k-robustbench":
        places, labels = _listed(root / ROBUSTBENCH, places, labels)
    if name in label_spaces.OF_DATASETS:
        shown = label_spaces.shared(name, classes)
        new = {classes.index(one): k for k, one in enumerate(shown)}
        keep = [k for k, label in enumerate(labels) if label in new]
        places = [places[k] for k in keep]
        labels, classes = [new[labels[k]] for k in keep], shown
    return Listing(
        places=places,
        labels=labels,
        num_classes=len(classes),
        n_train=n_train,
        only_test=not n_train,
        classes=classes,
    )


def _listed(
    file: Path, places: Sequence[Place], labels: Sequence[int]
) -> tuple[list[Place], list[int]]:
    """Those images whose file names are in a list, in its order."""
    where = {place.name.rpartition("/")[2]: k for k, place in enumerate(places)}
    found = []
    for number, line in enumerate(lines(file, f"{ROBUSTBENCH} of RobustBench"), start=1):
        name = line.strip().rpartition("/")[2]
        if name not in where:
            raise malformed(file, number, "a validation image that is here", line)
        found.append(where[name])
    return [places[k] for k in found], [labels[k] for k in found]


@cache
def imagenet_classes() -> tuple[str, ...]:
    """WordNet ids of the 1,000 classes, in the order of the labels."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())


def _flat(places: Sequence[Place], root: Path) -> tuple[list[Place], list[int]]:
    """The validation images as they are published, with their labels from the development kit."""
    numbered = {
        int(found[1]): place
        for place in places
        if (found := _VALIDATION.fullmatch(place.name.rpartition("/")[2]))
    }
    if not numbered:
        raise ZooError(f"{root} has no validation images. Wanted: {LAYOUT}.")
    labels = _of_development_kit(root)
    order = sorted(numbered)
    if order[-1] > len(labels):
        raise ZooError(
            f"{numbered[order[-1]].name} is one of the validation images of {root}, but the "
            f"development kit has {len(labels)} labels. Get the kit of 2012."
        )
    return [numbered[k] for k in order], [labels[k - 1] for k in order]


def _of_development_kit(root: Path) -> list[int]:
    """The labels of all validation images, 0 to 999 in the order of `imagenet_classes`."""
    from scipy.io import loadmat

    kit = root / "ILSVRC2012_devkit_t12" / "data"
    archive = root / "ILSVRC2012_devkit_t12.tar.gz"
    meta, truth = "meta.mat", "ILSVRC2012_validation_ground_truth.txt"
    try:
        if kit.is_dir():
            table, text = (kit / meta).read_bytes(), (kit / truth).read_bytes()
        else:
            with tarfile.open(archive) as tar:
                inside = {Path(one.name).name: one for one in tar.getmembers() if one.isfile()}
                table, text = (
                    tar.extractfile(inside[name]).read()  # type: ignore[union-attr]
                    for name in (meta, truth)
                )
    except (OSError, KeyError, tarfile.TarError) as error:
        raise ZooError(
            f"The validation images of {root} are not in folders of classes, and their labels "
            f"({kit / truth}, or in {archive.name}) cannot be read: {error}. Put the development "
            f"kit of ILSVRC 2012 there."
        ) from error
    opened: Any = io.BytesIO(table)  # which the stubs do not know
    synsets = loadmat(opened, squeeze_me=True)["synsets"]
    of = {name: label for label, name in enumerate(imagenet_classes())}
    number = {
        int(one["ILSVRC2012_ID"]): of[str(one["WNID"])] for one in synsets
        if int(one["num_children"]) == 0
    }  # fmt: skip
    return [number[int(line)] for line in text.split()]


def _in_archive(archive: Path) -> list[Place]:
    """The files of an uncompressed tar archive, read where they stand."""
    try:
        with tarfile.open(archive, "r:") as tar:
            return [
                Place(archive, one.name, one.offset_data, one.size) for one in tar if one.isfile()
            ]
    except tarfile.TarError as error:
        raise ZooError(f"{archive} is no tar archive, or not whole ({error}).") from error


def tiny_imagenet(root: Path) -> Listing:
    """Tiny ImageNet: 200 classes, 64x64 pixels.

    Its validation part is what is judged, since its test part has no labels. The
    classes are in the order of their WordNet ids, as those who read folders have it.
    """
    classes = tuple(sorted(lines(root / "wnids.txt", TINY_LAYOUT)))
    of = {name: label for label, name in enumerate(classes)}
    places, labels = by_class(root / "train", classes, inside="images")
    n_train, file = len(places), root / "val" / "val_annotations.txt"
    for number, line in enumerate(lines(file, TINY_LAYOUT), start=1):
        fields = line.split("\t")
        if len(fields) < 2 or fields[1] not in of:
            raise malformed(file, number, "an image, a tab and one of wnids.txt", line)
        places.append(Place(root / "val" / "images" / fields[0], f"val/images/{fields[0]}"))
        labels.append(of[fields[1]])
    return Listing(
        places=places,
        labels=labels,
        num_classes=len(classes),
        n_train=n_train,
        preparation=Preparation(size=(64, 64), resize=64),
        most=None,
    )
