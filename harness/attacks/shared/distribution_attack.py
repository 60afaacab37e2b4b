"""What attacks on the training distribution have in common, and what they are handed.

The attacker wants to know which of two shares of the training examples had some property, such as
how many of the people were men. Every model it looks at is judged by itself: what it says of one
does not depend on which others it is shown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from harness.attacks.protocol import AttackerData
from harness.data.examples import Split
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError, unknown

if TYPE_CHECKING:
    from harness.data.dataset import Dataset
    from harness.target import BlackBox

WORLDS = 2
"""The two training distributions in question; world 1 has ``ratio1`` of the property."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Suspects(AttackerData):
    """The data of an attacker who judges models by the distribution they were trained on.

    Attributes:
        victims: Models to judge besides the target.
        own: For each world, models that the attacker trained on samples of it; they answer as the
            victims do, without limit.
        tests: For each world, examples of it that no model was trained on.
    """

    victims: tuple[BlackBox, ...]
    own: tuple[tuple[BlackBox, ...], tuple[BlackBox, ...]]
    tests: tuple[Split, Split]


@dataclass(frozen=True, kw_only=True)
class DistributionAttack(ABC):
    """The question that the attacker asks: which share of the training data had a property?

    Attributes:
        attribute: An example has the property if this attribute of it ...
        value: ... has this value. None for the dataset's first attribute, and its last value.
        ratio0: Share of the training examples with the property in world 0, in [0, 1].
        ratio1: Likewise in world 1.
        train_size: Examples that every model is trained on; None for 1,000, or the most there are.
        victims: Models of each world that the attack is judged on.
    """

    name: ClassVar[str]
    risk: ClassVar[Risk] = Risk.DISTRIBUTION_INFERENCE
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW,)

    attribute: str | None = None
    value: str | None = None
    ratio0: float = 0.2
    ratio1: float = 0.8
    train_size: int | None = None
    victims: int = 4

    def __post_init__(self) -> None:
        for name in ("ratio0", "ratio1"):
            if not 0 <= getattr(self, name) <= 1:
                raise ZooError(
                    f"{name} wants a share between 0 and 1, found {getattr(self, name)}."
                )
        if self.train_size is not None and self.train_size < 1:
            raise ZooError(f"train_size wants at least 1 example, found {self.train_size}.")
        if self.victims < 1:
            raise ZooError(f"victims wants at least 1 model of each world, found {self.victims}.")

    def resolve(self, dataset: Dataset) -> Self:
        """The attack with attribute and value filled in.

        Raises:
            NotApplicableError: The dataset has no attributes.
            ZooError: It has none of this name, or the attribute no such value.
        """
        found = dataset.attribute(self.attribute)
        value = found.names[-1] if self.value is None else self.value
        name = dataset.attribute_name(self.attribute)
        if value not in found.names:
            raise unknown(f"value of {dataset.name}'s {name}", value, found.names)
        return replace(self, attribute=name, value=value)

    @abstractmethod
    def run(self, target: BlackBox, data: Suspects, *, seed: int) -> Tensor:
        """How much more each suspect looks like world 1, (1 + victims,): the target first."""


@dataclass(frozen=True, kw_only=True)
class TrainsModels(DistributionAttack):
    """An attack that learns from models of the attacker's own.

    Attributes:
        models: The attacker's own models of each world.
    """

    models: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.models < 1:
            raise ZooError(f"models wants at least 1 model of each world, found {self.models}.")

    @property
    def shadows(self) -> int:
        """How many models the attacker trains in all."""
        return WORLDS * self.models


def suspects(target: BlackBox, data: Suspects) -> Iterator[BlackBox]:
    """Every model to judge: the target first."""
    yield target
    yield from data.victims


FLOOR = 1e-6
"""Smallest probability that is told from 0; a logarithm of 0 would drown all others."""


def losses(box: BlackBox, tests: tuple[Split, Split]) -> Tensor:
    """A model's mean loss on the examples of each world, (2,) float64, in the given order.

    The loss is the cross-entropy; where only labels are granted, it is the error rate.
    """
    found = []
    for test in tests:
        if box.access.grants(Access.SCORES):
            own = box.scores(test.x).double().gather(1, test.y[:, None])
            found.append(-own.clamp_min(FLOOR).log().mean())
        else:
            found.append((box.labels(test.x) != test.y).double().mean())
    return torch.stack(found)
