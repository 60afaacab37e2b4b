"""Published sets of photographs, each with the official split of its publishers.

Where there is a validation part besides training and test, it is left out: some train on it.

References:
    Wah, Branson, Welinder, Perona and Belongie (2011). The Caltech-UCSD Birds-200-2011 Dataset.
    Bossard, Guillaumin and Van Gool (2014). Food-101. ECCV.
    Nilsback and Zisserman (2008). Automated Flower Classification over a Large Number of Classes.
    Parkhi, Vedaldi, Zisserman and Jawahar (2012). Cats and Dogs. CVPR.
    Cimpoi, Maji, Kokkinos, Mohamed and Vedaldi (2014). Describing Textures in the Wild. CVPR.
    Helber, Bischke, Dengel and Borth (2019). EuroSAT. IEEE JSTARS.
    Zhou, Lapedriza, Khosla, Oliva and Torralba (2018). Places. IEEE TPAMI.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.data.image_sets.listing import (
    Listing,
    by_class,
    folders_of,
    lines,
    malformed,
)
from harness.data.photographs import Place
from zoo.entry import Preparation
from zoo.errors import ZooError

LAYOUTS = {
    "cub-200-2011": "CUB_200_2011/images.txt, image_class_labels.txt, train_test_split.txt and "
    "images/",
    "food-101": "food-101/meta/classes.txt, train.txt, test.txt and food-101/images/waffles/*.jpg",
    "oxford-flowers-102": "flowers-102/imagelabels.mat, setid.mat and jpg/image_00001.jpg",
    "oxford-iiit-pet": "oxford-iiit-pet/annotations/trainval.txt, test.txt and "
    "oxford-iiit-pet/images/*.jpg",
    "dtd": "dtd/labels/train1.txt, test1.txt and dtd/images/banded/*.jpg",
    "eurosat": "eurosat/2750/AnnualCrop/*.jpg",
    "places365": "places365_standard/train/airfield/*.jpg and val/ likewise; or "
    "places365/categories_places365.txt, places365_val.txt and val_256/ (and "
    "places365_train_standard.txt and data_256/)",
}
"""What is looked for of each, in the data folder or the mirror."""

Listed = list[tuple[Place, int]]
"""Images and their labels."""


def cub(root: Path) -> Listing:
    """CUB-200-2011."""
    images = _pairs(root / "images.txt")
    classes = _pairs(root / "image_class_labels.txt")
    parts = _pairs(root / "train_test_split.txt")
    for file, found in (("image_class_labels.txt", classes), ("train_test_split.txt", parts)):
        if lost := next((one for one in images if one not in found), None):
            raise ZooError(f"{root / file} says nothing of image {lost}. Get the archive again.")
    both: tuple[Listed, Listed] = ([], [])
    for one in sorted(images, key=int):
        place = Place(root / "images" / images[one], f"images/{images[one]}")
        both[parts[one] != "1"].append((place, int(classes[one]) - 1))
    return _split(*both, 200)


def _pairs(file: Path) -> dict[str, str]:
    """A number and a word on each line."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines(file, LAYOUTS["cub-200-2011"]), start=1):
        match line.split():
            case [key, word] if key.isdigit():
                found[key] = word
            case _:
                raise malformed(file, number, "a number and a word", line)
    return found


def food(root: Path) -> Listing:
    """Food-101."""
    classes = lines(root / "meta" / "classes.txt", LAYOUTS["food-101"])
    train, test = (_by_path(root, f"meta/{part}.txt", classes) for part in ("train", "test"))
    return _split(train, test, len(classes))


def textures(root: Path) -> Listing:
    """DTD, the first of its ten partitions."""
    root = root / "dtd" if (root / "dtd").is_dir() else root
    if not (root / "images").is_dir():
        raise ZooError(f"{root} has no folder images. Wanted: {LAYOUTS['dtd']}.")
    classes = folders_of(root / "images")
    train, test = (_by_path(root, f"labels/{part}1.txt", classes) for part in ("train", "test"))
    return _split(train, test, len(classes))


def _by_path(root: Path, file: str, classes: Sequence[str]) -> Listed:
    """A list of ``class/image``, with or without the ``.jpg``."""
    of = {name: label for label, name in enumerate(classes)}
    found: Listed = []
    for number, line in enumerate(lines(root / file), start=1):
        image = line.strip()
        name = image.partition("/")[0]
        if name not in of or "/" not in image:
            raise malformed(root / file, number, "class/image", line)
        image = image if image.endswith(".jpg") else f"{image}.jpg"
        found.append((Place(root / "images" / image, f"images/{image}"), of[name]))
    return found


