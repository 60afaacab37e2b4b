"""What a dataset is, and where its files are looked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.data.examples import Attribute, Column, Split, attribute_of, canonical
from zoo.errors import ZooError

if TYPE_CHECKING:
    from torch import Tensor


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


@dataclass(frozen=True)
class DataLocation:
    """Where dataset files are looked for.

    Attributes:
        data_dir: A folder in torchvision's on-disk formats; tables as
            `harness.data.tables.description` has them.
        mirror: A folder of public datasets and checkpoints as compressed numpy arrays.
    """

    data_dir: Path | None = None
    mirror: Path | None = None

    @classmethod
    def resolve(cls, data_dir: Path | None = None, mirror: Path | None = None) -> DataLocation:
        """What the user gave, else ``$ZOO_DATA_DIR`` and ``$ZOO_MIRROR``."""

        def folder(given: Path | None, variable: str) -> Path | None:
            found = given or (Path(os.environ[variable]) if os.environ.get(variable) else None)
            found = found and found.expanduser()
            if found is not None and not found.is_dir():
                raise ZooError(f"No folder {found} (wanted by {variable} or its option).")
            return found

        return cls(folder(data_dir, "ZOO_DATA_DIR"), folder(mirror, "ZOO_MIRROR"))
