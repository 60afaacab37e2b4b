"""What a thief is handed, what is refused before any work, and the papers' settings."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from harness import registry
from harness.attacks.data_free import DataFree
from harness.attacks.distillation import Distillation
from harness.attacks.fine_tuning import FineTuning
from harness.data.dataset import DataLocation
from harness.data.datasets import OOD_DEFAULT, load
from harness.data.examples import Split
from harness.data.quarters import quarters
from harness.experiment import presets, request
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.games import auxiliary, extraction
from harness.metrics.extraction import extraction as metrics
from harness.results import Cell
from harness.types import Access, Aux, Regime, Risk, ThreatModel
from zoo import nets
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.recipe import Recipe

MLP = ModelEntry(
    name="own", source="selftrained", purpose="benchmark", dataset="digits",
    architecture="mlp-128", input_shape=(1, 8, 8), num_classes=10, mean=(0.0,), std=(1.0,),
    licence=None, backdoored=False, artifact=None, recipe=Recipe(epochs=1),
)  # fmt: skip
PARTIAL = ThreatModel(access=Access.SCORES, aux=Aux.PARTIAL)
NONE = ThreatModel(access=Access.SCORES)


@pytest.fixture
def table(digits, scenario_for):
    torch.manual_seed(0)
    return scenario_for(digits, nets.build("mlp-128", (1, 8, 8), 10).eval())


def _planned(digits, **wanted):
    asked = Request(
        models=(MLP,), stacks=((),), risks=(Risk.EXTRACTION,), seeds=1,
        **{"attacks": ("distillation",), **wanted},
    )  # fmt: skip
    data = {"digits": digits, OOD_DEFAULT: load(OOD_DEFAULT, DataLocation())}
    made = plan(asked, data, {}, is_done=lambda _: False, is_trained=lambda _: False)
    return [item.cell for item in made.cells]


def test_the_share_of_the_training_data_is_the_threat_models(digits) -> None:
    split = quarters(digits, 0, Regime.FROM_SCRATCH)
    held = {
        share: auxiliary.pool_index(split, replace(PARTIAL, partial=share)).tolist()
        for share in (None, 0.5, 0.7, 1.0)
    }
    assert [len(index) for index in held.values()] == [224, 224, 314, 449]
    assert held[None] == held[0.5] == held[0.7][:224]
    assert set(held[1.0]) == set(split.target_train.tolist())


def test_a_share_that_is_not_the_customary_one_is_seen_and_stored(digits) -> None:
    [cell] = _planned(digits, aux=Aux.PARTIAL)
    assert "partial" not in cell.to_dict()["threat"]  # the key is what it was
    other = replace(cell, threat=replace(cell.threat, partial=0.7))
    assert other.key != cell.key
    assert str(other.threat) == "scores, partial 70%"
    assert [Cell.from_dict(c.to_dict()) for c in (cell, other)] == [cell, other]


def test_an_attacker_who_holds_nothing_is_refused(digits, table) -> None:
    split = quarters(digits, 0, Regime.PUBLISHED)  # no official split: nobody knows the members
    with pytest.raises(ZooError, match="partial data holds no inputs: nobody knows"):
        extraction.check(
            Distillation(), replace(table.spec, quarters=split, threat=PARTIAL, ood_size=0)
        )
    free = replace(NONE, queries=10**6)
    extraction.check(DataFree(), replace(table.spec, quarters=split, threat=free, ood_size=0))


def test_an_attack_that_needs_no_data_is_handed_none(steal, table) -> None:
    outcome = steal(DataFree(epochs=1), replace(table, threat=replace(NONE, queries=150)))
    assert outcome.metrics["queries"] == 150
    assert outcome.notes["held"] == 0


def test_foreign_data_are_handed_over_with_their_own_labels(steal, table, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        Distillation, "run", lambda self, target, data, *, seed: seen.append(data) or table.model
    )
    ood = Split(torch.rand(20, 1, 8, 8), torch.arange(20))
    threat = ThreatModel(access=Access.SCORES, aux=Aux.OOD, ood="other")
    outcome = steal(Distillation(), replace(table, ood=ood, threat=threat))
    assert torch.equal(seen[0].aux.x, ood.x)
    assert torch.equal(seen[0].aux.y, ood.y)
    assert outcome.metrics["fidelity"] == 1
    assert outcome.notes["held"] == 20


def test_a_thief_of_weights_leaves_the_guard_behind(steal, table) -> None:
    """The guard answers the same to everything, and no gradient passes it."""

    class Guard(nn.Module):
        def forward(self, x):
            return torch.eye(10)[torch.zeros(len(x), dtype=torch.long)]

    threat = ThreatModel(access=Access.WEIGHTS, aux=Aux.SHADOW)
    outcome = steal(
        FineTuning(epochs=5), replace(table, model=Guard(), unguarded=table.model, threat=threat)
    )
    assert outcome.metrics["surrogate_accuracy"] > 0.5
    assert outcome.metrics["target_accuracy"] < 0.2
    assert outcome.metrics["queries"] == 0


def test_budgets_are_shares_of_what_the_attacker_holds(digits, monkeypatch) -> None:
    row = presets.Row(access=Access.SCORES, aux=Aux.OOD, share=0.1)
    monkeypatch.setitem(presets.PRESETS, "mine", presets.Preset(attacks={"distillation": (row,)}))
    [cell] = _planned(digits, preset="mine")
    assert cell.threat.queries == 200  # of 2,000 photographs


def test_a_sweep_is_one_cell_for_each_budget(digits) -> None:
    found = _planned(digits, queries=request.budgets(["100,500"]))
    assert [cell.threat.queries for cell in found] == [100, 500]


def test_the_experiments_of_securitynet(digits) -> None:
    found = _planned(digits, preset="securitynet")
    assert [(c.attack.label, c.threat.aux, c.threat.queries) for c in found] == [
        ("distillation[SN-A01]", Aux.PARTIAL, None),
        ("distillation[SN-A02]", Aux.OOD, None),
        ("distillation[SN-A03]", Aux.PARTIAL, None),
        *(("distillation[SN-A04]", Aux.PARTIAL, n) for n in (22, 56, 112, 168, 224)),
    ]
    for cell in found:
        settings = dict(cell.attack.params)
        assert cell.threat.access is Access.SCORES
        assert cell.threat.partial is None  # half of the training data
        assert (settings["optimizer"], settings["lr"], settings["epochs"]) == ("sgd", 0.01, 30)
        big = "SN-A03" in cell.attack.label
        assert settings["surrogate"] == ("timm/wide_resnet50_2" if big else "resnet18-stem3")


def test_the_experiments_of_ml_doctor(digits) -> None:
    found = _planned(digits, preset="ml-doctor")
    assert [(c.attack.label, str(c.threat)) for c in found] == [
        ("distillation[MD-A09]", "scores, partial 70%"),
        ("distillation[MD-A10]", "scores, shadow"),
    ]
    for cell in found:
        settings = dict(cell.attack.params)
        assert settings["surrogate"] is None  # the target's own architecture
        assert (settings["loss"], settings["optimizer"], settings["lr"]) == ("mse", "sgd", 0.01)
        assert (settings["momentum"], settings["epochs"]) == (0.9, 50)


def test_a_surrogate_that_does_not_fit_is_refused_before_any_work(digits) -> None:
    with pytest.raises(ZooError, match="takes images of 3 channels, not 1"):
        _planned(digits, settings={"surrogate": "torchvision/resnet18"})


def test_metrics_by_hand_where_the_copy_is_better_than_the_target() -> None:
    """Fidelity counts shared mistakes; correct fidelity does not see them."""
    y = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2])
    target = torch.tensor([0, 1, 1, 1, 2, 0, 0, 2])  # wrong on 1, 5, 6
    copy = torch.tensor([0, 1, 1, 0, 2, 0, 2, 2])  # shares 1 and 5, wrong on 3 as well
    twin = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])  # wrong on 7 only
    assert metrics(copy, target, y, twin) == pytest.approx(
        {
            "fidelity": 6 / 8,  # all but 3 and 6
            "correct_fidelity": 4 / 5,  # 0, 2, 4, 7 of 0, 2, 3, 4, 7
            "twin_fidelity": 4 / 8,  # 0, 2, 3, 4
            "surrogate_accuracy": 5 / 8,  # all but 1, 3, 5
            "twin_accuracy": 7 / 8,
            "accuracy_gain": -2 / 8,
            "target_accuracy": 5 / 8,
            "majority_agreement": 3 / 8,  # 0 and 1 three times each
        }
    )


@pytest.mark.parametrize("name", ["data-free", "distillation", "knockoff", "semi-supervised"])
def test_every_thief_keeps_to_the_games_budget(steal, name, table) -> None:
    attack = registry.make("attack", name, {"epochs": "1"}).resolve(table.dataset)
    aux = Aux.NONE if name == "data-free" else Aux.SHADOW
    threat = ThreatModel(access=Access.SCORES, aux=aux, queries=77)
    outcome = steal(attack, replace(table, threat=threat))
    assert outcome.metrics["queries"] == 77
