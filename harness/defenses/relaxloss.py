"""RelaxLoss: keep the training loss near a level that unseen examples reach too.

References:
    Chen, Yu and Fritz (2022). RelaxLoss: Defending Membership Inference Attacks without Losing
    Utility. ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.data.examples import Split
from harness.learning.fit import fit
from harness.types import Part, Risk
from zoo.errors import ZooError
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from harness.learning.fit import InputsOf


@dataclass(frozen=True, kw_only=True)
class RelaxLoss:
    """Descend where the mean loss of a batch is above a target; below it, ascend or flatten.

    Epochs are counted from 0. In the even ones such a batch ascends its loss. In the odd ones its
    posteriors are flattened: each keeps the probability of the label, and what is left is drawn
    towards an even share for the other classes, so that none of them overtakes the label. This is
    the paper's Algorithm 1; the authors' code for CIFAR ascends in odd epochs too.

    Attributes:
        alpha: The target, a cross-entropy. The authors take 1 for CIFAR-10.
    """

    name: ClassVar[str] = "relaxloss"
    guards: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.LOSS})
    looks_at: ClassVar[str] = "the mean losses of batches, which decide their direction"
    reference: ClassVar[str] = "Chen et al. (2022), https://arxiv.org/abs/2207.05801"

    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ZooError(f"relaxloss wants alpha above 0, found {self.alpha}.")

    def fit(
        self,
        model: nn.Module,
        data: Split,
        recipe: Recipe,
        *,
        seed: int,
        inputs: InputsOf | None = None,
    ) -> dict[str, Any]:
        """Train ``model`` in place.

        Args:
            model: On the device of ``data``.
            data: The training data.
            recipe: How to train.
            seed: Of all randomness.
            inputs: Another defense's change to the inputs of each step.
        """
        epoch = 0

        def count(done: int) -> bool:
            nonlocal epoch
            epoch = done
            return False

        def loss(model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
            return relaxed(model(batch.x), batch.y, self.alpha, flatten=epoch % 2 == 1)

        fit(model, data, recipe, seed=seed, inputs=inputs, loss=loss, after_epoch=count)
        return {}


def relaxed(logits: Tensor, y: Tensor, alpha: float, *, flatten: bool) -> Tensor:
    """What a batch descends, (b,).

    Args:
        logits: Of the batch, (b, k).
        y: Labels (b,).
        alpha: Mean loss down to which the batch descends its cross-entropy.
        flatten: Whether below it the posteriors are flattened; else it ascends its cross-entropy.
    """
    losses = F.cross_entropy(logits, y, reduction="none")
    # Decided on the device: asking for the number would wait for it in every step.
    above = losses.detach().mean() >= alpha
    below = F.cross_entropy(logits, flattened(logits, y), reduction="none") if flatten else -losses
    return torch.where(above, losses, below)


def flattened(logits: Tensor, y: Tensor) -> Tensor:
    """Posteriors (b, k) that keep the label's probability and share the rest out evenly."""
    scores = logits.detach().softmax(1)
    own = scores.gather(1, y[:, None])
    others = (1 - own) / (scores.shape[1] - 1)
    return others.expand_as(scores).scatter(1, y[:, None], own)
