"""The pool of shadow models: who is trained on what, for whom, and what the attacker sees of it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from harness import registry
from harness.attacks.lira import LiRA
from harness.data.quarters import quarters
from harness.defenses.dpsgd import DPSGD
from harness.defenses.rounding import Rounding
from harness.defenses.stack import Stack
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.games import membership, shadows
from harness.games.game import ScenarioSpec
from harness.types import Access, Aux, NotApplicableError, Regime, Risk, ThreatModel
from zoo.entry import ModelEntry
from zoo.recipe import Recipe

SCORES = ThreatModel(access=Access.SCORES, aux=Aux.SHADOW)
ENTRY = ModelEntry(
    name="own", source="selftrained", purpose="benchmark", dataset="digits",
    architecture="mlp-128", input_shape=(1, 8, 8), num_classes=10, mean=(0.0,), std=(1.0,),
    licence=None, backdoored=False, artifact=None, recipe=Recipe(epochs=1),
)  # fmt: skip


def _setting(data, *, seed=0, regime=Regime.FROM_SCRATCH, stack=(), threat=SCORES) -> ScenarioSpec:
    return ScenarioSpec(
        dataset=data, quarters=quarters(data, seed, regime), ood_size=0, threat=threat,
        stack=Stack(stack), regime=regime, seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize("regime", [Regime.FROM_SCRATCH, Regime.FINE_TUNED])
def test_four_in_a_row_share_out_what_the_target_is_drawn_from(regime, digits) -> None:
    data = replace(digits, n_train=1000)
    size = len(quarters(data, 0, regime).target_train)
    everything = set(range(0 if regime is Regime.FROM_SCRATCH else 1000, len(data)))
    for group in range(3):
        parts = [shadows.index(data, regime, 4 * group + k) for k in range(4)]
        assert all(len(part) == size for part in parts)
        rows = torch.cat(parts)
        assert len(rows.unique()) == len(rows)
        assert set(rows.tolist()) <= everything
        assert len(everything) - len(rows) < 4
    first, other = shadows.index(data, regime, 0), shadows.index(data, regime, 4)
    assert torch.isin(first, other).double().mean() == pytest.approx(0.25, abs=0.08)


def test_the_pool_is_the_same_for_every_seed_and_other_for_other_data(digits) -> None:
    one, two = (shadows.model_requests(8, _setting(digits, seed=seed)) for seed in (0, 1))
    assert len(one) == 8
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.index, b.index)
        assert a.seed == b.seed
    assert len({wanted.seed for wanted in one}) == 8
    altered = replace(digits, x=digits.x.flip(0), y=digits.y.flip(0))
    assert not torch.equal(shadows.model_requests(1, _setting(altered))[0].index, one[0].index)


def test_a_request_trains_one_pool_for_all_seeds_and_attacks(digits) -> None:
    def jobs(adversaries, attacks=("lira", "rmia")):
        asked = Request(
            models=(ENTRY,), stacks=((), ("dpsgd",)), risks=(Risk.MEMBERSHIP_INFERENCE,),
            attacks=attacks, seeds=3, adversaries=adversaries, settings={"lira.shadows": "8"},
        )  # fmt: skip
        return plan(
            asked, {"digits": digits}, {}, is_done=lambda key: False, is_trained=lambda job: False
        )

    targets = 2 * 3
    assert len(jobs((True,), ("lira",)).jobs) == len(jobs((True,)).jobs) == targets + 2 * 8
    # A naive attacker trains without the defense: the baseline's pool, no other.
    assert len(jobs((False,)).jobs) == targets + 8
    assert len(jobs((True, False)).jobs) == targets + 2 * 8
    for item in jobs((True, False)).cells:
        stacks = {job.stack for job in item.others[shadows.PURPOSE]}
        expected = (
            (registry.describe(DPSGD()),) if item.cell.stack and item.cell.threat.adaptive else ()
        )
        assert stacks == {expected}


def test_an_output_defense_trains_no_pool_of_its_own(digits) -> None:
    asked = Request(
        models=(ENTRY,), stacks=((), ("rounding",)), risks=(Risk.MEMBERSHIP_INFERENCE,),
        attacks=("rmia",), seeds=2,
    )  # fmt: skip
    found = plan(
        asked, {"digits": digits}, {}, is_done=lambda key: False, is_trained=lambda job: False
    )
    assert len(found.jobs) == 2 + 4


class Constant(nn.Module):
    """The same 10 scores for everything."""

    def __init__(self):
        super().__init__()
        self.logits = torch.log(torch.tensor([0.4567] + [0.06037] * 9))

    def forward(self, x):
        return self.logits.expand(len(x), 10)


@pytest.mark.parametrize(
    ("access", "adaptive", "guarded"),
    [
        (Access.SCORES, True, True),
        (Access.SCORES, False, False),
        (Access.WEIGHTS, True, False),
        (Access.WEIGHTS, False, False),
    ],
)
def test_an_attacker_who_knows_of_an_output_defense_puts_it_on_the_shadow_models(
    access, adaptive, guarded, digits, scenario_for
) -> None:
    table = scenario_for(
        digits,
        Constant(),
        threat=ThreatModel(access=access, aux=Aux.SHADOW, adaptive=adaptive),
        stack=Stack((Rounding(decimals=1),)),
        others={shadows.PURPOSE: [Constant() for _ in range(5)]},
    )
    points, aux = torch.arange(100), torch.arange(100, 150)
    found = shadows.of(table, points=points, aux=aux)
    assert len(found) == 5
    for k, shadow in enumerate(found):
        assert shadow.box.access is access
        assert shadow.box.budget is None
        own = float(shadow.box.scores(digits.x[:1])[0, 0])
        assert (own != pytest.approx(0.4567, abs=1e-4)) is guarded
        held = set(shadows.index(digits, Regime.FROM_SCRATCH, k).tolist())
        assert shadow.members.tolist() == [i in held for i in range(100)]
        assert shadow.aux_members.tolist() == [i in held for i in range(100, 150)]


def test_the_game_hands_the_shadow_models_out_with_the_candidates(digits, scenario_for) -> None:
    seen = []

    class Spy(LiRA):
        def run(self, target, data, *, seed):
            seen.append(data)
            return torch.arange(float(len(data.points)))

    table = scenario_for(
        digits, Constant(), threat=SCORES, others={shadows.PURPOSE: [Constant()] * 8}
    )
    outcome = membership.play(Spy(shadows=8), table)
    (data,) = seen
    rows = torch.from_numpy(outcome.samples["index"])
    assert torch.equal(data.points.x, digits.x[rows])
    for k, shadow in enumerate(data.shadows):
        expected = torch.isin(rows, shadows.index(digits, Regime.FROM_SCRATCH, k))
        assert torch.equal(shadow.members, expected)
    assert not data.aux_member.any()
    held = torch.stack([shadow.members for shadow in data.shadows]).sum(0)
    assert held.min() >= 1
    assert (held == 2).double().mean() > 0.99


def test_a_published_model_has_no_shadow_models(digits) -> None:
    data = replace(digits, n_train=1000)
    setting = _setting(data, regime=Regime.PUBLISHED)
    shadows.check(0, setting)
    with pytest.raises(NotApplicableError, match="nobody can repeat for a published model"):
        shadows.check(4, setting)
    with pytest.raises(NotApplicableError, match="nobody can repeat for a published model"):
        membership.check(LiRA(), setting)


def test_an_example_is_held_where_its_twin_is(digits, scenario_for) -> None:
    """Rows of a table may be the same people: what counts is what a model has seen."""
    held = shadows.index(digits, Regime.FROM_SCRATCH, 0)
    outside = shadows.index(digits, Regime.FROM_SCRATCH, 1)[0]
    x, y = digits.x.clone(), digits.y.clone()
    x[held[0]], y[held[0]] = x[outside], y[outside]
    table = scenario_for(replace(digits, x=x, y=y), Constant())
    # The pool is drawn anew for other data: ask for the row that shadow 0 holds of the pair.
    pair = torch.stack([held[0], outside])
    for k, shadow in enumerate(
        shadows.of(
            replace(table, threat=SCORES, others={shadows.PURPOSE: [Constant()] * 4}),
            points=pair,
            aux=pair,
        )
    ):
        own = set(shadows.index(table.dataset, Regime.FROM_SCRATCH, k).tolist())
        expected = bool(own & set(pair.tolist()))
        assert shadow.members.tolist() == [expected, expected]
        assert shadow.aux_members.tolist() == [expected, expected]


def test_a_shadow_has_output_defenses_of_its_own(digits, scenario_for, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        Rounding, "guard", lambda self, model, defender: seen.append(defender) or model
    )
    table = scenario_for(
        digits, Constant(), threat=SCORES, stack=Stack((Rounding(),)),
        others={shadows.PURPOSE: [Constant() for _ in range(3)]},
    )  # fmt: skip
    shadows.of(table, points=torch.arange(9), aux=torch.arange(9, 12))
    assert len({defender.seed for defender in [table.defender, *seen]}) == 4
    for k, defender in enumerate(seen):
        rows = shadows.index(digits, Regime.FROM_SCRATCH, k)
        assert torch.equal(defender.data.x, digits.x[rows])
        assert len(defender.trusted) == round(0.1 * len(rows))
        distances = torch.cdist(defender.trusted.x.flatten(1), defender.data.x.flatten(1))
        assert bool((distances.amin(1) < 1e-3).all())
