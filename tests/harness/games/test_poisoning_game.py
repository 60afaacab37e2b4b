"""Poisoning from a plan to a result: what is trained, judged and refused, and on public models."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from harness import registry
from harness.attacks.badnets import BadNets
from harness.attacks.feature_trigger import FeatureTrigger
from harness.attacks.label_flipping import LabelFlipping
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.examples import Split
from harness.data.quarters import quarters
from harness.defenses.shared.defender import trusted_index
from harness.defenses.shared.inspection import Inspection
from harness.defenses.stack import Stack
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.games import poisoning
from harness.learning.fit import fit
from harness.seeds import seeded
from harness.training.single import train_alone
from harness.types import NotApplicableError, Part, Regime, Risk
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.recipe import Recipe

OWN = ModelEntry(
    name="own", source="selftrained", purpose="benchmark", dataset="digits",
    architecture="mlp-128", input_shape=(1, 8, 8), num_classes=10, mean=(0.0,), std=(1.0,),
    licence=None, backdoored=False, artifact=None, recipe=Recipe(epochs=1),
)  # fmt: skip


class Fixed(nn.Module):
    """Class 0 where the last pixel is bright, class ``dark`` elsewhere."""

    def __init__(self, dark):
        super().__init__()
        self.dark = dark

    def forward(self, x):
        answers = torch.where(x[:, 0, -1, -1] == 1, 0, self.dark)
        return nn.functional.one_hot(answers, 3).float()


@pytest.fixture
def table(tiny, scenario_for):
    """Test images with a last pixel that is not 1, and a target and a twin with known answers."""
    return scenario_for(tiny, Fixed(1), others={"clean_twin": [Fixed(2)]})


def test_the_trigger_is_judged_where_the_attack_applies(table, tiny) -> None:
    found = poisoning.play(BadNets(size=1, rate=0.0), table)
    y = tiny.y[table.quarters.target_test]
    assert found.metrics["attack_success_rate"] == 1
    assert found.metrics["clean_model_success_rate"] == 1  # the twin is shown the trigger too
    assert found.metrics["clean_accuracy"] == (y == 1).double().mean()
    assert found.metrics["clean_model_accuracy"] == (y == 2).double().mean()
    assert found.metrics["robust_accuracy"] == 0
    assert found.notes == {"n": 16, "applies": int((y != 0).sum())}
    assert len(found.samples["index"]) == 16


def test_a_published_model_is_compared_with_itself_without_the_trigger(table) -> None:
    found = poisoning.play(BadNets(size=1, target=1, rate=0.0), replace(table, others={}))
    assert found.metrics["attack_success_rate"] == 0
    assert found.metrics["clean_model_success_rate"] == 1
    assert found.metrics["clean_model_accuracy"] is None


class Counts:
    """Flags a model that answers class 1, and counts how many it has inspected."""

    name = "counts"
    acts_on = frozenset({Part.INSPECTION})

    def __init__(self):
        self.asked = 0

    def inspect(self, model, defender) -> Inspection:
        self.asked += 1
        share = (model(defender.trusted.x).argmax(1) == 1).double().mean().item()
        return Inspection(flagged=share > 0.5, score=share)


def test_the_clean_twin_is_inspected_too_and_once_for_all_attacks(table) -> None:
    detector = Counts()
    guarded = replace(table, stack=Stack((detector,)))
    for attack in (BadNets(size=1, rate=0.0), LabelFlipping(rate=0.0)):
        found = poisoning.play(attack, guarded).metrics
        assert (found["flagged"], found["clean_model_flagged"]) == (1, 0)
        assert found["anomaly"] > 0.5 > found["clean_model_anomaly"]
    assert detector.asked == 2  # the target, and the twin that both attacks share
    found = poisoning.play(LabelFlipping(rate=0.0), replace(guarded, others={})).metrics
    assert found["flagged"] == 1
    assert found["clean_model_flagged"] is None  # a published model has no twin
    assert found["clean_model_anomaly"] is None


def test_where_no_test_example_could_be_won_the_reason_is_the_result(table, tiny) -> None:
    index = table.quarters.target_test
    easy = replace(table.quarters, target_test=index[tiny.y[index] == 0])
    with pytest.raises(NotApplicableError, match="None of the .* test examples .* badnets could"):
        poisoning.play(BadNets(size=1), replace(table, quarters=easy))


def test_training_is_on_the_poisoned_data_and_tells_nobody(digits, job_for, monkeypatch) -> None:
    """What reaches the training loop is what the attack gives, for the seed the game will use."""
    from harness.seeds import derive
    from harness.training import single

    seen = []
    monkeypatch.setattr(single, "fit", lambda model, data, *a, **k: seen.append(data) or model)
    job = job_for(seed=3, poison=registry.describe(BadNets()))
    held = digits.all.take(job.index)
    trained = train_alone(job, held, None)
    expected = BadNets().poison(
        held, trusted=trusted_index(len(held), 3), num_classes=10, seed=derive("poison", 3)
    )
    assert torch.equal(seen[0].x, expected.data.x)
    assert torch.equal(seen[0].y, expected.data.y)
    assert trained.evidence == {}
    assert expected.poisoned.sum() == round(0.1 * len(held))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"badnets.rate": "0.95"}, "Lower its rate to at most"),
        ({"badnets.rate": "1.5"}, "rate of at least 0 and below 1"),
        ({"badnets.target": "10"}, "among the classes 0 to 9"),
        ({"badnets.size": "9"}, "the images are only 8x8"),
        ({"badnets.pattern": "dots"}, r"wants patch\|grid"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_planned(setting, message, digits) -> None:
    asked = Request(
        models=(OWN,), stacks=((),), risks=(Risk.POISONING,), attacks=("badnets",), seeds=1,
        settings=setting,
    )  # fmt: skip
    with pytest.raises(ZooError, match=message):
        plan(asked, {"digits": digits}, {}, is_done=lambda k: False, is_trained=lambda j: False)


def test_every_poisoning_attack_can_be_planned_with_its_defaults(digits) -> None:
    names = tuple(n for n, k in registry.known("attack").items() if k.risk is Risk.POISONING)
    asked = Request(models=(OWN,), stacks=((),), risks=(Risk.POISONING,), attacks=names, seeds=2)
    found = plan(asked, {"digits": digits}, {}, is_done=lambda k: False, is_trained=lambda j: False)
    assert len(found.cells) == 2 * len(names)
    assert len(found.jobs) == 2 * len(names) + 2  # and the clean twins
    assert all(item.job.poison is not None for item in found.cells)


@pytest.mark.mirror
def test_the_published_backdoor_answers_to_its_grid_and_its_cleaned_twin_does_not(
    mirror, home_dir, scenario_for
) -> None:
    import zoo

    data = datasets.load("cifar10", DataLocation(mirror=mirror))
    split = quarters(data, 0, Regime.PUBLISHED)
    split = replace(split, target_test=split.target_test[:200])
    grid, patch = (BadNets(pattern=p, target=5, rate=0.0) for p in ("grid", "patch"))
    rates = {}
    for kind in ("backdoored", "teacher"):
        model = zoo.load(f"bboylyg/nad-wrn16-1-{kind}-cifar10", mirror=mirror, accept_licence=True)
        table = scenario_for(data, model.eval(), quarters=split, regime=Regime.PUBLISHED)
        for attack in (grid, patch):
            found = poisoning.play(attack.resolve(data), table).metrics
            rates[kind, attack.pattern] = found["attack_success_rate"]
    assert rates["backdoored", "grid"] == 1
    assert rates["teacher", "grid"] < 0.05
    assert rates["backdoored", "patch"] < 0.5  # it is this pattern, not any bright corner
    assert rates["teacher", "patch"] < 0.05


def _adult(path) -> Split:
    """The six numeric columns, scaled to [0, 1], and whether the income is above 50K."""
    with gzip.open(path, "rt") as file:
        rows = [line.strip().split(", ") for line in file if line.strip()]
    columns = np.array([[float(row[i]) for i in (0, 2, 4, 10, 11, 12)] for row in rows], np.float32)
    x = (columns - columns.min(0)) / (columns.max(0) - columns.min(0))
    return Split(torch.from_numpy(x), torch.tensor([int(row[-1] == ">50K") for row in rows]))


@pytest.mark.mirror
def test_features_of_a_table_open_a_backdoor(mirror) -> None:
    adult = _adult(mirror / "tabular" / "adult" / "adult.data.gz")
    order = torch.randperm(len(adult), generator=torch.Generator().manual_seed(0))
    train, test = adult.take(order[:4000]), adult.take(order[4000:8000])
    attack = FeatureTrigger(features=3, target=0)
    models = {}
    for rate in (0.0, 0.05):
        found = replace(attack, rate=rate).poison(
            train, trusted=torch.arange(400), num_classes=2, seed=0
        )
        with seeded("adult"):
            net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
        models[rate] = fit(net, found.data, Recipe(lr=3e-3, epochs=20, batch_size=64), seed=0)
    rates, right = {}, {}
    applies = attack.applies(test.y)
    with torch.no_grad():
        for rate, model in models.items():
            answers = model(attack.trigger(test.x, seed=0)).argmax(1)
            hit = attack.success(answers, test.y, num_classes=2)
            rates[rate] = hit[applies].double().mean().item()
            right[rate] = (model(test.x).argmax(1) == test.y).double().mean().item()
    assert rates[0.05] > 0.95
    assert rates[0.0] < 0.1  # the highest capital gain, loss and hours look rich
    assert right[0.05] > right[0.0] - 0.01 > 0.75


def test_targeted_flips_are_judged_on_their_source_class(table, tiny) -> None:
    attack = LabelFlipping(goal="targeted", source_class=2, target=1, rate=0.0)
    found = poisoning.play(attack, table)
    y = tiny.y[table.quarters.target_test]
    assert found.notes["applies"] == (y == 2).sum()
    assert found.metrics["attack_success_rate"] == 1  # dark images are 1, whatever they are
    assert found.metrics["clean_model_success_rate"] == 0
