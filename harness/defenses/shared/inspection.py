"""What an inspection of a model finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Inspection:
    """The verdict on one model.

    Attributes:
        flagged: Whether the model is held to be backdoored.
        score: What the threshold is applied to; larger is more suspicious.
        notes: Facts for the result's evidence, as JSON values.
        images: By name, (channels, height, width) in [0, 1], for people to look at.
    """

    flagged: bool
    score: float
    notes: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Tensor] = field(default_factory=dict)
