"""TRADES: be right on the input, and answer the same everywhere around it.

References:
    Zhang et al. (2019). Theoretically Principled Trade-off between Robustness and Accuracy. ICML.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.attacks.shared import perturbation, tabular_perturbation
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.learning.features import evaluating
from harness.types import Covered, Part, Risk
from zoo.errors import ZooError

if TYPE_CHECKING:
    from harness.defenses.shared.defender import DefenderData
    from harness.learning.fit import LossOf

START = 0.001
"""Standard deviation of the noise that the inner steps start from: at the input itself the
divergence is smallest and has no gradient (the authors' code)."""


@dataclass(frozen=True, kw_only=True)
class TRADES:
    """Add to the loss on clean inputs how much the answers change within a ball around them.

    The change is the Kullback-Leibler divergence from the answer to the input to that to the point
    of the ball where it is largest, which is looked for with the model in eval mode.

    Attributes:
        epsilon: Radius in units of the pixel range; the dataset's customary one if not given.
        norm: ``linf`` or ``l2``.
        beta: Weight of the change, 1/λ in the paper; 6 is its trade-off for CIFAR-10.
        steps: Gradient steps for each batch.
        step_size: Length of a step; 2.5 * epsilon / steps if not given, so that the steps can
            cross the ball.
    """

    name: ClassVar[str] = "trades"
    guards: ClassVar[Risk] = Risk.EVASION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.INPUTS, Part.LOSS})
    looks_at: ClassVar[Covered] = Covered.PER_EXAMPLE
    reference: ClassVar[str] = "Zhang et al. (2019), https://arxiv.org/abs/1901.08573"

    epsilon: float | None = None
    norm: perturbation.Norm = "linf"
    beta: float = 6.0
    steps: int = 10
    step_size: float | None = None

    def __post_init__(self) -> None:
        perturbation.check_steps(self.name, self.steps, self.step_size)
        if not self.beta >= 0:
            raise ZooError(f"trades wants beta of at least 0, found {self.beta}.")

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the dataset's customary radius and the step that goes with it."""
        epsilon = perturbation.radius(self.name, self.epsilon, self.norm, dataset)
        step_size = perturbation.step_length(
            self.name, self.step_size, epsilon, 2.5 * epsilon / self.steps
        )
        return replace(self, epsilon=epsilon, step_size=step_size)

    def loss_for(self, defender: DefenderData) -> LossOf:
        """The same in every training."""
        return self.loss

    def loss(self, model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
        """The loss of each example (b,); both terms are differentiated."""
        x = batch.x
        far = self._farthest(model, batch, stream)
        logits = model(x)
        change = _divergence(logits, model(far))
        return F.cross_entropy(logits, batch.y, reduction="none") + self.beta * change

    def _farthest(self, model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
        """The point of the ball around each input where the answer differs most from its own."""
        assert self.epsilon is not None, "resolve() first"
        assert self.step_size is not None, "resolve() first"
        x = batch.x
        noise = START * torch.randn(x.shape, generator=stream).to(x.device)
        noise = noise * tabular_perturbation.movable(x, batch.columns)
        asked = tabular_perturbation.whole(model, batch.columns)
        with evaluating(model):
            with torch.no_grad():
                answer = model(x)

            def gradient(at: Tensor) -> Tensor:
                at = at.detach().requires_grad_()
                return torch.autograd.grad(_divergence(answer, asked(at)).sum(), at)[0]

            return perturbation.follow(
                gradient,
                x + noise,
                x,
                epsilon=self.epsilon,
                norm=self.norm,
                steps=self.steps,
                step_size=self.step_size,
            )


def _divergence(logits: Tensor, other: Tensor) -> Tensor:
    """KL(softmax(logits) || softmax(other)) of each example (b,)."""
    return F.kl_div(
        other.log_softmax(1), logits.log_softmax(1), reduction="none", log_target=True
    ).sum(1)
