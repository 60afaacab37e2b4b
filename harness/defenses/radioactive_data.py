"""Radioactive data: training images are moved a little, so that a model trained on them shows it.

For each class a random direction, its carrier, is drawn in the feature space of a marking network.
Images of the class are changed, within a radius, so that their features move along it. A network
trained on them uses the carrier to recognise the class.

Sablayrolles et al. look for the carriers in the rows of the suspect's last layer, after aligning
its features with the marking network's, or compare the suspect's loss on marked and other images.
This is a sharper form of the second, which needs scores only and no alignment: fresh images are
marked with the carrier of their class and with decoys, directions from the same draw, and the
carrier's rank is the p-value, exact for a suspect that was made without the marks. The classes'
carriers are independent, and their p-values are combined by Fisher's method.

References:
    Sablayrolles et al. (2020). Radioactive Data: Tracing Through Training. ICML.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor, nn

from harness.attacks.shared import perturbation, tabular_perturbation
from harness.data.examples import Split
from harness.defenses.protocol import Cleaned
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.ownership import Owner, margins
from harness.learning.features import features, head
from harness.metrics.ownership import Verification
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import NotApplicableError, Part, Risk
from zoo.errors import ZooError

if TYPE_CHECKING:
    from harness.data.dataset import Dataset

BATCH = 1024
"""Images on the marking network at once."""


@dataclass(frozen=True, kw_only=True)
class RadioactiveData:
    """Mark a share of the training images, and look for the marks' directions in a suspect.

    Of a row of a table, the numbers are moved and the categories stay.

    Attributes:
        rate: Share of the training images that is marked.
        radius: How far a pixel may move, in units of the pixel range; digits of 8x8 pixels need
            0.2, photographs 10 / 255 (Sablayrolles et al. 2020).
        steps: Gradient steps that move an image.
        images: How many unseen images of each class are marked to test a suspect, at most.
        decoys: Other directions that each carrier is compared with.
        independents: How many independent models the false claims are counted on.
    """

    name: ClassVar[str] = "radioactive-data"
    guards: ClassVar[Risk] = Risk.EXTRACTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA, Part.EVIDENCE})
    looks_at: ClassVar[str] = "the checked examples, on which its marking network is trained"
    reference: ClassVar[str] = "Sablayrolles et al. (2020), https://arxiv.org/abs/2002.00937"

    rate: float = 0.5
    radius: float = 0.2
    steps: int = 3
    images: int = 10
    decoys: int = 199
    independents: int = 20

    def __post_init__(self) -> None:
        for name in ("rate", "radius"):
            if not 0 < getattr(self, name) <= 1:
                raise ZooError(
                    f"radioactive-data wants {name} in (0, 1], found {getattr(self, name)}."
                )
        for name in ("steps", "images", "decoys", "independents"):
            if getattr(self, name) < 1:
                raise ZooError(
                    f"radioactive-data wants {name} of at least 1, found {getattr(self, name)}."
                )

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse data of which nothing can be moved.

        Raises:
            NotApplicableError: Every column of the table has categories.
        """
        tabular_perturbation.check(self.name, dataset)
        return self

    def clean(self, data: Split, defender: DefenderData) -> Cleaned:
        """``data`` with a share of its images marked, labels as they are."""
        order = torch.randperm(
            len(data), generator=generator("radioactive", "share", defender.seed)
        )
        chosen = order[: round(self.rate * len(data))].to(data.x.device)
        if not len(chosen):
            raise NotApplicableError(
                f"radioactive-data would mark none of {len(data)} images at rate {self.rate:g}. "
                f"Raise its rate."
            )
        network = self.marking_network(defender)
        carriers = self.carriers(network, data.x, defender)
        x = data.x.clone()
        x[chosen] = self._marked(network, data.take(chosen), carriers[data.y[chosen]])
        return Cleaned(data=replace(data, x=x), notes={"marked": len(chosen)})

    def verifier(self, owner: Owner) -> Callable[[BlackBox], Verification]:
        """Ranks the effect of each class's carrier among decoys.

        ``statistic`` is how far the carriers' effects are from the decoys' mean, in standard
        deviations of the decoys', on average over the classes.
        """
        from scipy.stats import chi2

        network = self.marking_network(owner.defender)
        own = self.carriers(network, owner.unseen.x, owner.defender)
        stream = generator("radioactive", "decoys", owner.defender.seed)
        sets: list[tuple[int, Tensor]] = []  # class, (decoys + 1, images, ...)
        for c in range(owner.defender.num_classes):
            unseen = owner.unseen.take((owner.unseen.y == c).nonzero()[: self.images, 0])
            if not len(unseen):
                continue
            carriers = torch.cat([own[c : c + 1], _directions(self.decoys, own[c : c + 1], stream)])
            again = torch.arange(len(unseen), device=unseen.y.device).repeat(len(carriers))
            marked = self._marked(
                network, unseen.take(again), carriers.repeat_interleave(len(unseen), 0)
            )
            sets.append((c, marked.view(len(carriers), *unseen.x.shape)))
        if not sets:
            raise NotApplicableError("radioactive-data wants unseen examples, found none.")

        def verify(suspect: BlackBox) -> Verification:
            p_values, effects = [], []
            for c, marked in sets:
                flat = marked.flatten(0, 1)
                odds = margins(suspect.scores(flat), flat.new_full((len(flat),), c).long())
                effect = odds.view(marked.shape[:2]).mean(1)
                above = int((effect[1:] >= effect[0]).sum())
                p_values.append((above + 1) / (self.decoys + 1))
                spread = effect[1:].std().clamp_min(1e-12)
                effects.append(float((effect[0] - effect[1:].mean()) / spread))
            return Verification(
                p_value=float(chi2.sf(-2 * sum(map(math.log, p_values)), 2 * len(p_values))),
                statistic=sum(effects) / len(effects),
            )

        return verify

    def _marked(self, network: nn.Module, data: Split, carriers: Tensor) -> Tensor:
        """Images, the features of each moved along its row of ``carriers`` (n, width)."""
        return torch.cat(
            [
                self._move(network, x, u, tabular_perturbation.movable(x, data.columns))
                for x, u in zip(data.x.split(BATCH), carriers.split(BATCH), strict=True)
            ]
        )

    def _move(self, network: nn.Module, start: Tensor, carriers: Tensor, free: Tensor) -> Tensor:
        seen: list[Tensor] = []
        hook = head(network, start).register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0].flatten(1))
        )
        x = start
        try:
            for _ in range(self.steps):
                x = x.detach().requires_grad_()
                network(x)
                ascent = torch.autograd.grad((seen.pop() * carriers).sum(), x)[0].sign()
                x = x.detach() + 2.5 * self.radius / self.steps * ascent * free
                x = perturbation.project(x, start, self.radius, "linf")
        finally:
            hook.remove()
        return x

    def marking_network(self, defender: DefenderData) -> nn.Module:
        """A network trained on the images that the owner has checked, the same at each call."""
        return defender.train(defender.trusted).requires_grad_(False)

    def carriers(self, network: nn.Module, x: Tensor, defender: DefenderData) -> Tensor:
        """Directions (num_classes, width), drawn evenly from the unit sphere."""
        like = features(network, x[:1])
        return _directions(
            defender.num_classes, like, generator("radioactive", "carriers", defender.seed)
        )


def _directions(count: int, like: Tensor, stream: torch.Generator) -> Tensor:
    """Directions (count, width) drawn evenly from the unit sphere, on the device of ``like``."""
    drawn = torch.randn((count, like.shape[1]), generator=stream)
    return (drawn / drawn.norm(dim=1, keepdim=True)).to(like.device)
