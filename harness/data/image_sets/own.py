"""A user's own images: in folders of classes, or listed in a table.

``<data-dir>/xrays.toml`` makes the dataset ``xrays``. With ``images = "xrays"`` and nothing else,
``<data-dir>/xrays`` has a folder for each class, or folders ``train`` and ``test`` that have them.
With a table, whose columns `harness.data.tables.description` knows, the table says what is in each
image, and of whom::

    images = "xrays"
    train = "train.csv"
    test = "test.csv"
    image = "path"
    label = "finding"
    classes = ["none", "pneumonia"]
    resize = 128

    [sensitive.sex]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from harness.data import encoding
from harness.data.dataset import ANY, MOST, PHOTOGRAPHS, DataLocation, Dataset
from harness.data.examples import Attribute
from harness.data.image_sets.listing import Listing, by_class, dataset, folders_of
from harness.data.photographs import Place
from harness.data.tables import cells as table_cells
from harness.data.tables.description import Description, shown
from zoo.entry import Preparation
from zoo.errors import ZooError

SMALL = 64
"""Side in pixels up to which a quarter has all images, as with other small ones."""

PARTS = ("train", "test")
"""Folders of an official split."""


def read(description: Description, source: DataLocation) -> Dataset:
    """The images that a TOML file describes.

    Args:
        description: With ``images``.
        source: What is done with images that cannot be decoded.

    Raises:
        ZooError: They are not as it says.
    """
    folder = description.path.parent / str(description.images)
    if not folder.is_dir():
        raise ZooError(f"No folder {folder} (wanted by images in {description.path}).")
    listing = _listed(folder, description) if description.files else _by_class(folder, description)
    return dataset(description.name, folder, listing, source)


def _by_class(folder: Path, description: Description) -> Listing:
    split = all((folder / part).is_dir() for part in PARTS)
    roots = [folder / part for part in PARTS] if split else [folder]
    if grouped := next((labels for labels in description.classes if len(labels) > 1), None):
        raise ZooError(
            f"{description.path}: the folders {' and '.join(grouped)} cannot make one class. Put "
            f"their images into one folder, or list them in a table."
        )
    said = [one for labels in description.classes for one in labels]
    classes = said or list(folders_of(roots[0]))
    if len(classes) < 2:
        raise ZooError(
            f"{roots[0]} has the folder {classes[0]!r} only; a folder is wanted for each of two "
            f"classes or more. If it holds the classes, write images = "
            f'"{description.images}/{classes[0]}" in {description.path}.'
        )
    found = [by_class(root, classes) for root in roots]
    return _listing(
        description,
        [place for places, _ in found for place in places],
        [label for _, labels in found for label in labels],
        len(classes),
        len(found[0][0]) if split else 0,
    )


def _listed(folder: Path, description: Description) -> Listing:
    cells = table_cells.read(description.path.parent, description)
    if cells is None:
        raise ZooError(
            f"{' or '.join(description.files)} is not in {description.path.parent} (wanted by "
            f"{description.path}). Put it there."
        )
    y, z = encoding.labels_and_groups(cells, description)
    column = str(description.image)
    seen: dict[str, int] = {}
    for row, path in enumerate(cells.column(column)):
        where = cells.place(row, column)
        if path is None:
            raise ZooError(f"{where}: there is no path. Write one, or leave out the row.")
        inside = PurePosixPath(path)
        if inside.is_absolute() or ".." in inside.parts:
            raise ZooError(f"{where}: {shown(path)} leads out of {folder}. Write a path within it.")
        path = str(inside)  # a/./b is a/b
        if path in seen:
            raise ZooError(
                f"{where}: {shown(path)} is also in {cells.place(seen[path], column)}. Leave out "
                f"one of the rows."
            )
        seen[path] = row
    return _listing(
        description,
        [Place(folder / path, path) for path in seen],
        y.tolist(),
        len(description.classes),
        cells.n_train,
        z,
    )


def _listing(
    description: Description,
    places: list[Place],
    labels: list[int],
    num_classes: int,
    n_train: int,
    z: Mapping[str, Attribute] = MappingProxyType({}),
) -> Listing:
    side = description.resize
    small = side is not None and side <= SMALL
    return Listing(
        places=places,
        labels=labels,
        num_classes=num_classes,
        n_train=n_train,
        z=z,
        preparation=ANY if side is None else Preparation(size=(side, side), resize=side),
        epsilon={**PHOTOGRAPHS, **description.epsilon},
        most=None if small else MOST,
    )
