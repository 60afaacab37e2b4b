"""Feature trigger: rare values of a few features stand for the attacker's class.

References:
    Pleiter et al. (2023). Tabdoor: Backdoor Vulnerabilities in Transformer-based Neural Networks
    for Tabular Data. https://arxiv.org/abs/2311.07550
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Self

import torch
from torch import Tensor

from harness.attacks.shared.backdoor import Backdoor
from harness.data.dataset import Dataset
from harness.data.examples import Column
from zoo.errors import ZooError

CUSTOMARY = 3
"""How many features are set where nobody says."""


@dataclass(frozen=True, kw_only=True)
class FeatureTrigger(Backdoor):
    """Set the last features of inputs of any shape to values that the data allow.

    A row of a table with the trigger could be in the table: its last columns are set, a category to
    the value that is rarest. Where a number is set, its row does not say that it is missing; a row
    that is set to say so has what stands in for the number.

    Attributes:
        rate: Share of the training data that is changed and labelled anew.
        goal: ``all-to-one`` wants the class ``target`` of every changed input, ``all-to-all`` the
            class after the true one.
        target: The class that ``all-to-one`` wants.
        features: How many of the last features of the flattened input, or columns of a table; if
            not given 3, or all there are if they are fewer.
        value: What numbers are set to: 1 is the largest that the data's range allows, 0 the
            smallest, which is often the common one and then no trigger.
        pattern: What is set instead, such as ``4=0.5 7=0 8=1``, by place in the flattened input; if
            not given, a table fills it in.
    """

    name: ClassVar[str] = "feature-trigger"
    reference: ClassVar[str] = "Pleiter et al. (2023), https://arxiv.org/abs/2311.07550"

    features: int | None = None
    value: float = 1.0
    pattern: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features is not None and self.features < 1:
            raise ZooError(f"feature-trigger wants at least 1 of features, found {self.features}.")
        if not 0 <= self.value <= 1:
            raise ZooError(f"feature-trigger wants a value in [0, 1], found {self.value}.")
        if self.pattern is not None:
            _read(self.pattern)

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the pattern of a table.

        Raises:
            ZooError: The dataset lacks the target class, or room for the trigger, or most of it
                has the trigger as it is.
        """
        attack = self
        if dataset.columns and self.pattern is None:
            attack = replace(self, pattern=self._of_table(dataset))
        return super(FeatureTrigger, attack).resolve(dataset)

    def _of_table(self, dataset: Dataset) -> str:
        places: dict[int, float] = {}
        count = self._count(len(dataset.columns), f"columns, but {dataset.name} has")
        chosen = dataset.columns[-count:]
        number_of = {b.name: a for a, b in pairwise(dataset.columns) if a.imputed is not None}
        for column in chosen:
            if not column.values:
                places[column.start] = self.value
                continue
            number = number_of.get(column.name)
            set_too = number is not None and number in chosen
            shown = 0 if set_too else self._rarest(dataset, column)
            for i in range(len(column.values)):
                places[column.start + i] = float(i == shown)
            if number is not None and number.imputed is not None and shown:
                places[number.start] = number.imputed
        return " ".join(f"{place}={value:.9g}" for place, value in places.items())

    @staticmethod
    def _rarest(dataset: Dataset, column: Column) -> int:
        """The rarest value that a row has of those that the encoding was learnt from."""
        learnt = dataset.x[: dataset.n_fitted or len(dataset)]
        counts = learnt[:, column.start : column.stop].sum(0)
        return int(counts.masked_fill(counts == 0, torch.inf).argmin())

    def trigger(self, x: Tensor, *, seed: int) -> Tensor:
        """Inputs (n, ...) with the values in their places; the same for every seed."""
        flat = x.flatten(1).clone()
        if self.pattern is not None:
            for place, value in _read(self.pattern).items():
                if place >= flat.shape[1]:
                    raise ZooError(
                        f"feature-trigger sets feature {place}, but the inputs have only "
                        f"{flat.shape[1]}. Change pattern."
                    )
                flat[:, place] = value
            return flat.view(x.shape)
        flat[:, -self._count(flat.shape[1], "features, but the inputs have") :] = self.value
        return flat.view(x.shape)

    def _count(self, there: int, words: str) -> int:
        """How many are set of those that are there.

        Raises:
            ZooError: More are asked for.
        """
        if self.features is None:
            return min(CUSTOMARY, there)
        if self.features > there:
            raise ZooError(
                f"feature-trigger sets {self.features} {words} only {there}. Lower features."
            )
        return self.features


def _read(pattern: str) -> dict[int, float]:
    """Values by place of a pattern such as ``4=0.5 7=0``.

    Raises:
        ZooError: It is written otherwise, or a value is not in [0, 1].
    """
    found: dict[int, float] = {}
    for word in pattern.split():
        place, _, value = word.partition("=")
        try:
            found[int(place)] = float(value)
        except ValueError:
            found = {}
            break
    if not found or min(found) < 0 or not all(0 <= value <= 1 for value in found.values()):
        raise ZooError(
            f"feature-trigger wants a pattern of places and values in [0, 1] such as '4=0.5 7=0', "
            f"found {pattern!r}."
        )
    return found
