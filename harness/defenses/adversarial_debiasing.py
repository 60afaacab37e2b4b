"""Adversarial debiasing: answer so that an adversary cannot tell the group from the answers.

References:
    Zhang, Lemoine and Mitchell (2018). Mitigating Unwanted Biases with Adversarial Learning. AIES.
    Louppe, Kagan and Cranmer (2017). Learning to Pivot with Adversarial Networks. NeurIPS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.data.examples import UNKNOWN, Split
from harness.defenses.shared.sensitive_attribute import OfAttribute
from harness.seeds import seeded
from harness.types import NotApplicableError, Part, Risk
from zoo.errors import ZooError

if TYPE_CHECKING:
    from harness.defenses.shared.defender import DefenderData
    from harness.learning.fit import LossOf


@dataclass(frozen=True, kw_only=True)
class AdversarialDebiasing(OfAttribute):
    """Subtract from each example's loss how wrong an adversary is about its group.

    The adversary is a small network that takes a step of its own on every batch before its error
    counts. It sees the scores: on logits the model wins by making them large, and on digits that
    ended most trainings. Its error is the cross-entropy with all groups weighed the same, as a
    share of that of guessing among the groups that are there, so that one weight fits attributes of
    any number of values.

    This is the minimax game of Louppe et al. Zhang et al. also take from the model's gradient its
    part along the adversary's, so that no step of the model helps the adversary. That needs the
    gradients of a whole batch, where a loss of single examples is wanted here, which DP-SGD can
    clip; a larger weight stands in its place. Examples that nobody is behind, such as marks, have
    ordinary cross-entropy. A step that is released by itself is against an adversary that has just
    begun.

    Attributes:
        attribute: The sensitive attribute, or several crossed, such as ``sex+race``; the dataset's
            first one if not given.
        constraint: With ``equalized-odds`` the adversary is told the label: groups may be answered
            differently as far as their labels are different. With ``demographic-parity`` not.
        weight: Of the adversary's error.
        hidden: Width of the adversary.
        lr: Its learning rate, with Adam.
    """

    name: ClassVar[str] = "adversarial-debiasing"
    guards: ClassVar[Risk] = Risk.DISCRIMINATORY_BEHAVIOR
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.LOSS})
    looks_at: ClassVar[str] = "whole batches, on which its adversary is trained"
    reference: ClassVar[str] = "Zhang et al. (2018), https://arxiv.org/abs/1801.07593"

    constraint: Literal["equalized-odds", "demographic-parity"] = "equalized-odds"
    weight: float = 1.0
    hidden: int = 32
    lr: float = 0.01

    def __post_init__(self) -> None:
        for name in ("weight", "lr"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ZooError(f"{self.name} wants {name} above 0, found {value}.")
        if self.hidden < 1:
            raise ZooError(f"{self.name} wants hidden of at least 1, found {self.hidden}.")

    def loss_for(self, defender: DefenderData) -> LossOf:
        """A loss with an adversary that has learned nothing yet.

        Raises:
            NotApplicableError: The training data have no attributes, or one that is the same for
                all.
        """
        groups = self.groups(defender.data)
        known = groups.values != UNKNOWN
        if len(groups.values[known].unique()) < 2:
            raise NotApplicableError(
                f"{self.name} needs two groups, but the {self.attribute or 'attribute'} is the "
                f"same for all training examples. Choose another attribute."
            )
        sizes = torch.zeros(len(groups.names), defender.num_classes, device=known.device)
        one = torch.ones_like(known[known], dtype=sizes.dtype)
        sizes.index_put_((groups.values[known], defender.data.y[known]), one, accumulate=True)
        adversary = Adversary(
            sizes,
            told_label=self.constraint == "equalized-odds",
            hidden=self.hidden,
            lr=self.lr,
            seed=defender.seed,
        )

        def loss(model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
            values = self.groups(batch).values
            logits = model(batch.x)
            scores = logits.softmax(1)
            adversary.learn(scores.detach(), batch.y, values)
            wrong = adversary.error(scores, batch.y, values)
            return F.cross_entropy(logits, batch.y, reduction="none") - self.weight * wrong

        return loss


class Adversary:
    """Tells groups by scores.

    Args:
        sizes: Examples of each group and class in the training data, (groups, classes).
        told_label: Whether it sees the label too.
        hidden: Width.
        lr: Learning rate of Adam.
        seed: Of its initialisation.
    """

    def __init__(
        self, sizes: Tensor, *, told_label: bool, hidden: int, lr: float, seed: int
    ) -> None:
        groups, classes = sizes.shape
        self._told_label = told_label
        if not told_label:
            sizes = sizes.sum(1, keepdim=True).expand(-1, classes)
        there = (sizes > 0).sum(0).clamp(min=1)
        # All groups (of a class) weigh the same, and a guess is wrong by 1 on average.
        self._weights = sizes.sum(0) / (there * sizes.clamp(min=1)) / there.clamp(min=2).log()
        with seeded("adversary", seed):
            self._net = nn.Sequential(
                nn.Linear(classes * (2 if told_label else 1), hidden),
                nn.ReLU(),
                nn.Linear(hidden, groups),
            ).to(sizes.device)
        self._optimizer = torch.optim.Adam(self._net.parameters(), lr=lr)

    def error(self, scores: Tensor, y: Tensor, groups: Tensor) -> Tensor:
        """How wrong it is about each example, (b,); only the scores are differentiated.

        Args:
            scores: The model's, (b, classes).
            y: Labels (b,).
            groups: (b,) int64, `UNKNOWN` of examples in none; their error is 0.
        """
        self._net.requires_grad_(False)
        return self._error(scores, y, groups)

    def learn(self, scores: Tensor, y: Tensor, groups: Tensor) -> None:
        """Take a step towards telling these examples' groups; see `error`."""
        self._net.requires_grad_(True)
        self._optimizer.zero_grad()
        with torch.enable_grad():
            self._error(scores, y, groups).mean().backward()
        self._optimizer.step()

    def _error(self, scores: Tensor, y: Tensor, groups: Tensor) -> Tensor:
        seen = scores
        if self._told_label:
            seen = torch.cat([scores, F.one_hot(y, scores.shape[1]).to(scores.dtype)], 1)
        known, index = groups != UNKNOWN, groups.clamp(min=0)
        entropy = F.cross_entropy(self._net(seen), index, reduction="none")
        return torch.where(known, self._weights[index, y] * entropy, 0.0)
