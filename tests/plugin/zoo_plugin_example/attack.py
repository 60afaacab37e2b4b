"""An attack: membership inference from how sure the target is of its answer.

References:
    Salem et al. (2019). ML-Leaks: Model and Data Independent Membership Inference Attacks and
    Defenses on Machine Learning Models. NDSS. (adversary 3)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from harness.attacks.protocol import AttackerData
from harness.target import BlackBox
from harness.types import Access, Aux, Risk


@dataclass(frozen=True, kw_only=True)
class TopScore:
    """Call a candidate a member if the target is sure of its answer, right or wrong.

    Attributes:
        by: ``maximum`` of the scores, or their ``entropy``.
    """

    # Facts: what it attacks, the least access it needs, and which data of its own it can use.
    name: ClassVar[str] = "top-score"
    risk: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    access: ClassVar[tuple[Access, ...]] = (Access.SCORES,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Salem et al. (2019), https://arxiv.org/abs/1806.01246"

    # Settings, which the user changes with --set top-score.by=entropy.
    by: Literal["maximum", "entropy"] = "maximum"

    def run(self, target: BlackBox, data: AttackerData, *, seed: int) -> Tensor:
        """How likely each candidate is a member, (n,), larger for more; ``seed`` has no effect.

        All randomness of an attack has to come from ``seed``, as by `harness.seeds.generator`.
        """
        assert data.points is not None
        scores = target.scores(data.points.x)
        if self.by == "maximum":
            return scores.amax(1)
        return (scores * scores.clamp_min(1e-12).log()).sum(1)
