"""Spectral signatures: poisoned examples stand out along the main direction of their class.

Of the examples with one label, the features of the poisoned ones have another mean than those of
the rest. If it is far enough away, it shows in the top singular vector of the centred features.

References:
    Tran, Li and Madry (2018). Spectral Signatures in Backdoor Attacks. NeurIPS. Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.data.examples import Split
from harness.defenses.protocol import Cleaned
from harness.defenses.shared.defender import DefenderData
from harness.learning.features import features
from harness.types import Part, Risk
from zoo.errors import ZooError

EXCESS = 1.5
"""Removed for each example that is supposed to be poisoned (Tran et al. 2018)."""


@dataclass(frozen=True, kw_only=True)
class SpectralSignatures:
    """Train on the data as they are, and of each label drop what stands out in the features.

    Attributes:
        contamination: Largest share of the examples of one label that is supposed to be poisoned;
            1.5 times as many are dropped, of every label.
    """

    name: ClassVar[str] = "spectral-signatures"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA})
    looks_at: ClassVar[str] = "the training examples, of which it removes some by all the others"
    reference: ClassVar[str] = "Tran et al. (2018), https://arxiv.org/abs/1811.00636"

    contamination: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < EXCESS * self.contamination < 1:
            raise ZooError(
                f"spectral-signatures wants a contamination above 0 and below {1 / EXCESS:.3f}, of "
                f"which {EXCESS} times as many are dropped; found {self.contamination}."
            )

    def clean(self, data: Split, defender: DefenderData) -> Cleaned:
        """The training data without the examples of each label that stand out most."""
        found = features(defender.train(data), data.x)
        removed = torch.zeros(len(data), dtype=torch.bool, device=data.x.device)
        for label in range(defender.num_classes):
            rows = (data.y == label).nonzero().flatten()
            if len(rows) > 1:
                drop = round(EXCESS * self.contamination * len(rows))
                removed[rows[outlyingness(found[rows]).argsort(descending=True)[:drop]]] = True
        return Cleaned(data=data.take((~removed).nonzero().flatten()), removed=removed)


def outlyingness(rows: Tensor) -> Tensor:
    """Squared projection of the centred ``rows`` (n, width) on their top singular vector, (n,)."""
    centred = rows - rows.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    return (centred @ directions[0]).square()
