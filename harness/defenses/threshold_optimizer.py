"""Thresholds per group: whoever is in a group is decided by the score and the group.

References:
    Hardt, Price and Srebro (2016). Equality of Opportunity in Supervised Learning. NeurIPS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.batches import parts
from harness.data.examples import UNKNOWN, Column
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.group_columns import groups_in, stating
from harness.defenses.shared.rewritten_scores import secret, uniform
from harness.defenses.shared.sensitive_attribute import OfAttribute, need_two_classes
from harness.learning.features import evaluating
from harness.learning.scores import Draws, differentiates, to_logits
from harness.types import NotApplicableError, Part, Risk, Trait

if TYPE_CHECKING:
    from fairlearn.postprocessing import ThresholdOptimizer as Optimizer

    from harness.data.dataset import Dataset

# fairlearn and scikit-learn are imported where they are used: a plan needs this class, not them.

CONSTRAINTS = {
    "demographic-parity": "demographic_parity",
    "equal-opportunity": "true_positive_rate_parity",
    "equalized-odds": "equalized_odds",
}
"""What fairlearn calls them."""

CERTAIN = 1e-9
"""A chance this close to 0 or 1 is rounding."""


@dataclass(frozen=True, kw_only=True)
class ThresholdOptimizer(OfAttribute):
    """Decide by thresholds of each group that make the groups' rates equal, and show no scores.

    The thresholds are those of fairlearn: the most accurate on the owner's training data of all
    that make the rates equal there. On others the rates differ by what the model learned by heart,
    and by luck. An input states its group itself; one that states none, or one that no training
    example has, is decided as the model does. Where a decision is drawn between two thresholds, the
    draw depends on the input and a secret of the owner alone: the same input gets the same answer.

    It is made from the training data as they are: beside dpsgd, the guarantee is that of the
    weights, not of the answers. Whoever differentiates the answer by the input gets the model's own
    scores, as an attacker would who has the weights; whether an attack has succeeded is for the
    decisions to tell.

    Attributes:
        attribute: The sensitive attribute, or several crossed, such as ``sex+race``; the dataset's
            first one if not given.
        constraint: What is equal: how many are given class 1 (``demographic-parity``), how many of
            those with label 1 (``equal-opportunity``), or of those with each label
            (``equalized-odds``).
    """

    name: ClassVar[str] = "threshold-optimizer"
    guards: ClassVar[Risk] = Risk.DISCRIMINATORY_BEHAVIOR
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.DECIDES})
    looks_at: ClassVar[str] = "the training examples, whose scores and labels set its thresholds"
    reference: ClassVar[str] = "Hardt et al. (2016), https://arxiv.org/abs/1610.02413"

    constraint: Literal["demographic-parity", "equal-opportunity", "equalized-odds"] = (
        "equalized-odds"
    )

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the dataset's first attribute.

        Raises:
            NotApplicableError: There are more than two classes, or the features do not state the
                attribute.
            ZooError: The dataset does not have this attribute.
        """
        found = super().resolve(dataset)
        need_two_classes(self.name, dataset)
        assert found.attribute is not None
        stating(found.attribute, dataset.columns, name=self.name)
        return found

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        """``model`` with decisions by group.

        Raises:
            NotApplicableError: The input does not state the group, or the training data of some
                group all have the same label.
        """
        data = defender.data
        attribute = self.attribute or next(iter(data.z), "")
        columns = stating(attribute, data.columns, name=self.name)
        groups = groups_in(data.x, columns)
        known = groups != UNKNOWN
        data, groups = data.take(known), groups[known]
        for group in groups.unique().tolist():
            labels = data.y[groups == group].unique().tolist()
            if len(labels) < 2:
                raise NotApplicableError(
                    f"{self.name} wants both labels in each group, but all training examples of "
                    f"{_named(group, columns)} have label {labels[0]}. Choose another attribute."
                )
        with torch.no_grad(), evaluating(model):
            margins = torch.cat([margin(model(x)) for x in parts(data.x)])
        margins, y, given = (part.cpu().numpy() for part in (margins, data.y, groups))
        count = math.prod(len(column.values) for column in columns)
        rules = Rules.of(fitted(margins, y, given, self.constraint), count)
        return Decided(model, columns, rules.to(data.x.device), secret(self.name, defender))


