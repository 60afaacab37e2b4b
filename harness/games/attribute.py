"""Attribute inference: say of each record which value a sensitive attribute has.

What is found out of records that the target was not trained on is what it gives away of anybody.
What is found out of its training data besides, it remembers of them. Neither counts what the
attacker knows without the model: the same attack with all that it is handed, but for what the
target shows. Records whose attribute nobody knows are left out: they could not be judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from harness.attacks.shared.attacker_data import InfersAttribute, Records, granted
from harness.data.examples import UNKNOWN, Attribute
from harness.games.auxiliary import pool_index
from harness.games.game import ModelRequest, Outcome, Scenario, ScenarioSpec
from harness.metrics.attribute import attribute, memorised
from harness.seeds import generator
from harness.types import NotApplicableError, UnfitError
from zoo.errors import ZooError


def _known(z: Attribute, index: Tensor) -> Tensor:
    """Those of the rows at ``index`` whose attribute is known."""
    return index[z.values[index] != UNKNOWN]


def _members(z: Attribute, trained_on: Tensor, held: Tensor) -> Tensor:
    """Those of the rows ``trained_on`` that are asked about: the attacker's own it knows."""
    rows = _known(z, trained_on)
    return rows[~torch.isin(rows, held)]


def check(attack: InfersAttribute, spec: ScenarioSpec) -> None:
    """Refuse what cannot be judged, and budgets that the data or the questions exceed.

    Raises:
        NotApplicableError: The dataset has no attributes, or all records have the same value, or
            whoever has a record is told the attribute.
        ZooError: The dataset does not have this one, the attacker's records are fewer than it
            wants, or the query budget does not reach for one question each.
    """
    dataset, threat = spec.dataset, spec.threat
    z = dataset.attribute(attack.attribute)
    truth = z.values[_known(z, spec.quarters.target_test)]
    name = attack.attribute or next(iter(dataset.z))
    told = [part for part in name.split("+") if part in dataset.stated]
    if told:
        raise UnfitError(
            f"The features of {dataset.name} say {' and '.join(told)}, so there is nothing to "
            f"infer of {name}. Choose a dataset that keeps it apart, such as adult."
        )
    if len(truth.unique()) < 2:
        raise NotApplicableError(
            f"All records in question of {dataset.name} have the same {attack.attribute}: there is "
            f"nothing to infer."
        )
    own = _known(z, pool_index(spec.quarters, threat))
    held = len(own)
    if not held or held < (attack.samples or 0):
        raise ZooError(
            f"The attacker wants {attack.samples or 'some'} records with a known "
            f"{attack.attribute}, but its {threat.aux} data holds {held}. Lower samples, or choose "
            f"other data with --aux."
        )
    questions = len(truth) + len(_members(z, spec.quarters.target_train, own))
    asked = questions + (attack.samples or held)
    if threat.queries is not None and threat.queries < asked:
        raise ZooError(
            f"The query budget is {threat.queries}, but attribute inference asks for {questions} "
            f"records in question and {asked - questions} of the attacker's own. Raise --queries, "
            f"or lower samples."
        )


def needs(attack: InfersAttribute, spec: ScenarioSpec) -> Mapping[str, tuple[ModelRequest, ...]]:
    """No other models."""
    return {}


def play(attack: InfersAttribute, scenario: Scenario) -> Outcome:
    """Hand out records of both kinds without their attribute, and judge beside imputation.

    The metrics are over records that the target was not trained on; of those that it was there are
    ``member_auc``, ``member_imputation_auc`` and ``member_advantage``. ``memorised_advantage``
    compares the two, where of the others only those count that the defenses would have kept.
    """
    z = scenario.dataset.attribute(attack.attribute)
    held = _known(z, pool_index(scenario.quarters, scenario.threat))
    others = _known(z, scenario.quarters.target_test)
    members = _members(z, scenario.trained_on, held)
    asked = torch.cat([others, members])
    order = torch.randperm(len(asked), generator=generator("records in question", scenario.seed))
    asked, member = asked[order], (torch.arange(len(asked)) >= len(others))[order].numpy()
    target, points = scenario.bare_target(), scenario.examples_at(asked)
    everything = Records(
        **vars(scenario.attacker()),
        points=points,
        aux=scenario.examples_at(held),
        seen=attack.see(target, points.x),
        aux_z=z.values[held].to(scenario.device),
        num_values=len(z.names),
    )
    data = replace(everything, points=granted(points, attack.knows))
    given = {
        "score": attack.run(target, data, seed=scenario.seed),
        "imputation": attack.impute(data, knows=attack.knows, seed=scenario.seed),
    }
    given["features_imputation"] = (
        given["imputation"]
        if attack.knows == "features"
        else attack.impute(everything, knows="features", seed=scenario.seed)
    )
    truth = z.values[asked].numpy()
    found = {name: each.cpu().numpy() for name, each in given.items()}
    scores, imputed, from_features = found.values()
    counterparts = scenario.counterparts
    kept = scenario.quarters.target_test if counterparts is None else counterparts
    counted = member | torch.isin(asked, kept).numpy()
    notes = {}
    if counterparts is None:
        notes["members_matched"] = False
    elif not counted.all() or len(scenario.trained_on) < len(scenario.quarters.target_train):
        notes["members_matched"] = True
    return Outcome(
        metrics={
            **attribute(scores[~member], imputed[~member], from_features[~member], truth[~member]),
            **memorised(scores, imputed, truth, member, counted),
            "queries": float(target.queries),
        },
        samples={
            "index": asked.numpy(),
            "member": member,
            "counted": counted,
            "z": truth,
            **{
                f"{name}_{value}": column
                for name, each in found.items()
                for value, column in enumerate(each.T)
            },
        },
        notes={
            "records": len(others),
            "members": len(members),
            "held": attack.samples or len(held),
            "values": {
                name: int((truth[~member] == value).sum()) for value, name in enumerate(z.names)
            },
            **notes,
        },
    )
