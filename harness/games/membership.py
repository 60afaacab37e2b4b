"""Membership inference: say of each candidate whether the target was trained on it."""

from __future__ import annotations

import numpy as np
import torch

from harness.attacks.protocol import Attack
from harness.datasets import Quarters
from harness.games.game import Needed, Outcome, Table
from harness.metrics.membership import membership
from harness.seeds import generator
from harness.stack import Stack
from harness.types import ThreatModel
from zoo.errors import ZooError


def size_of(quarters: Quarters) -> int:
    """How many members, and how many non-members, are candidates."""
    return min(len(quarters.target_train), len(quarters.target_test))


def check(attack: Attack, threat: ThreatModel, quarters: Quarters, ood_size: int) -> None:
    """Refuse a query budget that does not reach for one question about every candidate.

    Raises:
        ZooError: The budget is smaller than the number of candidates, or nobody knows the members.
    """
    if size_of(quarters) == 0:
        raise ZooError(
            "Membership inference needs to know what the model was trained on; its dataset has no "
            "official split that would tell. Choose other risks with --risk."
        )
    candidates = 2 * size_of(quarters)
    if threat.queries is not None and threat.queries < candidates:
        raise ZooError(
            f"The query budget is {threat.queries}, but membership of {candidates} candidates is "
            f"in question. Raise --queries."
        )


def needs(stack: Stack) -> Needed:
    """Nothing besides the target."""
    return Needed()


def play(attack: Attack, table: Table) -> Outcome:
    """Hand out equally many members and non-members, shuffled, and judge the scores."""
    members, others = table.quarters.target_train, table.quarters.target_test
    size = size_of(table.quarters)
    index = torch.cat([members[:size], others[:size]])
    truth = torch.arange(2 * size) < size
    order = torch.randperm(2 * size, generator=generator("candidates", table.seed))
    index, truth = index[order], truth[order]
    target = table.target()
    scores = attack.run(
        target,
        table.attacker(points=table.hold(index)),
        seed=table.seed,
    )
    values = np.asarray(scores.double().cpu())
    return Outcome(
        metrics={**membership(values, truth.numpy()), "queries": float(target.queries)},
        samples={"index": index.numpy(), "member": truth.numpy(), "score": values},
        notes={"members": size, "non_members": size},
    )
