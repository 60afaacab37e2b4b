"""The membership game with canaries: say of each planted example whether it was trained on.

Defenses may leave out canaries. Which of the canaries that were not planted they would have left
out shows when all coins fall the other way and the defenses are given what is planted then. What an
audit proves holds of the training as a whole, and only for all canaries: leaving some out by what
was found in the data may itself give them away.

Where the settings of the training were tuned, what is audited is the training with these settings.
No canary has a part in the tuning: that is on the data as they are before anybody plants any, on
splits of no seed, so its choice is the same however the coins fall.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared.attacker_data import Canaries, PlantsCanaries
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.data.quarters import Quarters
from harness.defenses.shared.defender import trusted_index
from harness.games.counted import judged
from harness.games.game import Outcome, Scenario, ScenarioSpec
from harness.games.privacy import audited
from harness.metrics.audit import CONFIDENCE, audit
from harness.types import Regime, UnfitError
from zoo.errors import ZooError


def check(attack: PlantsCanaries, spec: ScenarioSpec) -> None:
    """Refuse a target that is not trained, and a query budget below one question per canary.

    Raises:
        NotApplicableError: The target is a published model as downloaded.
        ZooError: The budget is too small, or there are too few examples for the canaries.
    """
    if spec.regime is Regime.PUBLISHED:
        raise UnfitError(
            f"{attack.name} changes the training data, which is too late for a published model as "
            f"downloaded. Choose another attack with --attack."
        )
    request = len(_planted(attack, spec.dataset, spec.quarters, spec.seed, 0).rows)
    budget = spec.threat.queries
    if budget is not None and budget < request:
        raise ZooError(
            f"The query budget is {budget}, but {attack.name} asks about {request} canaries. Raise "
            f"--queries."
        )


def play(attack: PlantsCanaries, scenario: Scenario) -> Outcome:
    """Have the canaries scored, and bound the budget that the training spent from below."""
    planted = _planted(
        attack, scenario.dataset, scenario.quarters, scenario.replicate, scenario.poison_seed
    )
    target = scenario.bare_target()
    data = AttackedPoints(**vars(scenario.attacker()), points=planted.points.to(scenario.device))
    scores = attack.run(target, data, seed=scenario.seed)
    values = np.asarray(scores.double().cpu())
    member = planted.included.cpu().numpy()
    counted, matched = _counted(attack, scenario, planted)
    budget, doubted = audited(scenario.evidence)
    delta = attack.dp_delta if budget is None else scenario.evidence["dp_delta"]
    found = judged(values, member, counted, matched)
    shown = audit(values, member, guessed=attack.guessed, dp_delta=delta)
    return replace(
        found,
        metrics={
            **found.metrics,
            **shown,
            "dp_epsilon": budget,
            "dp_delta": delta,
            "queries": float(target.queries),
        },
        samples={
            "index": scenario.quarters.target_train[planted.rows].numpy(),
            **found.samples,
        },
        notes={
            "canaries": len(member),
            "trained_on": int((member & counted).sum()),
            **found.notes,
            **_said(budget, doubted, shown["audited_epsilon"]),
        },
    )


def _said(budget: float | None, doubted: str | None, shown: float) -> dict[str, object]:
    """What is audited, and a flag if it is refuted."""
    if budget is None:
        return {}
    found: dict[str, object] = {"audited": doubted}
    if shown > budget:
        found["flags"] = [
            f"the audit refutes {budget:.4g} as {doubted}: it is {shown:.4g} or more "
            f"({CONFIDENCE:.0%} confidence)"
        ]
    return found


def _counted(
    attack: PlantsCanaries, scenario: Scenario, planted: Canaries
) -> tuple[np.ndarray, bool | None]:
    """Which canaries (m,) bool count, and whether that could be said of those left out."""
    counted = torch.ones(len(planted.rows), dtype=torch.bool)
    if scenario.left_out is None:
        return counted.numpy(), None
    included = planted.included.cpu()
    counted[included] = ~_missing(planted.rows, included, scenario.left_out)
    data, trusted = _other_world(planted, scenario)
    found = scenario.would_leave_out(data.to(scenario.device), trusted)
    if found is None:
        return counted.numpy(), False
    counted[~included] = ~_missing(planted.rows, ~included, found.cpu().nonzero().flatten())
    return counted.numpy(), None if counted.all() else True


def _missing(rows: Tensor, included: Tensor, left_out: Tensor) -> Tensor:
    """Which of the canaries that are included are at ``left_out`` of the data they are planted in.

    Args:
        rows: (m,) int64, the examples that the canaries replace.
        included: (m,) bool, which of them do; what the others replace is not in the data.
        left_out: (k,) int64, positions in the data.
    """
    gone = rows[~included]
    place = rows[included]
    place = place - (gone[None, :] < place[:, None]).sum(1)
    return torch.isin(place, left_out.cpu())


def _other_world(planted: Canaries, scenario: Scenario) -> tuple[Split, Tensor]:
    """The training data if all coins had fallen the other way, and where its checked ones are."""
    data = scenario.dataset.collected.take(scenario.quarters.target_train)
    rows, included = planted.rows, planted.included.cpu()
    x, y = data.x.clone(), data.y.clone()
    x[rows], y[rows] = planted.points.x.cpu(), planted.points.y.cpu()
    kept = torch.ones(len(data), dtype=torch.bool)
    kept[rows] = ~included
    trusted = trusted_index(len(data), scenario.replicate)
    return replace(data, x=x, y=y).take(kept), trusted - (~kept).cumsum(0)[trusted]


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
