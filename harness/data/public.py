"""Public sets of small images in torchvision's on-disk formats, or as numpy arrays.

    cifar10, cifar100, mnist, fashion-mnist, kmnist, gtsrb, svhn   as torchvision reads them
    cifar100-coarse      CIFAR-100's 20 superclasses
    svhn-extra           SVHN's training part with its 531,131 easier images
    emnist-SPLIT         as torchvision reads them, which is with rows and columns exchanged
    stl-10               its labelled images
    medmnist             twelve sets, and six of volumes, whose slices become channels

References:
    Krizhevsky (2009). Learning Multiple Layers of Features from Tiny Images.
    Netzer et al. (2011). Reading Digits in Natural Images with Unsupervised Feature Learning.
    Cohen, Afshar, Tapson and van Schaik (2017). EMNIST. IJCNN.
    Coates, Lee and Ng (2011). An Analysis of Single-Layer Networks. AISTATS. (STL-10)
    Yang et al. (2023). MedMNIST v2. Scientific Data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.data.dataset import DataLocation, Dataset
from harness.data.images import as_images
from harness.data.lazy_images import LazyImages, Pixels
from zoo.errors import ZooError

Parts = list[tuple[np.ndarray, np.ndarray]]
"""Of the training part and the test part, the images (n, height, width[, channels]) uint8 and the
labels (n,)."""

LARGE = 2**30
"""Bytes of images as float32 from which on they stay bytes, and are converted when needed."""


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """A public set of small images.

    Attributes:
        num_classes: How many labels there are.
        on_disk: What is looked for in the data folder.
        read: From that folder to both official parts.
        mirror: Files of the training and the test part in the mirror; empty if it has none.
        epsilon: Customary perturbation radius by norm, in units of the pixel range.
    """

    num_classes: int
    on_disk: str
    read: Callable[[Path], Parts]
    mirror: tuple[str, ...] = ()
    epsilon: dict[str, float] = field(default_factory=lambda: {"linf": 8 / 255, "l2": 0.5})


def _torchvision(kind: str, root: Path) -> Parts:
    from torchvision import datasets

    both = [getattr(datasets, kind)(str(root), train=train) for train in (True, False)]
    return [(np.asarray(part.data), np.asarray(part.targets)) for part in both]


def _signs(root: Path) -> Parts:
    from torchvision.datasets import GTSRB

    parts = []
    for split in ("train", "test"):
        signs = GTSRB(str(root), split=split)
        # Signs come in many sizes; 35 is what the public copies of this set use.
        x = [np.asarray(image.convert("RGB").resize((35, 35), 2)) for image, _ in signs]
        parts.append((np.stack(x), np.array([label for _, label in signs])))
    return parts


def _house_numbers(extra: bool, root: Path) -> Parts:
    from torchvision.datasets import SVHN

    splits = ("train", "extra", "test") if extra else ("train", "test")
    found = [SVHN(str(root), split=split) for split in splits]
    parts = [(part.data.transpose(0, 2, 3, 1), part.labels) for part in found]
    train = [np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True)]
    return [(train[0], train[1]), parts[-1]]


def _superclasses(root: Path) -> Parts:
    import pickle

    parts = []
    for (x, _), file in zip(_torchvision("CIFAR100", root), ("train", "test"), strict=True):
        # torchvision has just compared the file with the published checksum.
        with (root / "cifar-100-python" / file).open("rb") as stored:
            coarse = pickle.load(stored, encoding="latin1")["coarse_labels"]  # noqa: S301
        parts.append((x, np.asarray(coarse)))
    return parts


def _letters(split: str, root: Path) -> Parts:
    from torchvision.datasets import EMNIST

    both = [EMNIST(str(root), split=split, train=train) for train in (True, False)]
    first = 1 if split == "letters" else 0  # the only one whose labels start at 1
    return [(np.asarray(part.data), np.asarray(part.targets) - first) for part in both]


def _stl10(root: Path) -> Parts:
    folder = root / "stl10_binary"
    parts = []
    for part in ("train", "test"):
        x = np.fromfile(folder / f"{part}_X.bin", np.uint8)
        y = np.fromfile(folder / f"{part}_y.bin", np.uint8)
        if len(x) != len(y) * 3 * 96 * 96 or not y.size or y.min() < 1 or y.max() > 10:
            raise ZooError(
                f"{folder / f'{part}_X.bin'} and {part}_y.bin are not STL-10's: wanted 27,648 "
                f"bytes for each label of 1 to 10, found {len(x):,} bytes for {len(y):,} labels. "
                f"Get them again."
            )
        # In the file a channel follows the other, and a column the other.
        parts.append((x.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1), y.astype(np.int64) - 1))
    return parts


def _medmnist(name: str, root: Path) -> Parts:
    """The training and the test part; the validation part is left out."""
    file, parts = root / f"{name}.npz", []
    with np.load(file, allow_pickle=False) as arrays:
        for part in ("train", "test"):
            wanted = [f"{part}_images", f"{part}_labels"]
            if lost := [one for one in wanted if one not in arrays.files]:
                raise ZooError(
                    f"{file} has no array {lost[0]!r}, only {', '.join(arrays.files)}. Get the "
                    f"file of MedMNIST again."
                )
            x, y = (arrays[one] for one in wanted)
            if name.endswith("3d"):
                x = x.transpose(0, 2, 3, 1)  # the slices as channels, which come last
            parts.append((x, y.reshape(len(y), -1)[:, 0].astype(np.int64)))
    return parts


MEDMNIST = {
    "pathmnist": 9, "dermamnist": 7, "octmnist": 4, "pneumoniamnist": 2, "retinamnist": 5,
    "breastmnist": 2, "bloodmnist": 8, "tissuemnist": 8, "organamnist": 11, "organcmnist": 11,
    "organsmnist": 11, "organmnist3d": 11, "nodulemnist3d": 2, "adrenalmnist3d": 2,
    "fracturemnist3d": 3, "vesselmnist3d": 2, "synapsemnist3d": 2,
}  # fmt: skip
"""Classes of each. ChestMNIST is not among them: an image of it has several labels at once."""

_EMNIST = {
    "byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10,
}  # fmt: skip

_DIGITS = {"linf": 0.3, "l2": 2.0}

SETS: dict[str, PublicSet] = {
    "cifar10": PublicSet(
        num_classes=10,
        on_disk="cifar-10-batches-py",
        read=partial(_torchvision, "CIFAR10"),
        mirror=("cifar10/cifar10_train10000.npz", "cifar10/cifar10_test1000.npz"),
    ),
    "cifar100": PublicSet(
        num_classes=100, on_disk="cifar-100-python", read=partial(_torchvision, "CIFAR100")
    ),
    "cifar100-coarse": PublicSet(num_classes=20, on_disk="cifar-100-python", read=_superclasses),
    "mnist": PublicSet(
        num_classes=10,
        on_disk="MNIST",
        read=partial(_torchvision, "MNIST"),
        mirror=("mnist/mnist_train.npz", "mnist/mnist_test.npz"),
        epsilon=_DIGITS,
    ),
    "fashion-mnist": PublicSet(
        num_classes=10,
        on_disk="FashionMNIST",
        read=partial(_torchvision, "FashionMNIST"),
        mirror=(
            "fashion_mnist/fashion_mnist_train10000.npz",
            "fashion_mnist/fashion_mnist_test.npz",
        ),
        epsilon={"linf": 0.1, "l2": 1.5},
    ),
    "kmnist": PublicSet(
        num_classes=10, on_disk="KMNIST", read=partial(_torchvision, "KMNIST"), epsilon=_DIGITS
    ),
    "gtsrb": PublicSet(
        num_classes=43,
        on_disk="gtsrb",
        read=_signs,
        mirror=("gtsrb/gtsrb_train_35px.npz", "gtsrb/gtsrb_test_35px.npz"),
    ),
    "svhn": PublicSet(
        num_classes=10, on_disk="test_32x32.mat", read=partial(_house_numbers, False)
    ),
    "svhn-extra": PublicSet(
        num_classes=10, on_disk="extra_32x32.mat", read=partial(_house_numbers, True)
    ),
    "stl-10": PublicSet(num_classes=10, on_disk="stl10_binary", read=_stl10),
    **{
        f"emnist-{split}": PublicSet(
            num_classes=classes,
            on_disk=f"EMNIST/raw/emnist-{split}-train-images-idx3-ubyte",
            read=partial(_letters, split),
            epsilon=_DIGITS,
        )
        for split, classes in _EMNIST.items()
    },
    **{
        name: PublicSet(num_classes=classes, on_disk=f"{name}.npz", read=partial(_medmnist, name))
        for name, classes in MEDMNIST.items()
    },
}
"""By the name of the dataset."""


def find(name: str, source: DataLocation) -> Path | None:
    """The folder that has the files of one of these sets: of data, else the mirror."""
    wanted = SETS[name]
    if source.data_dir is not None and (source.data_dir / wanted.on_disk).exists():
        return source.data_dir
    files = wanted.mirror
    if files and source.mirror and all((source.mirror / file).is_file() for file in files):
        return source.mirror
    return None


def layout(name: str) -> str:
    """Which files are looked for, in words."""
    wanted = SETS[name]
    mirrored = f"; in the mirror {' and '.join(wanted.mirror)}" if wanted.mirror else ""
    return f"{wanted.on_disk} as it is published{mirrored}"


def public(name: str) -> Callable[[DataLocation], Dataset]:
    """The loader of one of the sets above: the data folder first, then the mirror."""

    def load_public(source: DataLocation) -> Dataset:
        wanted, root = SETS[name], find(name, source)
        if root is None:
            raise _not_here(name, source)
        in_mirror = root == source.mirror and root != source.data_dir
        parts = _from_mirror(wanted, root) if in_mirror else _from_disk(name, root)
        (x_train, y_train), (x_test, y_test) = parts
        for images, labels in parts:
            if len(images) != len(labels) or not len(labels):
                raise ZooError(
                    f"{root / wanted.on_disk} has {len(images):,} images and {len(labels):,} "
                    f"labels. Get all of it again."
                )
        y = np.concatenate([y_train, y_test]).astype(np.int64)
        if y.min() < 0 or y.max() >= wanted.num_classes:
            raise ZooError(
                f"{root / wanted.on_disk} has labels of {y.min()} to {y.max()}; those of {name} "
                f"are 0 to {wanted.num_classes - 1}. Get it again."
            )
        return Dataset(
            name=name,
            num_classes=wanted.num_classes,
            x=_images(np.concatenate([x_train, x_test])),
            y=torch.from_numpy(y),
            n_train=len(y_train),
            epsilon=wanted.epsilon,
        )

    return load_public


def _images(x: np.ndarray) -> Tensor:
    return as_images(x) if 4 * x.nbytes < LARGE else LazyImages(Pixels(x))


def _from_mirror(wanted: PublicSet, mirror: Path) -> Parts:
    parts = []
    for file in wanted.mirror:
        with np.load(mirror / file, allow_pickle=False) as arrays:
            parts.append((arrays["x"], arrays["y"]))
    return parts


def _from_disk(name: str, root: Path) -> Parts:
    """Both parts, or one line on what is wrong with their files."""
    wanted = SETS[name]
    try:
        return wanted.read(root)
    except ZooError:
        raise
    except Exception as error:  # readers of other packages fail in any way
        reason = " ".join(str(error).split())
        if "corrupted" in reason:  # torchvision goes on about its own options
            reason = "a file is missing, or is not the published one"
        raise ZooError(
            f"{root / wanted.on_disk} cannot be read as {name} ({reason}). Get all of it again."
        ) from error


def _not_here(name: str, source: DataLocation) -> ZooError:
    looked = [str(p) for p in (source.data_dir, source.mirror) if p is not None]
    return ZooError(
        f"Dataset {name!r} is not here (looked in: {', '.join(looked) or 'nowhere'}). Give "
        f"--data-dir or --mirror, or set ZOO_DATA_DIR or ZOO_MIRROR to a folder with "
        f"{layout(name)}."
    )
