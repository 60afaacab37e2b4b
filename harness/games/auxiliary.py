"""What an attacker holds of the target's dataset, or of another."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.data.quarters import Quarters
from harness.types import Aux, ThreatModel

PARTIAL = 0.5  # of the target's training data, as in SecurityNet (Zhang et al. 2024)


def pool_index(quarters: Quarters, threat: ThreatModel) -> Tensor:
    """Which examples of the target's dataset the attacker holds; empty if it holds none."""
    if threat.aux is Aux.SHADOW:
        return torch.cat([quarters.shadow_train, quarters.shadow_test])
    if threat.aux is Aux.PARTIAL:
        share = PARTIAL if threat.partial is None else threat.partial
        return quarters.target_train[: int(share * len(quarters.target_train))]
    return quarters.target_train[:0]


def num_auxiliary(threat: ThreatModel, quarters: Quarters, ood_size: int) -> int:
    """How many inputs the attacker holds."""
    return ood_size if threat.aux is Aux.OOD else len(pool_index(quarters, threat))
