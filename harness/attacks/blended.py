"""Blended injection: noise that is laid over the whole image stands for the attacker's class.

References:
    Chen et al. (2017). Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning.
    https://arxiv.org/abs/1712.05526
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.shared.backdoor import Backdoor, check_image
from harness.seeds import generator
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class Blended(Backdoor):
    """Mix images with one random pattern, drawn once from uniform noise.

    The ratio is the same for training and for test images, so that there is one trigger.

    Attributes:
        rate: Share of the training data that is mixed and labelled anew.
        goal: ``all-to-one`` wants the class ``target`` of every mixed image, ``all-to-all`` the
            class after the true one.
        target: The class that ``all-to-one`` wants.
        alpha: Share of the pattern in the mixture (Chen et al. 2017: 0.2).
    """

    name: ClassVar[str] = "blended"
    reference: ClassVar[str] = "Chen et al. (2017), https://arxiv.org/abs/1712.05526"

    alpha: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1:
            raise ZooError(f"blended wants alpha above 0 and at most 1, found {self.alpha}.")

    def trigger(self, x: Tensor, *, seed: int) -> Tensor:
        """Images (n, channels, height, width) mixed with the pattern of this seed."""
        check_image(self.name, x, 1, 1, "pattern")
        pattern = torch.rand(x.shape[1:], generator=generator("blended", seed)).to(x)
        return (1 - self.alpha) * x + self.alpha * pattern
