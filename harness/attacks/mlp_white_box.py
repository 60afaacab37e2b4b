"""Membership inference by a network on what a training step would see of a candidate.

References:
    Nasr, Shokri and Houmansadr (2019). Comprehensive Privacy Analysis of Deep Learning: Passive and
    Active White-box Inference Attacks against Centralized and Federated Learning. IEEE S&P.
    Liu et al. (2022). ML-Doctor: Holistic Risk Assessment of Inference Attacks Against Machine
    Learning Models. USENIX Security.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.attacks.shared import perturbation
from harness.attacks.shared.attack_network import AttackNetwork, Branches
from harness.data.examples import Split
from harness.learning.features import features, head
from harness.target import BlackBox
from harness.types import Access, Aux


@dataclass(frozen=True, kw_only=True)
class MLPWhiteBox(AttackNetwork):
    """Learn from known members their scores, loss, label and gradient of the last layer.

    With shadow data the members are those of shadow models, with partial data the target's. All
    features are shown as they are: to scale each entry of the gradient by its spread on a shadow
    model would mean nothing to the target, whose last layer has its inputs in another order.

    Attributes:
        shadows: Shadow models to learn from, with shadow data.
        lr: Learning rate of Adam. The paper has 1e-5, and many more examples.
        epochs: Passes over the known examples.
        batch_size: Known examples per step. If not given it is 64, or a hundredth of them where
            that is more.
    """

    name: ClassVar[str] = "mlp-white-box"
    standardised: ClassVar[bool] = False  # the hidden units of a shadow come in another order
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW, Aux.PARTIAL)
    reference: ClassVar[str] = "Liu et al. (2022), https://arxiv.org/abs/2102.02551"

    shadows: int = 1  # Liu et al. 2022

    def __post_init__(self) -> None:
        super().__post_init__()
        perturbation.check_counts(self, "shadows")

    @torch.no_grad()
    def see(self, box: BlackBox, examples: Split) -> Tensor:
        """Scores, loss, one-hot label and inputs of the last layer, (n, width).

        The gradient of the last layer is made from these, batch by batch.

        Raises:
            NotApplicableError: The model's last layer is not linear.
        """
        inputs, layer = features(box.model, examples.x), head(box.model, examples.x)
        logits = layer(inputs.to(box.device)).to(inputs.device)
        return torch.cat(
            [
                logits.softmax(1),
                F.cross_entropy(logits, examples.y, reduction="none")[:, None],
                F.one_hot(examples.y, logits.shape[1]),
                inputs if layer.bias is None else F.pad(inputs, (0, 1), value=1.0),
            ],
            1,
        )

    def build(self, width: int, num_classes: int) -> nn.Module:
        """Four branches: scores, loss, label and gradient."""
        return GradientBranches(width, num_classes)


class GradientBranches(nn.Module):
    """`Branches` for what `MLPWhiteBox.see` gives, with the gradient in place of its factors."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        inputs = width - 2 * num_classes - 1
        self.widths = (num_classes, 1, num_classes, inputs)
        self.branches = Branches(num_classes, 1, num_classes, num_classes * inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, 2) of features (n, width)."""
        scores, loss, label, inputs = x.split(self.widths, 1)
        gradient = last_layer_gradient(scores, label, inputs)
        return self.branches(torch.cat([scores, loss, label, gradient], 1))


def last_layer_gradient(scores: Tensor, label: Tensor, inputs: Tensor) -> Tensor:
    """Gradient of each example's own cross-entropy by the last layer, (n, classes * width).

    Args:
        scores: (n, classes).
        label: (n, classes), one-hot.
        inputs: (n, width) of that layer; with a 1 at the end, the gradient by the bias is there
            too, last in each class.
    """
    return ((scores - label)[:, :, None] * inputs[:, None, :]).flatten(1)
