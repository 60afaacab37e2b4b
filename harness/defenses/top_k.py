"""Top k: answer with the scores of the likeliest classes only.

References:
    Orekondy, Schiele and Fritz (2019). Knockoff Nets. CVPR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from harness.data.dataset import Dataset
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.rewritten_scores import Rewritten
from harness.types import Covered, Part, Risk, UnfitError
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class TopK:
    """Show the ``k`` largest scores as they are, and share what remains evenly among the others.

    That is what an attacker makes of ``k`` scores that do not sum to 1 (Orekondy et al. 2019 show
    them with zeros for the rest), and it keeps the answer a distribution. No decision changes.
    Attackers with the weights are not hindered.

    Attributes:
        k: How many scores are shown.
    """

    name: ClassVar[str] = "top-k"
    guards: ClassVar[Risk] = Risk.EXTRACTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    looks_at: ClassVar[Covered] = Covered.POST_PROCESSING
    reference: ClassVar[str] = "Orekondy et al. (2019), https://arxiv.org/abs/1812.02766"

    k: int = 3

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ZooError(f"top-k wants k of at least 1, found {self.k}.")

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse to hide nothing.

        Raises:
            NotApplicableError: There are two classes, of which one score gives away the other.
            ZooError: There are too few classes for this ``k``.
        """
        if dataset.num_classes < 3:
            raise UnfitError(
                f"top-k wants at least 3 classes, but {dataset.name} has {dataset.num_classes}: "
                f"the largest score tells the other one. Use label-only."
            )
        if self.k > dataset.num_classes - 2:
            # All but one score give away the last one, too.
            raise ZooError(
                f"top-k wants k of at most {dataset.num_classes - 2} for the "
                f"{dataset.num_classes} classes of {dataset.name}, found {self.k}: more hides "
                f"nothing. Lower it, or use label-only."
            )
        return self

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        """``model`` with the scores of the likeliest classes only."""
        return Rewritten(model, self._rewrite)

    def _rewrite(self, x: Tensor, scores: Tensor) -> Tensor:
        shown = scores.topk(self.k, dim=1)
        hidden = scores.shape[1] - self.k
        rest = (1 - shown.values.sum(1, keepdim=True)).clamp_min(0) / hidden
        return rest.expand_as(scores).scatter(1, shown.indices, shown.values)
