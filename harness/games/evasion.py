"""Evasion: perturb inputs within a budget so that the target, which was right, is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.attacks import rows
from harness.attacks.perturbation import sizes
from harness.attacks.protocol import Attack, Evaded
from harness.defenses.protocol import Certifies
from harness.games.game import Outcome, Setting, Table, Wanted
from harness.games.holdings import pool_index
from harness.metrics.robustness import certified, robustness
from harness.seeds import seeded
from harness.target import BlackBox
from harness.types import Access, Aux, NotApplicableError
from zoo.errors import ZooError

TOLERANCE = 1e-5
"""Rounding that a perturbation may exceed its budget by."""


def check(attack: Attack, setting: Setting) -> None:
    """Refuse an attacker whose data are empty, and a budget too small to ask about every example.

    Raises:
        NotApplicableError: The attacker holds nothing to train on.
        ZooError: It may hardly ask anything.
    """
    threat, quarters = setting.threat, setting.quarters
    if threat.aux is not Aux.NONE and not len(pool_index(quarters, threat)):
        raise NotApplicableError(
            f"The attacker's {threat.aux} data holds no examples: nobody knows what the model was "
            f"trained on, or the dataset is too small. Choose other data with --aux."
        )
    asked = 2 * len(quarters.target_test)  # the input itself, and one try
    asks = attack.access[0] is Access.SCORES
    if asks and threat.queries is not None and threat.queries < asked:
        raise ZooError(
            f"{attack.name} asks about {len(quarters.target_test)} inputs at least twice each, but "
            f"the query budget is {threat.queries}. Raise --queries to {asked} or more."
        )


def needs(attack: Attack, setting: Setting) -> Mapping[str, tuple[Wanted, ...]]:
    """Nothing besides the target."""
    return {}


def play(attack: Attack, table: Table) -> Outcome:
    """Attack the test examples, and check that the attack kept within its budget.

    Of a row of a table, the numbers may be moved. The attack's target sees the nearest row with
    whole categories, and what comes back is judged with the categories that it had.

    Raises:
        RuntimeError: The attack left the pixel range or its ball: a defect of the attack.
    """
    points = table.dataset.all.take(table.quarters.target_test)  # attacks take it batch by batch
    aux = table.aux()
    seen = replace(table, model=rows.whole(table.model, points.columns))
    target = seen.target()
    judge = BlackBox(table.model, Access.LABELS)
    with seeded("answers", table.seed):  # of a target that is random
        found = attack.run(target, table.attacker(points=points, aux=aux), seed=table.seed)
        perturbed, flags = (found.x, found.flags) if isinstance(found, Evaded) else (found, ())
        perturbed = rows.restored(perturbed, points)
        clean, after = judge.labels(points.x), judge.labels(perturbed)
    delta = perturbed - points.x
    norm, epsilon = attack.norm, attack.epsilon  # type: ignore[attr-defined]
    size = sizes(delta, norm)
    within = 0 <= perturbed.min() <= perturbed.max() <= 1
    if not (within and size.max() <= epsilon + TOLERANCE):
        raise RuntimeError(f"{attack.name} left its budget: size {size.max():.6f}")
    metrics: dict[str, float | None] = {**robustness(clean, after, points.y, delta)}
    for defense in table.stack.defenses:
        if isinstance(defense, Certifies):
            label, radius = defense.certify(table.unguarded, points.x, table.shop, seed=table.seed)
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
        notes={"n": len(points), "queries": target.queries, "flags": list(flags)},
    )
