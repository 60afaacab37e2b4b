"""A group audit: ask about people of every group and see who is answered how.

Nobody attacks here. The model discriminates by itself, and whoever audits it needs its answers, the
true labels and the groups.

References:
    Hardt, Price and Srebro (2016). Equality of Opportunity in Supervised Learning. NeurIPS.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from harness.attacks.protocol import AttackedPoints
from harness.data.dataset import Dataset
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class GroupAudit:
    """Ask about every test example once; the metrics compare the groups.

    Attributes:
        attribute: Name of the attribute that tells the groups apart; several joined by ``+``, such
            as ``sex+race``, for every combination. The dataset's first if not given.
        smallest: Fewest test examples of a group that a rate may rest on. With fewer than five, one
            example moves a rate by a quarter or more.
    """

    name: ClassVar[str] = "group-audit"
    risk: ClassVar[Risk] = Risk.DISCRIMINATORY_BEHAVIOR
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS, Access.SCORES)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Hardt, Price and Srebro (2016), https://arxiv.org/abs/1610.02413"

    attribute: str | None = None
    smallest: int = 5

    def __post_init__(self) -> None:
        if self.smallest < 1:
            raise ZooError(f"group-audit wants smallest of at least 1, found {self.smallest}.")

    def resolve(self, dataset: Dataset) -> Self:
        """Write the attribute as the dataset does; its first one if none is given.

        Raises:
            NotApplicableError: The dataset has no attributes.
            ZooError: The dataset does not have this one.
        """
        return replace(self, attribute=dataset.attribute_name(self.attribute))

    def run(self, target: BlackBox, data: AttackedPoints, *, seed: int) -> Tensor:
        """The answers: scores (n, num_classes) if they are granted, else labels (n,) int64.

        ``seed`` has no effect.
        """
        if target.access.grants(Access.SCORES):
            return target.scores(data.points.x)
        return target.labels(data.points.x)
