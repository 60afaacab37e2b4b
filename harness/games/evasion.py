"""Evasion: perturb inputs within a budget so that the target, which was right, is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from harness.attacks.protocol import Evaded, Evades, EvasionData
from harness.attacks.shared import tabular_perturbation
from harness.attacks.shared.perturbation import sizes
from harness.batches import parts
from harness.defenses.protocol import Certifies
from harness.games.auxiliary import pool_index
from harness.games.game import ModelRequest, Outcome, Scenario, ScenarioSpec
from harness.learning.scores import Draws, drawn_again
from harness.metrics.robustness import certified, robustness
from harness.seeds import seeded
from harness.target import BlackBox
from harness.types import Access, Aux, NotApplicableError
from zoo.errors import ZooError

TOLERANCE = 1e-5
"""Rounding that a perturbation may exceed its budget by."""

REDRAWS = 20
"""Of a guard that draws, over which its robust accuracy is averaged."""

LUCKY = 0.02
"""Share of the inputs that may be won by the draws of a guard without a word."""


def check(attack: Evades, spec: ScenarioSpec) -> None:
    """Refuse an attacker whose data are empty, and a budget too small to ask about every example.

    Raises:
        NotApplicableError: The attacker holds nothing to train on.
        ZooError: It may hardly ask anything.
    """
    threat, quarters = spec.threat, spec.quarters
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


def needs(attack: Evades, spec: ScenarioSpec) -> Mapping[str, tuple[ModelRequest, ...]]:
    """Nothing besides the target."""
    return {}


def play(attack: Evades, scenario: Scenario) -> Outcome:
    """Attack the test examples, and check that the attack kept within its budget.

    Of a row of a table, the numbers may be moved. The attack's target sees the nearest row with
    whole categories, and what comes back is judged with the categories that it had.

    Behind a guard whose decisions are draws, an attack that asks again and again finds inputs that
    are drawn wrong. They stay wrong, so they count; what is left of the accuracy in other draws,
    such as by another secret, is ``robust_accuracy_redrawn``, on average over `REDRAWS`.

    What the attacker's own model of the catalog was trained on is left out: on those examples it
    would know more than anybody without them does.

    Raises:
        NotApplicableError: Nothing is left.
        RuntimeError: The attack left the pixel range or its ball: a defect of the attack.
    """
    index, left_out = _attacked(scenario)
    points = scenario.dataset.all.take(index)  # attacks take it batch by batch
    data = EvasionData(**vars(scenario.attacker()), points=points, aux=scenario.aux())
    seen = replace(scenario, model=tabular_perturbation.whole(scenario.model, points.columns))
    target = seen.target()
    judge = BlackBox(scenario.model, Access.LABELS)
    with seeded("answers", scenario.seed):  # of a target that is random
        found = attack.run(target, data, seed=scenario.seed)
        perturbed, flags = (found.x, found.flags) if isinstance(found, Evaded) else (found, ())
        perturbed = tabular_perturbation.restored(perturbed, points)
        clean, after = judge.labels(points.x), judge.labels(perturbed)
    assert attack.epsilon is not None, "resolve() first"
    linf, l2 = _sizes(perturbed, points.x)
    size = linf if attack.norm == "linf" else l2
    within = 0 <= perturbed.min() <= perturbed.max() <= 1
    if not (within and size.max() <= attack.epsilon + TOLERANCE):
        raise RuntimeError(f"{attack.name} left its budget: size {size.max():.6f}")
    numbers = robustness(clean, after, points.y, linf=linf, l2=l2)
    metrics: dict[str, float | None] = {**numbers}
    if any(isinstance(part, Draws) for part in scenario.model.modules()):
        # Every moved input is one more draw of a guard that draws, so some are won by luck alone.
        redrawn = _redrawn(scenario, perturbed, points.y, clean)
        metrics["robust_accuracy_redrawn"] = redrawn
        if (lucky := redrawn - numbers["robust_accuracy"]) > LUCKY:
            flags = [*flags, f"random guard: {lucky:.0%} of the inputs are right in another draw"]
    for defense in scenario.stack.defenses:
        if isinstance(defense, Certifies):
            label, radius = defense.certify(
                scenario.unguarded, points.x, scenario.defender, seed=scenario.seed
            )
            metrics |= certified(label, radius, points.y, scenario.dataset.epsilon["l2"])
    return Outcome(
        metrics=metrics,
        samples={
            "index": index.numpy(),
            "label": points.y.cpu().numpy(),
            "clean": clean.cpu().numpy(),
            "perturbed": after.cpu().numpy(),
            "size": size.cpu().numpy(),
        },
        notes={
            "n": len(points), "queries": target.queries, "flags": list(flags),
            **({"left_out": left_out} if scenario.source_rows is not None else {}),
        },
    )  # fmt: skip


def _sizes(perturbed: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Size of each perturbation (n,), by its largest number and by its Euclidean norm."""
    deltas = (after - before for after, before in zip(parts(perturbed), parts(x), strict=True))
    found = [(sizes(delta, "linf"), sizes(delta, "l2")) for delta in deltas]
    linf, l2 = zip(*found, strict=True)
    return torch.cat(linf), torch.cat(l2)


def _attacked(scenario: Scenario) -> tuple[Tensor, int]:
    """Which test examples are attacked, and how many are not, as the source was trained on them."""
    index = scenario.quarters.target_test
    if scenario.source_rows is None:
        return index, 0
    fresh = index[~torch.isin(index, scenario.source_rows)]
    if not len(fresh):
        raise NotApplicableError(
            f"The attacker's model was trained on all {len(index)} examples that are to be "
            f"attacked. Choose another one with transfer.source."
        )
    return fresh, len(index) - len(fresh)


def _redrawn(scenario: Scenario, perturbed: Tensor, y: Tensor, clean: Tensor) -> float:
    """Robust accuracy in other draws of the guards, which the attack did not know."""
    right = 0
    for draw in range(REDRAWS):
        with seeded("answers", scenario.seed), drawn_again(scenario.model, f"judge {draw}"):
            answers = BlackBox(scenario.model, Access.LABELS).labels(perturbed)  # of this draw
            right += int(((answers == y) & (clean == y)).sum())
    return right / (REDRAWS * len(y))
