"""The membership game with canaries: say of each planted example whether it was trained on."""

from __future__ import annotations

import numpy as np

from harness.attacks.knowledge import Canaries, PlantsCanaries
from harness.datasets import Dataset, Quarters
from harness.games.game import Outcome, Setting, Table
from harness.metrics.audit import audit
from harness.metrics.membership import membership
from harness.roc_picture import log_roc
from harness.types import NotApplicableError, Regime
from harness.workshop import trusted_index
from zoo.errors import ZooError


def check(attack: PlantsCanaries, setting: Setting) -> None:
    """Refuse a target that is not trained, and a query budget below one question per canary.

    Raises:
        NotApplicableError: The target is a published model as downloaded.
        ZooError: The budget is too small, or there are too few examples for the canaries.
    """
    if setting.regime is Regime.PUBLISHED:
        raise NotApplicableError(
            f"{attack.name} changes the training data, which is too late for a published model as "
            f"downloaded. Choose another attack with --attack."
        )
    wanted = len(_planted(attack, setting.dataset, setting.quarters, setting.seed, 0).rows)
    budget = setting.threat.queries
    if budget is not None and budget < wanted:
        raise ZooError(
            f"The query budget is {budget}, but {attack.name} asks about {wanted} canaries. Raise "
            f"--queries."
        )


def play(attack: PlantsCanaries, table: Table) -> Outcome:
    """Have the canaries scored, and bound the budget that the training spent from below."""
    planted = _planted(attack, table.dataset, table.quarters, table.replicate, table.poison_seed)
    target = table.bare_target()
    points = planted.points.to(table.device)
    scores = attack.run(target, table.attacker(points=points), seed=table.seed)
    values = np.asarray(scores.double().cpu())
    member = planted.included.numpy()
    claimed = table.evidence.get("dp_epsilon")  # only where it is a claim about the whole model
    delta = attack.dp_delta if claimed is None else table.evidence["dp_delta"]
    return Outcome(
        metrics={
            **membership(values, member),
            **audit(values, member, guessed=attack.guessed, dp_delta=delta),
            "dp_epsilon": claimed,
            "dp_delta": delta,
            "queries": float(target.queries),
        },
        samples={
            "index": table.quarters.target_train[planted.rows].numpy(),
            "member": member,
            "score": values,
        },
        notes={"canaries": len(member), "trained_on": int(member.sum())},
        images={"roc": log_roc(values, member)},
    )


def _planted(
    attack: PlantsCanaries, dataset: Dataset, quarters: Quarters, replicate: int, seed: int
) -> Canaries:
    """The canaries of a target that was made with the poison seed ``seed``."""
    held = dataset.all.take(quarters.target_train)
    return attack.canaries(
        held,
        trusted=trusted_index(len(held), replicate),
        num_classes=dataset.num_classes,
        seed=seed,
    )
