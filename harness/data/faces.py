"""Photographs of faces as their publishers lay them out, with what is known of who is on them.

Nothing is downloaded: the photographs are people's, and their licences say who may have them. Each
becomes 64x64 pixels in colour. At most 24,000 of a dataset are taken, which is 1.2 GB as float32
(49 kB each); which ones depends on the dataset's name alone.

    celeba        Is the person smiling? Sex; age.
    celeba-blond  Is the hair blond? Sex. The benchmark of group DRO: blond men are rare.
    lfw           Is the person middle-aged or older? Sex; race.
    utkface       Race, of four. Sex; age.
    utkface-sex   Is the person a woman? Race, of five; age.

References:
    Liu, Luo, Wang and Tang (2015). Deep Learning Face Attributes in the Wild. ICCV.
    Huang, Ramesh, Berg and Learned-Miller (2007). Labeled Faces in the Wild. UMass 07-49.
    Kumar, Berg, Belhumeur and Nayar (2009). Attribute and Simile Classifiers for Face
        Verification. ICCV.
    Zhang, Song and Qi (2017). Age Progression/Regression by Conditional Adversarial Autoencoder.
        CVPR.
    Sagawa, Koh, Hashimoto and Liang (2020). Distributionally Robust Neural Networks for Group
        Shifts. ICLR.
    Liu et al. (2022). ML-Doctor. USENIX Security. (the task of ``utkface``)
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from harness.data.examples import Attribute
from harness.seeds import derive
from zoo.errors import ZooError

SIDE = 64
"""Height and width in pixels of every photograph, once read."""

LIMIT = 24_000
"""How many photographs of a dataset are taken."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Faces:
    """Some photographs, in a fixed order.

    Attributes:
        pixels: (n, SIDE, SIDE, 3) uint8.
        labels: (n,) int64, 0 .. num_classes - 1.
        num_classes: How many labels there are.
        z: Sensitive attributes by name.
        n_train: How many of the first are the official training data; 0 without an official split.
        files: (n,) of each, relative to the folder of photographs.
    """

    pixels: np.ndarray
    labels: np.ndarray
    num_classes: int
    z: dict[str, Attribute]
    files: tuple[str, ...]
    n_train: int = 0


def read(name: str, data_dir: Path | None) -> Faces:
    """The dataset called ``name``, from its folder in ``data_dir``.

    Args:
        name: One of `READERS`.
        data_dir: Has a folder ``celeba``, ``lfw`` or ``utkface``.

    Raises:
        ZooError: The folder, a file in it or a photograph is not there or is something else.
    """
    folder = find(name, data_dir)
    if folder is None:
        raise ZooError(
            f"Dataset {name!r} is not here (looked in: {data_dir or 'nowhere'}). Give --data-dir, "
            f"or set ZOO_DATA_DIR to, a folder with {layout(name)}."
        )
    return READERS[name](folder)


def layout(name: str) -> str:
    """Which files are looked for, in words."""
    return LAYOUTS[name.partition("-")[0]]


def find(name: str, data_dir: Path | None) -> Path | None:
    """The folder of a dataset; None if there is none."""
    folder = None if data_dir is None else data_dir / name.partition("-")[0]
    return folder if folder is not None and folder.is_dir() else None


LAYOUTS = {
    "celeba": "celeba/img_align_celeba/000001.jpg, celeba/list_attr_celeba.txt and "
    "celeba/list_eval_partition.txt",
    "lfw": "lfw/Name_Of_Person/Name_Of_Person_0001.jpg and lfw/lfw_attributes.txt",
    "utkface": "utkface/[age]_[gender]_[race]_[date&time].jpg.chip.jpg",
}
"""What the folder of each archive has, as it is published."""


