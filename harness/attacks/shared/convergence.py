"""Whether what an attacker trained has learned anything: an attack that did not shows no safety.

Everything is judged on the very data that it was trained on, beside the best answer that ignores
its input: the share of that answer's error which it does away with. On digits that was .96 of a
surrogate's, .4 of a quantile forecaster's and .07 to .16 of membership networks', but .001 of a
surrogate's whose steps were too small, and less than nothing of an untrained one's. What is below
two hundredths is reported: then a risk at chance level may only say that the attack knew nothing.
Where a constant answer has no error there was nothing to learn, which is no fault.

References:
    Székely and Rizzo (2013). Energy statistics: A class of statistics based on distances. Journal
        of Statistical Planning and Inference.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from harness.attacks.shared import surrogate
from harness.batches import parts

if TYPE_CHECKING:
    from harness.attacks.protocol import AttackerData

LEAST = 0.02
"""Share of the best constant answer's error that has to be gone."""

ROUNDING = 1e-12
"""Error of a constant answer that is none: what is to be learned is the same everywhere."""


def check(data: AttackerData, what: str, error: float, constant: float) -> None:
    """Note a doubt in ``data.doubts`` if a training came to nothing.

    Args:
        data: What the attacker holds.
        what: That was trained, for people, such as ``the surrogate``.
        error: Of what was trained, on its training data; not finite if it diverged.
        constant: Of the best answer that ignores the input.
    """
    if not math.isfinite(error):
        data.doubts.append(f"{what} learned nothing: it gives values that are not finite.")
    elif constant > ROUNDING and error > (1 - LEAST) * constant:
        data.doubts.append(
            f"{what} learned nothing: on the data that it was trained on its error is "
            f"{error / constant:.1%} of that of the best constant answer."
        )


def fits(
    data: AttackerData, what: str, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None
) -> None:
    """The same for predictions by their mean squared error; the best constant one is the mean.

    Args:
        data: What the attacker holds.
        what: That was trained, for people.
        predicted: (n, ...), such as probabilities.
        wanted: The same shape, what it was trained to say.
        weight: (n,) how much each example counts; None for all the same.
    """
    predicted, wanted = predicted.flatten(1).double(), wanted.flatten(1).double()
    share = torch.ones(len(wanted), device=wanted.device) if weight is None else weight
    share = (share / share.sum()).double()
    mean = share @ wanted
    error, constant = (
        (share @ (found - wanted).square().sum(1)).item() for found in (predicted, mean)
    )
    check(data, what, error, constant)


@torch.no_grad()
def classifies(data: AttackerData, what: str, model: nn.Module, x: Tensor, answers: Tensor) -> None:
    """The same for a classifier in eval mode.

    Args:
        data: What the attacker holds.
        what: That was trained, for people.
        model: Gives logits (n, num_classes) of inputs on the device of ``x``.
        x: (n, ...), what it was trained on.
        answers: (n,) labels or (n, num_classes) probabilities that it was to reproduce.
    """
    scores = torch.cat([model(part).softmax(1) for part in parts(x)])
    fits(data, what, scores, surrogate.probabilities(answers, scores.shape[1]))


def generates(data: AttackerData, what: str, made: Tensor, real: Tensor) -> None:
    """The same for a generator, by the energy distance; the constant answer is the mean.

    Args:
        data: What the attacker holds.
        what: That was trained, for people.
        made: (m, ...) some of what it makes.
        real: (n, ...) some of what it was to imitate.
    """
    made, real = made.flatten(1).double(), real.flatten(1).double()
    spread = torch.cdist(real, real).mean()

    def distance(found: Tensor) -> float:
        inside = torch.cdist(found, found).mean()
        return (2 * torch.cdist(found, real).mean() - inside - spread).item()

    check(data, what, distance(made), distance(real.mean(0, keepdim=True)))
