"""AutoAttack: four attacks of different kinds, each on what the others have left.

Three follow gradients and one does not need them, so that a model which hides its gradients is
broken all the same, or at least found out.

References:
    Croce and Hein (2020). Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks. ICML.
    Carlini et al. (2019). On Evaluating Adversarial Robustness. arXiv:1902.06705.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from harness.attacks.apgd import APGDCE
from harness.attacks.apgd_t import APGDT
from harness.attacks.fab_t import FABT
from harness.attacks.protocol import AttackedPoints, Evaded
from harness.attacks.shared import perturbation, reliability
from harness.attacks.shared.ball import WithinBall
from harness.attacks.shared.perturbation import CLASSES
from harness.attacks.shared.redraws import DRAWS, Finds
from harness.attacks.square import Square
from harness.batches import at_once
from harness.data.examples import Split
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Aux, Risk

NEAR = 1e-3
"""Share of a perturbation within which its neighbours are: too little to change anything but the
draw."""


@dataclass(frozen=True, kw_only=True)
class AutoAttack(WithinBall):
    """The standard ensemble: APGD-CE, APGD-T, FAB-T and Square, with reasons for doubt as flags.

    With two classes APGD-T is left out. Behind a guard whose decisions are draws, no part stops at
    the first lucky one, and of all that the parts have found the input is kept that is wrong in
    most draws; see `harness.attacks.shared.redraws`. Where none is wrong in the guard's own draw, a
    few neighbours are asked about, which are drawn by themselves.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        steps: Gradient steps of APGD-CE, and towards each class of APGD-T and FAB-T.
        targets: Classes that APGD-T and FAB-T try, the most likely first.
        queries: Queries of Square about one example.
        batch_size: Inputs on the device at once.
    """

    name: ClassVar[str] = "autoattack"
    risk: ClassVar[Risk] = Risk.EVASION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Croce and Hein (2020), https://arxiv.org/abs/2003.01690"

    steps: int = 100
    targets: int = 9
    queries: int = 5000
    batch_size: int = 256

    def __post_init__(self) -> None:
        self._ensemble(CLASSES)  # which refuses settings that make no sense

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Evaded:
        """Perturbed inputs, and what makes the robustness that they show doubtful."""
        points = data.points
        x = points.x.clone()
        standing = (target.labels(x) == points.y).nonzero().squeeze(1)
        sample = points.take(standing[: at_once(points.x, self.batch_size)]).to(target.device)
        flags = reliability.of_model(target.model, sample)
        finds = Finds(target.model, x, points.y)
        for attack in self._ensemble(data.num_classes):
            if not len(standing):
                break
            left = points.take(standing)
            found = attack.run(target, replace(data, points=left), seed=seed)
            withstood = target.labels(found) == left.y
            if isinstance(attack, Square):
                had, broken = finds.unfound(standing), ~withstood
                flags += reliability.of_search(
                    int((had & broken).sum()), int(had.sum()), len(points)
                )
            x[standing] = found
            standing = standing[finds.going(standing, found, withstood)]
        if finds.is_random:
            _ask_neighbours(target, points, x, standing, finds, generator(self.name, seed))
        return Evaded(x=finds.best(x), flags=tuple(flags))

    def _ensemble(self, num_classes: int) -> list[APGDCE | APGDT | FABT | Square]:
        ball: dict[str, Any] = {
            "epsilon": self.epsilon, "norm": self.norm, "batch_size": self.batch_size,
        }  # fmt: skip
        targeted: dict[str, Any] = {**ball, "steps": self.steps, "targets": self.targets}
        found: list[APGDCE | APGDT | FABT | Square] = [APGDCE(**ball, steps=self.steps)]
        if num_classes >= CLASSES:
            found.append(APGDT(**targeted))
        return [*found, FABT(**targeted), Square(**ball, queries=self.queries)]


def _ask_neighbours(
    target: BlackBox,
    points: Split,
    x: Tensor,
    standing: Tensor,
    finds: Finds,
    stream: torch.Generator,
) -> None:
    """Ask about inputs beside the perturbed ones ``x`` until one is drawn wrongly, or often enough.

    Args:
        target: Behind a guard that draws.
        points: The examples.
        x: What they have become, the shape of ``points.x``.
        standing: (m,) int64, which examples are still tried.
        finds: Of the examples; takes in what is found.
        stream: Of the neighbours.
    """
    for _ in range(DRAWS):
        left = standing[finds.unfound(standing)]
        if not len(left):
            return
        origin, y = points.x[left], points.y[left]
        less = NEAR * torch.rand(len(left), generator=stream).to(x.device)
        tried = x[left] - perturbation.per_example(less, origin) * (x[left] - origin)
        finds.going(left, tried, target.labels(tried) == y)
