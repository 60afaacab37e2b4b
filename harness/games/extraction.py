"""Extraction: from the target's answers to the attacker's own inputs, train a copy."""

from __future__ import annotations

import torch

from harness.attacks.protocol import Attack
from harness.datasets import Quarters
from harness.games.game import Outcome, Table
from harness.metrics.extraction import extraction
from harness.target import BlackBox
from harness.types import Access, Aux, Split, ThreatModel
from zoo.errors import ZooError

PARTIAL = 0.5  # of the target's training data, as in SecurityNet (Zhang et al. 2024)


def pool_index(quarters: Quarters, aux: Aux) -> torch.Tensor:
    """Which examples of the target's dataset the attacker holds; empty if it holds none."""
    if aux is Aux.SHADOW:
        return torch.cat([quarters.shadow_train, quarters.shadow_test])
    if aux is Aux.PARTIAL:
        return quarters.target_train[: int(PARTIAL * len(quarters.target_train))]
    return quarters.target_train[:0]


def check(threat: ThreatModel, quarters: Quarters, ood_size: int) -> None:
    """Refuse a query budget that the attacker has no inputs for.

    Args:
        threat: What the attacker is granted.
        quarters: Who holds which examples.
        ood_size: How many inputs the attacker's other dataset has.

    Raises:
        ZooError: The budget is larger than what the attacker holds.
    """
    held = ood_size if threat.aux is Aux.OOD else len(pool_index(quarters, threat.aux))
    if threat.queries is not None and threat.queries > held:
        kind = threat.ood or threat.aux
        raise ZooError(
            f"The query budget is {threat.queries}, but the attacker's {kind} data holds {held} "
            f"inputs. Lower --queries."
        )


def play(attack: Attack, table: Table) -> Outcome:
    """Steal the target, and compare the copy with it on data that neither has seen."""
    if table.threat.aux is Aux.OOD:
        assert table.ood is not None
        aux = Split(table.ood.x.to(table.device), table.ood.y.to(table.device))
    else:
        aux = table.hold(pool_index(table.quarters, table.threat.aux))
    target = table.target()
    surrogate = attack.run(
        target,
        table.attacker(aux=aux),
        seed=table.seed,
    )
    test = table.hold(table.quarters.target_test)
    answers = BlackBox(table.model, Access.LABELS).labels(test.x)
    copied = BlackBox(surrogate, Access.LABELS).labels(test.x)
    return Outcome(
        metrics={**extraction(copied, answers, test.y), "queries": float(target.queries)},
        samples={
            "index": table.quarters.target_test.numpy(),
            "label": test.y.cpu().numpy(),
            "target": answers.cpu().numpy(),
            "surrogate": copied.cpu().numpy(),
        },
        notes={"n": len(test), "held": len(aux)},
    )
