"""Published sets of image files by name, and where they are looked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.data import label_spaces
from harness.data.dataset import DataLocation, Dataset
from harness.data.image_sets import faces, imagenet, published
from harness.data.image_sets.listing import Listing
from harness.data.image_sets.listing import dataset as made
from zoo.errors import ZooError

ARCHIVES = (".tar.gz", ".tgz", ".zip", ".tar")


@dataclass(frozen=True)
class ImageSet:
    """A published set.

    Attributes:
        folders: Names that its folder may have, in the data folder or the mirror.
        layout: Which files are looked for, in words.
        read: From the folder to what it holds.
    """

    folders: tuple[str, ...]
    layout: str
    read: Callable[[Path], Listing]


def _published(name: str, folders: tuple[str, ...], read: Callable[[Path], Listing]) -> ImageSet:
    return ImageSet(folders, published.LAYOUTS[name], read)


_IMAGENET = ("imagenet-1k", "imagenet", "imagenet-sample")

SETS: dict[str, ImageSet] = {
    **{
        name: ImageSet(_IMAGENET, imagenet.LAYOUT, partial(imagenet.imagenet, name))
        for name in ("imagenet-1k", *label_spaces.OF_DATASETS)
    },
    "imagenet-1k-robustbench": ImageSet(
        _IMAGENET,
        f"{imagenet.LAYOUT}; and imagenet-1k/{imagenet.ROBUSTBENCH}",
        partial(imagenet.imagenet, "imagenet-1k-robustbench"),
    ),
    "tiny-imagenet": ImageSet(
        ("tiny-imagenet-200", "tiny-imagenet"), imagenet.TINY_LAYOUT, imagenet.tiny_imagenet
    ),
    "cub-200-2011": _published(
        "cub-200-2011", ("CUB_200_2011", "cub-200-2011/CUB_200_2011", "cub-200-2011"), published.cub
    ),
    "food-101": _published("food-101", ("food-101",), published.food),
    "oxford-flowers-102": _published(
        "oxford-flowers-102", ("flowers-102", "oxford-flowers-102"), published.flowers
    ),
    "oxford-iiit-pet": _published("oxford-iiit-pet", ("oxford-iiit-pet",), published.pets),
    "dtd": _published("dtd", ("dtd",), published.textures),
    "eurosat": _published("eurosat", ("eurosat", "EuroSAT"), published.eurosat),
    "places365": _published("places365", ("places365_standard", "places365"), published.places365),
    **{
        name: ImageSet((folder,), faces.LAYOUTS[folder], read)
        for name, (folder, read) in faces.READERS.items()
    },
}
"""By the name of the dataset."""


def find(name: str, source: DataLocation) -> Path | None:
    """The folder of a dataset; None if there is none."""
    return next((path for path in _candidates(name, source) if path.is_dir()), None)


def _candidates(name: str, source: DataLocation) -> list[Path]:
    roots = [root for root in (source.data_dir, source.mirror) if root is not None]
    return [root / folder for root in roots for folder in SETS[name].folders]


def of_folders(name: str) -> Callable[[DataLocation], Dataset]:
    """The loader of one of the sets above."""

    def load_folders(source: DataLocation) -> Dataset:
        root = find(name, source)
        if root is None:
            raise _not_here(name, source)
        return made(name, root, SETS[name].read(root), source)

    return load_folders


def _not_here(name: str, source: DataLocation) -> ZooError:
    packed = (
        path.with_name(path.name + suffix)
        for path in _candidates(name, source)
        for suffix in ARCHIVES
    )
    archive = next((path for path in packed if path.is_file()), None)
    if archive is not None:
        return ZooError(f"Dataset {name!r} is packed. Unpack {archive} where it is.")
    looked = [str(p) for p in (source.data_dir, source.mirror) if p is not None]
    return ZooError(
        f"Dataset {name!r} is not here (looked in: {', '.join(looked) or 'nowhere'}). Give "
        f"--data-dir, or set ZOO_DATA_DIR to, a folder with {SETS[name].layout}."
    )