def flowers(root: Path) -> Listing:
    """Flowers-102: the parts are those of the file setid.mat, as published."""
    labels = _matlab(root / "imagelabels.mat", "labels")
    train, test = (_matlab(root / "setid.mat", key) for key in ("trnid", "tstid"))

    def part(numbers: Sequence[int]) -> Listed:
        names = [f"jpg/image_{number:05}.jpg" for number in numbers]
        return [
            (Place(root / name, name), labels[number - 1] - 1)
            for name, number in zip(names, numbers, strict=True)
        ]

    if max((*train, *test), default=0) > len(labels) or min((*train, *test), default=1) < 1:
        raise ZooError(
            f"{root / 'setid.mat'} names image {max((*train, *test))}, but imagelabels.mat has "
            f"{len(labels)} labels. Get both files again."
        )
    return _split(part(train), part(test), 102)


def _matlab(file: Path, key: str) -> list[int]:
    from scipy.io import loadmat

    if not file.is_file():
        raise ZooError(f"No file {file}. Wanted: {LAYOUTS['oxford-flowers-102']}.")
    try:
        values: Any = loadmat(str(file))[key]
        return [int(one) for one in values.ravel()]
    except Exception as error:  # of a reader of files of a program
        raise ZooError(f"{file} has no array {key!r} ({error}). Get it again.") from error


def pets(root: Path) -> Listing:
    """Oxford-IIIT Pet: 37 breeds; the training part is what its publishers call trainval."""

    def part(name: str) -> Listed:
        file = root / "annotations" / name
        found: Listed = []
        for number, line in enumerate(lines(file, LAYOUTS["oxford-iiit-pet"]), start=1):
            if line.startswith("#"):
                continue
            match line.split():
                case [image, breed, _, _] if breed.isdigit() and 1 <= int(breed) <= 37:
                    place = Place(root / "images" / f"{image}.jpg", f"images/{image}.jpg")
                    found.append((place, int(breed) - 1))
                case _:
                    raise malformed(file, number, "an image and three numbers", line)
        return found

    return _split(part("trainval.txt"), part("test.txt"), 37)


def eurosat(root: Path) -> Listing:
    """EuroSAT in colours: 10 kinds of land, 64x64 pixels; there is no official split."""
    inside = root / "2750" if (root / "2750").is_dir() else root
    classes = folders_of(inside)
    places, labels = by_class(inside, classes)
    return Listing(
        places=places,
        labels=labels,
        num_classes=len(classes),
        preparation=Preparation(size=(64, 64), resize=64),
        most=None,
    )


def places365(root: Path) -> Listing:
    """Places365-Standard: its validation part, after the training part where that is there."""
    if not (root / "categories_places365.txt").is_file():
        if not (root / "val").is_dir():
            raise ZooError(f"{root} has no folder val. Wanted: {LAYOUTS['places365']}.")
        classes = folders_of(root / "val")
        parts = [
            list(zip(*by_class(root / part, classes), strict=True))
            for part in ("train", "val")
            if (root / part).is_dir()
        ]
        return _split(parts[0] if len(parts) > 1 else [], parts[-1], len(classes))
    num_classes = len(lines(root / "categories_places365.txt"))
    test = _numbered(root, "places365_val.txt", ("val_256", "val_large"), num_classes)
    listed = (root / "places365_train_standard.txt").is_file()
    folders = ("data_256", "data_256_standard", "data_large", "data_large_standard")
    train = []
    if listed and any((root / folder).is_dir() for folder in folders):
        train = _numbered(root, "places365_train_standard.txt", folders, num_classes)
    return _split(train, test, num_classes)


def _numbered(root: Path, name: str, folders: Sequence[str], num_classes: int) -> Listed:
    """A list of images and the numbers of their classes."""
    folder = next((one for one in folders if (root / one).is_dir()), None)
    if folder is None:
        raise ZooError(f"{root} has no folder {' or '.join(folders)}, which {name} is about.")
    found: Listed = []
    for number, line in enumerate(lines(root / name, LAYOUTS["places365"]), start=1):
        image, _, label = line.strip().rpartition(" ")
        image = image.strip().lstrip("/")
        if not image or not label.isdigit() or int(label) >= num_classes:
            raise malformed(root / name, number, "an image and the number of its class", line)
        found.append((Place(root / folder / image, f"{folder}/{image}"), int(label)))
    return found


def _split(train: Listed, test: Listed, num_classes: int) -> Listing:
    """The training images, and behind them those of the test part."""
    places = [place for place, _ in (*train, *test)]
    return Listing(
        places=places,
        labels=[label for _, label in (*train, *test)],
        num_classes=num_classes,
        n_train=len(train),
        only_test=not train,
    )
