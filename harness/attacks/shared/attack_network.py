"""What membership attacks by a trained network share: what they learn from, and how.

References:
    Shokri et al. (2017). Membership Inference Attacks Against Machine Learning Models. IEEE S&P.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.attacks.shared import convergence
from harness.attacks.shared.attacker_data import Candidates
from harness.batches import parts
from harness.data.examples import Split
from harness.learning.fit import fit
from harness.seeds import derive, generator, seeded
from harness.target import BlackBox
from harness.types import Risk
from zoo.errors import ZooError
from zoo.nets.sequential import mlp
from zoo.recipe import Recipe

ATTEMPTS = 3
"""Networks that are tried before the attack is called off."""

SMALLEST_DEVIATION = 1e-6
"""Of a feature; what differs by less is the same everywhere."""


@dataclass(frozen=True, kw_only=True)
class AttackNetwork(ABC):
    """An attack that learns from answers about examples whose membership it knows.

    These are the attacker's own examples: the shadow models' members and non-members among them
    or, without shadow models, the target's.

    Attributes:
        lr: Learning rate of Adam.
        epochs: Passes over the known examples.
        batch_size: Known examples per step. If not given it is 64, or a hundredth of them where
            that is more.
    """

    name: ClassVar[str]
    risk: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    standardised: ClassVar[bool] = True
    """Whether what is seen is scaled to mean 0 and deviation 1, feature by feature."""

    lr: float = 1e-3
    epochs: int = 20
    batch_size: int | None = None

    def __post_init__(self) -> None:
        self.recipe(1)

    def recipe(self, examples: int) -> Recipe:
        """How the network is trained on so many examples."""
        size = self.batch_size
        if size is None:
            size = max(64, math.ceil(examples / 100))
        return Recipe(lr=self.lr, epochs=self.epochs, batch_size=size)

    def check_questions(
        self, *, numbers: int, candidates: int, budget: int | None, shadows: int
    ) -> None:
        """Refuse a budget that leaves no answer about a known member and a known non-member.

        Raises:
            ZooError: It is so.
        """
        if not shadows and budget is not None and budget < candidates + 2:
            raise ZooError(
                f"{self.name} learns from the target's answers to known members and non-members, "
                f"but after {candidates} candidates the query budget of {budget} leaves "
                f"{max(0, budget - candidates)}. Raise --queries."
            )

    @abstractmethod
    def see(self, box: BlackBox, examples: Split) -> Tensor:
        """What the network is shown of a model's answers to ``examples``, (n, width)."""

    @abstractmethod
    def build(self, width: int, num_classes: int) -> nn.Module:
        """A fresh network from features (n, width) to two logits, non-member and member."""

    def run(self, target: BlackBox, data: Candidates, *, seed: int) -> Tensor:
        """The network's log-odds of membership, (n,).

        Raises:
            ZooError: The attacker knows no member, or no non-member.
            RuntimeError: Every network that was tried has lost all its units.
        """
        known = data.aux
        if data.shadows:
            teachers = [(shadow.box, shadow.aux_members) for shadow in data.shadows]
        else:
            row = affordable(target, data, seed=seed)
            known, teachers = known.take(row), [(target, data.aux_member[row])]
        member = torch.cat([members for _, members in teachers]).long()
        counts = torch.bincount(member, minlength=2)
        if not counts.all():
            raise ZooError(
                f"{self.name} learns from known members and non-members, but knows {counts[1]} and "
                f"{counts[0]}. Give the attacker more data, or raise --queries."
            )
        seen = torch.cat([self.see(box, known) for box, _ in teachers])
        asked = self.see(target, data.points)
        if self.standardised:
            mean, deviation = seen.mean(0), seen.std(0).clamp_min(SMALLEST_DEVIATION)
            seen, asked = (seen - mean) / deviation, (asked - mean) / deviation
        weight = len(member) / (2 * counts)  # a shadow has three non-members for each member
        for attempt in range(ATTEMPTS):
            with seeded("attack network", seed, attempt):
                network = self.build(seen.shape[1], data.num_classes).to(seen.device)
            fit(
                network,
                Split(seen, member),
                self.recipe(len(seen)),
                seed=derive("attack network", seed),
                loss=lambda net, batch, _: F.cross_entropy(
                    net(batch.x), batch.y, weight, reduction="none"
                ),
            )
            logits = answers(network, asked)
            # Where there is little to learn, a network may lose its units one by one.
            if (logits != logits[0]).any() or not (asked != asked[0]).any():
                convergence.fits(
                    data,
                    "the attack's network",
                    answers(network, seen).softmax(1),
                    F.one_hot(member, 2),
                    weight[member],
                )
                return logits[:, 1] - logits[:, 0]
        raise RuntimeError(f"{self.name}: {ATTEMPTS} networks give every candidate the same answer")


def affordable(target: BlackBox, data: Candidates, *, seed: int) -> Tensor:
    """The attacker's examples that the budget has room for, once all candidates were asked about.

    Returns:
        Indices (m,) int64 into ``data.aux``: all of them without a budget, else a random choice.
    """
    order = torch.arange(len(data.aux))
    if target.budget is not None:
        order = torch.randperm(len(data.aux), generator=generator("known", seed))
        order = order[: max(0, target.budget - len(data.points))]
    return order.to(data.aux.y.device)


@torch.no_grad()
def answers(network: nn.Module, x: Tensor, *, batch_size: int = 1024) -> Tensor:
    """What a network in eval mode gives for inputs (n, ...) on its device."""
    return torch.cat([network(part) for part in parts(x, batch_size)])


class Branches(nn.Module):
    """A 2-layer perceptron for each kind of feature, and a 4-layer one for what they find.

    The numbers of layers are those of Liu et al. (2022), ML-Doctor, which leaves the widths open.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.widths = widths
        self.branches = nn.ModuleList(mlp((width,), 64, hidden=(128,)) for width in widths)
        self.head = mlp((64 * len(widths),), 2, hidden=(256, 128, 64))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, 2) of features (n, sum of the widths)."""
        parts = x.split(self.widths, 1)
        found = [branch(part) for branch, part in zip(self.branches, parts, strict=True)]
        return self.head(torch.cat(found, 1))
