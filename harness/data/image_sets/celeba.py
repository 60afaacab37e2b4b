"""CelebA: 202,599 photographs of faces with 40 attributes, any of which may be predicted.

``<data-dir>/<name>.toml`` makes the dataset ``<name>`` of one task::

    like = "celeba"
    label = "Attractive"                # or several: with three there are eight classes
    sensitive = ["Male", "Young"]       # the groups of each are "not Male" and "Male", ...
    resize = 32                         # pixels of an input's side; 64 if it is not said

The official training part comes first; the validation part is left out. The photographs are those
aligned by the eyes, cut to the square in the middle.

References:
    Liu, Luo, Wang and Tang (2015). Deep Learning Face Attributes in the Wild. ICCV.
    Liu et al. (2022). ML-Doctor. USENIX Security. (eight classes)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from harness.data.examples import Attribute
from harness.data.image_sets.listing import Listing, lines, malformed
from harness.data.photographs import Place
from zoo.entry import Preparation
from zoo.errors import ZooError

LAYOUT = (
    "celeba/img_align_celeba/000001.jpg, celeba/list_attr_celeba.txt and "
    "celeba/list_eval_partition.txt"
)
"""What is looked for."""

SIDE = 64
"""Height and width in pixels of an input, if nobody says otherwise."""

MOST = 6_000
"""How many photographs each quarter has, unless somebody wants more."""

ML_DOCTOR = ("Heavy_Makeup", "Mouth_Slightly_Open", "Smiling")
"""The attributes that ML-Doctor's classifiers tell apart: eight classes."""

ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs",
    "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows",
    "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup",
    "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard",
    "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns",
    "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
"""All 40, in the order of the list."""

Group = tuple[str, str, tuple[str, str]]
"""The name of a sensitive attribute, CelebA's, and the groups without it and with it."""

SEX_AND_AGE: tuple[Group, ...] = (
    ("sex", "Male", ("female", "male")),
    ("age", "Young", ("older", "young")),
)


def read(
    folder: Path, *, labels: Sequence[str], sensitive: Sequence[Group], side: int = SIDE
) -> Listing:
    """The photographs for one task, the official training part first.

    Args:
        folder: As `LAYOUT` says.
        labels: Attributes to predict. The class is the binary number that they make, the first
            being its highest digit.
        sensitive: Those that are sensitive.
        side: Height and width in pixels of an input.

    Raises:
        ZooError: A list or a photograph is not there or is something else.
    """
    wanted = (*labels, *(attribute for _, attribute, _ in sensitive))
    known = _attributes(folder / "list_attr_celeba.txt", wanted)
    parts = _parts(folder / "list_eval_partition.txt")
    lost = next((image for image in known if image not in parts), None)
    if lost is not None:
        raise ZooError(
            f"{folder / 'list_eval_partition.txt'} does not say whether {lost} is for training, "
            f"validation or testing. Get both lists from the same place."
        )
    train, test = ([one for one in known if parts[one] == part] for part in ("0", "2"))
    images = train + test
    values = np.array([known[one] for one in images], dtype=np.int64).reshape(-1, len(wanted))
    digits = 2 ** np.arange(len(labels))[::-1]
    return Listing(
        places=[Place(folder / "img_align_celeba" / one, one) for one in images],
        labels=(values[:, : len(labels)] @ digits).tolist(),
        num_classes=2 ** len(labels),
        z={
            name: Attribute(torch.from_numpy(values[:, len(labels) + k].copy()), groups)
            for k, (name, _, groups) in enumerate(sensitive)
        },
        n_train=len(train),
        preparation=Preparation(size=(side, side), resize=side),
        most=MOST,
    )


def _attributes(file: Path, wanted: Sequence[str]) -> dict[str, list[bool]]:
    """Which of the ``wanted`` attributes each image has.

    The file has a line with the number of images, a line with the attributes' names, and a line for
    each image with 1 or -1 for each attribute.
    """
    rows = lines(file)
    if len(rows) < 2 or not rows[0].strip().isdigit():
        raise malformed(file, 1, "the number of images", rows[0] if rows else "nothing")
    names = rows[1].split()
    for name in wanted:
        if name not in names:
            raise malformed(file, 2, f"the names of attributes, {name} among them", rows[1])
    columns = [1 + names.index(name) for name in wanted]
    known = {}
    for number, line in enumerate(rows[2:], start=3):
        fields = line.split()
        if len(fields) != 1 + len(names) or any(fields[k] not in ("1", "-1") for k in columns):
            raise malformed(file, number, f"an image and {len(names)} times 1 or -1", line)
        known[fields[0]] = [fields[k] == "1" for k in columns]
    if len(known) != int(rows[0]):
        raise ZooError(
            f"{file} has {len(known)} images and says that there are {rows[0].strip()}. It is not "
            f"whole; get it again."
        )
    return known


def _parts(file: Path) -> dict[str, str]:
    """Of each image 0 (training), 1 (validation) or 2 (testing)."""
    parts = {}
    for number, line in enumerate(lines(file), start=1):
        match line.split():
            case [image, ("0" | "1" | "2") as part]:
                parts[image] = part
            case _:
                raise malformed(file, number, "an image and 0, 1 or 2", line)
    return parts
