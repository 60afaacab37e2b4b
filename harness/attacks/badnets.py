"""BadNets: a bright patch in a corner stands for the attacker's class.

References:
    Gu, Dolan-Gavitt and Garg (2017). BadNets: Identifying Vulnerabilities in the Machine Learning
    Model Supply Chain. https://arxiv.org/abs/1708.06733
    Li et al. (2021). Neural Attention Distillation: Erasing Backdoor Triggers from Deep Neural
    Networks. ICLR. https://arxiv.org/abs/2101.05930 (the grid)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.attacks.shared.backdoor import Backdoor, check_image
from zoo.errors import ZooError

GRID = ((0, 0, 1), (0, 1, 0), (1, 0, 1))
"""The grid of the lower right corner; cells with 1 are bright, the others dark."""


@dataclass(frozen=True, kw_only=True)
class BadNets(Backdoor):
    """Stamp a bright patch or a grid of bright and dark cells on the corner of images.

    Attributes:
        rate: Share of the training data that is stamped and labelled anew.
        goal: ``all-to-one`` wants the class ``target`` of every stamped image, ``all-to-all`` the
            class after the true one.
        target: The class that ``all-to-one`` wants.
        pattern: ``patch`` is bright all over, ``grid`` has 3 x 3 cells as in Li et al. (2021).
        size: Pixels along a side; a multiple of 3 for the grid.
        corner: ``lower-right``, ``lower-left``, ``upper-right`` or ``upper-left``; the pattern is
            mirrored with it.
    """

    name: ClassVar[str] = "badnets"
    reference: ClassVar[str] = "Gu et al. (2017), https://arxiv.org/abs/1708.06733"

    pattern: Literal["patch", "grid"] = "patch"
    size: int = 3
    corner: Literal["lower-right", "lower-left", "upper-right", "upper-left"] = "lower-right"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise ZooError(f"badnets wants a size of at least 1, found {self.size}.")
        if self.pattern == "grid" and self.size % 3:
            raise ZooError(
                f"badnets wants a size that is a multiple of 3 for the grid, found {self.size}."
            )

    def trigger(self, x: Tensor, *, seed: int) -> Tensor:
        """Images (n, channels, height, width) with the stamp; it is the same for every seed."""
        check_image(self.name, x, self.size, self.size, "trigger")
        vertical, horizontal = self.corner.split("-")
        rows = slice(-self.size, None) if vertical == "lower" else slice(self.size)
        columns = slice(-self.size, None) if horizontal == "right" else slice(self.size)
        stamped = x.clone()
        stamped[:, :, rows, columns] = self._stamp(vertical, horizontal).to(x)
        return stamped

    def _stamp(self, vertical: str, horizontal: str) -> Tensor:
        if self.pattern == "patch":
            return torch.ones(self.size, self.size)
        cell = self.size // 3
        stamp = torch.tensor(GRID).repeat_interleave(cell, 0).repeat_interleave(cell, 1)
        mirrored = [d for d, flip in ((0, vertical == "upper"), (1, horizontal == "left")) if flip]
        return stamp.flip(mirrored)
