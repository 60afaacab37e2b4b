"""Examples: inputs, labels and what is known about who is behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.types import UnfitError
from zoo.errors import ZooError, unknown

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Column:
    """Where a column of a table is among the features.

    Attributes:
        name: As in the table.
        start: First feature.
        stop: Behind the last.
        values: Of a categorical column, one feature each; empty for a number.
        low: Of a number, what became 0.
        high: Of a number, what became 1.
        imputed: Of a number that rows may lack, the feature that stands in for it; the next column
            says which rows do, and has the values ``no`` and ``yes``. Else None.
    """

    name: str
    start: int
    stop: int
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    imputed: float | None = field(default=None, repr=False)  # as `Dataset.fingerprint` has it


@dataclass(frozen=True, eq=False)
class Attribute:
    """Something about the person or the thing behind each example, which may be sensitive.

    Attributes:
        values: (n,) int64, 0 .. len(names) - 1; `UNKNOWN` of examples that nobody is behind,
            or whose attribute nobody knows.
        names: Of the values.
    """

    values: Tensor
    names: tuple[str, ...]

    def take(self, index: Tensor) -> Attribute:
        """The same of the examples at ``index``."""
        return Attribute(self.values[index], self.names)

    def to(self, device: str | torch.device) -> Attribute:
        """The same on ``device``."""
        return Attribute(self.values.to(device), self.names)

    def crossed(self, other: Attribute) -> Attribute:
        """Both attributes as one, with a value for each pair of values."""
        values = self.values * len(other.names) + other.values
        values[(self.values == UNKNOWN) | (other.values == UNKNOWN)] = UNKNOWN
        names = (f"{mine}, {its}" for mine in self.names for its in other.names)
        return Attribute(values, tuple(names))


UNKNOWN = -1
"""In place of an attribute's value, where there is none."""


def canonical(z: Mapping[str, Attribute], name: str | None, of: str) -> str:
    """The one way to write an attribute: several in the order of ``z``; the first for None.

    Args:
        z: Attributes by name.
        name: Of one, or of several joined by ``+``, such as ``sex+race``.
        of: What has them, for the message.

    Raises:
        NotApplicableError: There are none at all.
        ZooError: There is none of that name, or one is named twice.
    """
    if not z:
        raise UnfitError(
            f"{of} has no sensitive attributes. Choose a model of a dataset that has some, such as "
            f"digits-tinted or adult."
        )
    parts = [next(iter(z))] if name is None else name.split("+")
    for part in parts:
        if part not in z:
            raise unknown(f"sensitive attribute of {of}", part, z)
    if len(set(parts)) < len(parts):
        raise ZooError(
            f"{name} names an attribute of {of} twice. Name each once: "
            f"{'+'.join(dict.fromkeys(parts))}."
        )
    return "+".join(part for part in z if part in parts)


def attribute_of(z: Mapping[str, Attribute], name: str | None, of: str) -> Attribute:
    """One of some attributes, or several crossed.

    Args:
        z: Attributes by name.
        name: See `canonical`; the order in which several are named does not matter.
        of: What has them, for the message.

    Raises:
        NotApplicableError: There are none at all.
        ZooError: There is none of that name, or one is named twice.
    """
    first, *others = canonical(z, name, of).split("+")
    found = z[first]
    for other in others:
        found = found.crossed(z[other])
    return found


@dataclass(frozen=True, eq=False)
class Split:
    """Some examples.

    Attributes:
        x: Inputs, float32 in [0, 1]: images (n, channels, height, width), rows of a table
            (n, features).
        y: Labels (n,) int64.
        z: Sensitive attributes by name; empty for whoever is not told.
        weight: How much each example counts in training, (n,) float32; None for all the same.
        columns: Where the columns of a table are in ``x``; empty for images.
    """

    x: Tensor
    y: Tensor
    z: Mapping[str, Attribute] = field(default_factory=dict)
    weight: Tensor | None = None
    columns: tuple[Column, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> Split:
        """The rows at ``index`` (n,), int64 or bool, in that order."""
        return Split(
            self.x[index],
            self.y[index],
            {name: attribute.take(index) for name, attribute in self.z.items()},
            None if self.weight is None else self.weight[index],
            self.columns,
        )

    def to(self, device: str | torch.device) -> Split:
        """The same rows on ``device``."""
        return Split(
            self.x.to(device),
            self.y.to(device),
            {name: attribute.to(device) for name, attribute in self.z.items()},
            None if self.weight is None else self.weight.to(device),
            self.columns,
        )

    def with_rows(self, x: Tensor, y: Tensor) -> Split:
        """These examples and behind them some that nobody is behind, which count 1 each."""
        import torch
        import torch.nn.functional as F  # noqa: N812

        fresh = len(y)
        return Split(
            torch.cat([self.x, x]),
            torch.cat([self.y, y]),
            {
                name: Attribute(F.pad(a.values, (0, fresh), value=UNKNOWN), a.names)
                for name, a in self.z.items()
            },
            None if self.weight is None else F.pad(self.weight, (0, fresh), value=1.0),
            self.columns,
        )

    def attribute(self, name: str | None = None) -> Attribute:
        """The attribute called ``name``; see `attribute_of`."""
        return attribute_of(self.z, name, "The data")
