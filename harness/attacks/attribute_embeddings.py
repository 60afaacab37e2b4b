"""Attribute inference from what the target makes of a record before its last layer.

References:
    Song and Shmatikov (2020). Overlearning Reveals Sensitive Attributes. ICLR.
    Liu et al. (2022). ML-Doctor: Holistic Risk Assessment of Inference Attacks Against Machine
    Learning Models. USENIX Security.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harness.attacks.shared.attribute_classifier import AttributeClassifier
from harness.learning.features import features
from harness.target import BlackBox
from harness.types import Access


@dataclass(frozen=True, kw_only=True)
class AttributeEmbeddings(AttributeClassifier):
    """Infer an attribute of a record from the input of the target's last layer.

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

    name: ClassVar[str] = "attribute-embeddings"
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    reference: ClassVar[str] = "Song and Shmatikov (2020), https://arxiv.org/abs/1905.11742"

    def see(self, target: BlackBox, x: Tensor) -> Tensor:
        """The embeddings (n, width)."""
        return features(target.model, x)
