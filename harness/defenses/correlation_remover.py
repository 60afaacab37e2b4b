"""Correlation remover: what the network sees of an input is uncorrelated with the group.

References:
    Weerts et al. (2023). Fairlearn: Assessing and Improving Fairness of AI Systems. JMLR 24.
    https://arxiv.org/abs/2303.16626
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.data.examples import UNKNOWN, Split
from harness.defenses.shared.group_columns import stating
from harness.defenses.shared.sensitive_attribute import OfAttribute
from harness.types import Part, Risk
from zoo.errors import ZooError
from zoo.nets import Scaled

if TYPE_CHECKING:
    from harness.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class CorrelationRemover(OfAttribute):
    """Take from every feature what a linear regression on the columns of the group explains.

    The regression is fairlearn's, on the training examples that are left when training starts, all
    counted the same and without those that nobody is behind. The map that follows is the first
    layer of the network and is not trained: the model takes inputs as they are, in [0, 1], and
    answers without anybody mapping them before. The columns themselves become 0.

    What is uncorrelated can still depend on the group, and a network that is not linear may find
    it. Of several attributes, the correlation with each value of each is removed, not that with
    their combinations: the crossed groups are products of columns, which no affine map sees.

    Attributes:
        attribute: The sensitive attribute, or several side by side, such as ``sex+race``; the
            dataset's first one if not given.
        alpha: Share of the correlation that is removed; the columns of the group are always.
    """

    name: ClassVar[str] = "correlation-remover"
    guards: ClassVar[Risk] = Risk.DISCRIMINATORY_BEHAVIOR
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.NETWORK})
    looks_at: ClassVar[str] = "the training examples, on which what it removes is regressed"
    reference: ClassVar[str] = "Weerts et al. (2023), https://arxiv.org/abs/2303.16626"

    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ZooError(f"{self.name} wants alpha from 0 to 1, found {self.alpha}.")

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the dataset's first attribute.

        Raises:
            NotApplicableError: The dataset has no attributes, or its features do not state this
                one.
            ZooError: The dataset does not have this one.
        """
        resolved = super().resolve(dataset)
        assert resolved.attribute is not None
        stating(resolved.attribute, dataset.columns, name=self.name)
        return resolved

    def adapt(self, model: nn.Module, *, fine_tuned: bool) -> tuple[nn.Module, dict[str, Any]]:
        """The network behind a map that changes nothing yet."""
        assert isinstance(model, Scaled), "models are trained with their scaling built in"
        [features] = model.input_shape
        model.net = nn.Sequential(FixedMap(features), model.net)
        return model, {}

    def prepare(self, model: nn.Module, data: Split) -> None:
        """Fit the map to the training data.

        Raises:
            NotApplicableError: The data have no such attribute, or the features do not state it.
        """
        name = self.attribute or next(iter(data.z), "attribute")
        stated = stating(name, data.columns, name=self.name)
        group = torch.cat([torch.arange(column.start, column.stop) for column in stated])
        known = self.groups(data).values != UNKNOWN
        for scaled, first in _maps(model):
            x = (data.x[known] - scaled.mean) / scaled.std
            weight, bias = uncorrelated(x, group, self.alpha)
            first.weight.copy_(weight)
            first.bias.copy_(bias)


class FixedMap(nn.Module):
    """An affine map that is stored with the weights and not trained.

    Args:
        features: In and out.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(features))
        self.register_buffer("bias", torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """Rows (n, features) mapped."""
        return F.linear(x, self.weight, self.bias)


def uncorrelated(x: Tensor, group: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Weight (features, features) and bias (features,) of the map, float64 on the CPU.

    Args:
        x: Rows (n, features).
        group: Which features state the group.
        alpha: Share of the correlation that is removed from the others.
    """
    rows, columns = x.cpu().double().numpy(), group.numpy()
    mean = rows[:, columns].mean(0)
    # Indicators add up to 1, so there are many solutions: like fairlearn, the smallest is taken.
    slopes = alpha * np.linalg.lstsq(rows[:, columns] - mean, rows, rcond=None)[0]
    weight, bias = np.eye(rows.shape[1]), mean @ slopes
    weight[:, columns] -= slopes.T
    weight[columns], bias[columns] = 0, 0
    return torch.from_numpy(weight), torch.from_numpy(bias)


def _maps(model: nn.Module) -> Iterator[tuple[Scaled, FixedMap]]:
    """The maps of a network, or of those it is made of, each with the scaling before it."""
    for part in model.modules():
        if isinstance(part, Scaled) and isinstance(part.net, nn.Sequential):
            first = part.net[0]
            if isinstance(first, FixedMap):
                yield part, first
