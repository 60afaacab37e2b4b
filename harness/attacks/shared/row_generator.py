"""A generator of rows of a table, and the slope of what is said about rows that it draws.

A number is moved a little to see how an answer changes, but a category cannot be. It is drawn with
the probabilities that the generator gives, and the draws whose answers are better than the others'
become likelier. So only rows are ever asked about that could be in the table.

References:
    Williams (1992). Simple Statistical Gradient-Following Algorithms for Connectionist
        Reinforcement Learning. Machine Learning. (Categories.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.data.examples import Column
from harness.data.random_inputs import with_imputed


class RowGenerator(nn.Module):
    """Noise (n, latent) to rows (n, features): logits of categories, numbers not squashed yet."""

    def __init__(self, features: int, latent: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent, 4 * width),
            nn.BatchNorm1d(4 * width),
            nn.LeakyReLU(0.2),
            nn.Linear(4 * width, 4 * width),
            nn.BatchNorm1d(4 * width),
            nn.LeakyReLU(0.2),
            nn.Linear(4 * width, features),
            nn.BatchNorm1d(features, affine=False),
        )

    def forward(self, noise: Tensor) -> Tensor:
        """Rows of mean 0 and deviation 1 over the batch."""
        return self.layers(noise)


def drawn(
    raw: Tensor,
    columns: Sequence[Column],
    squash: Callable[[Tensor], Tensor],
    stream: torch.Generator,
) -> Tensor:
    """Rows (n, features) in [0, 1] that could be in the table.

    Args:
        raw: (n, features), what the generator gives.
        columns: Where the columns of the table are in them.
        squash: Any numbers as numbers in [0, 1].
        stream: CPU generator of the draws.
    """
    x = squash(raw)
    for column in columns:
        if column.values:
            block = slice(column.start, column.stop)
            chance = raw[:, block].softmax(1).cpu()
            value = torch.multinomial(chance, 1, generator=stream)[:, 0].to(raw.device)
            x[:, block] = F.one_hot(value, column.stop - column.start).to(x)
    return with_imputed(x, columns)


@torch.no_grad()
def slope_of(
    function: Callable[[Tensor], Tensor],
    raw: Tensor,
    columns: Sequence[Column],
    *,
    squash: Callable[[Tensor], Tensor],
    directions: int,
    step: float,
    stream: torch.Generator,
) -> Tensor:
    """The gradient of the mean of ``function`` over draws, estimated from one draw of each row.

    Args:
        function: From rows (n, features) to one value for each (n,); it is asked ``1 + directions``
            times.
        raw: (n, features), what the generator gives.
        columns: Where the columns of the table are in them.
        squash: Any numbers as numbers in [0, 1].
        directions: Random directions over which the slope of the numbers is averaged.
        step: How far numbers are moved, before they are squashed.
        stream: CPU generator of draws and directions.

    Returns:
        (n, features). That of a logit is how much more than the others the drawn row is worth,
        times 1 less the probability of its value for that value, and less it for the others.
    """
    x = drawn(raw, columns, squash, stream)
    here = function(x)
    number = torch.ones(raw.shape[1], dtype=torch.bool, device=raw.device)
    worth = here - (here.sum() - here) / max(1, len(here) - 1)  # than the mean of the others
    found = torch.zeros_like(raw)
    for column in columns:
        if column.values:
            block = slice(column.start, column.stop)
            number[block] = False
            found[:, block] = worth[:, None] * (x[:, block] - raw[:, block].softmax(1))
    for _ in range(directions):
        u = torch.randn(raw.shape, generator=stream).to(raw.device) * number
        u /= u.norm(dim=1, keepdim=True).clamp_min(torch.finfo(u.dtype).tiny)
        moved = with_imputed(torch.where(number, squash(raw + step * u), x), columns)
        change = (function(moved) - here)[:, None] / step
        # The mean of u u' over the sphere is the identity divided by how many numbers there are.
        found += change * u * number.sum() / directions
    return found
