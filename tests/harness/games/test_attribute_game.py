"""Who is handed which records, what is refused before any work, and the numbers made again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from harness.attacks.attribute_embeddings import AttributeEmbeddings
from harness.attacks.attribute_scores import AttributeScores
from harness.data.dataset import DataLocation
from harness.data.datasets import load
from harness.data.examples import Attribute
from harness.data.quarters import quarters
from harness.defenses.label_only import LabelOnly
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.games import attribute
from harness.learning.fit import fit
from harness.metrics.susceptibility import susceptibility
from harness.seeds import seeded
from harness.types import Access, Aux, NotApplicableError, Regime, Risk, ThreatModel
from zoo import nets
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.recipe import Recipe

OWN = ModelEntry(
    name="own", source="selftrained", purpose="benchmark", dataset="digits-tinted",
    architecture="mlp-128", input_shape=(3, 8, 8), num_classes=10, mean=(0.0,) * 3,
    std=(1.0,) * 3, licence=None, backdoored=False, artifact=None, recipe=Recipe(epochs=1),
)  # fmt: skip
SHADOW = ThreatModel(access=Access.SCORES, aux=Aux.SHADOW)
QUICK = AttributeScores(epochs=2, samples=200)


@pytest.fixture(scope="module")
def tinted():
    return load("digits-tinted", DataLocation())


@pytest.fixture
def table(tinted, scenario_for):
    torch.manual_seed(0)
    return scenario_for(tinted, nets.build("mlp-128", (3, 8, 8), 10).eval(), threat=SHADOW)


def _planned(data, attack="attribute-scores", **wanted):
    entry = replace(
        OWN,
        dataset=data.name,
        input_shape=data.input_shape,
        mean=(0.0,) * data.input_shape[0],
        std=(1.0,) * data.input_shape[0],
    )
    asked = Request(
        models=(entry,), stacks=((),), risks=(Risk.ATTRIBUTE_INFERENCE,), attacks=(attack,),
        seeds=1, **wanted,
    )  # fmt: skip
    never = plan(asked, {data.name: data}, {}, is_done=lambda _: False, is_trained=lambda _: False)
    return never.cells


@pytest.mark.parametrize("aux", [Aux.SHADOW, Aux.PARTIAL])
def test_attributes_are_told_of_the_attackers_records_only(aux, table, tinted, monkeypatch) -> None:
    seen, real = [], AttributeScores.run

    def run(self, target, data, *, seed):
        seen.append(data)
        return real(self, target, data, seed=seed)

    monkeypatch.setattr(AttributeScores, "run", run)
    outcome = attribute.play(QUICK, replace(table, threat=replace(SHADOW, aux=aux)))
    split, [data] = table.quarters, seen
    own = torch.cat([split.shadow_train, split.shadow_test])
    if aux is Aux.PARTIAL:
        own = split.target_train[:224]
    assert torch.equal(data.aux.x, tinted.x[own])
    assert torch.equal(data.aux_z, tinted.z["tint"].values[own])
    index = torch.from_numpy(outcome.samples["index"])
    assert torch.equal(data.points.x, tinted.x[index])
    assert not torch.isin(own, index).any()
    members = split.target_train[224 if aux is Aux.PARTIAL else 0 :]
    asked = torch.cat([split.target_test, members])
    assert sorted(index.tolist()) == sorted(asked.tolist())
    assert np.array_equal(outcome.samples["member"], np.isin(index, members))
    assert outcome.samples["counted"].all()
    assert np.array_equal(outcome.samples["z"], tinted.z["tint"].values[index])
    assert outcome.metrics["queries"] == len(asked) + 200


def test_a_model_of_the_attribute_itself_leaks_it_all(tinted, scenario_for) -> None:
    """Its classes are the tints. Nobody knows a label; that would be the tint."""
    tints = replace(tinted, y=tinted.z["tint"].values, num_classes=2)
    split = quarters(tints, 0, Regime.FROM_SCRATCH)
    with seeded("tints"):
        model = nets.build("mlp-128", (3, 8, 8), 2)
    fit(model, tints.all.take(split.target_train), Recipe(lr=3e-3, epochs=10), seed=0)
    for attack in (AttributeScores, AttributeEmbeddings):
        table = scenario_for(tints, model, threat=replace(SHADOW, access=attack.access[0]))
        found = attribute.play(attack(knows="nothing", epochs=20), table).metrics
        assert found["auc"] > 0.98
        assert found["balanced_accuracy"] > 0.95
        assert found["imputation_auc"] == 0.5
        assert susceptibility(Risk.ATTRIBUTE_INFERENCE, found) > 0.96


@pytest.mark.parametrize("knows", ["nothing", "label", "features"])
def test_a_model_with_one_answer_adds_exactly_nothing(knows, table) -> None:
    class Silent(nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 10)

    found = attribute.play(replace(QUICK, knows=knows), replace(table, model=Silent()))
    assert found.metrics["advantage"] == 0
    for value in (0, 1):
        score, imputed = (found.samples[f"{name}_{value}"] for name in ("score", "imputation"))
        assert np.array_equal(score, imputed)
    if knows == "features":
        assert found.metrics["features_imputation_auc"] == found.metrics["imputation_auc"]


def test_who_has_the_weights_leaves_the_guard_behind(table) -> None:
    class Guard(nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 10)

    weights = replace(table, threat=replace(SHADOW, access=Access.WEIGHTS))
    attack = AttributeEmbeddings(epochs=2)
    with_guard, without = (
        attribute.play(attack, given).metrics
        for given in (replace(weights, model=Guard()), weights)
    )
    assert with_guard == without
    assert with_guard["queries"] == 0


def test_who_asks_meets_the_guard_with_the_same_luck(table) -> None:
    guarded = replace(table, model=LabelOnly().guard(table.model, table.defender))
    with_guard, without = (attribute.play(QUICK, given).metrics for given in (guarded, table))
    assert with_guard["auc"] != without["auc"]
    assert with_guard["imputation_auc"] == without["imputation_auc"]


def test_numbers_are_made_again_from_the_stored_samples(table, tinted) -> None:
    """With three values, by scikit-learn, from nothing but the columns."""
    third = Attribute(tinted.y % 3, ("no rest", "one", "two"))
    made = replace(tinted, z={"rest": third})
    found = attribute.play(AttributeScores(epochs=15), replace(table, dataset=made))
    others = ~found.samples["member"]
    z = found.samples["z"][others]
    assert np.array_equal(z, (tinted.y % 3)[found.samples["index"][others]])
    scores, imputed, features = (
        np.stack([found.samples[f"{name}_{value}"][others] for value in range(3)], 1)
        for name in ("score", "imputation", "features_imputation")
    )
    again = {
        "auc": roc_auc_score(z, scores, multi_class="ovr"),
        "imputation_auc": roc_auc_score(z, imputed, multi_class="ovr"),
        "features_imputation_auc": roc_auc_score(z, features, multi_class="ovr"),
        "advantage": 2 * roc_auc_score(z, scores, multi_class="ovr")
        - 2 * roc_auc_score(z, imputed, multi_class="ovr"),
        "rarest_share": np.bincount(z).min() / len(z),
    }
    for name, value in again.items():
        assert found.metrics[name] == pytest.approx(value, abs=1e-9), name
    assert found.metrics["imputation_auc"] > 0.99  # the label says it
    assert found.notes["values"] == dict(zip(third.names, np.bincount(z).tolist(), strict=True))


def test_the_result_of_a_cell_has_it_all(tinted, measure, table) -> None:
    evaluation, outcome = measure(tinted, table.model, 0, QUICK, threat=SHADOW)
    assert evaluation.status == "ok"
    assert evaluation.primary == "auc"
    assert evaluation.susceptibility == pytest.approx(evaluation.metrics["advantage"])
    assert evaluation.evidence["held"] == 200
    assert dict(evaluation.cell.attack.params)["attribute"] == "tint"
    assert {len(column) for column in outcome.samples.values()} == {898}


def test_the_attribute_that_is_meant_is_recorded(tinted) -> None:
    [item] = _planned(tinted)
    assert dict(item.cell.attack.params)["attribute"] == "tint"
    assert item.cell.attack.label == "attribute-scores"
    assert item.refused is None
    assert not item.others
    [white] = _planned(tinted, "attribute-embeddings", aux=Aux.PARTIAL)
    assert str(white.cell.threat) == "weights, partial"


def test_a_dataset_without_attributes_is_a_result_with_its_reason(digits) -> None:
    [item] = _planned(digits)
    assert "digits has no sensitive attributes" in item.refused


def test_records_that_are_all_alike_are_a_result_with_its_reason(tinted) -> None:
    alike = replace(tinted, z={"tint": Attribute(torch.ones_like(tinted.y), ("cold", "warm"))})
    [item] = _planned(alike)
    assert "have the same tint: there is nothing to infer" in item.refused


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"settings": {"attribute": "hue"}}, "No sensitive attribute of digits-tinted 'hue'"),
        ({"settings": {"samples": "899"}}, "wants 899 records .* shadow data holds 898. Lower"),
        (
            {"settings": {"samples": "225"}, "aux": Aux.PARTIAL},
            "wants 225 records .* partial data holds 224. Lower",
        ),
        ({"queries": (1795,)}, "budget is 1795, .* 898 records in question and 898 of the"),
        ({"queries": (950,), "settings": {"samples": "53"}}, "budget is 950, .* and 53 of the"),
    ],
)
def test_what_the_data_or_the_budget_cannot_give_is_refused(tinted, wanted, message) -> None:
    with pytest.raises(ZooError, match=message) as found:
        _planned(tinted, **wanted)
    assert not isinstance(found.value, NotApplicableError)


def test_the_smallest_budgets_that_reach_are_not_refused(tinted) -> None:
    for wanted in (
        {"queries": (1796,), "settings": {"samples": "898"}},
        {"queries": (950,), "settings": {"samples": "52"}},
    ):
        assert [item.refused for item in _planned(tinted, **wanted)] == [None]


def test_an_attacker_without_records_is_refused(table) -> None:
    nobody = replace(table.quarters, target_train=table.quarters.target_train[:0])
    setting = replace(table, quarters=nobody, threat=replace(SHADOW, aux=Aux.PARTIAL)).spec
    with pytest.raises(ZooError, match="wants some records .* partial data holds 0"):
        attribute.check(AttributeScores(), setting)


def test_a_public_model_is_judged_on_data_it_has_not_seen(tinted, table) -> None:
    official = replace(tinted, n_train=1000)
    split = quarters(official, 0, Regime.PUBLISHED, shadow=True)
    found = attribute.play(
        QUICK, replace(table, dataset=official, quarters=split, regime=Regime.PUBLISHED)
    )
    member = found.samples["member"]
    assert found.samples["index"][~member].min() >= 1000 > found.samples["index"][member].max()


PART = ThreatModel(access=Access.SCORES, aux=Aux.PARTIAL)


@pytest.fixture(scope="module")
def candidate_split(tinted):
    """An attribute that nothing about a record tells."""
    values = torch.randint(2, (len(tinted),), generator=torch.Generator().manual_seed(0))
    return replace(tinted, z={"coin": Attribute(values, ("heads", "tails"))})


def _fitted(data, rows, labels, epochs):
    with seeded("fitted"):
        model = nets.build("mlp-128", (3, 8, 8), 10)
    given = replace(data.all.take(rows), y=labels)
    return fit(model, given, Recipe(lr=1e-2, epochs=epochs, batch_size=64), seed=0)


def test_what_a_model_remembers_of_its_members_is_found_of_them_alone(
    candidate_split, scenario_for
) -> None:
    """Its training labels say how a coin fell that nothing else tells."""
    rows = quarters(candidate_split, 0, Regime.FROM_SCRATCH).target_train
    labels = (candidate_split.y % 5 + 5 * candidate_split.z["coin"].values)[rows]
    table = scenario_for(candidate_split, _fitted(candidate_split, rows, labels, 120), threat=PART)
    found = attribute.play(AttributeScores(knows="nothing"), table)
    assert found.metrics["member_auc"] > 0.8
    assert found.metrics["member_imputation_auc"] == 0.5
    assert found.metrics["memorised_advantage"] > 0.5
    assert susceptibility(Risk.ATTRIBUTE_INFERENCE, found.metrics) == pytest.approx(0, abs=0.2)
    member = found.samples["member"]
    for side, names in (
        (member, ("member_auc", "member_imputation_auc")),
        (~member, ("auc", "imputation_auc")),
    ):
        for column, name in zip(("score_1", "imputation_1"), names, strict=True):
            again = roc_auc_score(found.samples["z"][side], found.samples[column][side])
            assert found.metrics[name] == pytest.approx(again, abs=1e-9)


def test_a_model_of_other_data_remembers_nobody(tinted, scenario_for) -> None:
    found = []
    flip = torch.rand(len(tinted), generator=torch.Generator().manual_seed(0)) < 0.3
    tint = tinted.z["tint"]
    blurred = Attribute(torch.where(flip, 1 - tint.values, tint.values), tint.names)
    data = replace(tinted, z={"tint": blurred})
    for seed in range(4):
        others = quarters(data, seed, Regime.FROM_SCRATCH).shadow_train
        model = _fitted(data, others, data.y[others], 10)
        table = scenario_for(data, model, seed, threat=PART)
        found.append(attribute.play(AttributeScores(epochs=10), table).metrics)
    values = [metrics["memorised_advantage"] for metrics in found]
    assert np.mean(values) == pytest.approx(0, abs=0.08)
    assert np.mean([metrics["member_auc"] for metrics in found]) > 0.6


def test_members_are_those_that_were_trained_on(table) -> None:
    split = table.quarters
    game = replace(
        table, left_out=torch.arange(0, 449, 2),
        would_leave_out=lambda data, trusted: torch.arange(len(data)) < 100,
    )  # fmt: skip
    found = attribute.play(QUICK, game)
    index, member, counted = (found.samples[key] for key in ("index", "member", "counted"))
    assert sorted(index[member]) == sorted(split.target_train[1::2].tolist())
    assert sorted(index[~member]) == sorted(split.target_test.tolist())
    assert sorted(index[counted & ~member]) == sorted(split.target_test[100:].tolist())
    assert found.notes["members_matched"] is True
    unknown = replace(game, would_leave_out=lambda data, trusted: None)
    assert attribute.play(QUICK, unknown).notes["members_matched"] is False
    assert "members_matched" not in attribute.play(QUICK, table).notes


def test_whoever_knows_all_members_asks_about_none(table) -> None:
    everything = replace(table, threat=replace(PART, partial=1.0))
    found = attribute.play(QUICK, everything)
    assert not found.samples["member"].any()
    assert found.metrics["member_auc"] is None
    assert found.metrics["memorised_advantage"] is None
