"""Two networks for tables, made of layers whose per-sample gradients Opacus can compute.

References:
    Gorishniy et al. (2021). Revisiting Deep Learning Models for Tabular Data. NeurIPS.
    https://arxiv.org/abs/2106.11959
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.nets.attention import Attention


class _Residual(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.wide = nn.Linear(dim, hidden)
        self.narrow = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(F.relu(self.wide(self.norm(x))))


class ResidualPerceptron(nn.Module):
    """The paper's ResNet, with layer norm and without dropout.

    The paper has batch norm: DP-SGD would have to replace it, so that it compared two networks,
    and models with it cannot be trained in cohorts. Dropout would keep them out of cohorts, too.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        *,
        dim: int,
        hidden: int,
        depth: int,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(torch.Size(input_shape).numel(), dim)
        self.blocks = nn.Sequential(*(_Residual(dim, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, num_classes)."""
        return self.head(F.relu(self.norm(self.blocks(self.first(x.flatten(1))))))


class Tokenizer(nn.Module):
    """One token for each column of a table, behind a class token.

    A number's token is ``value * weight + bias``, a category's token its embedding ``+ bias``: in
    both cases a linear map of the column's features. One matrix holds the maps of all columns, and
    every token sees a row of which all other columns are hidden. The class token sees nothing, so
    that it is its bias.

    Args:
        widths: How many features each column is.
        dim: Of a token.
    """

    seen: Tensor

    def __init__(self, widths: tuple[int, ...], dim: int) -> None:
        super().__init__()
        tokens = 1 + len(widths)
        self.values = nn.Linear(sum(widths), dim, bias=False)
        self.biases = nn.Embedding(tokens, dim)
        for layer in (self.values, self.biases):
            nn.init.uniform_(layer.weight, -(dim**-0.5), dim**-0.5)
        owner = [token for token, width in enumerate(widths, start=1) for _ in range(width)]
        seen = torch.arange(tokens)[:, None] == torch.tensor(owner)
        self.register_buffer("seen", seen.to(self.values.weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (n, 1 + columns, dim) of rows (n, features)."""
        places = torch.arange(len(self.seen), device=x.device).expand(len(x), -1)
        return self.values(x[:, None] * self.seen) + self.biases(places)


class _Layer(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int, *, first: bool) -> None:
        super().__init__()
        # With a norm here, the paper's network does not learn well.
        self.norm1 = nn.Identity() if first else nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.wide = nn.Linear(dim, 2 * hidden)
        self.narrow = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, asking: int | None = None) -> Tensor:
        x = x[:, :asking] + self.attention(self.norm1(x), asking)
        passed, gate = self.wide(self.norm2(x)).chunk(2, dim=2)
        return x + self.narrow(passed * F.relu(gate))


class TabularTransformer(nn.Module):
    """The paper's FT-Transformer, without dropout, which would keep it out of cohorts.

    Args:
        input_shape: (features,).
        num_classes: Number of logits.
        widths: How many features each column is, in their order.
        dim: Of a token.
        depth: Number of layers.
        heads: Of attention, in each layer.

    Raises:
        ZooError: The columns are not those of such an input.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        *,
        widths: tuple[int, ...],
        dim: int,
        depth: int,
        heads: int,
    ) -> None:
        super().__init__()
        if input_shape != (sum(widths),):
            raise ZooError(
                f"Columns of {sum(widths)} features in all were named, but an input is "
                f"{'x'.join(map(str, input_shape))}. Give the width of each of its columns, like "
                "tabular-transformer/1,8,1 for one of 10 features."
            )
        self.tokens = Tokenizer(widths, dim)
        hidden = int(dim * 4 / 3)  # the paper's
        self.layers = nn.ModuleList(_Layer(dim, heads, hidden, first=i == 0) for i in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, num_classes)."""
        x = self.tokens(x)
        for layer in self.layers[:-1]:
            x = layer(x)
        x = self.layers[-1](x, asking=1)  # only the class token is read out
        return self.head(F.relu(self.norm(x[:, 0])))


def tabular_transformer(
    widths: str, input_shape: tuple[int, ...], num_classes: int
) -> TabularTransformer:
    """A `TabularTransformer` small enough to be trained on two cores.

    Args:
        widths: How many features each column is, with commas between: ``1,8,1``.
        input_shape: (features,).
        num_classes: Number of logits.

    Raises:
        ZooError: They are not widths, or not those of such an input.
    """
    parts = widths.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ZooError(
            f"Architecture tabular-transformer/{widths} does not say how many features each "
            "column is. Name it like tabular-transformer/1,8,1."
        )
    return TabularTransformer(
        input_shape, num_classes, widths=tuple(map(int, parts)), dim=32, depth=2, heads=4
    )
