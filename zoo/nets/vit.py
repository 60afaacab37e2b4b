"""A tiny vision transformer, made of layers whose per-sample gradients Opacus can compute."""

import torch
from torch import Tensor, nn

from zoo.nets.attention import Attention


class _Layer(nn.Module):
    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp_ratio * dim), nn.GELU(), nn.Linear(mlp_ratio * dim, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Pre-norm transformer over patches, read out at a class token; no dropout.

    Rows and columns beyond the last whole patch are not seen. Class token and positions are
    embeddings, because Opacus gives no per-sample gradients for bare parameters.

    References:
        Dosovitskiy et al. (2021). An Image is Worth 16x16 Words: Transformers for Image
        Recognition at Scale. ICLR.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        *,
        patch: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: int,
    ) -> None:
        super().__init__()
        channels, height, width = input_shape
        self.tokens = 1 + (height // patch) * (width // patch)
        self.patches = nn.Conv2d(channels, dim, patch, stride=patch)
        self.class_token = nn.Embedding(1, dim)
        self.positions = nn.Embedding(self.tokens, dim)
        self.layers = nn.Sequential(*(_Layer(dim, heads, mlp_ratio) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        for embedding in (self.class_token, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, num_classes)."""
        n = len(x)
        first = self.class_token(torch.zeros(n, 1, dtype=torch.long, device=x.device))
        seen = self.patches(x).flatten(2).transpose(1, 2)  # (n, tokens - 1, dim)
        places = torch.arange(self.tokens, device=x.device).expand(n, -1)
        x = torch.cat([first, seen], dim=1) + self.positions(places)
        return self.head(self.norm(self.layers(x))[:, 0])
