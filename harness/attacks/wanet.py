"""WaNet: a slight bending of the image stands for the attacker's class.

References:
    Nguyen and Tran (2021). WaNet - Imperceptible Warping-based Backdoor Attack. ICLR.
    https://arxiv.org/abs/2102.10369
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from harness.attacks.protocol import Poisoned
from harness.attacks.shared.backdoor import Backdoor, check_image, choose, count_of, flags
from harness.data.examples import Split
from harness.seeds import generator
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class WaNet(Backdoor):
    """Bend images along one smooth random field, drawn once.

    Beside the images that are bent and labelled anew, others are bent by the same field with an
    error of up to half a pixel in every place, and keep their labels: the model is to know this
    field and not any bending. The paper draws both anew in every step of training, which it
    controls; here they are drawn once, as the attacker only has the data. With few examples that
    noise hides the field: digits of 8x8 pixels want ``strength=2``, ``noise=0`` and ``rate=0.1``.

    Attributes:
        rate: Share of the training data that is bent, with the new label or with the old one
            (Nguyen and Tran 2021: 0.1 and 0.2).
        goal: ``all-to-one`` wants the class ``target`` of every bent image, ``all-to-all`` the
            class after the true one.
        target: The class that ``all-to-one`` wants.
        grid: Points along a side at which the field is drawn (k = 4 in the paper).
        strength: Mean displacement at those points in half pixels (s = 0.5 in the paper).
        noise: Images with the old label for each one with the new label (2 in the paper).
    """

    name: ClassVar[str] = "wanet"
    reference: ClassVar[str] = "Nguyen and Tran (2021), https://arxiv.org/abs/2102.10369"

    rate: float = 0.3
    grid: int = 4
    strength: float = 0.5
    noise: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid < 2:
            raise ZooError(f"wanet wants a grid of at least 2, found {self.grid}.")
        if not self.strength > 0:
            raise ZooError(f"wanet wants a strength above 0, found {self.strength}.")
        if not self.noise >= 0:
            raise ZooError(f"wanet wants noise of at least 0, found {self.noise}.")

    def trigger(self, x: Tensor, *, seed: int) -> Tensor:
        """Images (n, channels, height, width) bent along the field of this seed."""
        return _bend(x, self._places(x, seed).expand(len(x), -1, -1, -1))

    def poison(self, data: Split, *, trusted: Tensor, num_classes: int, seed: int) -> Poisoned:
        """Bend some images of other classes and relabel them; bend some of any class askew."""
        self._check(num_classes)
        count = count_of(self.name, self.rate, len(data))
        relabelled = round(count / (1 + self.noise))
        rows = choose(self.name, relabelled, self.applies(data.y), trusted, seed)
        rest = torch.ones_like(data.y, dtype=torch.bool)
        rest[rows] = False
        askew = choose(self.name, count - relabelled, rest, trusted, seed)
        x, y = data.x.clone(), data.y.clone()
        x[rows] = self.trigger(data.x[rows], seed=seed)
        x[askew] = self._askew(data.x[askew], seed)
        y[rows] = self.wanted(data.y[rows], num_classes)
        changed = flags(self.name, torch.cat([rows, askew]), data.y)
        return Poisoned(data=replace(data, x=x, y=y), poisoned=changed)

    def _askew(self, x: Tensor, seed: int) -> Tensor:
        height, width = x.shape[2:]
        shape = (len(x), height, width, 2)
        error = torch.rand(shape, generator=generator("wanet noise", seed)) * 2 - 1
        size = torch.tensor([width, height])
        return _bend(x, self._places(x, seed) + (error / size).to(x))

    def _places(self, x: Tensor, seed: int) -> Tensor:
        """Where each pixel is taken from: (1, height, width, 2) in [-1, 1], column first."""
        check_image(self.name, x, self.grid, self.grid, "grid")
        height, width = x.shape[2:]
        field = torch.rand(1, 2, self.grid, self.grid, generator=generator("wanet", seed)) * 2 - 1
        field = field / field.abs().mean()
        field = F.interpolate(field, (height, width), mode="bicubic", align_corners=True)
        rows, columns = torch.meshgrid(
            torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
        )
        size = torch.tensor([width, height])
        places = torch.stack([columns, rows], 2) + self.strength * field.permute(0, 2, 3, 1) / size
        return places.clamp(-1, 1).to(x)


def _bend(x: Tensor, places: Tensor) -> Tensor:
    bent = F.grid_sample(x, places.clamp(-1, 1), mode="bilinear", align_corners=True)
    return bent.clamp(0, 1)  # rounding
