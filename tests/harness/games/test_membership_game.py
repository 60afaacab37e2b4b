"""Who is in question, what the attacker knows, and that the two never overlap."""

from dataclasses import dataclass, replace

import pytest
import torch

from harness.attacks.loss_threshold import LossThreshold
from harness.games import membership
from harness.target import BlackBox
from harness.types import Access, Aux, NotApplicableError, Regime, ThreatModel
from zoo import nets
from zoo.errors import ZooError


@dataclass(frozen=True)
class Patient(LossThreshold):
    """An attack that asks so much about each candidate that it takes few."""

    candidates: int | None = 20


@pytest.fixture
def table(digits, scenario_for):
    torch.manual_seed(0)
    return scenario_for(digits, nets.build("mlp-128", (1, 8, 8), 10).eval())


def _with(table, aux: Aux, partial: float | None = None):
    threat = ThreatModel(access=Access.SCORES, aux=aux, partial=partial)
    return replace(table, threat=threat)


def _rows(tensor: torch.Tensor) -> set[int]:
    return set(tensor.tolist())


@pytest.mark.parametrize("aux", [Aux.NONE, Aux.SHADOW, Aux.PARTIAL])
def test_what_the_attacker_knows_is_never_a_candidate(table, aux) -> None:
    candidate_split = membership.split_candidates(LossThreshold(), _with(table, aux).spec)
    quarters = table.quarters
    assert len(candidate_split.members) == len(candidate_split.others) > 0
    assert _rows(candidate_split.members) <= _rows(quarters.target_train)
    assert _rows(candidate_split.others) <= _rows(quarters.target_test)
    assert _rows(candidate_split.aux).isdisjoint(
        _rows(candidate_split.members) | _rows(candidate_split.others)
    )
    trained_on = torch.isin(candidate_split.aux, quarters.target_train)
    assert torch.equal(candidate_split.aux_member, trained_on)
    known = {Aux.NONE: (0, 0), Aux.SHADOW: (0, 898), Aux.PARTIAL: (224, 448)}[aux]
    assert (int(candidate_split.aux_member.sum()), len(candidate_split.aux)) == known


def test_a_larger_share_leaves_fewer_candidates(table) -> None:
    candidate_split = membership.split_candidates(
        LossThreshold(), _with(table, Aux.PARTIAL, 0.7).spec
    )
    assert int(candidate_split.aux_member.sum()) == 314
    assert len(candidate_split.members) == 449 - 314


def test_an_attack_may_take_fewer_candidates_but_not_more_than_there_are(table) -> None:
    candidate_split = membership.split_candidates(Patient(), table.spec)
    assert (len(candidate_split.members), len(candidate_split.others)) == (10, 10)
    membership.check(Patient(candidates=898), table.spec)
    with pytest.raises(ZooError, match="wants 900 candidates, but digits has 898"):
        membership.check(Patient(candidates=900), table.spec)


def test_members_that_nobody_knows_are_refused(table, digits) -> None:
    from harness.data.quarters import quarters

    split = quarters(replace(digits, n_train=0), 0, Regime.PUBLISHED)
    with pytest.raises(ZooError, match="needs to know what the model was trained on"):
        membership.check(LossThreshold(), replace(table.spec, quarters=split))


def test_an_attacker_with_the_weights_leaves_the_guard_behind(table, monkeypatch) -> None:
    torch.manual_seed(1)
    guarded = nets.build("mlp-128", (1, 8, 8), 10).eval()
    seen = []
    monkeypatch.setattr(
        LossThreshold, "run",
        lambda self, target, data, *, seed: seen.append(target) or torch.zeros(len(data.points)),
    )  # fmt: skip
    for access in (Access.SCORES, Access.WEIGHTS):
        threat = ThreatModel(access=access)
        membership.play(LossThreshold(), replace(table, model=guarded, threat=threat))
    x = table.dataset.x[:4]
    expected = [BlackBox(m, Access.SCORES).scores(x) for m in (guarded, table.unguarded)]
    assert torch.equal(seen[0].scores(x), expected[0])
    assert torch.equal(seen[1].scores(x), expected[1])


