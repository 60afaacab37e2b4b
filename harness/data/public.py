"""Public sets of images in torchvision's on-disk formats, or as compressed arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from harness.data.dataset import DataLocation, Dataset
from harness.data.images import as_images
from zoo.errors import ZooError


def _not_here(name: str, source: DataLocation) -> ZooError:
    looked = [str(p) for p in (source.data_dir, source.mirror) if p is not None]
    return ZooError(
        f"Dataset {name!r} is not here (looked in: {', '.join(looked) or 'nowhere'}). Give "
        f"--data-dir (torchvision's format) or --mirror, or set ZOO_DATA_DIR or ZOO_MIRROR."
    )


MIRROR = {
    "cifar10": ("cifar10/cifar10_train10000.npz", "cifar10/cifar10_test1000.npz"),
    "mnist": ("mnist/mnist_train.npz", "mnist/mnist_test.npz"),
    "fashion-mnist": (
        "fashion_mnist/fashion_mnist_train10000.npz",
        "fashion_mnist/fashion_mnist_test.npz",
    ),
    "gtsrb": ("gtsrb/gtsrb_train_35px.npz", "gtsrb/gtsrb_test_35px.npz"),
}


_CLASSES = {
    "cifar10": 10, "cifar100": 100, "mnist": 10, "fashion-mnist": 10, "gtsrb": 43, "svhn": 10,
}  # fmt: skip


_EPSILON = {
    "cifar10": {"linf": 8 / 255, "l2": 0.5},
    "mnist": {"linf": 0.3, "l2": 2.0},
    "fashion-mnist": {"linf": 0.1, "l2": 1.5},
    "gtsrb": {"linf": 8 / 255, "l2": 0.5},
    "cifar100": {"linf": 8 / 255, "l2": 0.5},
    "svhn": {"linf": 8 / 255, "l2": 0.5},
}


NAMES = tuple(_CLASSES)
"""Of the sets that are read here."""


def _from_mirror(name: str, mirror: Path) -> list[tuple[np.ndarray, np.ndarray]] | None:
    parts = []
    for file in MIRROR.get(name, ("",)):
        if not (mirror / file).is_file():
            return None
        with np.load(mirror / file, allow_pickle=False) as arrays:
            parts.append((arrays["x"], arrays["y"]))
    return parts


_ON_DISK = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "gtsrb": "gtsrb",
    "svhn": "test_32x32.mat",
}
"""What torchvision looks for in the data folder."""


def find(name: str, source: DataLocation) -> Path | None:
    """The folder that has the files of one of these sets: of data, else the mirror."""
    if source.data_dir is not None and (source.data_dir / _ON_DISK[name]).exists():
        return source.data_dir
    files = MIRROR.get(name)
    if files and source.mirror and all((source.mirror / file).is_file() for file in files):
        return source.mirror
    return None


def layout(name: str) -> str:
    """Which files are looked for, in words."""
    mirrored = f"; in the mirror {' and '.join(MIRROR[name])}" if name in MIRROR else ""
    return f"{_ON_DISK[name]} as torchvision has it{mirrored}"


def _from_torchvision(name: str, root: Path) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Both official splits as torchvision reads them; None where its files are not there."""
    from torchvision import datasets

    try:
        if name == "gtsrb":
            parts = []
            for split in ("train", "test"):
                signs = datasets.GTSRB(str(root), split=split)
                # Signs come in many sizes; 35 is what the public copies of this set use.
                x = [np.asarray(image.convert("RGB").resize((35, 35), 2)) for image, _ in signs]
                parts.append((np.stack(x), np.array([label for _, label in signs])))
            return parts
        if name == "svhn":
            both = [datasets.SVHN(str(root), split=split) for split in ("train", "test")]
            return [(part.data.transpose(0, 2, 3, 1), part.labels) for part in both]
        kind = {
            "cifar10": datasets.CIFAR10,
            "cifar100": datasets.CIFAR100,
            "mnist": datasets.MNIST,
            "fashion-mnist": datasets.FashionMNIST,
        }[name]
        both = [kind(str(root), train=train) for train in (True, False)]
    except RuntimeError as error:
        if "not found" in str(error).lower():
            return None
        raise
    return [(np.asarray(part.data), np.asarray(part.targets)) for part in both]


def public(name: str) -> Callable[[DataLocation], Dataset]:
    """The loader of one of the sets above: the data folder first, then the mirror."""

    def load_public(source: DataLocation) -> Dataset:
        parts = None
        if source.data_dir is not None:
            parts = _from_torchvision(name, source.data_dir)
        if parts is None and source.mirror is not None:
            parts = _from_mirror(name, source.mirror)
        if parts is None:
            raise _not_here(name, source)
        (x_train, y_train), (x_test, y_test) = parts
        return Dataset(
            name=name,
            num_classes=_CLASSES[name],
            x=as_images(np.concatenate([x_train, x_test])),
            y=torch.from_numpy(np.concatenate([y_train, y_test]).astype(np.int64)),
            n_train=len(y_train),
            epsilon=_EPSILON[name],
        )

    return load_public