class Decided(Draws):
    """A model whose decisions are made by rules of groups. It is certain of all of them."""

    def __init__(self, model: nn.Module, columns: Sequence[Column], rules: Rules, key: str) -> None:
        """Put ``rules`` over ``model``, with draws by the secret ``key``."""
        super().__init__(key)
        self.model = model
        self._columns, self._rules = columns, rules

    @property
    def is_random(self) -> bool:
        """Whether some group's decisions are drawn between two thresholds."""
        return self._rules.are_random

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, 2)."""
        logits = self.model(x)
        if differentiates(x):
            return logits
        chance = self._rules.chance(margin(logits), groups_in(x, self._columns))
        positive = uniform(self.key, x, 1)[:, 0] < chance
        return to_logits(F.one_hot(positive.long(), 2).to(logits.dtype))


@dataclass(frozen=True, eq=False)
class Rules:
    """For each group, how likely it is that class 1 is the answer.

    Attributes:
        steps: (groups, 2, 3) float64: for each of two thresholds its share, its sign, and where it
            is. A margin is beyond it if it is above and the sign is 1, or below and it is -1.
        constant: (groups, 2) float64: share of the decisions that heed no threshold, and how likely
            class 1 is in these.
        known: (groups,) bool, which groups have a rule.
    """

    steps: Tensor
    constant: Tensor
    known: Tensor

    @classmethod
    def of(cls, optimizer: Optimizer, count: int) -> Rules:
        """The rules of a fitted optimizer, whose groups are numbers below ``count``."""
        steps = torch.zeros(count, 2, 3, dtype=torch.float64)
        constant = torch.zeros(count, 2, dtype=torch.float64)
        known = torch.zeros(count, dtype=torch.bool)
        rules: dict[int, Mapping[str, Any]] = optimizer.interpolated_thresholder_.interpolation_dict
        for group, rule in rules.items():
            at = int(group)
            known[at] = True
            for step in (0, 1):
                operation = rule[f"operation{step}"]
                sign = {">": 1.0, "<": -1.0}[operation.operator]
                values = (rule[f"p{step}"], sign, operation.threshold)
                steps[at, step] = torch.tensor(values, dtype=torch.float64)
            ignoring = (rule.get("p_ignore", 0.0), rule.get("prediction_constant", 0.0))
            constant[at] = torch.tensor(ignoring, dtype=torch.float64)
        return cls(steps, constant, known)

    def to(self, device: str | torch.device) -> Rules:
        """The same on ``device``."""
        return Rules(*(part.to(device) for part in (self.steps, self.constant, self.known)))

    @property
    def are_random(self) -> bool:
        """Whether some decision is neither always class 0 nor always class 1."""
        first, second = self.steps[:, :, 0].unbind(1)
        ignoring, constant = self.constant.unbind(1)
        beyond = torch.stack([torch.zeros_like(first), first, second, first + second])
        chances = ignoring * constant + (1 - ignoring) * beyond
        return bool(((chances > CERTAIN) & (chances < 1 - CERTAIN)).any())

    def chance(self, margins: Tensor, groups: Tensor) -> Tensor:
        """How likely class 1 is, (n,) float64.

        Args:
            margins: Of the model, (n,) float64.
            groups: (n,) int64; `UNKNOWN`, and those without a rule, are decided by the margin.
        """
        rows = groups.clamp(min=0)
        share, sign, threshold = self.steps[rows].unbind(2)
        beyond = sign * margins[:, None] > sign * threshold
        ignoring, constant = self.constant[rows].unbind(1)
        ruled = ignoring * constant + (1 - ignoring) * (share * beyond).sum(1)
        return torch.where((groups != UNKNOWN) & self.known[rows], ruled, (margins > 0).double())


def margin(logits: Tensor) -> Tensor:
    """By how much class 1 is ahead, (b,) float64; unlike a score it does not saturate."""
    return (logits[:, 1] - logits[:, 0]).double()


def fitted(margins: np.ndarray, y: np.ndarray, groups: np.ndarray, constraint: str) -> Optimizer:
    """The optimizer of fairlearn, fitted.

    Args:
        margins: What is compared with thresholds, (n,).
        y: Labels (n,), 0 or 1; both in each group.
        groups: (n,).
        constraint: Key of `CONSTRAINTS`.
    """
    from fairlearn.postprocessing import ThresholdOptimizer as Optimizer
    from sklearn.base import BaseEstimator

    class Itself(BaseEstimator):
        """Its only feature is its answer."""

        def fit(self, X: np.ndarray, y: np.ndarray) -> Itself:  # noqa: N803
            return self

        def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
            return np.asarray(X)[:, 0]

        def __sklearn_is_fitted__(self) -> bool:
            return True

    optimizer = Optimizer(
        estimator=Itself(),
        constraints=CONSTRAINTS[constraint],  # type: ignore[arg-type]
        objective="accuracy_score",
        prefit=True,
        predict_method="predict",
    )
    return optimizer.fit(margins[:, None], y, sensitive_features=groups)


def _named(group: int, columns: Sequence[Column]) -> str:
    names: list[str] = []
    for column in reversed(columns):
        group, value = divmod(group, len(column.values))
        names.insert(0, column.values[value])
    return ", ".join(names)
