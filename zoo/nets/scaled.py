"""The input scaling that belongs to a model, so that every model takes numbers in [0, 1]."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from zoo.nets.answers import logits_of


class Chosen(nn.Module):
    """``model`` with some of its logits only.

    Args:
        model: Gives logits (n, num_logits).
        index: (num_classes,) int64, which of them count, in their order.
    """

    index: Tensor

    def __init__(self, model: nn.Module, index: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, num_classes) for ``x`` (n, ...)."""
        return self.model(x)[:, self.index]


class Scaled(nn.Module):
    """``net((x - mean) / std)``, with ``x`` resized first where the network takes another size.

    The scaling is fixed, so it is not part of the state dict.

    Args:
        net: Takes scaled inputs (n, *input_shape), gives what `logits_of` knows.
        mean: Per channel; one for all features of a table.
        std: Likewise.
        input_shape: (channels, height, width) or (features,) that ``net`` takes.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        input_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.net = net
        self.input_shape = input_shape
        self.size = input_shape[1:]
        shape = (-1, *(1 for _ in self.size))
        self.register_buffer("mean", torch.tensor(mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(shape), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, num_classes) for ``x`` (n, ...) in [0, 1]."""
        if self.size and x.shape[-2:] != self.size:
            # Antialiased, as the image libraries resize that published models were trained with.
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True)
        return logits_of(self.net((x - self.mean) / self.std))
