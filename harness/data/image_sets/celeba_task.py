"""A user's own task on CelebA, described in a TOML file: see `harness.data.image_sets.celeba`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from harness.data.dataset import DataLocation, Dataset
from harness.data.image_sets import celeba
from harness.data.image_sets.listing import dataset
from harness.data.tables.fields import Fields, text_of
from zoo.errors import ZooError, unknown

LIKE = "celeba"


def is_one(path: Path) -> bool:
    """Whether a TOML file describes such a task."""
    try:
        return tomllib.loads(text_of(path)).get("like") == LIKE
    except (OSError, ValueError):
        return False


def sensitive(path: Path) -> tuple[str, ...]:
    """The sensitive attributes of such a task.

    Raises:
        ZooError: They are none of CelebA's.
    """
    return _attributes(Fields(path, tomllib.loads(text_of(path))), "sensitive")


def read(path: Path, source: DataLocation) -> Dataset:
    """The photographs for the task that a TOML file describes.

    Args:
        path: The file, in the data folder.
        source: Where CelebA is, and what is done with photographs that cannot be decoded.

    Raises:
        ZooError: The description is wrong, or CelebA is not there.
    """
    fields = Fields(path, tomllib.loads(text_of(path)))
    fields.text("like")
    fields.text("about", "")
    labels = _attributes(fields, "label")
    sensitive = _attributes(fields, "sensitive")
    side = fields.take("resize", int, "a number of pixels", celeba.SIDE)
    fields.done()
    if not labels:
        raise ZooError(f"{path} does not say what is to be predicted. Give label.")
    if len(labels) > 10:
        raise fields.fail("label", "10 attributes at most, which make 1,024 classes", list(labels))
    if not 8 <= side <= 178:
        raise fields.fail("resize", "8 to 178 pixels, as many as the photographs have", side)
    if both := sorted(set(labels) & set(sensitive)):
        raise ZooError(f"{path}: {both[0]} is both label and sensitive. Leave it out of one.")
    folder = next((root / LIKE for root in (source.data_dir, source.mirror)
                   if root is not None and (root / LIKE).is_dir()), None)  # fmt: skip
    if folder is None:
        raise ZooError(f"{path} is about CelebA, which is not here. Wanted: {celeba.LAYOUT}.")
    groups = [(one, one, (f"not {one}", one)) for one in sensitive]
    listing = celeba.read(folder, labels=labels, sensitive=groups, side=side)
    return dataset(path.stem, folder, listing, source)


def _attributes(fields: Fields, name: str) -> tuple[str, ...]:
    """One of CelebA's attributes, or several in a list."""
    given: Any = fields.take(name, object, "the name of an attribute, or several", [])
    values = [given] if isinstance(given, str) else given
    if not isinstance(values, list):
        raise fields.fail(name, "the name of an attribute, or several in a list", given)
    for one in values:
        if one not in celeba.ATTRIBUTES:
            raise unknown("attribute of CelebA", str(one), celeba.ATTRIBUTES)
    return fields.different(name, values, values)
