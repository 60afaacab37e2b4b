"""What poisoning attacks have in common: whom they reach, what they want, and what they refuse.

References:
    Gu, Dolan-Gavitt and Garg (2017). BadNets: Identifying Vulnerabilities in the Machine Learning
    Model Supply Chain. https://arxiv.org/abs/1708.06733
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from harness.attacks.protocol import Poisoned
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.seeds import generator
from harness.types import Access, Aux, Risk, UnfitError
from zoo.errors import ZooError

Goal = Literal["all-to-one", "all-to-all"]

VISIBLE = 0.5 / 255
"""A pixel that changes by less than this is the same when an image is stored in 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Backdoor(ABC):
    """A trigger that is put on some training examples, whose labels are changed to the goal's.

    Attributes:
        rate: Share of the training data that is changed.
        goal: ``all-to-one`` wants the class ``target`` of every triggered input, ``all-to-all`` the
            class after the true one.
        target: The class that ``all-to-one`` wants.
    """

    name: ClassVar[str]
    risk: ClassVar[Risk] = Risk.POISONING
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str]

    rate: float = 0.1
    goal: Goal = "all-to-one"
    target: int = 0

    def __post_init__(self) -> None:
        check_rate(self.name, self.rate)

    @abstractmethod
    def trigger(self, x: Tensor, *, seed: int) -> Tensor:
        """Inputs (n, ...) with the trigger."""

    def resolve(self, dataset: Dataset) -> Self:
        """The attack itself, if the dataset has its class and room for its trigger."""
        self._check(dataset.num_classes)
        check_trigger(self.name, dataset.x[:64], self.trigger(dataset.x[:64], seed=0))
        return self

    def poison(self, data: Split, *, trusted: Tensor, num_classes: int, seed: int) -> Poisoned:
        """Put the trigger on some examples that have another label than the wanted one."""
        self._check(num_classes)
        count = count_of(self.name, self.rate, len(data))
        rows = choose(self.name, count, self.applies(data.y), trusted, seed)
        x, y = data.x.clone(), data.y.clone()
        x[rows] = self.trigger(data.x[rows], seed=seed)
        y[rows] = self.wanted(data.y[rows], num_classes)
        return Poisoned(data=replace(data, x=x, y=y), poisoned=flags(self.name, rows, data.y))

    def wanted(self, y: Tensor, num_classes: int) -> Tensor:
        """The labels (n,) that the attacker wants of inputs whose true labels are ``y``."""
        if self.goal == "all-to-all":
            return (y + 1) % num_classes
        return torch.full_like(y, self.target)

    def applies(self, y: Tensor) -> Tensor:
        """Everything but the target class, whose own examples would count as success."""
        return (
            torch.ones_like(y, dtype=torch.bool) if self.goal == "all-to-all" else y != self.target
        )

    def success(self, predicted: Tensor, y: Tensor, *, num_classes: int) -> Tensor:
        """Where the wanted label is predicted."""
        return predicted == self.wanted(y, num_classes)

    def _check(self, num_classes: int) -> None:
        check_class(self.name, "target", self.target, num_classes)


def check_rate(name: str, rate: float) -> None:
    """Refuse a rate outside [0, 1).

    Raises:
        ZooError: With what is wanted.
    """
    if not 0 <= rate < 1:
        raise ZooError(f"{name} wants a rate of at least 0 and below 1, found {rate}.")


def check_class(name: str, field: str, label: int, num_classes: int) -> None:
    """Refuse a class that does not exist, and data in which there is nothing to confuse.

    Raises:
        ZooError: With the classes there are.
    """
    if num_classes < 2:
        raise ZooError(f"{name} wants data of at least two classes, found {num_classes}.")
    if not 0 <= label < num_classes:
        raise ZooError(
            f"{name} wants a {field} among the classes 0 to {num_classes - 1}, found {label}."
        )


def check_image(name: str, x: Tensor, height: int, width: int, what: str) -> None:
    """Refuse inputs (n, ...) that are no images, or smaller than ``height`` by ``width``.

    Raises:
        NotApplicableError: They are no images.
        ZooError: They are too small.
    """
    if x.dim() != 4:
        raise UnfitError(
            f"{name} wants images (channels, height, width), found inputs of shape "
            f"{tuple(x.shape[1:])}. For tabular data there is feature-trigger."
        )
    if height > x.shape[2] or width > x.shape[3]:
        raise ZooError(
            f"{name} has a {what} of {height}x{width}, but the images are only "
            f"{x.shape[2]}x{x.shape[3]}. Make it smaller."
        )


def check_trigger(name: str, x: Tensor, triggered: Tensor) -> None:
    """Refuse a trigger that most inputs have already.

    Args:
        name: Of the attack.
        x: Some inputs of the dataset.
        triggered: The same with the trigger.

    Raises:
        ZooError: It leaves more than half of them as they are.
    """
    changed = (triggered - x).abs().flatten(1).amax(1) >= VISIBLE
    if changed.double().mean() < 0.5:
        raise ZooError(
            f"{name} has a trigger that leaves {int((~changed).sum())} of the first {len(x)} "
            f"inputs of this dataset as they are. Change its settings."
        )


def count_of(name: str, rate: float, n: int) -> int:
    """How many of ``n`` examples the rate is.

    Raises:
        ZooError: The rate is above 0, but too small for a single example.
    """
    count = round(rate * n)
    if rate > 0 and count == 0:
        raise ZooError(
            f"{name} would poison none of {n} examples at rate {rate:g}. Raise its rate."
        )
    return count


def choose(name: str, count: int, eligible: Tensor, trusted: Tensor, seed: int) -> Tensor:
    """Draw the examples to poison.

    Args:
        name: Of the attack and of its random stream.
        count: How many.
        eligible: (n,) bool, those that would serve the attacker.
        trusted: Indices (m,) out of reach.
        seed: Of the draw.

    Returns:
        Indices (count,) int64.

    Raises:
        ZooError: There are not as many.
    """
    reach = eligible.clone()
    reach[trusted.to(reach.device)] = False
    candidates = reach.nonzero().flatten()
    if count > len(candidates):
        raise ZooError(
            f"{name} would poison {count} of {len(eligible)} examples, but only {len(candidates)} "
            f"serve it and are not trusted. Lower its rate to at most "
            f"{math.floor(1000 * len(candidates) / len(eligible)) / 1000}."
        )
    order = torch.randperm(len(candidates), generator=generator("poisoned rows", name, seed))
    return candidates[order[:count].to(candidates.device)]


def flags(name: str, rows: Tensor, y: Tensor) -> Tensor:
    """Which of the examples (n,) bool are among ``rows``.

    Args:
        name: Of the attack.
        rows: Indices of those that are poisoned.
        y: (n,) true labels.

    Raises:
        ZooError: Some class would be left without a clean example.
    """
    poisoned = torch.zeros_like(y, dtype=torch.bool)
    poisoned[rows] = True
    lost = sorted(set(y.tolist()) - set(y[~poisoned].tolist()))
    if lost:
        raise ZooError(
            f"{name} would leave class {lost[0]} without a clean example. Lower its rate."
        )
    return poisoned
