"""What the defenses have in common that know one sensitive attribute of the training examples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from harness.data.examples import Attribute, Split
from harness.types import UnfitError

if TYPE_CHECKING:
    from harness.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class OfAttribute:
    """A defense that is about one attribute.

    Attributes:
        attribute: The sensitive attribute, or several crossed, such as ``sex+race``; the dataset's
            first one if not given.
    """

    attribute: str | None = None

    def resolve(self, dataset: Dataset) -> Self:
        """Write the attribute as the dataset does; its first one if none is given.

        Raises:
            NotApplicableError: The dataset has no attributes.
            ZooError: The dataset does not have this one.
        """
        return replace(self, attribute=dataset.attribute_name(self.attribute))

    def groups(self, data: Split) -> Attribute:
        """The attribute of ``data``.

        Raises:
            NotApplicableError: The data have no attributes.
        """
        return data.attribute(self.attribute)


def need_two_classes(name: str, dataset: Dataset) -> None:
    """Refuse data that the defense called ``name`` is not defined for.

    Raises:
        NotApplicableError: There are more than two classes.
    """
    if dataset.num_classes != 2:
        raise UnfitError(
            f"{name} wants two classes, but {dataset.name} has {dataset.num_classes}. Choose a "
            f"dataset with two."
        )
