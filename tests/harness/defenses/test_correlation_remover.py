"""Correlation remover: the map is fairlearn's, is part of the model, and goes with others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fairlearn.preprocessing import CorrelationRemover as Fairlearns
from torch import nn

from harness import registry
from harness.attacks.distribution_pin import PermutationInvariantNetwork
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import UNKNOWN, Attribute, Column, Split
from harness.defenses.adversarial_training import AdversarialTraining
from harness.defenses.correlation_remover import CorrelationRemover, FixedMap, uncorrelated
from harness.defenses.dpsgd import DPSGD
from harness.defenses.knowledge_distillation import KnowledgeDistillation
from harness.defenses.outlier_removal import OutlierRemoval
from harness.defenses.reweighing import Reweighing
from harness.defenses.stack import Stack
from harness.defenses.watermark import Watermark
from harness.learning.features import features, head
from harness.training.artifacts import Artifacts
from harness.training.job import network
from harness.training.single import train_alone
from harness.types import NotApplicableError
from zoo.errors import UnknownNameError, ZooError
from zoo.home import Home
from zoo.nets import Scaled
from zoo.recipe import Recipe

COLUMNS = (
    Column("age", 0, 1),
    Column("sex", 1, 3, values=("f", "m")),
    Column("pay", 3, 4),
    Column("race", 4, 7, values=("p", "q", "r")),
    Column("rooms", 7, 8),
)
STATES = [1, 2]
OTHERS = [0, 3, 4, 5, 6, 7]


@pytest.fixture(scope="module")
def people() -> Dataset:
    """Rows whose pay and race depend on the sex, whose label depends on all."""
    rng = np.random.default_rng(0)
    n = 1600
    sex, race = rng.integers(2, size=n), rng.integers(3, size=n)
    race = np.where(rng.random(n) < 0.3, sex, race)
    pay = 0.4 + 0.3 * sex + 0.1 * rng.standard_normal(n)
    age, rooms = rng.random(n), rng.random(n)
    x = np.column_stack([age, np.eye(2)[sex], pay.clip(0, 1), np.eye(3)[race], rooms])
    y = (pay + 0.5 * age + 0.3 * rng.standard_normal(n) > 0.8).astype(np.int64)
    z = {
        "sex": Attribute(torch.from_numpy(sex), ("f", "m")),
        "race": Attribute(torch.from_numpy(race), ("p", "q", "r")),
    }
    return Dataset(
        name="people", num_classes=2, x=torch.from_numpy(x).float(), y=torch.from_numpy(y), z=z,
        columns=COLUMNS, n_train=800,
    )  # fmt: skip


@pytest.fixture(scope="module")
def job(people, job_for):
    def make(*defenses, **changes):
        settings = {"recipe": Recipe(epochs=3, batch_size=50), "architecture": "mlp-32"}
        stack = tuple(map(registry.describe, (d.resolve(people) if hasattr(d, "resolve") else d
                                              for d in defenses)))  # fmt: skip
        return job_for(data=people, stack=stack, **(settings | changes))

    return make


def _train(people, job):
    return train_alone(job, people.collected.take(job.index), None)


def _seen(model, x):
    """What the network behind the map is shown."""
    assert isinstance(model, Scaled)
    assert isinstance(model.net, nn.Sequential)
    found = []
    hook = model.net[1].register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    with torch.no_grad():
        model(x)
    hook.remove()
    return found[0].double()


@pytest.mark.parametrize(
    ("attribute", "states"), [("sex", [1, 2]), ("race", [4, 5, 6]), ("sex+race", [1, 2, 4, 5, 6])]
)
@pytest.mark.parametrize("alpha", [1.0, 0.4, 0.0])
def test_the_map_is_fairlearns(people, job, attribute, states, alpha) -> None:
    defense = CorrelationRemover(attribute=attribute, alpha=alpha)
    made = job(defense, recipe=Recipe(epochs=1))
    model = _train(people, made).model
    held = people.x[made.index].double().numpy()
    theirs = Fairlearns(sensitive_feature_ids=states, alpha=alpha).fit(held)
    others = [i for i in range(8) if i not in states]
    seen = _seen(model, people.x)
    expected = torch.from_numpy(theirs.transform(people.x.double().numpy()))
    torch.testing.assert_close(seen[:, others], expected, atol=1e-5, rtol=0)
    assert not seen[:, states].any()


def test_the_map_is_fairlearns_where_some_rows_state_no_group() -> None:
    x = torch.rand(200, 5, generator=torch.Generator().manual_seed(0)).double()
    x[:, [1, 2]] = (torch.arange(200)[:, None] % 3 == torch.tensor([0, 1])).double()
    weight, bias = uncorrelated(x, torch.tensor([1, 2]), 0.7)
    theirs = Fairlearns(sensitive_feature_ids=[1, 2], alpha=0.7).fit_transform(x.numpy())
    found = nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(found[:, [0, 3, 4]], torch.from_numpy(theirs))
    assert not found[:, [1, 2]].any()


def test_what_the_network_sees_is_uncorrelated_with_the_group(people, job) -> None:
    made = job(CorrelationRemover())
    model = _train(people, made).model
    sex = people.z["sex"].values[made.index].double()

    def correlation(x):
        x = (x - x.mean(0))[:, OTHERS]
        return (x * (sex - sex.mean())[:, None]).mean(0) / (x.std(0) * sex.std())

    assert correlation(people.x[made.index].double()).abs().max() > 0.5
    assert correlation(_seen(model, people.x[made.index])).abs().max() < 1e-5


def test_of_several_attributes_each_is_taken_out_but_not_their_combination() -> None:
    """A feature that says whether two attributes are alike goes with neither of them."""
    rng = np.random.default_rng(0)
    sex, race = rng.integers(2, size=4000), rng.integers(2, size=4000)
    pay = 0.2 * sex + 0.1 * race + rng.random(4000)
    alike = (sex == race) + 0.5 * rng.random(4000)
    x = np.column_stack([np.eye(2)[sex], np.eye(2)[race], pay, alike])
    weight, bias = uncorrelated(torch.from_numpy(x), torch.arange(4), 1.0)
    left = nn.functional.linear(torch.from_numpy(x), weight, bias).numpy()[:, 4:]
    for value in (sex, race):
        for column in left.T:
            assert abs(np.corrcoef(column, value)[0, 1]) < 1e-9
    assert abs(np.corrcoef(left[:, 1], sex == race)[0, 1]) > 0.9


def test_the_scaling_of_the_input_comes_before_the_map(people, job) -> None:
    made = job(CorrelationRemover(), mean=(0.3,), std=(0.5,))
    model = _train(people, made).model
    scaled = ((people.x - 0.3) / 0.5).double().numpy()
    theirs = Fairlearns(sensitive_feature_ids=STATES).fit(scaled[made.index.numpy()])
    expected = torch.from_numpy(theirs.transform(scaled))
    torch.testing.assert_close(_seen(model, people.x)[:, OTHERS], expected, atol=1e-5, rtol=0)


def test_training_leaves_the_map_as_it_is_and_starts_from_the_same_network(people, job) -> None:
    made = job(CorrelationRemover())
    plain, _ = network(job(), None)
    adapted, _ = network(made, None)
    torch.testing.assert_close(adapted(people.x), plain(people.x))
    model = _train(people, made).model
    assert {*adapted.state_dict()} == {*model.state_dict()}
    assert isinstance(model.net, nn.Sequential)
    assert isinstance(model.net[0], FixedMap)
    assert not list(model.net[0].parameters())
    assert sum(1 for _ in model.parameters()) == sum(1 for _ in plain.parameters())


def test_who_nobody_is_behind_is_not_in_the_regression(people, job) -> None:
    defense = CorrelationRemover(attribute="sex")
    model, _ = network(job(defense), None)
    data = people.collected.take(torch.arange(200))
    defense.prepare(model, data)
    wanted = _seen(model, people.x)
    marked = data.with_rows(torch.rand(50, 8), torch.zeros(50).long())
    assert (marked.z["sex"].values == UNKNOWN).sum() == 50
    defense.prepare(model, marked)
    torch.testing.assert_close(_seen(model, people.x), wanted, rtol=0, atol=0)


@pytest.mark.parametrize(
    "others",
    [
        [DPSGD()],
        [DPSGD(clipping="ghost")],
        [AdversarialTraining(epsilon=0.05, step_size=0.05, steps=2)],
        [OutlierRemoval(), Reweighing(), Watermark()],
        [KnowledgeDistillation(teacher="mlp-128")],
    ],
)
def test_it_goes_with_others(people, job, others) -> None:
    trained = _train(people, job(CorrelationRemover(), *others))
    seen = _seen(trained.model, people.x)
    assert not seen[:, STATES].any()
    assert seen[:, 3].var() < people.x[:, 3].var()
    assert (trained.model(people.x).argmax(1) == people.y).double().mean() > 0.5


def test_a_privacy_budget_does_not_cover_it() -> None:
    assert Stack.of([DPSGD(), CorrelationRemover()]).not_covered == (
        f"correlation-remover ({CorrelationRemover.looks_at})",
    )


def test_it_is_stored_and_read_again(people, job, tmp_path) -> None:
    made = job(CorrelationRemover())
    trained = _train(people, made)
    store = Artifacts(Home.open(tmp_path / "home"))
    store.save(made, trained, seconds=0.0, together=1)
    again = store.load(made, "cpu").model
    torch.testing.assert_close(again(people.x), trained.model(people.x), rtol=0, atol=0)


def test_others_find_their_way_in_the_model(people, job, measure) -> None:
    trained = _train(people, job(CorrelationRemover()))
    inputs, last = features(trained.model, people.x), head(trained.model, people.x)
    torch.testing.assert_close(last(inputs), trained.model(people.x))
    stack = [CorrelationRemover(attribute="sex")]
    for attack in ("pgd", "loss-threshold", "attribute-embeddings", "gradient-inversion"):
        settings = {"pgd": {"epsilon": 0.05}, "attribute-embeddings": {"attribute": "race"}}
        settings |= {"gradient-inversion": {"observed": 2, "steps": 2}}
        withheld = people if attack != "attribute-embeddings" else replace(people, columns=())
        found, _ = measure(withheld, trained, 0, attack, stack=stack, **settings.get(attack, {}))
        assert found.susceptibility is not None


def test_an_attack_that_reads_plain_rows_of_layers_says_so(people, job) -> None:
    from harness.attacks.distribution_pin import _neurons

    trained = _train(people, job(CorrelationRemover()))
    assert PermutationInvariantNetwork.name == "distribution-pin"
    with pytest.raises(NotApplicableError, match="plain row of linear layers.*a FixedMap"):
        list(_neurons(trained.model))


def test_what_the_input_does_not_say_cannot_be_taken_from_it(people, digits) -> None:
    withheld = replace(people, columns=(COLUMNS[0], COLUMNS[2]), x=people.x[:, :2])
    with pytest.raises(NotApplicableError, match="does not say the sex.*such as adult-aware"):
        CorrelationRemover().resolve(withheld)
    with pytest.raises(NotApplicableError, match="does not say the tint"):
        CorrelationRemover().resolve(datasets.load("digits-tinted", DataLocation()))
    with pytest.raises(NotApplicableError, match="digits has no sensitive attributes"):
        CorrelationRemover().resolve(digits)
    with pytest.raises(UnknownNameError, match="sensitive attribute of people 'age'. Known: "):
        CorrelationRemover(attribute="age").resolve(people)
    assert CorrelationRemover().resolve(people).attribute == "sex"
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(ZooError, match="wants alpha from 0 to 1"):
            CorrelationRemover(alpha=alpha)


def test_data_without_the_attribute_are_refused(people, job) -> None:
    model, _ = network(job(CorrelationRemover()), None)
    with pytest.raises(NotApplicableError):
        CorrelationRemover(attribute="sex").prepare(model, Split(people.x, people.y))
