"""Datasets by name, their fingerprints, and who holds which part of them."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.data import encoding, faces
from harness.data.tables import cells as table_cells
from harness.data.tables import description as table_description
from harness.data.tables import openml
from harness.data.tables.cells import Cells
from harness.data.tables.description import Description
from harness.seeds import derive
from harness.types import Attribute, Column, Regime, Split, UnfitError, attribute_of, canonical
from zoo.errors import ZooError, unknown

if TYPE_CHECKING:
    from torch import Tensor


OOD_DEFAULT = "photo-patches"
"""The attacker's other dataset if ``ood`` does not name one; always available."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Images or rows of a table, and their labels, in their original order.

    Attributes:
        name: Key of `load`.
        num_classes: Labels are 0 .. num_classes - 1.
        x: (n, channels, height, width) or (n, features), float32 in [0, 1].
        y: (n,) int64.
        z: Sensitive attributes by name. Whether ``x`` shows them is the dataset's affair.
        columns: Where the columns of a table are in ``x``; empty for images.
        n_train: How many of the first examples are the official training data; 0 if the data has
            no official split.
        n_fitted: How many of the first examples the encoding of a table was learnt from.
        epsilon: Customary perturbation radius by norm, in units of the pixel range.
        places: Columns (n,) that say where each example is among the files it is from: of a table
            its ``row`` (and ``file``), of faces the ``file``. Empty where the order is the files'.
    """

    name: str
    num_classes: int
    x: Tensor
    y: Tensor
    z: Mapping[str, Attribute] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    n_train: int = 0
    n_fitted: int = 0
    epsilon: dict[str, float] = field(default_factory=lambda: {"linf": 8 / 255, "l2": 0.5})
    places: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width), or (features,)."""
        return tuple(self.x.shape[1:])

    @property
    def stated(self) -> tuple[str, ...]:
        """The sensitive attributes that ``x`` states: those that a column has the name of."""
        columns = {column.name for column in self.columns}
        return tuple(name for name in self.z if name in columns)

    def attribute(self, name: str | None = None) -> Attribute:
        """The attribute called ``name``, as `harness.types.attribute_of` reads it.

        Raises:
            NotApplicableError: The dataset has none at all.
            ZooError: The dataset does not have this one.
        """
        return attribute_of(self.z, name, self.name)

    def attribute_name(self, name: str | None = None) -> str:
        """How the attribute is written that a user calls ``name``, as of `harness.types.canonical`.

        Raises:
            NotApplicableError: The dataset has none at all.
            ZooError: The dataset does not have this one, or one is named twice.
        """
        return canonical(self.z, name, self.name)

    @cached_property
    def content(self) -> Tensor:
        """(n,) int64, equal where two examples are the same, label and all."""
        flat = np.ascontiguousarray(self.x.numpy()).reshape(len(self), -1)
        rows = [
            hashlib.sha256(row.tobytes() + label.tobytes()).digest()
            for row, label in zip(flat, self.y.numpy(), strict=True)
        ]
        return torch.from_numpy(np.unique(np.array(rows, dtype="S32"), return_inverse=True)[1])

    @property
    def all(self) -> Split:
        """Every example, as attackers and judges are handed them."""
        return Split(self.x, self.y, columns=self.columns)

    @property
    def collected(self) -> Split:
        """Every example with its sensitive attributes, as the owner has them."""
        return replace(self.all, z=self.z)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of shapes, features, labels, attributes and the official split."""
        sha = hashlib.sha256(f"{tuple(self.x.shape)} {self.num_classes} {self.n_train}".encode())
        sha.update(np.ascontiguousarray(self.x.numpy()).data)
        sha.update(np.ascontiguousarray(self.y.numpy()).data)
        for name, attribute in self.z.items():
            sha.update(f"{name} {attribute.names}".encode())
            sha.update(np.ascontiguousarray(attribute.values.numpy()).data)
        if self.columns:
            sha.update(f"{self.columns} {self.n_fitted}".encode())
            # Only where there is something to say: it is part of no other table's fingerprint.
            imputed = {c.name: c.imputed for c in self.columns if c.imputed is not None}
            sha.update(f"{imputed}".encode() if imputed else b"")
        return sha.hexdigest()


@dataclass(frozen=True, eq=False, kw_only=True)
class Quarters:
    """Who holds which examples: four disjoint index tensors (n,) int64 into one dataset.

    Attributes:
        target_train: The members. The target is trained on these, or was.
        target_test: The non-members, on which the target is judged.
        shadow_train: The attacker's own data, to train on.
        shadow_test: The attacker's own data, to test on.
    """

    target_train: Tensor
    target_test: Tensor
    shadow_train: Tensor
    shadow_test: Tensor

    def __post_init__(self) -> None:
        parts = torch.cat(list(vars(self).values()))
        if len(parts.unique()) == len(parts):
            return
        shared = [
            f"{one} and {other}"
            for one, other in itertools.combinations(vars(self), 2)
            if bool(torch.isin(getattr(self, one), getattr(self, other)).any())
        ]
        raise ZooError(
            f"The quarters of a dataset have to be disjoint, but {', '.join(shared) or 'one'} "
            f"{'share' if shared else 'repeats'} examples: no attack could be judged. Split again."
        )


def quarters(dataset: Dataset, seed: int, regime: Regime, *, shadow: bool = False) -> Quarters:
    """The split of ``dataset`` for one seed.

    From scratch, all examples are shuffled and cut into four equal quarters (Liu et al. 2022,
    ML-Doctor). The rows that the encoding of a table was learnt from are shared out over the other
    three: whatever was learnt from ``target_test``, be it the range of a number, makes the model
    look better on it than on people it meets. Members and non-members are alike then only if the
    rows that were learnt from are like the rest, so the order of a table must not mean anything:
    an official split has to be random, as `harness.data.encoding` makes it where there is none.
    What remains is that a value which no such row has is a sign of a later row.

    A published model has already seen the official training data. To fine-tune it, the
    official *test* data is cut into four quarters, so that the members are examples that the
    published weights know nothing of.

    As downloaded, its members are official training examples, and it is judged on the *whole*
    official test data, the same for every seed: halves of it under the same weights would be no
    independent measurements. Only an attacker with data of the same distribution (``shadow``) gets
    half of it, always the same half, as its two shadow parts. Without an official split nobody
    knows the members, and there are none.

    Args:
        dataset: What is split.
        seed: Of the cell.
        regime: How the target comes to its weights.
        shadow: Whether the attacker needs examples of its own of the same distribution. Makes no
            difference where the model is trained: everybody has a quarter.

    Raises:
        NotApplicableError: A model is to be fine-tuned on a dataset without an official split.
    """
    of_seed = (seed,) if regime is not Regime.PUBLISHED else ()
    rng = np.random.default_rng(derive("split", dataset.fingerprint, regime, *of_seed))
    if regime is Regime.FINE_TUNED and not 0 < dataset.n_train < len(dataset):
        raise UnfitError(
            f"Fine-tuning a published model needs examples that it has not seen, but "
            f"{dataset.name} has no official split to tell which those are."
        )
    start = 0 if regime is Regime.FROM_SCRATCH else dataset.n_train
    order = start + rng.permutation(len(dataset) - start)
    if regime is Regime.PUBLISHED:
        members = rng.permutation(dataset.n_train)
        judged = len(order) // 2 if shadow else int((order >= dataset.n_fitted).sum())
        order = _unseen(order, 0, judged, dataset.n_fitted, rng)
        three = judged + (len(order) - judged) // 2
        parts = [members, order[:judged], order[judged:three], order[three:]]
        if not shadow:
            parts[2:] = [order[:0], order[:0]]
    else:
        size = len(order) // 4
        order = _unseen(order, size, 2 * size, dataset.n_fitted, rng)
        parts = [order[i * size : (i + 1) * size] for i in range(4)]
    train, test, shadow_train, shadow_test = (torch.from_numpy(part) for part in parts)
    return Quarters(
        target_train=train, target_test=test, shadow_train=shadow_train, shadow_test=shadow_test
    )


def _unseen(
    order: np.ndarray, begin: int, end: int, n_fitted: int, rng: np.random.Generator
) -> np.ndarray:
    """The same rows with none of the first ``n_fitted`` from ``begin`` to ``end``."""
    if not n_fitted:
        return order
    # Drawn anew: the first ones in order would leave the others at its end, for the last quarter.
    later = rng.permutation(np.flatnonzero(order >= n_fitted))[: end - begin]
    others = np.delete(order, later)
    return np.concatenate([others[:begin], order[later], others[begin:]])


@dataclass(frozen=True)
class Source:
    """Where dataset files are looked for.

    Attributes:
        data_dir: A folder in torchvision's on-disk formats; tables as
            `harness.data.tables.description` has them.
        mirror: A folder of public datasets and checkpoints as compressed numpy arrays.
    """

    data_dir: Path | None = None
    mirror: Path | None = None

    @classmethod
    def resolve(cls, data_dir: Path | None = None, mirror: Path | None = None) -> Source:
        """What the user gave, else ``$ZOO_DATA_DIR`` and ``$ZOO_MIRROR``."""

        def folder(given: Path | None, variable: str) -> Path | None:
            found = given or (Path(os.environ[variable]) if os.environ.get(variable) else None)
            if found is not None and not found.is_dir():
                raise ZooError(f"No folder {found} (wanted by {variable} or its option).")
            return found

        return cls(folder(data_dir, "ZOO_DATA_DIR"), folder(mirror, "ZOO_MIRROR"))


def _images(x: np.ndarray) -> Tensor:
    """Bytes (n, height, width[, channels]) as float32 (n, channels, height, width) in [0, 1]."""
    if x.ndim == 3:
        x = x[..., None]
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).float().div_(255)


def _digits(source: Source) -> Dataset:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(np.asarray(pixels)).float().div_(16).view(-1, 1, 8, 8)
    y = torch.from_numpy(np.asarray(labels)).long()
    return Dataset(name="digits", num_classes=10, x=x, y=y, epsilon={"linf": 0.1, "l2": 0.5})


WRONG_LABELS = 0.3
"""Share of the labels of `digits-noisy` that are wrong."""


def _digits_noisy(source: Source) -> Dataset:
    """Digits with wrong labels, which a model can only learn by heart: what leaks for sure."""
    plain = _digits(source)
    rng = np.random.default_rng(derive("digits-noisy"))
    wrong = torch.from_numpy(rng.random(len(plain)) < WRONG_LABELS)
    shift = torch.from_numpy(rng.integers(1, 10, len(plain)))
    y = torch.where(wrong, (plain.y + shift) % 10, plain.y)
    return replace(plain, name="digits-noisy", y=y)


TINT_STRENGTH = 0.8
"""How often the tint of `digits-tinted` is the one that goes with the label."""


def _digits_tinted(source: Source) -> Dataset:
    """Digits in colour: the ink of odd ones tends to be warm, that of even ones cold."""
    plain = _digits(source)
    rng = np.random.default_rng(derive("digits-tinted"))
    agrees = torch.from_numpy(rng.random(len(plain)) < TINT_STRENGTH)
    tint = torch.where(agrees, plain.y % 2, 1 - plain.y % 2)
    ink = torch.tensor([[0.4, 0.7, 1.0], [1.0, 0.7, 0.4]])[tint]  # (n, 3)
    return Dataset(
        name="digits-tinted",
        num_classes=10,
        x=plain.x * ink[:, :, None, None],
        y=plain.y,
        z={"tint": Attribute(tint, ("cold", "warm"))},
        epsilon=plain.epsilon,
    )


def _described(path: Path) -> Callable[[Source], Dataset]:
    def load_table(source: Source) -> Dataset:
        return _table(table_description.read(path), source)

    return load_table


def _table(description: Description, source: Source) -> Dataset:
    cells = _cells(description, source)
    encoded = encoding.encode(cells, description)
    return Dataset(
        name=description.name,
        num_classes=len(description.classes),
        epsilon=dict(description.epsilon),
        **vars(encoded),
    )


def _cells(description: Description, source: Source) -> Cells:
    """The table where it is found first: data folder, mirror, OpenML."""
    folders = [source.data_dir, source.mirror and source.mirror / "tabular"]
    looked = [str(folder) for folder in folders if folder is not None]
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


def _not_here(name: str, source: Source) -> ZooError:
    looked = [str(p) for p in (source.data_dir, source.mirror) if p is not None]
    return ZooError(
        f"Dataset {name!r} is not here (looked in: {', '.join(looked) or 'nowhere'}). Give "
        f"--data-dir (torchvision's format) or --mirror, or set ZOO_DATA_DIR or ZOO_MIRROR."
    )


def _photo_patches(source: Source) -> Dataset:
    """2,000 patches of 32x32 from the two photographs that come with scikit-learn.

    What an attacker can always find: natural images that have nothing to do with the target's
    data. The label says which photograph a patch is from.
    """
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(derive("photo-patches"))
    patches, labels = [], []
    for label, photo in enumerate(load_sample_images().images):
        height, width = photo.shape[:2]
        for _ in range(1000):
            top, left = rng.integers(height - 32), rng.integers(width - 32)
            patches.append(photo[top : top + 32, left : left + 32])
            labels.append(label)
    order = rng.permutation(len(labels))
    return Dataset(
        name="photo-patches",
        num_classes=2,
        x=_images(np.stack(patches)[order]),
        y=torch.tensor(labels)[order],
    )


_MIRROR = {
    "cifar10": ("cifar10/cifar10_train10000.npz", "cifar10/cifar10_test1000.npz"),
    "mnist": ("mnist/mnist_train.npz", "mnist/mnist_test.npz"),
    "fashion-mnist": (
        "fashion_mnist/fashion_mnist_train10000.npz",
        "fashion_mnist/fashion_mnist_test.npz",
    ),
    "gtsrb": ("gtsrb/gtsrb_train_35px.npz", "gtsrb/gtsrb_test_35px.npz"),
}

_CLASSES = {"cifar10": 10, "mnist": 10, "fashion-mnist": 10, "gtsrb": 43}

_EPSILON = {
    "cifar10": {"linf": 8 / 255, "l2": 0.5},
    "mnist": {"linf": 0.3, "l2": 2.0},
    "fashion-mnist": {"linf": 0.1, "l2": 1.5},
    "gtsrb": {"linf": 8 / 255, "l2": 0.5},
}


def _from_mirror(name: str, mirror: Path) -> list[tuple[np.ndarray, np.ndarray]] | None:
    parts = []
    for file in _MIRROR[name]:
        if not (mirror / file).exists():
            return None
        with np.load(mirror / file, allow_pickle=False) as arrays:
            parts.append((arrays["x"], arrays["y"]))
    return parts


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
        kind = {
            "cifar10": datasets.CIFAR10,
            "mnist": datasets.MNIST,
            "fashion-mnist": datasets.FashionMNIST,
        }[name]
        both = [kind(str(root), train=train) for train in (True, False)]
    except RuntimeError as error:
        if "not found" in str(error).lower():
            return None
        raise
    return [(np.asarray(part.data), np.asarray(part.targets)) for part in both]


def _public(name: str) -> Callable[[Source], Dataset]:
    def load_public(source: Source) -> Dataset:
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
            x=_images(np.concatenate([x_train, x_test])),
            y=torch.from_numpy(np.concatenate([y_train, y_test]).astype(np.int64)),
            n_train=len(y_train),
            epsilon=_EPSILON[name],
        )

    return load_public


def _of_faces(name: str) -> Callable[[Source], Dataset]:
    def load_faces(source: Source) -> Dataset:
        found = faces.read(name, source.data_dir)
        return Dataset(
            name=name,
            num_classes=found.num_classes,
            x=_images(found.pixels),
            y=torch.from_numpy(found.labels),
            z=found.z,
            n_train=found.n_train,
            places={"file": np.array(found.files, dtype=object)},
        )

    return load_faces


DATASETS: dict[str, Callable[[Source], Dataset]] = {
    "digits": _digits,
    "digits-noisy": _digits_noisy,
    "digits-tinted": _digits_tinted,
    "photo-patches": _photo_patches,
    **{name: _public(name) for name in _MIRROR},
    **{name: _described(path) for name, path in table_description.builtin().items()},
    **{name: _of_faces(name) for name in faces.READERS},
}
"""Loaders by name. Other packages add theirs with the entry point group ``harness.datasets``."""


ATTRIBUTES: dict[str, tuple[str, ...]] = {"digits-tinted": ("tint",), **faces.ATTRIBUTES}
"""Sensitive attributes of images, for whoever has not loaded them; tables' descriptions say."""


def own_tables(source: Source) -> dict[str, Path]:
    """The descriptions of the user's own tables, by name."""
    if source.data_dir is None:
        return {}
    paths = sorted(source.data_dir.glob("*.toml"))
    return {path.stem: path for path in paths if table_description.is_meant(path)}


def names(source: Source = Source()) -> list[str]:
    """Every known dataset, the user's own and those of other packages included."""
    plugins = (point.name for point in entry_points(group="harness.datasets"))
    return sorted({*DATASETS, *plugins, *own_tables(source)})


@lru_cache(maxsize=4)
def load(name: str, source: Source) -> Dataset:
    """A dataset, read once per process.

    Raises:
        ZooError: The name is unknown or has two meanings, or the files are not where ``source``
            says, or hold something else.
    """
    found = [DATASETS[name]] if name in DATASETS else []
    found += [p.load() for p in entry_points(group="harness.datasets") if p.name == name][:1]
    own = own_tables(source).get(name)
    if own is not None and found:
        raise ZooError(f"There is a dataset {name!r} besides that of {own}. Rename the file.")
    if own is not None:
        return _table(table_description.read(own), source)
    if not found:
        raise unknown("dataset", name, names(source))
    return found[0](source)
