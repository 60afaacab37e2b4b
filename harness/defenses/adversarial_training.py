"""Adversarial training: every step trains on inputs that were made to fool the model just then.

References:
    Madry et al. (2018). Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR.
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
class AdversarialTraining:
    """Train on the inputs that projected gradient descent finds around the training examples.

    One optimiser step a batch, on adversarial inputs only. The attack raises the loss of the true
    label, with the model in eval mode.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        steps: Gradient steps for each batch.
        step_size: Length of a step; 2.5 * epsilon / steps if not given, so that the steps can
            cross the ball.
    """

    name: ClassVar[str] = "adversarial-training"
    guards: ClassVar[Risk] = Risk.EVASION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.INPUTS})
    looks_at: ClassVar[Covered] = Covered.PER_EXAMPLE
    reference: ClassVar[str] = "Madry et al. (2018), https://arxiv.org/abs/1706.06083"

    epsilon: float | None = None
    norm: perturbation.Norm = "linf"
    steps: int = 10
    step_size: float | None = None

    def __post_init__(self) -> None:
        perturbation.check_steps(self.name, self.steps, self.step_size)

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the dataset's customary radius and the step that goes with it."""
        epsilon = perturbation.radius(self.name, self.epsilon, self.norm, dataset)
        step_size = perturbation.step_length(
            self.name, self.step_size, epsilon, 2.5 * epsilon / self.steps
        )
        return replace(self, epsilon=epsilon, step_size=step_size)

    def inputs(self, model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
        """Adversarial inputs in place of ``batch.x``, same shape; the model is left as it is."""
        return adversarial_inputs(
            model,
            batch,
            stream,
            epsilon=self.epsilon,
            norm=self.norm,
            steps=self.steps,
            step_size=self.step_size,
        )
