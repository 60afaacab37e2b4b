"""Attribute inference: say of each record which value a sensitive attribute has.

The records in question are not the target's training data, so what is found out is what the target
gives away of anybody. Records whose attribute nobody knows are left out: they could not be judged.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from harness.attacks.records import InfersAttribute, Records
from harness.games.game import Outcome, Setting, Table, Wanted
from harness.games.holdings import pool_index
from harness.metrics.attribute import attribute
from harness.types import UNKNOWN, Attribute, NotApplicableError
from zoo.errors import ZooError


def _known(z: Attribute, index: Tensor) -> Tensor:
    """Those of the rows at ``index`` whose attribute is known."""
    return index[z.values[index] != UNKNOWN]


def check(attack: InfersAttribute, setting: Setting) -> None:
    """Refuse what cannot be judged, and budgets that the data or the questions exceed.

    Raises:
        NotApplicableError: The dataset has no attributes, or all records have the same value, or
            whoever has a record is told the attribute.
        ZooError: The dataset does not have this one, the attacker's records are fewer than it
            wants, or the query budget does not reach for one question each.
    """
    dataset, threat = setting.dataset, setting.threat
    z = dataset.attribute(attack.attribute)
    truth = z.values[_known(z, setting.quarters.target_test)]
    name = attack.attribute or next(iter(dataset.z))
    told = [part for part in name.split("+") if part in dataset.stated]
    if told:
        raise NotApplicableError(
            f"The features of {dataset.name} say {' and '.join(told)}, so there is nothing to "
            f"infer of {name}. Choose a dataset that keeps it apart, such as adult."
        )
    if len(truth.unique()) < 2:
        raise NotApplicableError(
            f"All records in question of {dataset.name} have the same {attack.attribute}: there is "
            f"nothing to infer."
        )
    held = len(_known(z, pool_index(setting.quarters, threat)))
    if not held or held < (attack.samples or 0):
        raise ZooError(
            f"The attacker wants {attack.samples or 'some'} records with a known "
            f"{attack.attribute}, but its {threat.aux} data holds {held}. Lower samples, or choose "
            f"other data with --aux."
        )
    asked = len(truth) + (attack.samples or held)
    if threat.queries is not None and threat.queries < asked:
        raise ZooError(
            f"The query budget is {threat.queries}, but attribute inference asks for {len(truth)} "
            f"records in question and {asked - len(truth)} of the attacker's own. Raise --queries, "
            f"or lower samples."
        )


def needs(attack: InfersAttribute, setting: Setting) -> Mapping[str, tuple[Wanted, ...]]:
    """No other models."""
    return {}


def play(attack: InfersAttribute, table: Table) -> Outcome:
    """Hand out records with and without their attribute, and judge the latter beside imputation."""
    z = table.dataset.attribute(attack.attribute)
    held = _known(z, pool_index(table.quarters, table.threat))
    asked = _known(z, table.quarters.target_test)
    target = table.bare_target()
    known = table.attacker(points=table.hold(asked), aux=table.hold(held))
    data = Records(**vars(known), aux_z=z.values[held].to(table.device), num_values=len(z.names))
    found = {
        "score": attack.run(target, data, seed=table.seed),
        "imputation": attack.impute(data, knows=attack.knows, seed=table.seed),
    }
    found["features_imputation"] = (
        found["imputation"]
        if attack.knows == "features"
        else attack.impute(data, knows="features", seed=table.seed)
    )
    truth = z.values[asked].numpy()
    scores, imputed, from_features = (given.cpu().numpy() for given in found.values())
    metrics = attribute(scores, imputed, from_features, truth)
    return Outcome(
        metrics={**metrics, "queries": float(target.queries)},
        samples={
            "index": asked.numpy(),
            "z": truth,
            **{
                f"{name}_{value}": column.cpu().numpy()
                for name, given in found.items()
                for value, column in enumerate(given.T)
            },
        },
        notes={
            "records": len(truth),
            "held": attack.samples or len(held),
            "values": {name: int((truth == value).sum()) for value, name in enumerate(z.names)},
        },
    )
