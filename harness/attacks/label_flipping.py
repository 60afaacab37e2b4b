"""Label flipping: wrong labels on training examples, and nothing else.

References:
    Tolpegin et al. (2020). Data Poisoning Attacks Against Federated Learning Systems. ESORICS.
    https://arxiv.org/abs/2007.08432
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from harness.attacks.protocol import Poisoned
from harness.attacks.shared.backdoor import check_class, check_rate, choose, count_of, flags
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.seeds import generator
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class LabelFlipping:
    """Give some training examples another label.

    Attributes:
        rate: Share of all the training data that gets another label.
        goal: ``random`` gives any example any other label and wants wrong answers; ``targeted``
            gives examples of ``source_class`` the label ``target`` and wants that of the answers.
        source_class: The class that ``targeted`` takes examples of.
        target: The class that ``targeted`` makes of them.
    """

    name: ClassVar[str] = "label-flipping"
    risk: ClassVar[Risk] = Risk.POISONING
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Tolpegin et al. (2020), https://arxiv.org/abs/2007.08432"

    rate: float = 0.2
    goal: Literal["random", "targeted"] = "random"
    source_class: int = 1
    target: int = 0

    def __post_init__(self) -> None:
        check_rate(self.name, self.rate)
        if self.goal == "targeted" and self.source_class == self.target:
            raise ZooError(
                f"label-flipping wants a target other than its source_class, found {self.target} "
                f"for both."
            )

    def resolve(self, dataset: Dataset) -> Self:
        """The attack itself, if the dataset has its classes."""
        self._check(dataset.num_classes)
        return self

    def trigger(self, x: Tensor, *, seed: int) -> Tensor:
        """The inputs as they are."""
        return x

    def poison(self, data: Split, *, trusted: Tensor, num_classes: int, seed: int) -> Poisoned:
        """Change some labels; inputs stay as they are."""
        self._check(num_classes)
        count = count_of(self.name, self.rate, len(data))
        rows = choose(self.name, count, self.applies(data.y), trusted, seed)
        y = data.y.clone()
        if self.goal == "targeted":
            y[rows] = self.target
        else:
            stream = generator("flipped labels", seed)
            shift = torch.randint(1, num_classes, (count,), generator=stream)
            y[rows] = (data.y[rows] + shift.to(y.device)) % num_classes
        return Poisoned(data=replace(data, y=y), poisoned=flags(self.name, rows, data.y))

    def applies(self, y: Tensor) -> Tensor:
        """Everything, or the source class."""
        if self.goal == "targeted":
            return y == self.source_class
        return torch.ones_like(y, dtype=torch.bool)

    def success(self, predicted: Tensor, y: Tensor, *, num_classes: int) -> Tensor:
        """Where the answer is the target class, or just wrong."""
        return predicted == self.target if self.goal == "targeted" else predicted != y

    def _check(self, num_classes: int) -> None:
        check_class(self.name, "source_class", self.source_class, num_classes)
        check_class(self.name, "target", self.target, num_classes)
