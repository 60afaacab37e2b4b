"""Rounding: answer with scores of a few decimals.

References:
    Tramèr et al. (2016). Stealing Machine Learning Models via Prediction APIs. USENIX Security.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.rewritten_scores import Rewritten
from harness.types import Covered, Part, Risk
from zoo.errors import ZooError

MOST = 38
"""Decimals; no larger power of ten is a finite float32, so that scores would become NaN."""


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """Round every score; no decision changes, also where rounding makes a tie.

    The rounded scores are scaled to sum to 1. Attackers with the weights are not hindered.

    Attributes:
        decimals: How many are kept, from 0 to `MOST`.
    """

    name: ClassVar[str] = "rounding"
    guards: ClassVar[Risk] = Risk.EXTRACTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    looks_at: ClassVar[Covered] = Covered.POST_PROCESSING
    reference: ClassVar[str] = "Tramèr et al. (2016), https://arxiv.org/abs/1609.02943"

    decimals: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.decimals <= MOST:
            raise ZooError(f"rounding wants decimals from 0 to {MOST}, found {self.decimals}.")

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        """``model`` with rounded scores."""
        return Rewritten(model, self._rewrite)

    def _rewrite(self, x: Tensor, scores: Tensor) -> Tensor:
        return scores.round(decimals=self.decimals)