def read_celeba(folder: Path, *, label: str, age: bool, limit: int = LIMIT) -> Faces:
    """CelebA: one of its 40 attributes to predict, and one or two that are sensitive.

    Three quarters of ``limit`` are drawn from the official training part and one from the test
    part; the validation part is left out. The photographs are those aligned by the eyes, cut to the
    square in the middle.
    """
    wanted = (label, "Male", "Young")
    known = _celeba_attributes(folder / "list_attr_celeba.txt", wanted)
    parts = _celeba_parts(folder / "list_eval_partition.txt")
    lost = next((image for image in known if image not in parts), None)
    if lost is not None:
        raise ZooError(
            f"{folder / 'list_eval_partition.txt'} does not say whether {lost} is for training, "
            f"validation or testing. Get both lists from the same place."
        )
    train, test = (
        _drawn("celeba", [image for image in known if parts[image] == part], most)
        for part, most in (("0", 3 * limit // 4), ("2", limit // 4))
    )
    images = train + test
    values = np.array([known[image] for image in images], dtype=np.int64).reshape(-1, len(wanted))
    z = {"sex": _attribute(values[:, 1], "female", "male")}
    if age:
        z["age"] = _attribute(values[:, 2], "older", "young")
    return Faces(
        pixels=_photographs([folder / "img_align_celeba" / image for image in images]),
        labels=values[:, 0],
        num_classes=2,
        z=z,
        files=tuple(images),
        n_train=len(train),
    )


def _celeba_attributes(file: Path, wanted: Sequence[str]) -> dict[str, list[bool]]:
    """Which of the ``wanted`` attributes each image has.

    The file has a line with the number of images, a line with the attributes' names, and a line for
    each image with 1 or -1 for each attribute.
    """
    lines = _lines(file)
    if len(lines) < 2 or not lines[0].strip().isdigit():
        raise _other(file, 1, "the number of images", lines[0] if lines else "nothing")
    names = lines[1].split()
    for name in wanted:
        if name not in names:
            raise _other(file, 2, f"the names of attributes, {name} among them", lines[1])
    columns = [1 + names.index(name) for name in wanted]
    known = {}
    for number, line in enumerate(lines[2:], start=3):
        fields = line.split()
        if len(fields) != 1 + len(names) or any(fields[k] not in ("1", "-1") for k in columns):
            raise _other(file, number, f"an image and {len(names)} times 1 or -1", line)
        known[fields[0]] = [fields[k] == "1" for k in columns]
    if len(known) != int(lines[0]):
        raise ZooError(
            f"{file} has {len(known)} images and says that there are {lines[0].strip()}. It is not "
            f"whole; get it again."
        )
    return known


def _celeba_parts(file: Path) -> dict[str, str]:
    """Of each image 0 (training), 1 (validation) or 2 (testing)."""
    parts = {}
    for number, line in enumerate(_lines(file), start=1):
        match line.split():
            case [image, ("0" | "1" | "2") as part]:
                parts[image] = part
            case _:
                raise _other(file, number, "an image and 0, 1 or 2", line)
    return parts


AGES = ("Baby", "Child", "Youth", "Middle Aged", "Senior")
RACES = ("Asian", "White", "Black", "Indian")


def read_lfw(folder: Path, *, limit: int = LIMIT) -> Faces:
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
    images = _drawn("lfw", list(known), limit)
    scores = np.array([known[image] for image in images]).reshape(-1, 1 + len(AGES) + len(RACES))
    male, ages, races = np.split(scores, [1, 1 + len(AGES)], axis=1)
    return Faces(
        pixels=_photographs([folder / image for image in images], share=0.5),
        labels=(ages.argmax(1) >= AGES.index("Middle Aged")).astype(np.int64),
        num_classes=2,
        files=tuple(images),
        z={
            "sex": _attribute(male[:, 0] > 0, "female", "male"),
            "race": _attribute(races.argmax(1), *RACES),
        },
    )


def _lfw_attributes(file: Path, wanted: Sequence[str]) -> dict[str, list[float]]:
    """The ``wanted`` scores of each image: ``Name_Of_Person/Name_Of_Person_0001.jpg``.

    The file has a line of words, a line with ``#`` and the names of its columns, and a line for
    each image: the person, the number of the image, and the scores, with tabs between them.
    """
    lines = _lines(file)
    start = next((k for k, line in enumerate(lines) if "person\timagenum\t" in line), None)
    if start is None:
        raise _other(file, 1, "# person imagenum Male ... with tabs between", "".join(lines[:1]))
    names = lines[start].removeprefix("#").strip().split("\t")
    for name in wanted:
        if name not in names:
            raise _other(file, start + 1, f"names of columns, {name} among them", lines[start])
    columns = [names.index(name) for name in wanted]
    known = {}
    for number, line in enumerate(lines[start + 1 :], start=start + 2):
        fields = line.split("\t")
        try:
            person, image = fields[0].strip().replace(" ", "_"), int(fields[1])
            known[f"{person}/{person}_{image:04}.jpg"] = [float(fields[k]) for k in columns]
        except (ValueError, IndexError):
            wants = f"a person, a number and {len(names) - 2} scores with tabs between"
            raise _other(file, number, wants, line) from None
    return known


UTKFACE = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+.*\.jpg", re.IGNORECASE)
"""Age in years; 0 male, 1 female; 0 White, 1 Black, 2 Asian, 3 Indian, 4 Others; a time."""

RACES_OF_UTKFACE = ("White", "Black", "Asian", "Indian", "Others")
OLDER = 35
"""Age in years from which on somebody is in the older of two groups of UTKFace."""


def read_utkface(folder: Path, *, label: str, limit: int = LIMIT) -> Faces:
    """UTKFace, aligned and cropped; what is known is in the files' names.

    Some names in the published archive lack the race; they are left out. With the label ``race``,
    so are the ``Others``, as in ML-Doctor.
    """
    there = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == ".jpg")
    known = {name: found.groups() for name in there if (found := UTKFACE.fullmatch(name))}
    _warn_left_out(set(there) - known.keys(), "are not named age_gender_race_time")
    images = [
        name for name, (_, _, race) in known.items()
        if label != "race" or RACES_OF_UTKFACE[int(race)] != "Others"
    ]  # fmt: skip
    images = _drawn("utkface", images, limit)
    values = np.array([known[name] for name in images], dtype=np.int64).reshape(-1, 3)
    age, sex, race = values.T
    z = {
        "sex": _attribute(sex, "male", "female"),
        "race": _attribute(race, *RACES_OF_UTKFACE),
        "age": _attribute(age >= OLDER, f"under {OLDER}", f"{OLDER} and over"),
    }
    labels = z.pop(label)
    return Faces(
        pixels=_photographs([folder / name for name in images]),
        labels=labels.values.numpy(),
        num_classes=4 if label == "race" else 2,
        z=z,
        files=tuple(images),
    )


READERS: dict[str, Callable[[Path], Faces]] = {
    "celeba": partial(read_celeba, label="Smiling", age=True),
    "celeba-blond": partial(read_celeba, label="Blond_Hair", age=False),
    "lfw": read_lfw,
    "utkface": partial(read_utkface, label="race"),
    "utkface-sex": partial(read_utkface, label="sex"),
}
"""By the name of the dataset; what stands before its hyphen is the folder."""

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "celeba": ("sex", "age"),
    "celeba-blond": ("sex",),
    "lfw": ("sex", "race"),
    "utkface": ("sex", "age"),
    "utkface-sex": ("race", "age"),
}
"""The sensitive attributes that each reader finds, in its order."""


