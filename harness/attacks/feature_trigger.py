"""Feature trigger: extreme values of a few features stand for the attacker's class.

References:
    Pleiter et al. (2023). Tabdoor: Backdoor Vulnerabilities in Transformer-based Neural Networks
    for Tabular Data. https://arxiv.org/abs/2311.07550
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harness.attacks.backdoor import Backdoor
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class FeatureTrigger(Backdoor):
    """Set the last features of inputs of any shape to a value that the data's range allows.

    Attributes:
        rate: Share of the training data that is changed and labelled anew.
        goal: ``all-to-one`` wants the class ``target`` of every changed input, ``all-to-all`` the
            class after the true one.
        target: The class that ``all-to-one`` wants.
        features: How many of the last features of the flattened input.
        value: What they are set to: 1 is the largest that the data's range allows, 0 the smallest,
            which is often the common one and then no trigger.
    """

    name: ClassVar[str] = "feature-trigger"
    reference: ClassVar[str] = "Pleiter et al. (2023), https://arxiv.org/abs/2311.07550"

    features: int = 3
    value: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features < 1:
            raise ZooError(f"feature-trigger wants at least 1 of features, found {self.features}.")
        if not 0 <= self.value <= 1:
            raise ZooError(f"feature-trigger wants a value in [0, 1], found {self.value}.")

    def trigger(self, x: Tensor, *, seed: int) -> Tensor:
        """Inputs (n, ...) with the value in their last features; the same for every seed."""
        flat = x.flatten(1).clone()
        if self.features > flat.shape[1]:
            raise ZooError(
                f"feature-trigger sets {self.features} features, but the inputs have only "
                f"{flat.shape[1]}. Lower features."
            )
        flat[:, -self.features :] = self.value
        return flat.view(x.shape)
