"""Published sets of photographs as their publishers lay them out in folders.

    imagenet-1k   ILSVRC 2012: val/ by class folder (n01440764/...) or flat with the development
                  kit; train/ by class folder, where there is one, for the members.
    cub-200-2011  CUB_200_2011/ with images.txt, image_class_labels.txt and train_test_split.txt.

References:
    Russakovsky et al. (2015). ImageNet Large Scale Visual Recognition Challenge. IJCV.
    Wah, Branson, Welinder, Perona and Belongie (2011). The Caltech-UCSD Birds-200-2011 Dataset.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from harness.data import file_hashes, label_spaces
from harness.data.dataset import DataLocation, Dataset
from harness.data.photographs import Place
from zoo.errors import ZooError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".webp", ".tif", ".tiff", ".pgm"})
"""Of files that are taken for images."""

LAYOUTS = {
    "imagenet-1k": "imagenet-1k/val/n01440764/*.JPEG; or imagenet-1k/val/ILSVRC2012_val_00000001."
    "JPEG or imagenet-1k/ILSVRC2012_img_val.tar, with imagenet-1k/ILSVRC2012_devkit_t12 or its "
    ".tar.gz; and imagenet-1k/train/n01440764/*.JPEG for the members",
    "cub-200-2011": "CUB_200_2011/images.txt, image_class_labels.txt, train_test_split.txt and "
    "images/",
}
"""What is looked for, in the data folder or the mirror."""

_FOLDERS = {
    "imagenet-1k": ("imagenet-1k", "imagenet", "imagenet-sample"),
    "cub-200-2011": ("CUB_200_2011", "cub-200-2011", "cub-200-2011/CUB_200_2011"),
}
_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG", re.IGNORECASE)


def find(name: str, source: DataLocation) -> Path | None:
    """The folder of a dataset; None if there is none."""
    roots = [root for root in (source.data_dir, source.mirror) if root is not None]
    found = (root / folder for root in roots for folder in _FOLDERS[_kind(name)])
    return next((folder for folder in found if folder.is_dir()), None)


def _kind(name: str) -> str:
    return "imagenet-1k" if name in label_spaces.OF_DATASETS else name


def layout(name: str) -> str:
    """Which files are looked for, in words."""
    return LAYOUTS[_kind(name)]


def of_folders(name: str) -> Callable[[DataLocation], Dataset]:
    """The loader of one of the sets above."""

    def load_folders(source: DataLocation) -> Dataset:
        root = find(name, source)
        if root is None:
            looked = [str(p) for p in (source.data_dir, source.mirror) if p is not None]
            raise ZooError(
                f"Dataset {name!r} is not here (looked in: {', '.join(looked) or 'nowhere'}). Give "
                f"--data-dir, or set ZOO_DATA_DIR to, a folder with {layout(name)}."
            )
        return READERS[name](root, verify=source.verify)

    return load_folders


def by_class(folder: Path, classes: Sequence[str]) -> tuple[list[Place], list[int]]:
    """The images of a folder that has a folder for each class, and their labels.

    Args:
        folder: Of folders.
        classes: Names of those, in the order of the labels.

    Raises:
        ZooError: A class has no folder or no image, or a folder is of no class.
    """
    there = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if strange := sorted(set(there) - set(classes)):
        raise ZooError(
            f"{folder} has a folder {strange[0]!r} that is of none of the {len(classes)} classes"
            f"{f' ({len(strange)} such folders)' if len(strange) > 1 else ''}. Remove it."
        )
    if lost := [one for one in classes if one not in set(there)]:
        raise ZooError(
            f"{folder} has no folder {lost[0]!r}: {len(lost)} of {len(classes)} classes are "
            f"missing. Unpack all of it."
        )
    places: list[Place] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = sorted(p for p in (folder / name).iterdir() if p.suffix.lower() in SUFFIXES)
        if not files:
            raise ZooError(f"{folder / name} has no image. Unpack all of it.")
        places += [Place(path, f"{folder.name}/{name}/{path.name}") for path in files]
        labels += [label] * len(files)
    return places, labels


def imagenet(name: str, root: Path, *, verify: bool = False) -> Dataset:
    """ILSVRC 2012: the validation part, after the training part where there is one.

    For the models of a larger ImageNet, those photographs of the validation part whose class they
    know: whatever they were trained on, nobody knows which of the others are members.
    """
    train, val, archive = root / "train", root / "val", root / "ILSVRC2012_img_val.tar"
    if not val.is_dir() and not archive.is_file():
        raise ZooError(
            f"{root} has no folder val and no {archive.name}. Wanted: {LAYOUTS['imagenet-1k']}."
        )
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
    hashes = file_hashes.hashes(root, places, verify=verify)
    if name in label_spaces.OF_DATASETS:
        shown = label_spaces.shared(name, classes)
        new = {classes.index(one): k for k, one in enumerate(shown)}
        keep = [k for k, label in enumerate(labels) if label in new]
        places, hashes = [places[k] for k in keep], [hashes[k] for k in keep]
        labels, classes = [new[labels[k]] for k in keep], shown
    return Dataset.of_photographs(
        name,
        num_classes=len(classes),
        places=places,
        hashes=hashes,
        y=torch.tensor(labels),
        n_train=n_train,
        only_test=not n_train,
        classes=classes,
    )


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
        raise ZooError(f"{root} has no validation images. Wanted: {LAYOUTS['imagenet-1k']}.")
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


def cub(root: Path, *, verify: bool = False) -> Dataset:
    """CUB-200-2011 with its official split."""
    images = _pairs(root / "images.txt")
    classes = _pairs(root / "image_class_labels.txt")
    parts = _pairs(root / "train_test_split.txt")
    for file, found in (("image_class_labels.txt", classes), ("train_test_split.txt", parts)):
        if lost := next((one for one in images if one not in found), None):
            raise ZooError(f"{root / file} says nothing of image {lost}. Get the archive again.")
    order = sorted(images, key=lambda one: (parts[one] != "1", int(one)))
    places = [Place(root / "images" / images[one], f"images/{images[one]}") for one in order]
    if lost := next((place for place in places if not place.file.is_file()), None):
        raise ZooError(f"There is no {lost.file}, which images.txt names. Unpack all of it.")
    return Dataset.of_photographs(
        "cub-200-2011",
        num_classes=200,
        places=places,
        hashes=file_hashes.hashes(root, places, verify=verify),
        y=torch.tensor([int(classes[one]) - 1 for one in order]),
        n_train=sum(parts[one] == "1" for one in order),
    )


def _pairs(file: Path) -> dict[str, str]:
    """A number and a word on each line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ZooError(f"No file {file}. Wanted: {LAYOUTS['cub-200-2011']}.") from error
    pairs = [line.split() for line in lines]
    if wrong := next((k for k, pair in enumerate(pairs, 1) if len(pair) != 2), None):
        raise ZooError(
            f"{file}, line {wrong}: wanted a number and a word, found {lines[wrong - 1]!r}."
        )
    return {pair[0]: pair[1] for pair in pairs}


READERS: dict[str, Callable[..., Dataset]] = {
    "cub-200-2011": cub,
    **{name: partial(imagenet, name) for name in ("imagenet-1k", *label_spaces.OF_DATASETS)},
}
"""By the name of the dataset: from its folder, and whether to ``verify`` it, to the dataset."""