def _drawn(name: str, images: list[str], most: int) -> list[str]:
    """At most ``most`` of ``images``, in their order."""
    order = np.random.default_rng(derive("faces", name)).permutation(len(images))
    return [images[k] for k in sorted(order[:most])]


def _attribute(values: np.ndarray, *names: str) -> Attribute:
    return Attribute(torch.from_numpy(values.astype(np.int64)), names)


def _photographs(paths: Sequence[Path], share: float = 1.0) -> np.ndarray:
    """(n, SIDE, SIDE, 3) uint8: the square in the middle of each, scaled.

    Args:
        paths: Of files that PIL reads.
        share: Side of the square, as a share of the shorter side of the photograph.
    """
    if not paths:
        raise ZooError("There is no photograph to read: no file has the name or the part wanted.")
    pixels = np.empty((len(paths), SIDE, SIDE, 3), dtype=np.uint8)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for k, photograph in enumerate(pool.map(partial(_photograph, share=share), paths)):
            pixels[k] = photograph
    finally:
        pool.shutdown(cancel_futures=True)
    return pixels


def _photograph(path: Path, share: float) -> np.ndarray:
    try:
        with Image.open(path) as image:
            least = round(SIDE / share)
            image.draft("RGB", (least, least))  # a JPEG need not be decoded at its full size
            width, height = image.size
            half = share * min(width, height) / 2
            box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
            # Where it makes an image smaller, this filter averages over what falls together.
            small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)
            return np.asarray(small)
    except FileNotFoundError:
        raise ZooError(f"No photograph {path}, which the list names. Unpack all of it.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ZooError(f"{path} is no image that can be read ({error}). Get it again.") from error


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ZooError(f"No file {file}. It is published beside the photographs.") from None
    except UnicodeDecodeError:
        raise ZooError(f"{file} is no text. Get it again.") from None


def _other(file: Path, line: int, wanted: str, found: str) -> ZooError:
    shown = found if len(found) <= 60 else f"{found[:57]}..."
    return ZooError(f"{file}, line {line}: wanted {wanted}, found {shown!r}. Get the file again.")


def _warn_left_out(images: Iterable[str], why: str) -> None:
    names = sorted(images)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        warnings.warn(f"Photographs that {why} are left out: {len(names)} ({shown}).", stacklevel=4)
