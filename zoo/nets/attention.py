"""Attention made of layers whose per-sample gradients Opacus can compute."""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention, without dropout.

    References:
        Vaswani et al. (2017). Attention Is All You Need. NeurIPS.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, asking: int | None = None) -> Tensor:
        """What tokens (n, t, dim) learn of each other; of the first ``asking`` alone, if given."""

        def split(tokens: Tensor) -> Tensor:  # (n, t, dim) -> (n, heads, t, dim / heads)
            return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.query(x[:, :asking])), split(self.key(x)), split(self.value(x))
        # Not F.scaled_dot_product_attention: torch.func.vmap runs that in a loop on a CPU.
        weights = torch.softmax(q @ k.transpose(2, 3) / q.shape[3] ** 0.5, dim=3)
        mixed = weights @ v  # (n, heads, t, dim / heads)
        return self.out(mixed.transpose(1, 2).flatten(2))
