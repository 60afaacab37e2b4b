"""Nobody is handed what is not theirs, and everybody plays with the same luck."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from harness.attacks.distillation import Distillation
from harness.attacks.loss_threshold import LossThreshold
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AuxiliaryData
from harness.data.quarters import quarters
from harness.defenses.dpsgd import DPSGD
from harness.games import auxiliary, evasion, membership
from harness.games.game import Scenario
from harness.target import BlackBox
from harness.training.job import Trained
from harness.types import Access, Aux, Regime, ThreatModel
from zoo import nets


@pytest.fixture
def table(digits, scenario_for) -> Scenario:
    torch.manual_seed(0)
    return scenario_for(digits, nets.build("mlp-128", (1, 8, 8), 10).eval())


def _spy(kind, monkeypatch) -> list:
    """What attacks of this class are handed, and their seeds."""
    seen, real = [], kind.run

    def run(self, target, data, *, seed):
        seen.append((data, seed))
        return real(self, target, data, seed=seed)

    monkeypatch.setattr(kind, "run", run)
    return seen


@pytest.mark.parametrize("regime", [Regime.FROM_SCRATCH, Regime.PUBLISHED, Regime.FINE_TUNED])
@pytest.mark.parametrize("aux", [Aux.SHADOW, Aux.PARTIAL])
def test_a_thief_never_holds_what_the_copy_is_judged_on(regime, aux, digits) -> None:
    split = quarters(replace(digits, n_train=1000), 0, regime, shadow=aux is Aux.SHADOW)
    threat = ThreatModel(access=Access.SCORES, aux=aux)
    held = set(auxiliary.pool_index(split, threat).tolist())
    assert held
    assert held.isdisjoint(split.target_test.tolist())
    whose = (
        split.target_train
        if aux is Aux.PARTIAL
        else torch.cat([split.shadow_train, split.shadow_test])
    )
    assert held <= set(whose.tolist())
    if aux is Aux.SHADOW:
        assert held.isdisjoint(split.target_train.tolist())


def test_the_thief_is_handed_those_inputs(table, digits, steal, monkeypatch) -> None:
    seen = _spy(Distillation, monkeypatch)
    threat = ThreatModel(access=Access.SCORES, aux=Aux.SHADOW)
    steal(Distillation(epochs=1), replace(table, threat=threat))
    index = auxiliary.pool_index(table.quarters, threat)
    assert torch.equal(seen[0][0].aux.x, digits.x[index])
    assert type(seen[0][0]) is AuxiliaryData


def test_candidates_are_as_many_members_as_others_and_shuffled(table, digits, monkeypatch) -> None:
    seen = _spy(LossThreshold, monkeypatch)
    outcome = membership.play(LossThreshold(), table)
    index = torch.from_numpy(outcome.samples["index"])
    assert torch.equal(seen[0][0].points.x, digits.x[index])
    assert torch.equal(seen[0][0].points.y, digits.y[index])
    member = outcome.samples["member"]
    assert member.sum() == (~member).sum() == 449
    assert set(index[member].tolist()) == set(table.quarters.target_train.tolist())
    assert set(index[~member].tolist()) == set(table.quarters.target_test.tolist())
    assert 150 < member[:449].sum() < 300
    assert len(seen[0][0].aux) == 0


def test_an_attack_that_leaves_its_ball_is_a_defect_and_not_a_result(table, monkeypatch) -> None:
    monkeypatch.setattr(
        PGD, "run", lambda self, target, data, *, seed: (data.points.x + 0.2).clamp(0, 1)
    )
    with pytest.raises(RuntimeError, match="pgd left its budget"):
        evasion.play(PGD(epsilon=0.1, step_size=0.1), table)


def test_stacks_share_their_luck_and_seeds_do_not(digits, monkeypatch, measure) -> None:
    seen = _spy(PGD, monkeypatch)
    trained = Trained(nets.build("mlp-128", (1, 8, 8), 10), {})
    attack = PGD(steps=1).resolve(digits)
    for stack, seed in ((), 0), ((DPSGD(),), 0), ((), 1):
        measure(digits, trained, seed, attack, stack=stack)
    (plain, first), (defended, second), (_, third) = seen
    assert first == second != third
    assert torch.equal(plain.points.x, defended.points.x)


def test_a_target_answers_in_eval_mode_and_its_parameters_are_frozen() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)).train()
    box = BlackBox(model, Access.WEIGHTS)
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(box.scores(x), box.scores(x))
    assert not box.model.training
    assert not any(p.requires_grad for p in box.model.parameters())


def test_the_result_names_its_split(digits, measure) -> None:
    found = []
    for seed in (0, 0, 1):
        trained = Trained(nets.build("mlp-128", (1, 8, 8), 10), {})
        result, _ = measure(digits, trained, seed, LossThreshold())
        found.append(result.provenance["split"])
    assert found[0] == found[1] != found[2]


def test_of_a_target_of_one_answer_nothing_is_stolen(digits, measure) -> None:
    class Constant(nn.Module):
        def forward(self, x):
            return torch.eye(10)[[3]].expand(len(x), 10)

    threat = ThreatModel(access=Access.LABELS, aux=Aux.SHADOW)
    found, _ = measure(digits, Constant(), 0, Distillation(epochs=20), threat=threat)
    # Agreeing with a constant answer is no knowledge.
    assert found.metrics["fidelity"] == found.metrics["majority_agreement"] == 1
    assert (found.status, found.susceptibility) == ("ok", 0)
