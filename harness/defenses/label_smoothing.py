"""Label smoothing: train towards labels that are not certain, or more than certain.

References:
    Müller, Kornblith and Hinton (2019). When Does Label Smoothing Help? NeurIPS.
    Struppek, Hintersdorf and Kersting (2024). Be Careful What You Smooth For: Label Smoothing Can
    Be a Privacy Shield but Also a Catalyst for Model Inversion Attacks. ICLR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.data.examples import Split
from harness.types import Covered, Part, Risk
from zoo.errors import ZooError

if TYPE_CHECKING:
    from harness.defenses.shared.defender import DefenderData
    from harness.learning.fit import LossOf


@dataclass(frozen=True, kw_only=True)
class LabelSmoothing:
    """Mix each label with the uniform distribution, so that no training example is answered surely.

    It need not help. An ordinary model is as good as certain of much that it was not trained on
    too; a smoothed one comes close to the smoothed label on its training data only, and on digits a
    threshold on the loss finds more members than before. It also gives more to an attacker who
    inverts the model (Struppek et al. 2024).

    Attributes:
        alpha: Share of the uniform distribution in a label.
    """

    name: ClassVar[str] = "label-smoothing"
    guards: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.LOSS})
    looks_at: ClassVar[Covered] = Covered.PER_EXAMPLE
    reference: ClassVar[str] = "Müller et al. (2019), https://arxiv.org/abs/1906.02629"

    alpha: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ZooError(
                f"label-smoothing wants alpha between 0 and 1, found {self.alpha}. What lies below "
                f"0 is negative-label-smoothing."
            )

    def loss_for(self, defender: DefenderData) -> LossOf:
        """The same in every training."""
        return self.loss

    def loss(self, model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
        """Cross-entropy with the smoothed label of each example (b,)."""
        return cross_entropy(model(batch.x), batch.y, self.alpha)


@dataclass(frozen=True, kw_only=True)
class NegativeLabelSmoothing:
    """Take from each label a share of the uniform distribution: the model is pushed past certainty.

    The loss has no lower bound, so the logits grow as long as the training lasts. The authors let
    the smoothing in after a phase of ordinary training; here it is constant.

    Attributes:
        alpha: Share of the uniform distribution in a label, below 0.
    """

    name: ClassVar[str] = "negative-label-smoothing"
    guards: ClassVar[Risk] = Risk.DATA_RECONSTRUCTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.LOSS})
    looks_at: ClassVar[Covered] = Covered.PER_EXAMPLE
    reference: ClassVar[str] = "Struppek et al. (2024), https://arxiv.org/abs/2310.06549"

    alpha: float = -0.05

    def __post_init__(self) -> None:
        if not -1 < self.alpha < 0:
            raise ZooError(
                f"negative-label-smoothing wants alpha between -1 and 0, found {self.alpha}. What "
                f"lies above 0 is label-smoothing."
            )

    def loss_for(self, defender: DefenderData) -> LossOf:
        """The same in every training."""
        return self.loss

    def loss(self, model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
        """Cross-entropy with the smoothed label of each example (b,); may be below 0."""
        return cross_entropy(model(batch.x), batch.y, self.alpha)


def cross_entropy(logits: Tensor, y: Tensor, alpha: float) -> Tensor:
    """Of logits (b, k) with labels ``(1 - alpha) * one_hot(y) + alpha / k``, (b,)."""
    # torch's own label_smoothing takes no alpha below 0.
    uniform = -logits.log_softmax(1).mean(1)
    return (1 - alpha) * F.cross_entropy(logits, y, reduction="none") + alpha * uniform
