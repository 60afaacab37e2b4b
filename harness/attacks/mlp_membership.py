"""Membership inference by a small network on the target's sorted scores.

References:
    Salem et al. (2019). ML-Leaks: Model and Data Independent Membership Inference Attacks and
    Defenses on Machine Learning Models. NDSS.
    Zhang et al. (2024). SecurityNet: Assessing Machine Learning Vulnerabilities on Public Models.
    USENIX Security.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from harness.attacks.shared import perturbation
from harness.attacks.shared.attack_network import AttackNetwork
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.target import BlackBox
from harness.types import Access, Aux
from zoo.errors import ZooError
from zoo.nets.sequential import mlp

HIDDEN = (64, 32)  # Zhang et al. 2024


@dataclass(frozen=True, kw_only=True)
class MLP(AttackNetwork):
    """Learn from known members and non-members how sure the target is of each.

    The scores are sorted, as in Salem et al. (2019): what counts is how the target spreads its
    trust, not over which classes.

    Attributes:
        top: How many of the largest scores are looked at; all of them if not given.
        lr: Learning rate of Adam.
        epochs: Passes over the known examples.
        batch_size: Known examples per step. If not given it is 64, or a hundredth of them where
            that is more.
    """

    name: ClassVar[str] = "mlp"
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.PARTIAL,)
    reference: ClassVar[str] = "Zhang et al. (2024), https://arxiv.org/abs/2310.12665"

    top: int | None = None
    lr: float = 0.01  # Zhang et al. 2024
    epochs: int = 50  # Zhang et al. 2024

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top is not None:
            perturbation.check_counts(self, "top")

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse to look at more scores than there are.

        Raises:
            ZooError: The dataset has fewer classes than ``top``.
        """
        if self.top is not None and self.top > dataset.num_classes:
            raise ZooError(
                f"mlp wants the {self.top} largest scores, but {dataset.name} has "
                f"{dataset.num_classes} classes. Lower mlp.top."
            )
        return self

    def see(self, box: BlackBox, examples: Split) -> Tensor:
        """The largest scores, largest first, (n, top)."""
        return box.scores(examples.x).sort(descending=True).values[:, : self.top]

    def build(self, width: int, num_classes: int) -> nn.Module:
        """Two hidden layers."""
        return mlp((width,), 2, hidden=HIDDEN)
