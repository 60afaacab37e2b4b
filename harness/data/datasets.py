"""Datasets by name, their fingerprints, and who holds which part of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from harness.data import encoding, public
from harness.data.builtin import digits, digits_noisy, digits_tinted, photo_patches
from harness.data.dataset import DataLocation, Dataset
from harness.data.image_sets import celeba_task, faces, sets
from harness.data.image_sets import own as own_images
from harness.data.tables import cells as table_cells
from harness.data.tables import description as table_description
from harness.data.tables import openml
from harness.data.tables.cells import Cells
from harness.data.tables.description import Description
from zoo import plugins
from zoo.errors import ZooError, unknown
from zoo.plugins import LeftOut, Plugins

OOD_DEFAULT = "photo-patches"
"""The attacker's other dataset if ``ood`` does not name one; always available."""


def _described(path: Path) -> Callable[[DataLocation], Dataset]:
    def load_described(source: DataLocation) -> Dataset:
        if celeba_task.is_one(path):
            return celeba_task.read(path, source)
        description = table_description.read(path)
        if description.images is not None:
            return own_images.read(description, source)
        return _table(description, source)

    return load_described


def _table(description: Description, source: DataLocation) -> Dataset:
    cells = _cells(description, source)
    encoded = encoding.encode(cells, description)
    return Dataset(
        name=description.name,
        num_classes=len(description.classes),
        epsilon=dict(description.epsilon),
        **vars(encoded),
    )


def _cells(description: Description, source: DataLocation) -> Cells:
    """The table where it is found first: data folder, mirror, OpenML."""
    looked = [str(folder) for folder in _folders(source)]
    for folder in looked:
        cells = table_cells.read(Path(folder), description)
        if cells is not None:
            return cells
    files, folders = (" or ".join(names) for names in (description.files or ["no file"], looked))
    problems = [f"{files} is not in {folders or 'any folder'}"]
    if description.openml is not None:
        try:
            return openml.fetch(description, description.openml)
        except openml.UnreachableError as error:
            problems.append(str(error))
    raise ZooError(
        f"Dataset {description.name!r} is not here: {', and '.join(problems)}. Put the files "
        f"there, or give --data-dir or --mirror, or set ZOO_DATA_DIR or ZOO_MIRROR."
    )


def _folders(source: DataLocation) -> list[Path]:
    """Where tables are looked for."""
    folders = [source.data_dir, source.mirror and source.mirror / "tabular"]
    return [folder for folder in folders if folder is not None]


@dataclass(frozen=True)
class Whereabouts:
    """Where a dataset is.

    Attributes:
        found: The folder with its files; None if they are in none.
        wanted: Which files are looked for, in words; empty if none are needed.
    """

    found: Path | None
    wanted: str = ""

    @property
    def is_here(self) -> bool:
        """Whether it can be read."""
        return self.found is not None or not self.wanted


def where(name: str, source: DataLocation) -> Whereabouts:
    """Where `load` finds a dataset, by the names of files alone.

    Raises:
        ZooError: The description of a user's table is wrong.
    """
    path = table_description.builtin().get(name)
    if path is None and name not in DATASETS:
        path = own_tables(source).get(name)
    if path is not None:
        if celeba_task.is_one(path):
            return where("celeba", source)
        description = table_description.read(path)
        if description.images is not None:
            folder = path.parent / description.images
            return Whereabouts(folder if folder.is_dir() else None, str(folder))
        folders = (one for one in _folders(source) if table_cells.has(one, description))
        online = " (or from OpenML)" if description.openml else ""
        return Whereabouts(next(folders, None), ", ".join(description.files) + online)
    if name in sets.SETS:
        return Whereabouts(sets.find(name, source), sets.SETS[name].layout)
    if name in public.SETS:
        return Whereabouts(public.find(name, source), public.layout(name))
    return Whereabouts(None)


