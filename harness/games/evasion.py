"""Evasion: perturb inputs within a budget so that the target, which was right, is wrong."""

from __future__ import annotations

from harness.attacks.protocol import Attack
from harness.datasets import Quarters
from harness.games.game import Outcome, Table
from harness.metrics.robustness import robustness
from harness.target import BlackBox
from harness.types import Access, ThreatModel

TOLERANCE = 1e-5
"""Rounding that a perturbation may exceed its budget by."""


def check(threat: ThreatModel, quarters: Quarters, ood_size: int) -> None:
    """Every threat model that an evasion attack can use is fine."""


def play(attack: Attack, table: Table) -> Outcome:
    """Attack the test examples, and check that the attack kept within its budget.

    Raises:
        RuntimeError: The attack left the pixel range or its ball: a defect of the attack.
    """
    points = table.hold(table.quarters.target_test)
    perturbed = attack.run(
        table.target(),
        table.attacker(points=points),
        seed=table.seed,
    )
    delta = perturbed - points.x
    size = delta.flatten(1).abs().amax(1) if attack.norm == "linf" else delta.flatten(1).norm(dim=1)  # type: ignore[attr-defined]
    if size.max() > attack.epsilon + TOLERANCE or not 0 <= perturbed.min() <= perturbed.max() <= 1:  # type: ignore[attr-defined]
        raise RuntimeError(f"{attack.name} left its budget: size {size.max():.6f}")
    judge = BlackBox(table.model, Access.LABELS)
    clean, after = judge.labels(points.x), judge.labels(perturbed)
    return Outcome(
        metrics={**robustness(clean, after, points.y, delta)},
        samples={
            "index": table.quarters.target_test.numpy(),
            "label": points.y.cpu().numpy(),
            "clean": clean.cpu().numpy(),
            "perturbed": after.cpu().numpy(),
            "size": size.cpu().numpy(),
        },
        notes={"n": len(points)},
    )
