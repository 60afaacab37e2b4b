"""Whose model is it: what the owner has in hand, and what a verification says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.data.examples import Split
from harness.defenses.shared.defender import DefenderData


@dataclass(frozen=True, eq=False, kw_only=True)
class Owner:
    """What the owner of a model can show.

    Attributes:
        model: The owner's own model as it answers, in eval mode.
        members: What it was trained on, before any defense changed it; without what one left out.
        unseen: Examples of the same distribution that it was not trained on, without what the
            defenses would have left out.
        defender: What the defense was given when the model was made, so that it can make the same
            marks again.
    """

    model: nn.Module
    members: Split
    unseen: Split
    defender: DefenderData


def margins(scores: Tensor, y: Tensor) -> Tensor:
    """Log odds (n,) of the labels ``y`` (n,), from scores (n, num_classes).

    They go on where probabilities are too close to 1 to be told apart.
    """
    logs = scores.double().clamp_min(1e-30).log()
    others = logs.scatter(1, y[:, None], -torch.inf).logsumexp(1)
    return logs.gather(1, y[:, None])[:, 0] - others
