"""Score noise: answer with scores that are off by a little, at random.

References:
    Chandrasekaran et al. (2020). Exploring Connections Between Active Learning and Model
    Extraction. USENIX Security.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.rewritten_scores import Rewritten, noise, secret
from harness.types import Covered, Part, Risk
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class ScoreNoise:
    """Add Gaussian noise to the scores; no decision changes.

    Noisy scores below 0 are set to 0, and all are scaled to sum to 1. The noise depends on the
    input alone: the same query gets the same answer, so asking again and averaging gains nothing.
    Averaging over inputs that differ a little still does. Attackers with the weights are not
    hindered.

    Attributes:
        scale: Standard deviation of the noise on each score.
    """

    name: ClassVar[str] = "score-noise"
    guards: ClassVar[Risk] = Risk.EXTRACTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    looks_at: ClassVar[Covered] = Covered.POST_PROCESSING
    reference: ClassVar[str] = "Chandrasekaran et al. (2020), https://arxiv.org/abs/1811.02054"

    scale: float = 0.1

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ZooError(f"score-noise wants scale above 0, found {self.scale}.")

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        """``model`` with noisy scores."""
        key = secret(self.name, defender)

        def rewrite(x: Tensor, scores: Tensor) -> Tensor:
            return scores + self.scale * noise(key, x, scores.shape[1])

        return Rewritten(model, rewrite)
