"""Inputs that fool the model of this moment, for the defenses that train on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.attacks.shared import perturbation, tabular_perturbation
from harness.data.examples import Split
from harness.learning.features import evaluating


def adversarial_inputs(
    model: nn.Module,
    batch: Split,
    stream: torch.Generator,
    *,
    epsilon: float | None,
    norm: perturbation.Norm,
    steps: int,
    step_size: float | None,
) -> Tensor:
    """Inputs that raise the cross-entropy of ``batch``, by projected gradient steps.

    The start is a random point of the ball around each input.

    Args:
        model: The network in training; it is asked in eval mode and left in its own.
        batch: b examples.
        stream: CPU generator of the start.
        epsilon: Radius in units of the pixel range, as the defense resolved it.
        norm: Of the ball.
        steps: Gradient steps, at least 1.
        step_size: Length of a step, as the defense resolved it.

    Returns:
        Inputs in place of ``batch.x``, same shape.
    """
    assert epsilon is not None, "resolve() first"
    assert step_size is not None, "resolve() first"
    with evaluating(model):
        asked = tabular_perturbation.whole(model, batch.columns)
        return perturbation.follow(
            lambda at: perturbation.input_gradient(asked, at, batch.y),
            perturbation.random_start(batch, epsilon, norm, stream),
            batch.x,
            epsilon=epsilon,
            norm=norm,
            steps=steps,
            step_size=step_size,
        )
