"""What a dataset is, and where its files are looked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.data.examples import Attribute, Column, Split, attribute_of, canonical
from harness.data.lazy_images import LazyImages
from harness.data.photographs import Photographs, Place
from zoo.entry import Preparation
from zoo.errors import ZooError, unknown
from zoo.files import digest

if TYPE_CHECKING:
    from torch import Tensor


PHOTOGRAPHS = {"linf": 4 / 255, "l2": 3.0}
"""Customary perturbation radii of photographs: those of RobustBench for ImageNet."""

MOST = 1_000
"""Photographs in each quarter, unless somebody wants more: a network takes its time for each."""

AT_ONCE = 4096
"""Examples whose numbers are looked at together."""

REFUSE, SKIP = "refuse", "skip"
"""What is done where images cannot be decoded."""

ANY = Preparation(size=(224, 224), resize=256)
"""What is done to photographs that no model asks for: what most published models do."""


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
            no official split, or if only its test part is at hand.
        only_test: Whether it is that part.
        n_fitted: How many of the first examples the encoding of a table was learnt from.
        epsilon: Customary perturbation radius by norm, in units of the pixel range.
        places: Columns (n,) that say where each example is among the files it is from: of a table
            its ``row`` (and ``file``), of photographs the ``file``. Empty where the order is the
            files'.
        hashes: sha256 of the file of each photograph; empty for other data.
        classes: Names of the labels, where models are asked for some of their classes only; see
            `harness.data.label_spaces`.
        most: How many examples each of `harness.data.quarters.Quarters` has at most; None for all.
    """

    name: str
    num_classes: int
    x: Tensor
    y: Tensor
    z: Mapping[str, Attribute] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    n_train: int = 0
    only_test: bool = False
    n_fitted: int = 0
    epsilon: dict[str, float] = field(default_factory=lambda: {"linf": 8 / 255, "l2": 0.5})
    places: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    hashes: tuple[str, ...] = field(default=(), repr=False)
    classes: tuple[str, ...] = field(default=(), repr=False)
    most: int | None = None
    _views: dict[tuple[Preparation | None, int | None], Dataset] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def of_photographs(
        cls,
        name: str,
        *,
        num_classes: int,
        places: Sequence[Place],
        hashes: Sequence[str],
        y: Tensor,
        preparation: Preparation = ANY,
        z: Mapping[str, Attribute] | None = None,
        n_train: int = 0,
        only_test: bool = False,
        epsilon: Mapping[str, float] | None = None,
        classes: Sequence[str] = (),
        most: int | None = MOST,
    ) -> Dataset:
        """Photographs that are decoded when somebody computes with them.

        Args:
            name: See the class, like what is not named here.
            num_classes: Likewise.
            places: Where each photograph is.
            hashes: Likewise.
            y: Likewise.
            preparation: What is done to each; models have theirs, see `prepared`.
            z: Likewise.
            n_train: Likewise.
            only_test: Likewise.
            epsilon: Likewise.
            classes: Likewise.
            most: Likewise.
        """
        return cls(
            name=name,
            num_classes=num_classes,
            x=LazyImages(Photographs(places, preparation)),
            y=y,
            z=z or {},
            n_train=n_train,
            only_test=only_test,
            places={"file": np.array([place.name for place in places], dtype=object)},
            hashes=tuple(hashes),
            classes=tuple(classes),
            most=most,
            epsilon=dict(PHOTOGRAPHS if epsilon is None else epsilon),
        )

    def prepared(self, how: Preparation | None) -> Dataset:
        """The same photographs as inputs of another network; other data are as they are."""
        if self.photographs is None or how is None:
            return self
        return self._view(how, self.most)

    def limited(self, most: int | None) -> Dataset:
        """The same with so many examples in each quarter; None leaves them as they are."""
        if most is None or (self.photographs is None and most >= len(self)):
            return self
        return self._view(self.preparation, min(most, len(self)))

    def _view(self, how: Preparation | None, most: int | None) -> Dataset:
        """The same data seen otherwise: one object for each way, with one fingerprint."""
        if (how, most) == (self.preparation, self.most):
            return self
        if (how, most) not in self._views:
            x = self.x
            if self.photographs is not None and how is not None:
                x = LazyImages(replace(self.photographs, preparation=how))
            self._views[how, most] = replace(self, x=x, most=most)
        return self._views[how, most]

    @property
    def photographs(self) -> Photographs | None:
        """What ``x`` is decoded from; None of data that come in one size."""
        source = self.x.source if isinstance(self.x, LazyImages) else None
        return source if isinstance(source, Photographs) else None

    @property
    def preparation(self) -> Preparation | None:
        """What is done to each photograph; None of data that come in one size."""
        return None if self.photographs is None else self.photographs.preparation

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
        """The attribute called ``name``, as `harness.data.examples.attribute_of` reads it.

        Raises:
            NotApplicableError: The dataset has none at all.
            ZooError: The dataset does not have this one.
        """
        return attribute_of(self.z, name, self.name)

    def attribute_name(self, name: str | None = None) -> str:
        """How the attribute is written that a user calls ``name``.

        See `harness.data.examples.canonical`.

        Raises:
            NotApplicableError: The dataset has none at all.
            ZooError: The dataset does not have this one, or one is named twice.
        """
        return canonical(self.z, name, self.name)

    @cached_property
    def content(self) -> Tensor:
        """(n,) int64, equal where two examples are the same, label and all."""
        if self.hashes:
            files = [f"{one} {y}" for one, y in zip(self.hashes, self.y.tolist(), strict=True)]
            return torch.from_numpy(np.unique(np.array(files), return_inverse=True)[1])
        rows = [
            hashlib.sha256(row.tobytes() + label.tobytes()).digest()
            for x, y in zip(self.x.split(AT_ONCE), self.y.split(AT_ONCE), strict=True)
            for row, label in zip(_bytes(x).reshape(len(y), -1), y.numpy(), strict=True)
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
        """Hex sha256 of shapes, features, labels, attributes and the official split.

        Of photographs, the features are the files and what is done to them.
        """
        found = self.content_fingerprint
        if self.photographs is not None:
            how = asdict(self.photographs.preparation)
            found = digest([found, self.photographs.channels, how])
        return found if self.most is None else digest([found, self.most])

    @cached_property
    def content_fingerprint(self) -> str:
        """The same of photographs whatever is done to them, so that all models share one split."""
        if self.hashes:
            z = {name: [a.names, a.values.tolist()] for name, a in self.z.items()}
            # Of test data alone a part is the owner's; see `harness.data.quarters`.
            held = "a tenth is the owner's" if self.only_test else False
            facts = [self.num_classes, self.n_train, held, self.classes]
            return digest([self.hashes, *facts, self.y.tolist(), z])
        sha = hashlib.sha256(f"{tuple(self.x.shape)} {self.num_classes} {self.n_train}".encode())
        for part in self.x.split(AT_ONCE):
            sha.update(_bytes(part).data)
        sha.update(np.ascontiguousarray(self.y.numpy()).data)
        for name, attribute in self.z.items():
            sha.update(f"{name} {attribute.names}".encode())
            sha.update(np.ascontiguousarray(attribute.values.numpy()).data)
        if self.columns:
            sha.update(f"{self.columns} {self.n_fitted}".encode())
            # Only where there is something to say: it is part of no other table's fingerprint.
            imputed = {c.name: c.imputed for c in self.columns if c.imputed is not None}
            sha.update(f"{imputed}".encode() if imputed else b"")
        if self.only_test or self.classes:  # likewise
            sha.update(f"{self.only_test} {self.classes}".encode())
        return sha.hexdigest()


def _bytes(x: Tensor) -> np.ndarray:
    """Numbers as they are in memory, one row after the other."""
    return np.ascontiguousarray((x.decoded() if isinstance(x, LazyImages) else x).numpy())


@dataclass(frozen=True)
class DataLocation:
    """Where dataset files are looked for.

    Attributes:
        data_dir: A folder in torchvision's on-disk formats; tables as
            `harness.data.tables.description` has them.
        mirror: A folder of public datasets and checkpoints as compressed numpy arrays.
        verify: Whether the files of photographs are hashed again, whatever their size and time say.
        unreadable: Whether images that cannot be decoded are to ``refuse`` or to ``skip``.
    """

    data_dir: Path | None = None
    mirror: Path | None = None
    verify: bool = False
    unreadable: str = REFUSE

    @classmethod
    def resolve(
        cls,
        data_dir: Path | None = None,
        mirror: Path | None = None,
        *,
        unreadable: str = REFUSE,
    ) -> DataLocation:
        """What the user gave, else ``$ZOO_DATA_DIR`` and ``$ZOO_MIRROR``.

        Raises:
            ZooError: There is no such folder, or nothing of that name to do with images.
        """
        if unreadable not in (REFUSE, SKIP):
            raise unknown("way with unreadable images", unreadable, (REFUSE, SKIP))

        def folder(given: Path | None, variable: str) -> Path | None:
            found = given or (Path(os.environ[variable]) if os.environ.get(variable) else None)
            found = found and found.expanduser()
            if found is not None and not found.is_dir():
                raise ZooError(f"No folder {found} (wanted by {variable} or its option).")
            return found

        return cls(
            folder(data_dir, "ZOO_DATA_DIR"),
            folder(mirror, "ZOO_MIRROR"),
            unreadable=unreadable,
        )
