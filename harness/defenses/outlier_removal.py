"""Outlier removal: leave out the training examples that are worth least to a nearest neighbour.

An example with a wrong label, or a right one in a strange place, misleads the classification of
its neighbours. KNN-Shapley puts a number on that. The model is then trained from scratch on the
others. The test data play no part: the examples are judged by each other, or by those that the
owner has checked.

References:
    Jia et al. (2019). Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms. VLDB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.data.examples import Split
from harness.defenses.protocol import Cleaned
from harness.defenses.shared.defender import DefenderData
from harness.learning.features import features
from harness.learning.knn_shapley import knn_shapley
from harness.seeds import generator
from harness.types import Part, Risk
from zoo.errors import ZooError

FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class OutlierRemoval:
    """Drop the share of the training data that has the lowest KNN-Shapley values.

    Attributes:
        share: Of the training data, that is dropped.
        k: Neighbours that vote.
        space: Where distances are taken: in the ``features`` of a model that is trained on the
            data as they are, or between the ``inputs`` themselves.
        validation: What the values are for. ``folds``: a tenth of the training data at a time, of
            which some labels may be wrong, valued by the others. ``trusted``: the checked
            examples; they are right but few, and against label noise that is worse.
    """

    name: ClassVar[str] = "outlier-removal"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA})
    looks_at: ClassVar[str] = "the training examples, of which it removes some by all the others"
    reference: ClassVar[str] = "Jia et al. (2019), https://arxiv.org/abs/1908.08619"

    share: float = 0.1
    k: int = 5
    space: Literal["features", "inputs"] = "features"
    validation: Literal["folds", "trusted"] = "folds"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ZooError(f"outlier-removal wants a share between 0 and 1, found {self.share}.")
        if self.k < 1:
            raise ZooError(f"outlier-removal wants k of at least 1, found {self.k}.")

    def clean(self, data: Split, defender: DefenderData) -> Cleaned:
        """The training data without its least valuable share."""
        values = self._values(data, defender)
        lowest = values.argsort(stable=True)[: round(self.share * len(data))]
        removed = torch.zeros(len(data), dtype=torch.bool, device=data.x.device)
        removed[lowest] = True
        return Cleaned(data=data.take((~removed).nonzero().flatten()), removed=removed)

    def _values(self, data: Split, defender: DefenderData) -> Tensor:
        x, trusted = data.x.flatten(1), defender.trusted.x.flatten(1)
        if self.space == "features":
            model = defender.train(data)
            x, trusted = features(model, data.x), features(model, defender.trusted.x)
        if self.validation == "trusted":
            return knn_shapley(x, data.y, trusted, defender.trusted.y, k=self.k)
        n = len(data)
        values = torch.zeros(n, dtype=torch.float64, device=x.device)
        order = torch.randperm(n, generator=generator("folds", defender.seed)).to(x.device)
        for fold in order.chunk(FOLDS):
            rest = torch.ones(n, dtype=torch.bool, device=x.device)
            rest[fold] = False
            values[rest] += knn_shapley(x[rest], data.y[rest], x[fold], data.y[fold], k=self.k)
        return values
