"""Membership inference: say of each candidate whether the target was trained on it.

Some defenses leave out examples. What they left out are no members, and if only those are taken
from one side, the sides differ before anything is remembered: a cleaner keeps what is easy for any
model. So the same defenses are given the non-members as training data, and what they would have
left out is taken from the other side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from harness.attacks.protocol import UsesShadows
from harness.attacks.shared.attacker_data import (
    AsksOften,
    Candidates,
    InfersMembership,
    PlantsCanaries,
)
from harness.games import canaries, shadows
from harness.games.auxiliary import PARTIAL
from harness.games.counted import judged
from harness.games.game import ModelRequest, Outcome, Scenario, ScenarioSpec
from harness.seeds import generator
from harness.types import Attack, Aux, NotApplicableError, UnfitError
from zoo.errors import ZooError

FEWEST = 2
"""Of members, and of others: half of them choose the threshold that the other half is judged at."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CandidateSplit:
    """Who is in question and what the attacker knows, as rows of the dataset.

    Attributes:
        members: Candidates that the target was trained on.
        others: As many that it was not.
        aux: The attacker's other examples.
        aux_member: (len(aux),) bool, which of those the target was trained on.
        ambiguous: How many examples are no candidates for being on both sides.
    """

    members: Tensor
    others: Tensor
    aux: Tensor
    aux_member: Tensor
    ambiguous: int


def split_candidates(attack: Attack, spec: ScenarioSpec) -> CandidateSplit:
    """Share out the quarters; what the attacker knows is never a candidate.

    Nor is an example of which there is another on the other side, or among what is known: it is
    member and non-member at once, as people are who look alike in a table.

    An attacker with partial data knows a share of the members, and as many non-members. An attacker
    with shadow data has examples that neither are candidates nor were trained on.
    """
    quarters, threat = spec.quarters, spec.threat
    members, others = quarters.target_train, quarters.target_test
    size = min(len(members), len(others))
    members, others = members[:size], others[:size]
    known = members[:0]
    if threat.aux is Aux.PARTIAL:
        share = PARTIAL if threat.partial is None else threat.partial
        start = round(share * size)
        known = torch.cat([members[:start], others[:start]])
        members, others = members[start:], others[start:]
        return _dealt(attack, spec, members, others, known, torch.arange(len(known)) < start)
    if threat.aux is Aux.SHADOW:
        known = torch.cat([quarters.shadow_train, quarters.shadow_test])
    nobody = torch.zeros(len(known), dtype=torch.bool)
    return _dealt(attack, spec, members, others, known, nobody)


