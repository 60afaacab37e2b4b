"""Several networks that answer as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.learning.scores import to_logits
from harness.types import UnfitError


class Mixture(nn.Module):
    """Networks with shares; its scores are the mean of theirs, weighted by share.

    All of it is in the state dict: the networks, their shares, and what is answered for all inputs
    alike. A network without a share is there for the size of the state dict alone.

    Attributes:
        members: The networks, from inputs to logits (b, k).
        shares: (members,).
        constant: (k,), to which the scores of the networks are added. All sum to 1 with the shares.
    """

    shares: Tensor
    constant: Tensor

    def __init__(self, members: Sequence[nn.Module], num_classes: int) -> None:
        """Make a mixture that answers as its first member does."""
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("shares", torch.eye(len(members))[0])
        self.register_buffer("constant", torch.zeros(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, k)."""
        # The first is always asked: without any, the answer could not be differentiated.
        scores = self.constant + self.shares[0] * self.members[0](x).softmax(1)
        for at in self.shares[1:].nonzero().flatten().tolist():
            scores = scores + self.shares[at + 1] * self.members[at + 1](x).softmax(1)
        return to_logits(scores)


def need_one_network(model: nn.Module) -> None:
    """Refuse a mixture to whoever looks into a network.

    Raises:
        NotApplicableError: ``model`` is a mixture, or has one in it.
    """
    for module in model.modules():
        if isinstance(module, Mixture):
            raise UnfitError(
                f"The model is a mixture of {int((module.shares > 0).sum())} networks, which have "
                f"no layer in common that could be looked at. Leave out what looks into the "
                f"network, or exponentiated-gradient."
            )