def verify(source: DataLocation) -> list[Path]:
    """Hash the files of all photographs again; the folders in which all are what was recorded.

    Raises:
        ChangedError: Some are not; they are named.
    """
    checked: dict[Path, str] = {}
    for name in sets.SETS:  # of those that share a folder, the one with all of it comes first
        if (root := sets.find(name, source)) is not None:
            checked.setdefault(root, name)
    for name, path in own_tables(source).items():
        if celeba_task.is_one(path) or table_description.read(path).images is None:
            continue
        if (root := where(name, source).found) is not None:
            checked.setdefault(root, name)
    for name in checked.values():
        load(name, replace(source, verify=True))
    return list(checked)


def is_here(name: str, source: DataLocation) -> bool:
    """Whether the files of a dataset are where `load` looks for them, by their names alone."""
    return where(name, source).is_here


def would_download(name: str, source: DataLocation) -> bool:
    """Whether `load` would ask OpenML for a table, whose files are in no folder of ``source``."""
    path = table_description.builtin().get(name) or own_tables(source).get(name)
    if path is None or celeba_task.is_one(path):
        return False
    description = table_description.read(path)
    here = any(table_cells.has(folder, description) for folder in _folders(source))
    return not here and description.openml is not None


DATASETS: dict[str, Callable[[DataLocation], Dataset]] = {
    "digits": digits,
    "digits-noisy": digits_noisy,
    "digits-tinted": digits_tinted,
    "photo-patches": photo_patches,
    **{name: public.public(name) for name in public.SETS},
    **{name: _described(path) for name, path in table_description.builtin().items()},
    **{name: sets.of_folders(name) for name in sets.SETS},
}
"""Loaders by name. Other packages add theirs with the entry point group ``harness.datasets``."""


ATTRIBUTES: dict[str, tuple[str, ...]] = {"digits-tinted": ("tint",), **faces.ATTRIBUTES}
"""Sensitive attributes of images, for whoever has not loaded them; tables' descriptions say."""


def own_tables(source: DataLocation) -> dict[str, Path]:
    """The descriptions of the user's own tables and images, by name."""
    if source.data_dir is None:
        return {}
    paths = sorted(source.data_dir.glob("*.toml"))
    return {path.stem: path for path in paths if table_description.is_meant(path)}


class BrokenDatasetError(ZooError):
    """Another package's dataset that is none, or whose code fails."""


@cache
def _plugins() -> Plugins:
    def wrong(name: str, found: object) -> str | None:
        return None if callable(found) else f"it is no function but {found!r:.80}."

    return plugins.find("harness.datasets", "dataset", taken=DATASETS, wrong=wrong)


def left_out() -> tuple[LeftOut, ...]:
    """The datasets of other packages that cannot be used."""
    return _plugins().left_out


def names(source: DataLocation = DataLocation()) -> list[str]:
    """Every known dataset, the user's own and those of other packages included."""
    return sorted({*DATASETS, *_plugins().found, *own_tables(source)})


@lru_cache(maxsize=4)
def load(name: str, source: DataLocation) -> Dataset:
    """A dataset, read once per process.

    Raises:
        ZooError: The name is unknown or has two meanings, or the files are not where ``source``
            says, or hold something else.
    """
    own = own_tables(source).get(name)
    if own is not None and (name in DATASETS or name in _plugins().found):
        raise ZooError(f"There is a dataset {name!r} besides that of {own}. Rename the file.")
    if name in DATASETS:
        return DATASETS[name](source)
    if own is not None:
        return _described(own)(source)
    if name not in _plugins().found:
        raise unknown("dataset", name, names(source))
    return _of_package(name, source)


def _of_package(name: str, source: DataLocation) -> Dataset:
    """The dataset that another package calls ``name``."""
    where = f"The dataset {name!r} of {_plugins().packages[name]}"
    try:
        found = _plugins().found[name](source)
    except ZooError:
        raise
    except Exception as error:  # somebody else's code may fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise BrokenDatasetError(f"{where} cannot be read: {reason}") from error
    if not isinstance(found, Dataset):
        raise BrokenDatasetError(f"{where} has to be a Dataset, found {type(found).__name__}.")
    if found.name != name:
        raise BrokenDatasetError(
            f"{where} calls itself {found.name!r}. Both names have to be the same."
        )
    return found
