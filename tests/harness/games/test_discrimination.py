"""Who is asked about, what is refused before any work, and the numbers made again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from harness.attacks.group_audit import GroupAudit
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import UNKNOWN, Attribute
from harness.data.quarters import Quarters, quarters
from harness.defenses.label_only import LabelOnly
from harness.defenses.stack import Stack
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.games import discrimination
from harness.games.game import ScenarioSpec
from harness.metrics.fairness import fairness
from harness.types import Access, Cause, NotApplicableError, Regime, Risk, ThreatModel
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.recipe import Recipe

LABELS = ThreatModel(access=Access.LABELS)


@pytest.fixture(scope="module")
def people() -> Dataset:
    """800 rows of two features, the first of which decides, of two sexes and three races."""
    stream = torch.Generator().manual_seed(0)
    x = torch.rand(800, 2, generator=stream)
    sex = (torch.rand(800, generator=stream) < 0.4).long()
    race = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), 800, True, generator=stream)
    y = (x[:, 0] + 0.3 * sex > 0.7).long()
    return Dataset(
        name="people",
        num_classes=2,
        x=x,
        y=y,
        z={
            "sex": Attribute(sex, ("Female", "Male")),
            "race": Attribute(race, ("White", "Black", "Other")),
        },
    )


class Threshold(nn.Module):
    """Says 1 where the first feature is above a half, with a certainty of .9."""

    def forward(self, x):
        sure = torch.tensor(0.9).logit()
        return torch.stack([torch.zeros(len(x)), torch.where(x[:, 0] > 0.5, sure, -sure)], 1)


def _resolved(data: Dataset, **changes) -> GroupAudit:
    return GroupAudit(**changes).resolve(data)


def _played(scenario_for, data: Dataset, attack: GroupAudit, **changes):
    threat = changes.pop("threat", ThreatModel(access=Access.SCORES))
    return discrimination.play(attack, scenario_for(data, Threshold(), threat=threat, **changes))


def test_every_test_example_is_asked_about_once(people, scenario_for) -> None:
    outcome = _played(scenario_for, people, _resolved(people))
    test = quarters(people, 0, Regime.FROM_SCRATCH).target_test
    assert outcome.samples["index"].tolist() == test.tolist()
    assert outcome.metrics["queries"] == len(test) == 200
    assert outcome.samples["group"].tolist() == people.z["sex"].values[test].tolist()
    assert outcome.samples["predicted"].tolist() == (people.x[test, 0] > 0.5).long().tolist()


def test_the_gap_is_the_one_of_the_test_examples(people, scenario_for) -> None:
    test = people.all.take(quarters(people, 0, Regime.FROM_SCRATCH).target_test)
    sex = people.z["sex"].values[quarters(people, 0, Regime.FROM_SCRATCH).target_test]
    said = test.x[:, 0] > 0.5
    rates = [
        [said[(sex == s) & (test.y == label)].double().mean() for s in (0, 1)] for label in (0, 1)
    ]
    expected = max(abs(float(a - b)) for a, b in rates)
    metrics = _played(scenario_for, people, _resolved(people)).metrics
    assert metrics["equalized_odds_difference"] == pytest.approx(expected)
    assert expected > 0.2
    assert metrics["clean_accuracy"] == pytest.approx((said == test.y).double().mean().item())
    recalls = [(said == test.y)[test.y == c].double().mean().item() for c in (0, 1)]
    assert metrics["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_metrics_are_made_again_from_the_samples(people, scenario_for) -> None:
    attack = _resolved(people, attribute="sex+race", smallest=7)
    outcome = _played(scenario_for, people, attack)
    s = outcome.samples
    again = fairness(
        s["predicted"], s["label"], s["group"], list(outcome.notes["groups"]),
        num_classes=2, smallest=7, scores=np.stack([s["score_0"], s["score_1"]], 1),
    ).metrics  # fmt: skip
    assert {name: outcome.metrics[name] for name in again} == again
    assert again["calibration_difference"] is not None


def test_attributes_are_crossed_and_rare_combinations_marked(people, scenario_for) -> None:
    outcome = _played(scenario_for, people, _resolved(people, attribute="sex+race", smallest=12))
    counts = outcome.notes["groups"]
    assert list(counts) == [
        f"{s}, {r}" for s in ("Female", "Male") for r in ("White", "Black", "Other")
    ]
    assert sum(counts.values()) == 200
    rare = {name for name, n in counts.items() if n < 12}
    assert rare
    marked = {n for n, what in outcome.notes["too_small"].items() if what == ["everything"]}
    assert marked == rare
    assert all(outcome.metrics[f"accuracy[{name}]"] is None for name in rare)
    assert outcome.notes["attribute"] == "sex+race"


def test_labels_alone_say_all_but_the_calibration(people, scenario_for) -> None:
    attack = _resolved(people)
    full, labels = (
        _played(scenario_for, people, attack, threat=ThreatModel(access=access))
        for access in (Access.SCORES, Access.LABELS)
    )
    assert not [name for name in labels.samples if name.startswith("score")]
    without = {"calibration_difference", "miscalibration_difference"}
    assert {labels.metrics[name] for name in without} == {None}
    for name, value in labels.metrics.items():
        if name not in without:
            assert full.metrics[name] == value


def test_a_model_is_judged_as_it_answers_whatever_is_granted(
    people, scenario_for, defender
) -> None:
    """A defense of the answers counts, also for whoever has the weights."""

    class Nobody(nn.Module):
        def forward(self, x):
            return torch.tensor([[1.0, 0.0]]).repeat(len(x), 1)

    table = scenario_for(
        people, Nobody(), unguarded=Threshold(), threat=ThreatModel(access=Access.WEIGHTS)
    )
    assert discrimination.play(_resolved(people), table).metrics["selection_rate[Male]"] == 0
    guarded = LabelOnly().guard(Threshold(), defender)
    judged = discrimination.play(_resolved(people), scenario_for(people, guarded))
    assert set(judged.samples["score_1"].round(3).tolist()) == {0, 1}


def test_examples_that_nobody_is_behind_are_left_out(people, scenario_for) -> None:
    sex = people.z["sex"].values.clone()
    sex[::2] = UNKNOWN
    data = replace(people, z={"sex": Attribute(sex, ("Female", "Male"))})
    outcome = _played(scenario_for, data, _resolved(data))
    test = quarters(data, 0, Regime.FROM_SCRATCH).target_test
    assert outcome.samples["index"].tolist() == test[test % 2 == 1].tolist()


def _check(data: Dataset, attack: GroupAudit, threat=LABELS, split=None) -> None:
    discrimination.check(
        attack,
        ScenarioSpec(
            dataset=data, quarters=split or quarters(data, 0, Regime.FROM_SCRATCH), ood_size=0,
            threat=threat, stack=Stack(()), regime=Regime.FROM_SCRATCH, seed=0,
        ),
    )  # fmt: skip


def test_the_first_attribute_is_compared_where_none_is_named(people) -> None:
    assert _resolved(people).attribute == "sex"
    _check(people, _resolved(people))
    _check(people, _resolved(people, attribute="sex+race"))


def test_an_unknown_attribute_shows_the_known_ones(people) -> None:
    with pytest.raises(
        ZooError, match=r"No sensitive attribute of people 'hight'. Known: race, sex"
    ):
        _resolved(people, attribute="hight")
    with pytest.raises(ZooError, match=r"No sensitive attribute of people 'rase'. Nearest: race"):
        _resolved(people, attribute="sex+rase")


def test_a_dataset_without_attributes_has_no_groups(digits) -> None:
    with pytest.raises(NotApplicableError, match="digits has no sensitive attributes"):
        _resolved(digits)
    with pytest.raises(NotApplicableError, match="digits has no sensitive attributes"):
        _check(digits, GroupAudit())


def test_where_all_are_of_one_group_there_is_nothing_to_compare(people) -> None:
    data = replace(people, z={"sex": Attribute(torch.zeros(800).long(), ("Female", "Male"))})
    with pytest.raises(NotApplicableError, match="same sex: there are no groups") as error:
        _check(data, _resolved(data))
    assert error.value.cause is Cause.SETTING  # no seed changes that


def _with_rare(people: Dataset, n: int) -> tuple[Dataset, Quarters]:
    """People of whom ``n`` are of a third sex, and a split with none of them to test on."""
    sex = people.z["sex"].values.clone()
    split = quarters(people, 0, Regime.FROM_SCRATCH)
    sex[split.target_train[:n]] = 2
    return replace(people, z={"sex": Attribute(sex, ("Female", "Male", "Other"))}), split


def test_a_group_that_is_in_the_data_has_to_be_in_the_test_examples(people, scenario_for) -> None:
    data, split = _with_rare(people, 9)
    with pytest.raises(ZooError, match=r"have none with sex=Other, of which there are 9") as error:
        _check(data, _resolved(data), split=split)
    assert "\n" not in str(error.value)
    with pytest.raises(ZooError, match=r"none with sex=Other, of which there are 9"):
        _check(data, _resolved(data, smallest=9), split=split)
    # As it says: above that size it is left out, and marked.
    attack = _resolved(data, smallest=10)
    _check(data, attack, split=split)
    outcome = _played(scenario_for, data, attack, quarters=split)
    assert outcome.notes["too_small"] == {"Other": ["everything"]}


def test_which_seeds_lack_a_group_is_a_matter_of_their_examples(people) -> None:
    data, _ = _with_rare(people, 5)
    causes = []
    for seed in range(12):
        try:
            _check(data, _resolved(data), split=quarters(data, seed, Regime.FROM_SCRATCH))
        except NotApplicableError as error:
            causes.append(error.cause)
    assert 0 < len(causes) < 12
    assert set(causes) == {Cause.DATA}


def test_a_group_that_is_too_small_in_all_the_data_is_left_out(people) -> None:
    data, split = _with_rare(people, 4)
    _check(data, _resolved(data), split=split)


def test_fewer_than_two_groups_of_a_size_are_not_compared(people) -> None:
    with pytest.raises(
        NotApplicableError, match=r"at least 100 test examples each, but people has"
    ):
        _check(people, _resolved(people, smallest=100))


def test_a_budget_below_a_question_each_is_refused(people) -> None:
    _check(people, _resolved(people), replace(LABELS, queries=200))
    with pytest.raises(ZooError, match="budget is 199, but group-audit asks about 200"):
        _check(people, _resolved(people), replace(LABELS, queries=199))


def test_a_smallest_group_of_nobody_is_refused() -> None:
    with pytest.raises(ZooError, match="smallest of at least 1, found 0"):
        GroupAudit(smallest=0)


def test_nothing_but_the_target_is_trained(people) -> None:
    entry = ModelEntry(
        name="own", source="selftrained", purpose="benchmark", dataset="people",
        architecture="mlp-32", input_shape=(2,), num_classes=2, mean=(0.0,), std=(1.0,),
        licence=None, backdoored=False, artifact=None, recipe=Recipe(epochs=1),
    )  # fmt: skip
    asked = Request(
        models=(entry,), stacks=((),), risks=(Risk.DISCRIMINATORY_BEHAVIOR,), seeds=1,
        settings={"attribute": "race"},
    )  # fmt: skip
    made = plan(asked, {"people": people}, {}, is_done=lambda _: False, is_trained=lambda _: False)
    [item] = made.cells
    assert item.refused is None
    assert list(item.jobs) == [item.job]
    assert dict(item.cell.attack.params) == {"attribute": "race", "smallest": 5}
    assert str(item.cell.threat) == "scores, none"


def test_tinted_digits_are_compared_class_by_class(measure) -> None:
    """A model that goes by the ink alone, which tells odd from even ones four times in five."""

    class Ink(nn.Module):
        def forward(self, x):
            warm = x[:, 0].sum((1, 2)) > x[:, 2].sum((1, 2))
            return nn.functional.one_hot(torch.where(warm, 1, 0), 10).float()

    data = datasets.load("digits-tinted", DataLocation())
    evaluation, outcome = measure(data, Ink(), 0, "group-audit")
    metrics = evaluation.metrics
    # Of cold digits all are called 0, of warm ones none.
    assert metrics["equalized_odds_difference[class 0]"] == 1
    assert metrics["demographic_parity_difference[class 0]"] == 1
    assert metrics["equalized_odds_difference"] == 1
    assert metrics["equal_opportunity_difference[class 5]"] == 0
    assert evaluation.susceptibility == pytest.approx(1)
    assert evaluation.utility == metrics["clean_accuracy"] == pytest.approx(0.16, abs=0.04)
    assert outcome.images["groups"].shape[2] == 3
    assert set(outcome.samples) >= {f"score_{c}" for c in range(10)}


def test_a_model_that_knows_all_has_the_labels_gap_only(measure) -> None:
    """No difference in equalized odds, whatever the groups' shares: susceptibility is 0."""
    data = datasets.load("digits-tinted", DataLocation())
    known = {row.numpy().tobytes(): int(label) for row, label in zip(data.x, data.y, strict=True)}

    class Oracle(nn.Module):
        def forward(self, x):
            labels = torch.tensor([known[row.numpy().tobytes()] for row in x])
            return 50 * nn.functional.one_hot(labels, 10).float()

    evaluation, _ = measure(data, Oracle(), 0, "group-audit")
    metrics = evaluation.metrics
    assert metrics["demographic_parity_difference"] == metrics["base_rate_difference"] > 0.1
    assert metrics["equalized_odds_difference"] == 0
    assert evaluation.susceptibility == 0


def test_tables_that_no_memory_holds_are_refused_while_planning(people) -> None:
    data = replace(people, num_classes=10_000)
    with pytest.raises(NotApplicableError, match=r"in the 10000 classes of people takes tables of"):
        _check(data, _resolved(data))
