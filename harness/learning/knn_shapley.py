"""What each training example is worth to a nearest-neighbour classifier, exactly.

The Shapley value of an example is its mean marginal contribution over all orders in which the
training set can be put together. For an unweighted K-nearest-neighbour classifier it follows from
the sorted distances alone, in O(n log n) per validation example.

References:
    Jia et al. (2019). Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms. VLDB.
    https://arxiv.org/abs/1908.08619 (Theorem 1)
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 2**22
"""Distances held at once, which bounds the memory whatever the number of examples."""


def knn_shapley(x: Tensor, y: Tensor, x_valid: Tensor, y_valid: Tensor, *, k: int = 5) -> Tensor:
    r"""The Shapley value of every training example.

    The utility of a set is the probability of the right label, averaged over the validation
    examples: the share of the ``k`` nearest members of the set (in Euclidean distance, the earlier
    one first at a tie) that have it, where a set of fewer than ``k`` counts as filled up with wrong
    ones. For one validation example, with the training examples in order of distance and
    :math:`c_i` whether the i-th has the right label,

    .. math:: s_n = \frac{\min(k, n)}{k n} c_n, \qquad
              s_i = s_{i+1} + \frac{\min(k, i)}{k i} (c_i - c_{i+1}).

    Args:
        x: Training examples (n, width).
        y: Their labels (n,).
        x_valid: Validation examples (m, width).
        y_valid: Their labels (m,).
        k: How many neighbours vote.

    Returns:
        (n,) float64; they sum to the utility of the whole training set.
    """
    n = len(x)
    # The order does not change under translation; near the origin rounding is smallest.
    centre = x.mean(0)
    x, x_valid = x - centre, x_valid - centre
    squares = x.square().sum(1)
    place = torch.arange(1, n + 1, dtype=torch.float64, device=x.device)
    weight = place.clamp(max=k) / (k * place)
    total = torch.zeros(n, dtype=torch.float64, device=x.device)
    for rows in torch.arange(len(x_valid), device=x.device).split(max(1, BLOCK // n)):
        # Squared distances less the norm of the validation example, which orders nothing.
        nearness = torch.addmm(squares, x_valid[rows], x.T, alpha=-2)
        order = nearness.argsort(dim=1, stable=True)
        right = (y[order] == y_valid[rows, None]).double()
        # s_i is the sum over j >= i of these, as c_{n+1} = 0.
        steps = weight * torch.diff(right, append=right.new_zeros(len(rows), 1)).neg_()
        values = steps.flip(1).cumsum_(1).flip(1)
        total.scatter_add_(0, order.flatten(), values.flatten())
    return total / len(x_valid)
