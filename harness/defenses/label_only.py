"""Label only: answer with the decision and no scores.

References:
    Tramèr et al. (2016). Stealing Machine Learning Models via Prediction APIs. USENIX Security.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.rewritten_scores import Rewritten
from harness.types import Covered, Part, Risk


@dataclass(frozen=True, kw_only=True)
class LabelOnly:
    """Give the decided class a score of 1 and every other 0; no decision changes.

    Attackers with the weights are not hindered.
    """

    name: ClassVar[str] = "label-only"
    guards: ClassVar[Risk] = Risk.EXTRACTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    looks_at: ClassVar[Covered] = Covered.POST_PROCESSING
    reference: ClassVar[str] = "Tramèr et al. (2016), https://arxiv.org/abs/1609.02943"

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        """``model`` with certain answers."""
        return Rewritten(model, self._rewrite)

    def _rewrite(self, x: Tensor, scores: Tensor) -> Tensor:
        return F.one_hot(scores.argmax(1), scores.shape[1]).to(scores.dtype)
