"""Discriminatory behavior: does the model, as it answers, treat groups of people alike?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from harness.attacks.protocol import AttackedPoints, AuditsGroups
from harness.data.dataset import Dataset
from harness.data.examples import UNKNOWN
from harness.games.game import ModelRequest, Outcome, Scenario, ScenarioSpec
from harness.metrics.fairness import fairness
from harness.metrics.group_picture import group_rates
from harness.metrics.group_tables import SHUFFLES
from harness.seeds import seeded
from harness.types import NotApplicableError, UnfitError
from zoo.errors import ZooError

LARGEST = 2**30
"""Entries of the tables that a comparison holds at once: 8 GiB."""


def check(attack: AuditsGroups, spec: ScenarioSpec) -> None:
    """Refuse groups that cannot be compared, and a budget below one question each.

    A group that has fewer than ``smallest`` examples in all the data is too small in every split,
    and is shown as such; a larger one has to be there.

    Raises:
        NotApplicableError: The dataset has no attributes, all have the same value, fewer than two
            groups are large enough, the test examples have none of a group, or the tables of groups
            and classes are too large.
        ZooError: The dataset does not have this attribute, or the budget is too small.
    """
    dataset = spec.dataset
    z = dataset.attribute(attack.attribute)
    size = SHUFFLES * len(z.names) * dataset.num_classes**2
    if size > LARGEST:
        raise UnfitError(
            f"Comparing {len(z.names)} groups in the {dataset.num_classes} classes of "
            f"{dataset.name} takes tables of {8 * size / 2**30:,.0f} GiB. Choose a dataset with "
            f"fewer classes, or an attribute with fewer values."
        )
    overall, here = (
        torch.bincount(values[values != UNKNOWN], minlength=len(z.names))
        for values in (z.values, z.values[spec.quarters.target_test])
    )
    if (overall > 0).sum() < 2:
        raise UnfitError(
            f"All examples of {dataset.name} have the same {attack.attribute}: there are no groups "
            f"to compare."
        )
    for name, all_of_it, found in zip(z.names, overall.tolist(), here.tolist(), strict=True):
        if all_of_it >= attack.smallest and not found:
            raise NotApplicableError(
                f"The test examples of {dataset.name} (seed {spec.seed}) have none with "
                f"{attack.attribute}={name}, of which there are {all_of_it} in all. Choose another "
                f"attribute, or raise smallest above {all_of_it} to leave out groups of this size."
            )
    if (here >= attack.smallest).sum() < 2:
        raise NotApplicableError(
            f"Groups are compared on at least {attack.smallest} test examples each, but "
            f"{dataset.name} has {_listed(z.names, here)}. Lower smallest, or choose another "
            f"attribute."
        )
    asked, budget = int(here.sum()), spec.threat.queries
    if budget is not None and budget < asked:
        raise ZooError(
            f"The query budget is {budget}, but {attack.name} asks about {asked} test examples. "
            f"Raise --queries to {asked} or more."
        )


def _listed(names: tuple[str, ...], counts: Tensor) -> str:
    return ", ".join(f"{n} {name}" for name, n in zip(names, counts.tolist(), strict=True))


def needs(attack: AuditsGroups, spec: ScenarioSpec) -> Mapping[str, tuple[ModelRequest, ...]]:
    """Nothing besides the target."""
    return {}


def play(attack: AuditsGroups, scenario: Scenario) -> Outcome:
    """Ask about the test examples whose group is known, and compare the groups."""
    from sklearn.metrics import recall_score

    dataset = scenario.dataset
    z = dataset.attribute(attack.attribute)
    asked = scenario.quarters.target_test
    asked = asked[z.values[asked] != UNKNOWN]
    data = AttackedPoints(**vars(scenario.attacker()), points=scenario.examples_at(asked))
    target = scenario.target()
    with seeded("answers", scenario.seed):  # of a target that is random
        answers = attack.run(target, data, seed=scenario.seed)
    scores = answers.cpu().numpy() if answers.dim() == 2 else None
    predicted = (answers.argmax(1) if answers.dim() == 2 else answers).cpu().numpy()
    y, group = data.points.y.cpu().numpy(), z.values[asked].numpy()
    found = fairness(
        predicted,
        y,
        group,
        z.names,
        num_classes=dataset.num_classes,
        smallest=attack.smallest,
        scores=scores,
    )
    columns = {} if scores is None else {f"score_{c}": s for c, s in enumerate(scores.T)}
    balanced = recall_score(y, predicted, labels=np.unique(y), average="macro")
    return Outcome(
        metrics={
            **found.metrics,
            "clean_accuracy": float((predicted == y).mean()),
            "balanced_accuracy": float(balanced),
            "queries": float(target.queries),
        },
        samples={
            "index": asked.numpy(),
            "label": y,
            "group": group,
            "predicted": predicted,
            **columns,
        },
        notes={
            "attribute": attack.attribute,
            "groups": {name: int((group == i).sum()) for i, name in enumerate(z.names)},
            "positive": _positive(dataset),
            "too_small": found.too_small,
        },
        images={"groups": group_rates(found.bands, z.names, title=_title(dataset, found.shown))},
    )


def _positive(dataset: Dataset) -> str:
    """Which label is the positive one, in words."""
    if dataset.num_classes == 2:
        return "1"
    return f"each of {dataset.num_classes} against the others; the worst stands for all"


def _title(dataset: Dataset, shown: int) -> str:
    return "class 1" if dataset.num_classes == 2 else f"class {shown}, the least equal"
