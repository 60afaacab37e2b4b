"""A defense: softer scores, by a temperature.

References:
    Shokri et al. (2017). Membership Inference Attacks Against Machine Learning Models. IEEE S&P.
    (Section VIII, "increase entropy of the prediction vector")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.rewritten_scores import Rewritten
from harness.types import Covered, Part, Risk
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """Divide the logits by a temperature, so that no answer looks as sure as it is.

    Attributes:
        temperature: Above 1 for softer scores.
    """

    # Facts: what it is meant for, and where it acts. `harness.defenses.protocol` has the method
    # that each part needs. `looks_at` is only asked where a model is trained with DP-SGD.
    name: ClassVar[str] = "temperature"
    guards: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    looks_at: ClassVar[Covered] = Covered.POST_PROCESSING
    reference: ClassVar[str] = "Shokri et al. (2017), https://arxiv.org/abs/1610.05820"

    temperature: float = 5.0

    def __post_init__(self) -> None:
        """Refuse settings that make no sense, in one line that says what would."""
        if not self.temperature > 0:
            raise ZooError(f"temperature wants one above 0, found {self.temperature}.")

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        """A model whose answers are what others get to see; ``model`` is left as it is."""
        return Rewritten(model, self._soften)

    def _soften(self, x: Tensor, scores: Tensor) -> Tensor:
        return (scores.clamp_min(1e-30).log() / self.temperature).softmax(1)
