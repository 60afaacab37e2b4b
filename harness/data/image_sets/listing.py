"""What a set of image files holds, before any of them is decoded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from harness.data import file_hashes
from harness.data.dataset import ANY, MOST, SKIP, DataLocation, Dataset
from harness.data.examples import Attribute
from harness.data.photographs import Place
from zoo.entry import Preparation
from zoo.errors import ZooError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".webp", ".tif", ".tiff", ".pgm"})
"""Of files that are taken for images."""

SHOWN = 3
"""How many files a message names."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Listing:
    """Images and what is known of each.

    Attributes:
        places: (n,) where each is; names are unique.
        labels: (n,) of each, 0 .. num_classes - 1.
        num_classes: How many labels there are.
        n_train: How many of the first are the official training data; 0 without an official split.
        only_test: Whether all are the official test data.
        classes: See `harness.data.dataset.Dataset`.
        z: Sensitive attributes by name.
        preparation: What is done to each, unless a model asks for something else.
        epsilon: Customary perturbation radii; None for those of photographs.
        most: How many each quarter has at most; None for all.
    """

    places: Sequence[Place]
    labels: Sequence[int]
    num_classes: int
    n_train: int = 0
    only_test: bool = False
    classes: tuple[str, ...] = ()
    z: Mapping[str, Attribute] = field(default_factory=dict)
    preparation: Preparation = ANY
    epsilon: Mapping[str, float] | None = None
    most: int | None = MOST


def dataset(name: str, root: Path, listing: Listing, source: DataLocation) -> Dataset:
    """The dataset of some images, all of which can be decoded.

    Args:
        name: Of the dataset.
        root: Folder of all, in which their hashes are kept.
        listing: What there is.
        source: Whether to ``verify`` the hashes, and what to do with ``unreadable`` images.

    Raises:
        ZooError: There are no images, or some cannot be read and are not to be skipped.
    """
    if not listing.places:
        raise ZooError(f"{root} has no image that is listed. Get the dataset again.")
    found = file_hashes.hashes(root, listing.places, verify=source.verify)
    lost = [k for k, one in enumerate(found) if isinstance(one, file_hashes.Unreadable)]
    if lost:
        _refuse_or_warn(root, [found[k] for k in lost], len(found), source)
    kept = [k for k, one in enumerate(found) if isinstance(one, str)]
    index = torch.tensor(kept, dtype=torch.int64)
    return Dataset.of_photographs(
        name,
        num_classes=listing.num_classes,
        places=[listing.places[k] for k in kept],
        hashes=[str(found[k]) for k in kept],
        y=torch.tensor(listing.labels, dtype=torch.int64)[index],
        n_train=sum(k < listing.n_train for k in kept),
        only_test=listing.only_test,
        classes=listing.classes,
        z={key: Attribute(one.values[index], one.names) for key, one in listing.z.items()},
        preparation=listing.preparation,
        epsilon=listing.epsilon,
        most=listing.most,
    )


def _refuse_or_warn(
    root: Path, lost: Sequence[str | file_hashes.Unreadable], n: int, source: DataLocation
) -> None:
    named = "; ".join(map(str, lost[:SHOWN])) + ("; …" if len(lost) > SHOWN else "")
    what = f"{len(lost)} of {n:,} images of {root} cannot be read ({named})"
    if source.unreadable != SKIP or len(lost) == n:
        raise ZooError(f"{what}. Get them again, or give --unreadable skip to leave them out.")
    warnings.warn(f"{what} and are left out.", stacklevel=3)


def by_class(
    folder: Path, classes: Sequence[str], inside: str = ""
) -> tuple[list[Place], list[int]]:
    """The images of a folder that has a folder for each class, and their labels.

    Args:
        folder: Of folders.
        classes: Names of those, in the order of the labels.
        inside: A folder within each that has the images; empty if they are in it themselves.

    Raises:
        ZooError: A class has no folder or no image, or a folder is of no class.
    """
    if not folder.is_dir():
        raise ZooError(f"There is no folder {folder}. Unpack all of it.")
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
        files = images_in(folder / name / inside)
        if not files:
            raise ZooError(f"{folder / name} has no image. Unpack all of it.")
        places += [Place(path, f"{folder.name}/{name}/{path.name}") for path in files]
        labels += [label] * len(files)
    return places, labels


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted; none if it is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def folders_of(folder: Path) -> tuple[str, ...]:
    """The names of the folders in a folder, sorted.

    Raises:
        ZooError: There are none.
    """
    found = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    if not found:
        raise ZooError(f"{folder} has no folders of classes. Unpack all of it.")
    return found


def lines(file: Path, wanted: str = "") -> list[str]:
    """The lines of a list that is published beside images, without empty ones at its end.

    Args:
        file: The list.
        wanted: What the folder should have, for the message.

    Raises:
        ZooError: It is not there, or no text.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = f"Wanted: {wanted}." if wanted else "It is published beside the images."
        raise ZooError(f"No file {file}. {beside}") from None
    except UnicodeDecodeError:
        raise ZooError(f"{file} is no text. Get it again.") from None
    return text.rstrip().splitlines()


def malformed(file: Path, line: int, wanted: str, found: str) -> ZooError:
    """What is wrong with a line of such a list, counted from 1."""
    shown = found if len(found) <= 60 else f"{found[:57]}..."
    return ZooError(f"{file}, line {line}: wanted {wanted}, found {shown!r}. Get the file again.")
