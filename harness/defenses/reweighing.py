"""Reweighing: training examples count so much that label and group are independent.

References:
    Kamiran and Calders (2012). Data Preprocessing Techniques for Classification without
    Discrimination. Knowledge and Information Systems 33.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from harness.data.examples import UNKNOWN, Split
from harness.defenses.protocol import Cleaned
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.sensitive_attribute import OfAttribute
from harness.types import Part, Risk, Trait


@dataclass(frozen=True, kw_only=True)
class Reweighing(OfAttribute):
    """Weigh each example by P(group) P(label) / P(group, label), as counted on the training data.

    Nobody is left out. Examples that count more or less already are counted so, and their weights
    multiplied. Those that nobody is behind, such as marks, are not counted and keep their weight.

    DP-SGD clips what counts more down to what the others have, so that little is left of the
    weights unless its max_grad_norm is large.

    Attributes:
        attribute: The sensitive attribute, or several crossed, such as ``sex+race``; the dataset's
            first one if not given.
    """

    name: ClassVar[str] = "reweighing"
    guards: ClassVar[Risk] = Risk.DISCRIMINATORY_BEHAVIOR
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA})
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.WEIGHS_EXAMPLES})
    looks_at: ClassVar[str] = (
        "the groups and labels of the training examples, whose counts set the weights"
    )
    reference: ClassVar[str] = (
        "Kamiran and Calders (2012), https://doi.org/10.1007/s10115-011-0463-8"
    )

    def clean(self, data: Split, defender: DefenderData) -> Cleaned:
        """The same examples with weights; the notes have those of each group, class by class."""
        groups = self.groups(data)
        given = torch.ones(len(data)) if data.weight is None else data.weight
        given = given.to(data.y.device)
        table = weights(groups.values, data.y, given, (len(groups.names), defender.num_classes))
        known = groups.values != UNKNOWN
        factor = torch.where(known, table[groups.values.clamp(min=0), data.y], 1.0)
        return Cleaned(
            data=replace(data, weight=given * factor.float()),
            notes={
                "example_weights": {
                    name: [None if w.isnan() else w.item() for w in row]
                    for name, row in zip(groups.names, table, strict=True)
                }
            },
        )


def weights(groups: Tensor, y: Tensor, given: Tensor, shape: tuple[int, int]) -> Tensor:
    """How much an example of each group and class counts, (groups, classes) float64.

    Args:
        groups: (n,) int64, `UNKNOWN` of examples that are not counted.
        y: Labels (n,) int64.
        given: How much each example counts already, (n,).
        shape: How many groups and classes there are.

    Returns:
        NaN where there is no example.
    """
    known = groups != UNKNOWN
    joint = torch.zeros(shape, dtype=torch.float64, device=y.device)
    joint.index_put_((groups[known], y[known]), given[known].double(), accumulate=True)
    joint /= joint.sum()
    expected = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return torch.where(joint > 0, expected / joint, torch.nan)