def _dealt(
    attack: Attack,
    spec: ScenarioSpec,
    members: Tensor,
    others: Tensor,
    aux: Tensor,
    aux_member: Tensor,
) -> CandidateSplit:
    """As many of either kind, and no more than the attack has the patience for."""
    content, quarters = spec.dataset.content, spec.quarters
    trained_on, known = content[quarters.target_train], content[aux]
    rest = content[quarters.target_test]
    inside = torch.cat([rest, known[~aux_member]])
    outside = torch.cat([trained_on, known[aux_member]])
    kept = [
        rows[~torch.isin(content[rows], other)]
        for rows, other in ((members, inside), (others, outside))
    ]
    most = getattr(attack, "candidates", None)
    half = min(*map(len, kept), *(() if most is None else (most // 2,)))
    return CandidateSplit(
        members=kept[0][:half],
        others=kept[1][:half],
        aux=aux,
        aux_member=aux_member,
        ambiguous=len(members) + len(others) - sum(map(len, kept)),
    )


def check(attack: InfersMembership | PlantsCanaries, spec: ScenarioSpec) -> None:
    """Refuse what cannot be judged, and a query budget that does not reach for one question each.

    Raises:
        NotApplicableError: The attack wants shadow models of a target that nobody can train again,
            nobody knows the members, or they are the same examples as the non-members.
        ZooError: The budget is smaller than the number of candidates or than the attack needs, or
            there are fewer candidates than it wants.
    """
    if isinstance(attack, PlantsCanaries):
        return canaries.check(attack, spec)
    if not len(spec.quarters.target_train) or not len(spec.quarters.target_test):
        raise UnfitError(
            "Membership inference needs to know what the model was trained on; its dataset has no "
            "official split that would tell. Choose other risks with --risk."
        )
    shadows.check(_shadows(attack, spec), spec)
    candidate_split, threat = split_candidates(attack, spec), spec.threat
    candidates = 2 * len(candidate_split.members)
    request = getattr(attack, "candidates", None)
    if not candidates and candidate_split.ambiguous:
        raise NotApplicableError(
            f"Members and non-members of {spec.dataset.name} are the same examples "
            f"({candidate_split.ambiguous} are on both sides); nobody can tell them apart. Choose "
            f"other data."
        )
    if candidates < 2 * FEWEST and request is None:
        raise NotApplicableError(
            f"Membership is judged on at least {FEWEST} members and as many others, but "
            f"{spec.dataset.name} has {len(candidate_split.members)} of each that the attacker "
            f"does not know already. Take a larger dataset."
        )
    if not candidates or (request is not None and candidates < request - 1):
        raise ZooError(
            f"{attack.name} wants {request or 'some'} candidates, but {spec.dataset.name} has "
            f"{candidates} that the attacker does not know already. Lower {attack.name}.candidates."
        )
    if threat.queries is not None and threat.queries < candidates:
        raise ZooError(
            f"The query budget is {threat.queries}, but membership of {candidates} candidates is "
            f"in question. Raise --queries."
        )
    if isinstance(attack, AsksOften):
        attack.check_questions(
            numbers=math.prod(spec.dataset.input_shape),
            candidates=candidates,
            budget=threat.queries,
            shadows=_shadows(attack, spec),
        )


def needs(attack: Attack, spec: ScenarioSpec) -> Mapping[str, tuple[ModelRequest, ...]]:
    """The shadow models, if the attack has any."""
    return {shadows.PURPOSE: shadows.model_requests(_shadows(attack, spec), spec)}


def _shadows(attack: Attack, spec: ScenarioSpec) -> int:
    """How many shadow models are used; whoever knows some members needs none."""
    if spec.threat.aux is not Aux.SHADOW or not isinstance(attack, UsesShadows):
        return 0
    return attack.shadows


@dataclass(frozen=True, eq=False, kw_only=True)
class Count:
    """Which examples count as members and as non-members.

    Attributes:
        members: (rows of the dataset,) bool, what the target was trained on.
        others: Likewise, what its defenses would have kept of the rest.
        matched: Whether the same rule was applied to both; None where nothing was left out.
    """

    members: Tensor
    others: Tensor
    matched: bool | None

    def of(self, rows: Tensor, member: Tensor) -> Tensor:
        """Which of ``rows`` (n,) count, (n,) bool, given which are members (n,) bool."""
        return torch.where(member, self.members[rows], self.others[rows])


def count(scenario: Scenario) -> Count:
    """What counts in this game; of equal examples, all or none."""
    content, quarters = scenario.dataset.content, scenario.quarters
    members, others = scenario.trained_on, scenario.counterparts
    matched = others is not None
    if others is None:
        others = quarters.target_test
    whole = len(members) == len(quarters.target_train) and len(others) == len(quarters.target_test)
    return Count(
        members=torch.isin(content, content[members]),
        others=torch.isin(content, content[others]),
        matched=None if whole and matched else matched,
    )


def play(attack: InfersMembership | PlantsCanaries, scenario: Scenario) -> Outcome:
    """Hand out equally many members and non-members, shuffled, and judge the scores.

    The metrics are over the candidates that count: members that the target was trained on, and
    non-members that its defenses would have kept. ``collected_auc`` is over all. An attacker who
    knows some members knows of those that count.

    Scores that say nothing are flagged: their AUC of .5 is no finding about the model.

    Raises:
        NotApplicableError: No candidate on one side counts.
    """
    if isinstance(attack, PlantsCanaries):
        return canaries.play(attack, scenario)
    candidate_split, counting = split_candidates(attack, scenario.spec), count(scenario)
    if candidate_split.aux_member.any():
        known = counting.of(candidate_split.aux, candidate_split.aux_member)
        candidate_split = replace(
            candidate_split,
            aux=candidate_split.aux[known],
            aux_member=candidate_split.aux_member[known],
        )
    index = torch.cat([candidate_split.members, candidate_split.others])
    truth = torch.arange(len(index)) < len(candidate_split.members)
    order = torch.randperm(len(index), generator=generator("candidates", scenario.seed))
    index, truth = index[order], truth[order]
    target = scenario.bare_target()
    data = Candidates(
        **vars(scenario.attacker()),
        points=scenario.examples_at(index),
        aux=scenario.examples_at(candidate_split.aux),
        aux_member=candidate_split.aux_member.to(scenario.device),
        shadows=shadows.of(scenario, points=index, aux=candidate_split.aux),
    )
    scores = attack.run(target, data, seed=scenario.seed)
    values, member = np.asarray(scores.double().cpu()), truth.numpy()
    counted = counting.of(index, truth).numpy()
    found = judged(values, member, counted, counting.matched)
    return replace(
        found,
        metrics={**found.metrics, "queries": float(target.queries)},
        samples={"index": index.numpy(), **found.samples},
        notes={
            "members": int((counted & member).sum()),
            "non_members": int((counted & ~member).sum()),
            "on_both_sides": candidate_split.ambiguous,
            "flags": list(_flags(values)),
            **found.notes,
        },
    )


def _flags(scores: np.ndarray) -> tuple[str, ...]:
    """Reasons for doubt in an attack's scores (n,), for people."""
    return ("all candidates have the same score",) if np.ptp(scores) == 0 else ()
