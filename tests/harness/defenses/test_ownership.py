"""The four proofs of ownership: known answers, and the faults of others that we must not have."""

import copy
from dataclasses import replace

import pytest
import torch
from scipy.stats import binomtest, kstest
from torch import nn

from harness.data.examples import Column, Split
from harness.data.quarters import quarters
from harness.defenses.cosine_watermark import CosineWatermark, _preference
from harness.defenses.dataset_inference import DatasetInference, distances
from harness.defenses.radioactive_data import RadioactiveData
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.ownership import Owner
from harness.defenses.watermark import Watermark
from harness.target import BlackBox
from harness.training.single import defender_data
from harness.types import Access, NotApplicableError, Regime
from zoo import nets
from zoo.errors import ZooError
from zoo.recipe import Recipe

ALL = [
    Watermark(),
    CosineWatermark(decoys=199),
    DatasetInference(references=1),
    RadioactiveData(decoys=39, images=3),
]


class Linear(nn.Module):
    """Logits W x for flat inputs."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(weight.shape[1], len(weight), bias=False)
        self.layer.weight.data = weight

    def forward(self, x):
        return self.layer(x.flatten(1))


def _shop(seed=0, classes=3, shape=(1, 4, 4), recipe=Recipe(lr=0.01, epochs=3, batch_size=8)):
    stream = torch.Generator().manual_seed(7)
    trusted = Split(torch.rand(12, *shape, generator=stream), torch.arange(12) % classes)

    def train(data: Split) -> nn.Module:
        from harness.learning.fit import fit
        from harness.seeds import seeded

        with seeded("net", 0):
            return fit(nets.build("mlp-128", shape, classes), data, recipe, seed=0)

    return DefenderData(
        data=trusted, trusted=trusted, num_classes=classes, train=train, recipe=recipe, seed=seed
    )


def _owner(defender: DefenderData, model: nn.Module, n=40, m=31, shape=(1, 4, 4)) -> Owner:
    stream = torch.Generator().manual_seed(3)
    x = torch.rand(n + m, *shape, generator=stream)
    y = torch.arange(n + m) % defender.num_classes
    return Owner(
        model=model.eval(),
        members=Split(x[:n], y[:n]),
        unseen=Split(x[n:], y[n:]),
        defender=defender,
    )


def _random_net(seed: int, classes=3, shape=(1, 4, 4)) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nets.build("mlp-128", shape, classes).eval()


# Watermark


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (6, 1, 1)])
@pytest.mark.parametrize("classes", [2, 10, 43])
def test_triggers_are_in_range_and_labels_are_of_any_number_of_classes(shape, classes) -> None:
    defender = _shop(classes=classes, shape=shape)
    marks = Watermark(triggers=400).marks(torch.zeros(1, *shape), defender)
    assert marks.x.shape == (400, *shape)
    assert marks.x.min() >= 0
    assert marks.x.max() <= 1
    assert set(marks.y.tolist()) == set(range(classes))


COLUMNS = (Column("age", 0, 1), Column("colour", 1, 4, values=("red", "green", "blue")))


def _table_shop(seed=0) -> DefenderData:
    """Of an owner of rows with an age and a colour."""
    defender = _shop(seed=seed, shape=(4,))
    stream = torch.Generator().manual_seed(1)
    colours = torch.eye(3)[torch.randint(3, (60,), generator=stream)]
    x = torch.cat([torch.rand(60, 1, generator=stream), colours], 1)
    data = Split(x, torch.arange(60) % 3, columns=COLUMNS)
    return replace(defender, data=data, trusted=data.take(torch.arange(30)))


def test_triggers_of_a_table_could_be_rows_of_it() -> None:
    defender = _table_shop()
    marked = Watermark().clean(defender.data, defender)
    marks = marked.data.x[60:]
    assert marks.shape == (30, 4)
    assert torch.equal(marks, Watermark().marks(defender.data.x, defender).x)
    assert (marks[:, 1:].sum(1) == 1).all()
    assert set(marks[:, 1:].unique().tolist()) == {0, 1}
    assert len(marks[:, 0].unique()) == 30


def test_all_triggers_are_used_and_come_again_from_the_seed_alone() -> None:
    data = Split(torch.zeros(64, 1, 4, 4), torch.zeros(64).long())
    marked = Watermark().clean(data, _shop())
    assert marked.removed is None
    assert marked.notes == {"triggers": 30, "trigger_repeats": 1}
    assert len(marked.data) == 94
    marks = Watermark().marks(data.x, _shop())
    assert torch.equal(marked.data.x[64:], marks.x)
    assert torch.equal(marked.data.y[64:], marks.y)
    assert len(marks.x.unique(dim=0)) == 30
    assert not torch.equal(marks.x, Watermark().marks(data.x, _shop(seed=1)).x)


def test_triggers_are_repeated_until_a_batch_holds_two() -> None:
    data = Split(torch.zeros(800, 1, 4, 4), torch.zeros(800).long())  # 100 batches of 8
    assert Watermark(triggers=30).clean(data, _shop()).notes["trigger_repeats"] == 7


@pytest.mark.parametrize(("classes", "right"), [(2, 20), (3, 9), (10, 5)])
def test_the_p_value_is_the_exact_binomial_one(classes, right) -> None:
    defender = _shop(classes=classes)
    owner = _owner(defender, _random_net(0, classes))
    marks = Watermark().marks(owner.unseen.x, defender)
    answers = marks.y.clone()
    answers[right:] = (answers[right:] + 1) % classes

    class Fixed(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(answers, classes).float()

    found = Watermark().verifier(owner)(BlackBox(Fixed(), Access.LABELS))
    expected = binomtest(right, 30, 1 / classes, alternative="greater").pvalue
    assert found.p_value == pytest.approx(expected)
    assert found.statistic == pytest.approx(right / 30)


# Dataset inference


def test_distances_of_a_linear_model_are_known() -> None:
    """Gap 3 a - 4 b between two classes: |gap| / 4 in L1, / 5 in L2, / 7 in L∞."""
    model = Linear(torch.tensor([[3.0, -4.0], [0.0, 0.0]]))
    data = Split(torch.tensor([[0.9, 0.3], [0.1, 0.5]]).view(2, 1, 1, 2), torch.tensor([0, 0]))
    found = distances(model, data, steps=1, rivals=5)
    gap = torch.tensor([1.5, -1.7])
    torch.testing.assert_close(found, torch.stack([gap / 4, gap / 5, gap / 7], 1))


def test_distances_reach_the_boundary_of_a_network() -> None:
    """In L2 the point at this distance along the shortest path is on the boundary: compare search."""
    model = _random_net(0)
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = model(x).argmax(1)
    found = distances(model, Split(x, y), steps=5, rivals=2)[:, 1]
    noise = torch.randn(4000, 16, generator=torch.Generator().manual_seed(1))
    noise = noise / noise.norm(dim=1, keepdim=True)
    for i in range(5):  # no random direction crosses clearly before it
        nearer = x[i].flatten() + 0.8 * found[i] * noise
        assert (model(nearer.view(-1, 1, 4, 4)).argmax(1) == y[i]).all()
    assert (found > 0).all()


def test_a_row_belongs_to_one_example() -> None:
    model = _random_net(1)
    x = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    data = Split(x, torch.arange(30) % 3)
    found = distances(model, data, steps=2, rivals=2)
    assert found.shape == (30, 3)
    for i in range(30):
        alone = distances(model, data.take(torch.tensor([i])), steps=2, rivals=2)
        torch.testing.assert_close(found[i : i + 1], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("counts", [(40, 31), (25, 90)])
@pytest.mark.parametrize("distance", ["margin", "mingd"])
def test_unequal_counts_and_any_order_are_fine(counts, distance) -> None:
    owner = _owner(_shop(), _random_net(0), *counts)
    found = DatasetInference(distance=distance, references=1).verifier(owner)
    verified = found(BlackBox(owner.model, Access.WEIGHTS))
    assert 0 < verified.p_value < 1


def test_a_published_model_is_judged_without_references_and_few_examples_are_refused() -> None:
    owner = _owner(_shop(recipe=None), _random_net(0))
    verify = DatasetInference().verifier(owner)
    assert 0 < verify(BlackBox(owner.model, Access.SCORES)).p_value < 1
    with pytest.raises(NotApplicableError, match="at least 8 members and unseen"):
        DatasetInference().verifier(_owner(_shop(), _random_net(0), n=40, m=5))


def test_a_suspect_that_says_the_same_of_everything_is_not_claimed() -> None:
    owner = _owner(_shop(), _random_net(0))
    verify = DatasetInference(references=1).verifier(owner)
    assert verify(BlackBox(Linear(torch.zeros(3, 16)), Access.WEIGHTS)).p_value == 1


# Cosine watermark


def test_preferences_count_neither_confidence_nor_pairs_of_classes() -> None:
    stream = torch.Generator().manual_seed(0)
    values, y = torch.randn(50, 5, generator=stream), torch.arange(50) % 5
    pairs = torch.randn(5, 5, generator=stream)
    shift = torch.randn(50, 1, generator=stream)
    found = _preference(values, y)
    torch.testing.assert_close(found, _preference(values + pairs[y] + shift, y))
    assert found.norm().item() == pytest.approx(1)


def test_a_suspect_that_answers_the_secret_function_is_claimed_with_the_smallest_p_value() -> None:
    from harness.seeds import generator

    defender = _shop()
    owner = _owner(defender, _random_net(0), m=60)
    defense = CosineWatermark(decoys=199)
    key = defense._key(owner.unseen.x, 3, generator("watermark key", defender.seed))

    class Secret(nn.Module):
        def forward(self, x):
            return key(x)

    found = defense.verifier(owner)(BlackBox(Secret(), Access.SCORES))
    assert found.p_value == pytest.approx(1 / 200)
    assert found.statistic == pytest.approx(1, abs=1e-4)


def test_two_classes_leave_no_room_for_a_preference() -> None:
    model = _random_net(0, classes=2)
    data = Split(torch.rand(8, 1, 4, 4), torch.arange(8) % 2)
    with pytest.raises(NotApplicableError, match="at least 3 classes, found 2"):
        CosineWatermark().fit(model, data, Recipe(), seed=0)


def test_two_classes_are_refused_before_any_training(tiny) -> None:
    with pytest.raises(NotApplicableError, match="at least 3 classes, found 2"):
        CosineWatermark().resolve(replace(tiny, num_classes=2))
    assert CosineWatermark().resolve(tiny) == CosineWatermark()


# Radioactive data


def test_marks_of_a_table_are_in_its_numbers() -> None:
    defender = _table_shop()
    found = RadioactiveData(rate=1.0).clean(defender.data, defender)
    changed = found.data.x - defender.data.x
    assert (changed[:, 0] != 0).double().mean() > 0.9
    assert changed.abs().max() <= 0.2 + 1e-6
    assert torch.equal(found.data.x[:, 1:], defender.data.x[:, 1:])


def test_a_table_without_numbers_has_no_room_for_marks(tiny) -> None:
    rows = torch.eye(3)[torch.arange(64) % 3]
    colours = (Column("colour", 0, 3, values=("red", "green", "blue")),)
    with pytest.raises(NotApplicableError, match="radioactive-data moves numbers"):
        RadioactiveData().resolve(replace(tiny, x=rows, columns=colours))


def test_marks_stay_within_the_radius_and_the_range_and_follow_the_carriers() -> None:
    from harness.learning.features import features

    defender = _shop()
    data = Split(torch.rand(60, 1, 4, 4), torch.arange(60) % 3)
    defense = RadioactiveData()
    found = defense.clean(data, defender)
    changed = (found.data.x - data.x).flatten(1)
    assert torch.equal(found.data.y, data.y)
    assert found.notes == {"marked": 30}
    assert (changed.abs().amax(1) > 0).sum() == 30
    assert changed.abs().max() <= defense.radius + 1e-6
    assert found.data.x.min() >= 0
    assert found.data.x.max() <= 1
    network = defense.marking_network(defender)
    carriers = defense.carriers(network, data.x, defender)
    torch.testing.assert_close(carriers.norm(dim=1), torch.ones(3))
    moved = ((features(network, found.data.x) - features(network, data.x)) * carriers[data.y]).sum(
        1
    )
    marked = changed.abs().amax(1) > 0
    assert (moved[marked] > 0).float().mean() > 0.95


# All of them


@pytest.mark.parametrize("defense", ALL, ids=lambda d: d.name)
def test_verification_depends_on_the_seed_and_leaves_everything_as_it_was(defense) -> None:
    model = _random_net(5)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first = defense.verifier(_owner(_shop(), model))(BlackBox(model, Access.WEIGHTS))
    torch.manual_seed(9)
    other = torch.get_rng_state()
    again = defense.verifier(_owner(_shop(), model))(BlackBox(model, Access.WEIGHTS))
    assert torch.equal(torch.get_rng_state(), other)
    torch.set_rng_state(state)
    assert first == again
    torch.testing.assert_close(model.state_dict(), before)
    assert not model.training


@pytest.mark.parametrize("defense", ALL, ids=lambda d: d.name)
def test_p_values_are_valid_when_nothing_was_marked(defense) -> None:
    """Over 100 owners with seeds of their own, a random network is rarely suspicious."""
    p_values = []
    for seed in range(100):
        model = _random_net(1000 + seed)
        owner = _owner(_shop(seed=seed), model)
        p_values.append(defense.verifier(owner)(BlackBox(model, Access.WEIGHTS)).p_value)
    below = sum(p < 0.05 for p in p_values)
    assert binomtest(below, 100, 0.05, alternative="greater").pvalue > 0.01
    # Not smaller than uniform ones anywhere (discrete p-values may be larger).
    assert kstest(p_values, "uniform", alternative="greater").pvalue > 0.001


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Watermark(triggers=0), "triggers of at least 1, found 0"),
        (lambda: CosineWatermark(weight=0.6), r"weight in \(0, 0.5\), found 0.6"),
        (lambda: CosineWatermark(frequency=0), "frequency above 0, found 0"),
        (lambda: DatasetInference(distance="far"), "margin or mingd, found 'far'"),
        (lambda: RadioactiveData(radius=2), r"radius in \(0, 1\], found 2"),
    ],
)
def test_settings_that_do_not_fit_are_named(make, message) -> None:
    with pytest.raises(ZooError, match=message):
        make()


def test_the_workshop_of_a_job_gives_the_owner_the_same_marks(digits, job_for) -> None:
    job = job_for(recipe=Recipe(epochs=1))
    held = digits.all.take(quarters(digits, 0, Regime.FROM_SCRATCH).target_train)
    shops = [defender_data(job, held, held.take(torch.arange(20)), None) for _ in range(2)]
    for defense in (Watermark(), RadioactiveData()):
        first, again = (defense.clean(held, defender).data for defender in shops)
        assert torch.equal(first.x, again.x)
        assert torch.equal(first.y, again.y)
