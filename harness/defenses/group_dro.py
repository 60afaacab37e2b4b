"""Group DRO: train for the group that is served worst.

References:
    Sagawa, Koh, Hashimoto and Liang (2020). Distributionally Robust Neural Networks for Group
    Shifts: On the Importance of Regularization for Worst-Case Generalization. ICLR.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.data.examples import UNKNOWN, Split
from harness.defenses.shared.sensitive_attribute import OfAttribute
from harness.types import Part, Risk
from zoo.errors import ZooError

if TYPE_CHECKING:
    from harness.defenses.shared.defender import DefenderData
    from harness.learning.fit import LossOf


@dataclass(frozen=True, kw_only=True)
class GroupDRO(OfAttribute):
    """Weigh the groups of a batch, and shift weight in every step to those with a larger loss.

    A group is a value of the attribute and a class. Batches are drawn as the recipe says, where the
    authors draw every group equally often: a rare group is missing from many batches, and keeps its
    weight meanwhile. Their weights then move more slowly than with the same step size there, and
    the loss of a rare group is an average over few examples. Examples that nobody is behind, such
    as marks, count as in ordinary training. A step that is released by itself has even weights.

    DP-SGD clips what counts more down to what the others have, so that little is left of the
    weights unless its max_grad_norm is large.

    A large network fits every group of its training data, and is no better for the worst one on
    others unless it is kept from that (the paper's main point): strong weight decay or few epochs.

    Attributes:
        attribute: The sensitive attribute, or several crossed, such as ``sex+race``; the dataset's
            first one if not given.
        step_size: How fast the weights move: a group's is multiplied by exp(step_size * loss). The
            authors take 0.01.
        adjustment: Added to a group's loss, divided by the root of its size, where the weights are
            decided: a small group does worse on others than on what it is trained on. The authors
            try 0 to 5.
    """

    name: ClassVar[str] = "group-dro"
    guards: ClassVar[Risk] = Risk.DISCRIMINATORY_BEHAVIOR
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.LOSS})
    looks_at: ClassVar[str] = "the losses of whole batches, by which groups are weighed"
    reference: ClassVar[str] = "Sagawa et al. (2020), https://arxiv.org/abs/1911.08731"

    step_size: float = 0.01
    adjustment: float = 0.0

    def __post_init__(self) -> None:
        for name, value, fits in (
            ("step_size above 0", self.step_size, self.step_size > 0),
            ("adjustment of at least 0", self.adjustment, self.adjustment >= 0),
        ):
            if not (fits and math.isfinite(value)):
                raise ZooError(f"group-dro wants {name}, found {value}.")

    def loss_for(self, defender: DefenderData) -> LossOf:
        """A loss that starts with even weights.

        Raises:
            NotApplicableError: The training data have no attributes.
        """
        groups = self.groups(defender.data)
        k = defender.num_classes
        known = groups.values != UNKNOWN
        sizes = (groups.values * k + defender.data.y)[known].bincount(
            minlength=len(groups.names) * k
        )
        weights = GroupWeights(sizes, step_size=self.step_size, adjustment=self.adjustment)

        def loss(model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
            found = F.cross_entropy(model(batch.x), batch.y, reduction="none")
            values = self.groups(batch).values
            cell = torch.where(values == UNKNOWN, UNKNOWN, values * k + batch.y)
            return weights.of(found.detach(), cell) * found

        return loss


class GroupWeights:
    """How much each group counts, from step to step.

    Args:
        sizes: Examples of each group in the training data, (groups,) int64.
        step_size: See `GroupDRO`.
        adjustment: See `GroupDRO`.
    """

    def __init__(self, sizes: Tensor, *, step_size: float, adjustment: float) -> None:
        # Groups that nobody is in take no part.
        self.q = (sizes > 0).double() / (sizes > 0).sum()
        self._step_size = step_size
        self._extra = adjustment / sizes.clamp(min=1).double().sqrt()

    def of(self, losses: Tensor, groups: Tensor) -> Tensor:
        """Take a step of the weights and give how much each example of a batch counts, (b,).

        The mean of so many times the losses is the sum over groups of weight times mean loss, if
        everybody is in a group.

        Args:
            losses: Of the batch, (b,), without gradients.
            groups: (b,) int64, `UNKNOWN` of examples in none; these count 1.
        """
        known = groups != UNKNOWN
        index = groups.clamp(min=0)
        count = torch.zeros_like(self.q).index_add_(0, index, known.double())
        total = torch.zeros_like(self.q).index_add_(0, index, known * losses.double())
        mean = total / count.clamp(min=1)
        q = self.q * torch.where(count > 0, self._step_size * (mean + self._extra), 0.0).exp()
        self.q = q / q.sum()
        share = known.sum() * self.q / count.clamp(min=1)
        return torch.where(known, share[index], 1.0).to(losses.dtype)
