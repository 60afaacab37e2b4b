"""A metric: what is left of the accuracy of the class that evasion hurts most.

References:
    Tian et al. (2021). Analysis and Applications of Class-wise Robustness in Adversarial Training.
    KDD.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from harness.types import Risk


class WorstClass:
    """Accuracy on perturbed inputs of the class where it is lowest.

    It is made from what is stored of each example, so that cells that were measured before have it,
    too. `harness.games` says which columns the cells of a risk have.
    """

    name: ClassVar[str] = "worst_class_robust_accuracy"
    risk: ClassVar[Risk] = Risk.EVASION
    direction: ClassVar[Literal["higher is worse", "higher is safer"]] = "higher is safer"
    reference: ClassVar[str] = "Tian et al. (2021), https://arxiv.org/abs/2105.14240"

    def measure(self, samples: Mapping[str, np.ndarray]) -> float | None:
        """From columns of one length to one number; None where it is not defined."""
        label = samples["label"]
        if not len(label):
            return None
        right = samples["perturbed"] == label
        return min(float(right[label == one].mean()) for one in np.unique(label))