@pytest.mark.parametrize(
    ("spread", "flags"), [(0.0, ["all candidates have the same score"]), (0.1, [])]
)
def test_scores_that_are_all_the_same_are_flagged_in_the_evidence(
    digits, measure, spread, flags
) -> None:
    """A model that answers everything alike is equally sure of all, or differs by the label."""
    model = nets.build("mlp-32", (1, 8, 8), 10).eval()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    last = [p for p in model.parameters()][-1]
    last.data.copy_(spread * torch.arange(10.0))
    found, _ = measure(digits, model, 0, "loss-threshold")
    assert [f for f in found.evidence["flags"] if "majority class" not in f] == flags
    assert (found.metrics["auc"] == 0.5) == (spread == 0)


def _twins(table, rows: torch.Tensor, of: torch.Tensor):
    """The table with the examples ``rows`` made equal to ``of``, label and all."""
    x, y = table.dataset.x.clone(), table.dataset.y.clone()
    x[rows], y[rows] = x[of], y[of]
    return replace(table, dataset=replace(table.dataset, x=x, y=y))


def test_who_is_on_both_sides_is_no_candidate_and_is_counted(table) -> None:
    quarters = table.quarters
    before = membership.split_candidates(LossThreshold(), table.spec)
    assert before.ambiguous == 0
    twins = _twins(table, quarters.target_test[:10], quarters.target_train[:10])
    candidate_split = membership.split_candidates(LossThreshold(), twins.spec)
    assert candidate_split.ambiguous == 20
    assert _rows(candidate_split.members).isdisjoint(_rows(quarters.target_train[:10]))
    assert _rows(candidate_split.others).isdisjoint(_rows(quarters.target_test[:10]))
    assert len(candidate_split.members) == len(candidate_split.others) == len(before.members) - 10
    # Another label makes it another example: only the target's memory of the pair is in question.
    twins.dataset.y[quarters.target_test[:10]] = (
        twins.dataset.y[quarters.target_test[:10]] + 1
    ) % 10
    other = replace(twins, dataset=replace(twins.dataset))
    assert membership.split_candidates(LossThreshold(), other.spec).ambiguous == 0
    outcome = membership.play(LossThreshold(), _twins(table, quarters.target_test[:10],
                                                      quarters.target_train[:10]))  # fmt: skip
    assert outcome.notes["on_both_sides"] == 20


def test_what_the_attacker_knows_to_be_outside_is_no_member_in_question(table) -> None:
    table = _with(table, Aux.SHADOW)
    quarters = table.quarters
    twins = _twins(table, quarters.shadow_train[:5], quarters.target_train[:5])
    candidate_split = membership.split_candidates(LossThreshold(), twins.spec)
    assert _rows(candidate_split.members).isdisjoint(_rows(quarters.target_train[:5]))


def test_members_that_are_all_non_members_too_are_refused(table) -> None:
    quarters = table.quarters
    size = min(len(quarters.target_train), len(quarters.target_test))
    same = _twins(table, quarters.target_test[:size], quarters.target_train[:size])
    with pytest.raises(ZooError, match=r"are the same examples \(\d+ are on both sides\)"):
        membership.check(LossThreshold(), same.spec)


@pytest.mark.parametrize("rows", [4, 7])
def test_too_few_people_are_said_in_one_line(rows, digits, scenario_for) -> None:
    """A quarter of them is a single member: no threshold could be chosen on the others."""
    data = replace(digits, x=digits.x[:rows], y=digits.y[:rows])
    setting = scenario_for(data, nets.build("mlp-32", (1, 8, 8), 10)).spec
    with pytest.raises(
        NotApplicableError, match="at least 2 members and as many others, but digits"
    ):
        membership.check(LossThreshold(), setting)
