"""A privacy audit with canaries: planted examples show the most that training gives away.

The auditor chooses some training examples, makes canaries of them, and tosses a coin for each:
heads, it stays in the training data, tails, it is left out. From the trained model's answers the
auditor says which is which; nothing but memory can tell, since a canary resembles no other example.

References:
    Steinke, Nasr and Jagielski (2023). Privacy Auditing with One (1) Training Run. NeurIPS.
    Aerni, Zhang and Tramèr (2024). Evaluations of Machine Learning Privacy Defenses are Misleading.
    CCS. https://arxiv.org/abs/2404.17399
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.attacks.lira import confidence
from harness.attacks.protocol import AttackedPoints, Poisoned
from harness.attacks.shared.attacker_data import Canaries
from harness.attacks.shared.backdoor import check_rate, choose, count_of, flags
from harness.data.examples import Split
from harness.data.random_inputs import uniform
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class CanaryAudit:
    """Plant canaries, and score each by the target's confidence in its label.

    Attributes:
        rate: Share of the training data that become canaries, half of which are trained on.
        kind: ``mislabelled`` gives training examples a random wrong label, ``noise`` replaces them
            by uniform noise with a random label; in a table, by rows of random values.
        guessed: Share of the canaries that the auditor says something about: half of them in, by
            the highest scores, half of them out, by the lowest.
        dp_delta: Of the budget, where the target's defense does not claim one itself.
    """

    name: ClassVar[str] = "canary-audit"
    risk: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Steinke et al. (2023), https://arxiv.org/abs/2305.08846"

    rate: float = 0.2
    kind: Literal["mislabelled", "noise"] = "mislabelled"
    guessed: float = 0.5
    dp_delta: float = 1e-5

    def __post_init__(self) -> None:
        check_rate(self.name, self.rate)
        if not self.rate:
            raise ZooError("canary-audit wants a rate above 0: no canary shows nothing.")
        if not 0 < self.guessed <= 1:
            raise ZooError(
                f"canary-audit wants guessed above 0 and at most 1, found {self.guessed}."
            )
        if not 0 <= self.dp_delta < 1:
            raise ZooError(
                f"canary-audit wants dp_delta of at least 0 and below 1, found {self.dp_delta}."
            )

    def canaries(self, data: Split, *, trusted: Tensor, num_classes: int, seed: int) -> Canaries:
        """The canaries among ``data``, and the coins that were tossed for them.

        Args:
            data: The training data.
            trusted: Indices (m,) that are left alone.
            num_classes: Labels are 0 .. num_classes - 1.
            seed: Of everything random.

        Raises:
            ZooError: There are too few examples or classes.
        """
        if num_classes < 2:
            raise ZooError(f"{self.name} wants data of at least two classes, found {num_classes}.")
        count = count_of(self.name, self.rate, len(data))
        rows = choose(self.name, count, torch.ones_like(data.y, dtype=torch.bool), trusted, seed)
        stream = generator(self.name, seed)
        included = torch.rand(count, generator=stream) < 0.5
        x, y = data.x[rows], data.y[rows]
        if self.kind == "mislabelled":
            shift = torch.randint(1, num_classes, (count,), generator=stream)
            y = (y + shift.to(y.device)) % num_classes
        else:
            x = uniform(count, x.shape[1:], data.columns, stream).to(x.device)
            y = torch.randint(num_classes, (count,), generator=stream).to(y.device)
        points = replace(data.take(rows), x=x, y=y)
        return Canaries(rows=rows, points=points, included=included.to(y.device))

    def poison(self, data: Split, *, trusted: Tensor, num_classes: int, seed: int) -> Poisoned:
        """The data with the canaries that are put in, without those that are left out."""
        found = self.canaries(data, trusted=trusted, num_classes=num_classes, seed=seed)
        changed = flags(self.name, found.rows, data.y)
        x, y = data.x.clone(), data.y.clone()
        x[found.rows], y[found.rows] = found.points.x, found.points.y
        kept = torch.ones_like(changed)
        kept[found.rows] = found.included
        return Poisoned(
            data=replace(data, x=x, y=y).take(kept), poisoned=changed[kept], left_out=~kept
        )

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """The target's confidence in each canary's label, (m,) float64; ``seed`` has no effect."""
        return confidence(target.scores(data.points.x), data.points.y)
