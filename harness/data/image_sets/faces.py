"""Photographs of faces as their publishers lay them out, with what is known of who is on them.

Nothing is downloaded: the photographs are people's, and their licences say who may have them. Each
becomes 64x64 pixels in colour, and a quarter has at most 6,000 of them unless more are asked for.

    celeba        Is the person smiling? Sex; age.
    celeba-8      Heavy makeup, mouth slightly open, smiling: eight classes. Sex; age.
    celeba-blond  Is the hair blond? Sex. The benchmark of group DRO: blond men are rare.
    lfw           Is the person middle-aged or older? Sex; race.
    utkface       Race, of four. Sex; age.
    utkface-sex   Is the person a woman? Race, of five; age.

Any other of CelebA's attributes can be predicted, or be sensitive: see
`harness.data.image_sets.celeba`.

References:
    Huang, Ramesh, Berg and Learned-Miller (2007). Labeled Faces in the Wild. UMass 07-49.
    Kumar, Berg, Belhumeur and Nayar (2009). Attribute and Simile Classifiers for Face
        Verification. ICCV.
    Zhang, Song and Qi (2017). Age Progression/Regression by Conditional Adversarial Autoencoder.
        CVPR.
    Sagawa, Koh, Hashimoto and Liang (2020). Distributionally Robust Neural Networks for Group
        Shifts. ICLR.
    Liu et al. (2022). ML-Doctor. USENIX Security. (the tasks of ``utkface`` and ``celeba-8``)
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from harness.data.examples import Attribute
from harness.data.image_sets import celeba
from harness.data.image_sets.listing import Listing, images_in, lines, malformed
from harness.data.photographs import Place
from zoo.entry import Preparation

SIDE = 64
"""Height and width in pixels of every photograph, as an input."""

MOST = 6_000
"""How many photographs each quarter has, unless somebody wants more."""

LAYOUTS = {
    "celeba": celeba.LAYOUT,
    "lfw": "lfw/Name_Of_Person/Name_Of_Person_0001.jpg and lfw/lfw_attributes.txt",
    "utkface": "utkface/[age]_[gender]_[race]_[date&time].jpg.chip.jpg",
}
"""What the folder of each archive has, as it is published."""


AGES = ("Baby", "Child", "Youth", "Middle Aged", "Senior")
RACES = ("Asian", "White", "Black", "Indian")


def read_lfw(folder: Path) -> Listing:
    """Labeled Faces in the Wild, with the attributes of Kumar et al. (2009).

    The attributes are a classifier's scores, not what anybody said: sex is the sign of ``Male``,
    race and age are those with the largest score. The label is whether that age is ``Middle Aged``
    or ``Senior``. Photographs that the attribute file does not list are left out; nobody is held to
    be in one part only. A photograph is cut to the half in the middle, where the face is.
    """
    file = folder / "lfw_attributes.txt"
    known = _lfw_attributes(file, ("Male", *AGES, *RACES))
    there = {path.relative_to(folder).as_posix() for path in folder.glob("*/*.jpg")}
    _warn_left_out(there - known.keys(), f"are not in {file}")
    scores = np.array(list(known.values())).reshape(-1, 1 + len(AGES) + len(RACES))
    male, ages, races = np.split(scores, [1, 1 + len(AGES)], axis=1)
    return Listing(
        places=_places(folder, known),
        labels=(ages.argmax(1) >= AGES.index("Middle Aged")).tolist(),
        num_classes=2,
        z={
            "sex": _attribute(male[:, 0] > 0, "female", "male"),
            "race": _attribute(races.argmax(1), *RACES),
        },
        preparation=Preparation(size=(SIDE, SIDE), resize=2 * SIDE),
        most=MOST,
    )


def _lfw_attributes(file: Path, wanted: Sequence[str]) -> dict[str, list[float]]:
    """The ``wanted`` scores of each image: ``Name_Of_Person/Name_Of_Person_0001.jpg``.

    The file has a line of words, a line with ``#`` and the names of its columns, and a line for
    each image: the person, the number of the image, and the scores, with tabs between them.
    """
    rows = lines(file)
    start = next((k for k, line in enumerate(rows) if "person\timagenum\t" in line), None)
    if start is None:
        raise malformed(file, 1, "# person imagenum Male ... with tabs between", "".join(rows[:1]))
    names = rows[start].removeprefix("#").strip().split("\t")
    for name in wanted:
        if name not in names:
            raise malformed(file, start + 1, f"names of columns, {name} among them", rows[start])
    columns = [names.index(name) for name in wanted]
    known = {}
    for number, line in enumerate(rows[start + 1 :], start=start + 2):
        fields = line.split("\t")
        try:
            person, image = fields[0].strip().replace(" ", "_"), int(fields[1])
            known[f"{person}/{person}_{image:04}.jpg"] = [float(fields[k]) for k in columns]
        except (ValueError, IndexError):
            wants = f"a person, a number and {len(names) - 2} scores with tabs between"
            raise malformed(file, number, wants, line) from None
    return known


UTKFACE = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+.*\.jpg", re.IGNORECASE)
"""Age in years; 0 male, 1 female; 0 White, 1 Black, 2 Asian, 3 Indian, 4 Others; a time."""

RACES_OF_UTKFACE = ("White", "Black", "Asian", "Indian", "Others")
OLDER = 35
"""Age in years from which on somebody is in the older of two groups of UTKFace."""


def read_utkface(folder: Path, *, label: str) -> Listing:
    """UTKFace, aligned and cropped; what is known is in the files' names.

    Some names in the published archive lack the race; they are left out. With the label ``race``,
    so are the ``Others``, as in ML-Doctor.
    """
    there = [path.name for path in images_in(folder)]
    known = {name: found.groups() for name in there if (found := UTKFACE.fullmatch(name))}
    _warn_left_out(set(there) - known.keys(), "are not named age_gender_race_time")
    images = [
        name for name, (_, _, race) in known.items()
        if label != "race" or RACES_OF_UTKFACE[int(race)] != "Others"
    ]  # fmt: skip
    values = np.array([known[name] for name in images], dtype=np.int64).reshape(-1, 3)
    age, sex, race = values.T
    z = {
        "sex": _attribute(sex, "male", "female"),
        "race": _attribute(race, *RACES_OF_UTKFACE),
        "age": _attribute(age >= OLDER, f"under {OLDER}", f"{OLDER} and over"),
    }
    labels = z.pop(label)
    return Listing(
        places=_places(folder, images),
        labels=labels.values.tolist(),
        num_classes=4 if label == "race" else 2,
        z=z,
        preparation=Preparation(size=(SIDE, SIDE), resize=SIDE),
        most=MOST,
    )


READERS: dict[str, tuple[str, Callable[[Path], Listing]]] = {
    "celeba": ("celeba", partial(celeba.read, labels=("Smiling",), sensitive=celeba.SEX_AND_AGE)),
    "celeba-8": (
        "celeba", partial(celeba.read, labels=celeba.ML_DOCTOR, sensitive=celeba.SEX_AND_AGE)
    ),
    "celeba-blond": (
        "celeba", partial(celeba.read, labels=("Blond_Hair",), sensitive=celeba.SEX_AND_AGE[:1])
    ),
    "lfw": ("lfw", read_lfw),
    "utkface-sex": ("utkface", partial(read_utkface, label="sex")),
    "utkface": ("utkface", partial(read_utkface, label="race")),
}  # fmt: skip
"""By the name of the dataset: its folder, and from there to what it holds."""

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "celeba": ("sex", "age"),
    "celeba-8": ("sex", "age"),
    "celeba-blond": ("sex",),
    "lfw": ("sex", "race"),
    "utkface": ("sex", "age"),
    "utkface-sex": ("race", "age"),
}
"""The sensitive attributes that each reader finds, in its order."""


def _places(folder: Path, names: Iterable[str]) -> list[Place]:
    return [Place(folder / name, name) for name in names]


def _attribute(values: np.ndarray, *names: str) -> Attribute:
    return Attribute(torch.from_numpy(values.astype(np.int64)), names)


def _warn_left_out(images: Iterable[str], why: str) -> None:
    names = sorted(images)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        warnings.warn(f"Photographs that {why} are left out: {len(names)} ({shown}).", stacklevel=4)
