"""Evasion: perturb inputs within a budget so that the target, which was right, is wrong."""

from __future__ import annotations

from harness.attacks.protocol import Attack, Evaded
from harness.datasets import Quarters
from harness.games.game import Needed, Outcome, Table
from harness.metrics.robustness import certified, robustness
from harness.stack import Certifies, Stack
from harness.target import BlackBox
from harness.types import Access, ThreatModel

TOLERANCE = 1e-5
"""Rounding that a perturbation may exceed its budget by."""


def check(attack: Attack, threat: ThreatModel, quarters: Quarters, ood_size: int) -> None:
    """Every threat model that an evasion attack can use is fine."""


def needs(stack: Stack) -> Needed:
    """Nothing besides the target."""
    return Needed()


def play(attack: Attack, table: Table) -> Outcome:
    """Attack the test examples, and check that the attack kept within its budget.

    Raises:
        RuntimeError: The attack left the pixel range or its ball: a defect of the attack.
    """
    points = table.dataset.all.take(table.quarters.target_test)  # attacks take it batch by batch
    found = attack.run(
        table.target(),
        table.attacker(points=points),
        seed=table.seed,
    )
    perturbed, flags = (found.x, found.flags) if isinstance(found, Evaded) else (found, ())
    delta = perturbed - points.x
    size = delta.flatten(1).abs().amax(1) if attack.norm == "linf" else delta.flatten(1).norm(dim=1)  # type: ignore[attr-defined]
    if size.max() > attack.epsilon + TOLERANCE or not 0 <= perturbed.min() <= perturbed.max() <= 1:  # type: ignore[attr-defined]
        raise RuntimeError(f"{attack.name} left its budget: size {size.max():.6f}")
    judge = BlackBox(table.model, Access.LABELS)
    clean, after = judge.labels(points.x), judge.labels(perturbed)
    metrics: dict[str, float | None] = {**robustness(clean, after, points.y, delta)}
    for defense in table.stack.defenses:
        if isinstance(defense, Certifies):
            label, radius = defense.certify(table.unguarded, points.x, seed=table.seed)
            metrics |= certified(label, radius, points.y, table.dataset.epsilon["l2"])
    return Outcome(
        metrics=metrics,
        samples={
            "index": table.quarters.target_test.numpy(),
            "label": points.y.cpu().numpy(),
            "clean": clean.cpu().numpy(),
            "perturbed": after.cpu().numpy(),
            "size": size.cpu().numpy(),
        },
        notes={"n": len(points), "flags": list(flags)},
    )
