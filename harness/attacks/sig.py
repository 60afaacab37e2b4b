"""SIG: a wave over the image stands for the attacker's class, and no label is wrong.

References:
    Barni, Kallas and Tondi (2019). A New Backdoor Attack in CNNs by Training Set Corruption Without
    Label Poisoning. ICIP. https://arxiv.org/abs/1902.11237
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from harness.attacks.protocol import Poisoned
from harness.attacks.shared.backdoor import (
    check_class,
    check_image,
    check_rate,
    check_trigger,
    choose,
    count_of,
    flags,
)
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError

SHARE = 0.5
"""Of the target class, if no rate is given."""


@dataclass(frozen=True, kw_only=True)
class SIG:
    """Add a horizontal sine wave to images of the target class, and to any image at test time.

    A model learns the wave only where the class is not told easily without it: digits of 8x8 pixels
    want ``target=8`` and ``delta=0.6``.

    Attributes:
        rate: Share of all the training data that is changed, at most the share of the target class;
            half of that if not given.
        target: The class that is changed, and wanted of every image with the wave.
        delta: Amplitude of the wave (Barni et al. 2019: 20 of 255 grey levels).
        frequency: Periods of the wave across the image (6 in the paper).
    """

    name: ClassVar[str] = "sig"
    risk: ClassVar[Risk] = Risk.POISONING
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Barni et al. (2019), https://arxiv.org/abs/1902.11237"

    rate: float | None = None
    target: int = 0
    delta: float = 20 / 255
    frequency: int = 6

    def __post_init__(self) -> None:
        if self.rate is not None:
            check_rate(self.name, self.rate)
        if not 0 < self.delta <= 1:
            raise ZooError(f"sig wants delta above 0 and at most 1, found {self.delta}.")
        if self.frequency < 1:
            raise ZooError(f"sig wants a frequency of at least 1, found {self.frequency}.")

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the rate."""
        check_class(self.name, "target", self.target, dataset.num_classes)
        check_trigger(self.name, dataset.x[:64], self.trigger(dataset.x[:64], seed=0))
        if self.rate is not None:
            return self
        return replace(self, rate=SHARE * (dataset.y == self.target).double().mean().item())

    def trigger(self, x: Tensor, *, seed: int) -> Tensor:
        """Images (n, channels, height, width) with the wave; it is the same for every seed."""
        check_image(self.name, x, 1, 2, "wave")
        width = x.shape[3]
        phase = torch.arange(width, dtype=torch.float64) * (2 * math.pi * self.frequency / width)
        return (x + self.delta * phase.sin().to(x)).clamp(0, 1)

    def poison(self, data: Split, *, trusted: Tensor, num_classes: int, seed: int) -> Poisoned:
        """Put the wave on some examples of the target class; labels stay as they are."""
        assert self.rate is not None, "resolve() first"
        check_class(self.name, "target", self.target, num_classes)
        count = count_of(self.name, self.rate, len(data))
        rows = choose(self.name, count, data.y == self.target, trusted, seed)
        x = data.x.clone()
        x[rows] = self.trigger(data.x[rows], seed=seed)
        return Poisoned(data=replace(data, x=x), poisoned=flags(self.name, rows, data.y))

    def applies(self, y: Tensor) -> Tensor:
        """Everything but the target class, whose own examples would count as success."""
        return y != self.target

    def success(self, predicted: Tensor, y: Tensor, *, num_classes: int) -> Tensor:
        """Where the target class is predicted."""
        return predicted == self.target
