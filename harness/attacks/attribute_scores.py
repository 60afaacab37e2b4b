"""Attribute inference from the target's scores.

References:
    Duddu and Boutet (2022). Inferring Sensitive Attributes from Model Explanations. CIKM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.attacks.shared.attribute_classifier import AttributeClassifier
from harness.target import BlackBox
from harness.types import Access


@dataclass(frozen=True, kw_only=True)
class AttributeScores(AttributeClassifier):
    """Infer an attribute of a record from the logarithms of its scores.

    Attributes:
        attribute: Name of the attribute; the dataset's first if not given.
        knows: What the attacker knows of each record anyway: all its ``features`` and the label,
            as whoever asks about it does; its true ``label``, or ``nothing``.
        samples: How many of its own records the attacker uses; all if not given.
        hidden: Units of the hidden layer.
        lr: Learning rate of Adam.
        epochs: Passes over the attacker's records.
        batch_size: Records per step. If not given it is 64, or a hundredth of the records where
            that is more.
    """

    name: ClassVar[str] = "attribute-scores"
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    reference: ClassVar[str] = "Duddu and Boutet (2022), https://arxiv.org/abs/2208.09967"

    def see(self, target: BlackBox, x: Tensor) -> Tensor:
        """The scores' logarithms (n, num_classes): small scores tell as much as large ones."""
        scores = target.scores(x)
        return scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
