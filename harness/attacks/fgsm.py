"""The fast gradient sign method: one step of full length along the loss's gradient.

References:
    Goodfellow, Shlens and Szegedy (2015). Explaining and Harnessing Adversarial Examples. ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared import perturbation
from harness.attacks.shared.ball import WithinBall
from harness.batches import at_once
from harness.target import BlackBox
from harness.types import Access, Aux, Risk


@dataclass(frozen=True, kw_only=True)
class FGSM(WithinBall):
    """Move every input by ``epsilon`` in the direction that raises its loss fastest.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        batch_size: Inputs on the device at once.
    """

    name: ClassVar[str] = "fgsm"
    risk: ClassVar[Risk] = Risk.EVASION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Goodfellow et al. (2015), https://arxiv.org/abs/1412.6572"

    batch_size: int = 256

    def __post_init__(self) -> None:
        perturbation.check_counts(self, "batch_size")

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """Perturbed inputs, the shape of ``data.points.x``; ``seed`` has no effect."""
        assert self.epsilon is not None, "resolve() first"
        model, points = target.model, data.points
        out = torch.empty_like(points.x)
        for index in torch.arange(len(points), device=out.device).split(
            at_once(points.x, self.batch_size)
        ):
            batch = points.take(index).to(target.device)
            step = perturbation.direction(
                perturbation.input_gradient(model, batch.x, batch.y), self.norm
            )
            moved = batch.x + self.epsilon * step
            out[index] = perturbation.project(moved, batch.x, self.epsilon, self.norm).to(
                out.device
            )
        return out
