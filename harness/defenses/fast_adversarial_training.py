"""Fast adversarial training: a single attack step from a random point, at twice the usual cost.

References:
    Wong, Rice and Kolter (2020). Fast Is Better Than Free: Revisiting Adversarial Training. ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from harness.attacks.shared import perturbation
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.defenses.shared.adversarial_inputs import adversarial_inputs
from harness.types import Covered, Part, Risk


@dataclass(frozen=True, kw_only=True)
class FastAdversarial:
    """Train on inputs that one long gradient step from a random point of the ball gives.

    It can overfit catastrophically: within an epoch the model becomes robust to the single step
    and to nothing else. Robustness to several steps tells.

    Attributes:
        epsilon: L∞ radius in units of the pixel range; the dataset's customary one if not given.
        step_size: Length of the step; 1.25 * epsilon if not given (Wong et al. 2020: longer
            steps overfit catastrophically).
    """

    name: ClassVar[str] = "fast-adversarial-training"
    guards: ClassVar[Risk] = Risk.EVASION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.INPUTS})
    looks_at: ClassVar[Covered] = Covered.PER_EXAMPLE
    reference: ClassVar[str] = "Wong et al. (2020), https://arxiv.org/abs/2001.03994"

    epsilon: float | None = None
    step_size: float | None = None

    def __post_init__(self) -> None:
        perturbation.check_steps(self.name, 1, self.step_size)

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the dataset's customary radius and the step that goes with it."""
        epsilon = perturbation.radius(self.name, self.epsilon, "linf", dataset)
        step_size = perturbation.step_length(self.name, self.step_size, epsilon, 1.25 * epsilon)
        return replace(self, epsilon=epsilon, step_size=step_size)

    def inputs(self, model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
        """Adversarial inputs in place of ``batch.x``, same shape; the model is left as it is."""
        return adversarial_inputs(
            model,
            batch,
            stream,
            epsilon=self.epsilon,
            norm="linf",
            steps=1,
            step_size=self.step_size,
        )
