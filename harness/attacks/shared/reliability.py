"""Signs that a model only seems robust: it is no proof of it, but what it shows is doubtful.

References:
    Athalye, Carlini and Wagner (2018). Obfuscated Gradients Give a False Sense of Security. ICML.
    Croce and Hein (2020). Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks. ICML.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.attacks.shared import perturbation
from harness.attacks.shared.perturbation import CLASSES, ratio
from harness.data.examples import Split

PASSES = 5  # answers to the same inputs
DIFFERENT = 1e-4  # between the answers, each scaled to length 1
MANY = 0.05  # share of the inputs
BEATEN = 0.002  # share of all examples


@torch.no_grad()
def of_model(model: nn.Module, points: Split) -> list[str]:
    """What a look at the model shows.

    Args:
        model: In eval mode.
        points: Examples that it gets right, on its device.
    """
    if not len(points):
        return []
    found = []
    answers = [model(points.x) for _ in range(PASSES)]
    first = nn.functional.normalize(answers[0])
    if any(
        (nn.functional.normalize(again) - first).norm(dim=1).max() > DIFFERENT
        for again in answers[1:]
    ):
        found.append("randomised defense: the same input gets different answers")
    if _probabilities(answers[0]):
        found.append("no logits: the model gives probabilities")
    losses = {"cross-entropy": perturbation.cross_entropy}
    if answers[0].shape[1] >= CLASSES:
        losses["difference of logits"] = ratio
    for name, loss in losses.items():
        gradient = perturbation.logits_loss_gradient(
            model, points.x, lambda z, loss=loss: loss(z, points.y, points.y)
        )[2]
        share = (gradient.flatten(1).abs().amax(1) == 0).double().mean().item()
        if share > MANY:
            found.append(f"zero gradients: of the {name} at {share:.0%} of the inputs")
    return found


def of_search(broken: int, left: int, n: int) -> list[str]:
    """What it shows that a search without gradients broke some of what those with them left.

    Args:
        broken: How many the search broke.
        left: How many the attacks with gradients had left.
        n: How many were attacked in all.
    """
    if broken <= max(1, BEATEN * n):  # one example may be luck
        return []
    return [f"gradient masking: square broke {broken} of {left} that withstood the gradients"]


def _probabilities(answers: Tensor) -> bool:
    inside = answers.min() >= -1e-5 and answers.max() <= 1 + 1e-5
    return bool(inside and (answers.sum(1) - 1).abs().max() < 1e-5)
