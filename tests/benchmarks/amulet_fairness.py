"""The workload on discriminatory behavior, by this project; `amulet_side.py` has the other side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from amulet_common import RECIPE, Common, Numbers, Work
from torch import nn

from harness.defenses.adversarial_debiasing import AdversarialDebiasing
from harness.learning.fit import fit
from harness.metrics.fairness import fairness
from harness.target import BlackBox
from harness.types import Access


def debiasing(common: Common) -> Work:
    defense = AdversarialDebiasing(constraint="demographic-parity", attribute="tint")
    owned = common.data.collected.take(torch.arange(common.data.n_train))
    defender = replace(common.defender, data=owned)

    def work() -> tuple[nn.Module, Numbers]:
        base = common.fit(owned)
        made = fit(base, owned, RECIPE, seed=common.seed, loss=defense.loss_for(defender))
        return made, gaps(made, common)

    def judge(found: tuple[nn.Module, Numbers]) -> Numbers:
        made, numbers = found
        before = gaps(common.model("target"), common)
        return {
            "test accuracy": common.accuracy(made),
            **numbers,
            **{f"{name} without it": value for name, value in before.items()},
        }

    return work, judge


def gaps(model: nn.Module, common: Common) -> Numbers:
    """Differences between the plain and the tinted, of the class where they are largest."""
    predicted = BlackBox(model, Access.LABELS).labels(common.test.x).numpy()
    groups = common.tint[len(common.train) :].numpy()
    found = fairness(
        predicted, common.test.y.numpy(), groups, ("plain", "tinted"), num_classes=10, smallest=5
    ).metrics
    return {
        "parity": found["demographic_parity_difference"] or 0.0,
        "odds": found["equalized_odds_difference"] or 0.0,
    }


ROWS: dict[str, tuple[str, Callable[[Common], Work], str]] = {
    "n": (
        "adversarial debiasing of a trained model, 10 + 10 epochs, and metrics",
        debiasing,
        "Amulet trains its adversary for 5 epochs more, weighs it by 30, and has metrics of class 1 "
        "alone; here they are of all classes, with intervals.",
    ),
}
