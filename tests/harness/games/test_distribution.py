"""Distribution inference: nobody trains on another's data, and every model is shown as it answers."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from harness.attacks.distribution_kl import KLDivergence
from harness.attacks.distribution_loss import LossTest
from harness.attacks.shared.distribution_attack import TrainsModels
from harness.data.dataset import Dataset
from harness.data.examples import Attribute
from harness.data.quarters import quarters
from harness.defenses.label_only import LabelOnly
from harness.defenses.stack import Stack
from harness.games import distribution as game
from harness.games.game import ScenarioSpec
from harness.metrics.distribution import distribution
from harness.types import Access, Aux, NotApplicableError, Regime, ThreatModel
from zoo import nets
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class Spy(TrainsModels):
    """Says what it is told to, and keeps what it is handed."""

    name: ClassVar[str] = "spy"
    access: ClassVar[tuple[Access, ...]] = (Access.LABELS, Access.SCORES, Access.WEIGHTS)
    reference: ClassVar[str] = ""
    seen: ClassVar[list] = []

    says: tuple[float, ...] = ()

    def run(self, target, data, *, seed):
        self.seen.append((target, data))
        return torch.tensor(self.says or (0.0,) * (1 + len(data.victims)))


SPY = Spy(victims=3, models=2, attribute="hat", value="yes")


@pytest.fixture(scope="module")
def data() -> Dataset:
    """1,200 points of three classes, half of them with a hat, more of them in class 2."""
    stream = torch.Generator().manual_seed(0)
    y = torch.arange(1200) % 3
    hat = (torch.rand(1200, generator=stream) < 0.35 + 0.15 * y).long()
    return Dataset(
        name="hats",
        num_classes=3,
        x=torch.rand(1200, 4, generator=stream),
        y=y,
        z={"coat": Attribute(1 - hat, ("no", "yes")), "hat": Attribute(hat, ("no", "yes"))},
    )


@pytest.fixture
def setting(data):
    """What is known of a game on `data`; keyword arguments of the threat model may be given."""

    def make(seed: int = 0, regime=Regime.FROM_SCRATCH, dataset=data, stack=(), **threat):
        return ScenarioSpec(
            dataset=dataset,
            quarters=quarters(dataset, seed, regime),
            ood_size=0,
            threat=ThreatModel(**{"access": Access.SCORES, "aux": Aux.SHADOW, **threat}),
            stack=Stack(stack),
            regime=regime,
            seed=seed,
        )

    return make


def _network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nets.build("mlp-32", (4,), 3).eval()


@pytest.fixture
def play(data, scenario_for):
    """The outcome of a game with untrained models, and what the attack was handed."""

    def run(attack, *, stack=(), **threat):
        count = 2 * attack.victims, 2 * attack.models
        target = _network(0)
        table = scenario_for(
            data,
            Stack(stack).guard(target, None),
            unguarded=target,
            threat=ThreatModel(**{"access": Access.SCORES, "aux": Aux.SHADOW, **threat}),
            stack=Stack(stack),
            others={
                game.VICTIMS: [_network(1 + i) for i in range(count[0])],
                game.OWN: [_network(50 + i) for i in range(count[1])],
            },
        )
        Spy.seen.clear()
        return game.play(attack, table), *Spy.seen[0]

    return run


def test_nobody_trains_on_what_others_train_or_test_on(setting) -> None:
    for seed in range(3):
        at = setting(seed)
        needed = game.needs(replace(SPY, train_size=120), at)
        victims, own = (
            torch.cat([want.index for want in needed[purpose]])
            for purpose in (game.VICTIMS, game.OWN)
        )
        quarters = at.quarters
        assert torch.isin(victims, torch.cat([quarters.target_train, quarters.target_test])).all()
        assert torch.isin(own, torch.cat([quarters.shadow_train, quarters.shadow_test])).all()


def test_the_attacker_tests_on_what_no_model_has_seen(setting, play, data) -> None:
    needed = game.needs(replace(SPY, train_size=120), setting())
    trained = torch.cat([want.index for wanted in needed.values() for want in wanted]).unique()
    _, _, held = play(SPY)
    for test in held.tests:
        tested = (data.x[trained][:, None] == test.x[None]).all(2).any()
        assert not tested


def test_the_worlds_differ_in_the_property_alone(setting, data) -> None:
    needed = game.needs(SPY, setting())
    assert [len(found) for found in needed.values()] == [6, 4]
    hat, sizes = data.z["hat"].values, set()
    for wanted in needed.values():
        half = len(wanted) // 2
        for position, want in enumerate(wanted):
            sizes.add((len(want.index), *torch.bincount(data.y[want.index]).tolist()))
            share = float(hat[want.index].double().mean())
            assert share == pytest.approx(0.2 if position < half else 0.8, abs=0.03)
    assert len(sizes) == 1


def test_models_of_a_world_differ_and_another_seed_gives_others(setting) -> None:
    first, again, other = (game.needs(SPY, setting(seed)) for seed in (0, 0, 1))
    seeds = [want.seed for wanted in first.values() for want in wanted]
    assert len(set(seeds)) == len(seeds) == 10
    for purpose in first:
        for one, same, new in zip(first[purpose], again[purpose], other[purpose], strict=True):
            assert torch.equal(one.index, same.index)
            assert one.seed == same.seed != new.seed
            assert not torch.equal(one.index, new.index)
    rows = {tuple(sorted(want.index.tolist())) for wanted in first.values() for want in wanted}
    assert len(rows) == 10


def test_attacks_share_their_models(setting) -> None:
    one = game.needs(KLDivergence(attribute="hat", value="yes"), setting())
    two = game.needs(LossTest(attribute="hat", value="yes"), setting())
    assert two[game.OWN] == ()
    for a, b in zip(one[game.VICTIMS], two[game.VICTIMS], strict=True):
        assert torch.equal(a.index, b.index)
        assert (a.seed, a.defended) == (b.seed, b.defended)


@pytest.mark.parametrize("adaptive", [True, False])
def test_victims_are_defended_and_own_models_if_the_attacker_knows(setting, adaptive) -> None:
    needed = game.needs(SPY, setting(adaptive=adaptive))
    assert all(want.defended for want in needed[game.VICTIMS])
    assert all(want.defended is adaptive for want in needed[game.OWN])


@pytest.mark.parametrize("adaptive", [True, False])
def test_every_model_is_shown_as_it_answers(play, data, adaptive) -> None:
    _, target, held = play(SPY, stack=(LabelOnly(),), adaptive=adaptive)

    def hides(box) -> bool:
        return bool((box.scores(data.x[:9]).max(1).values > 0.999).all())

    assert hides(target)
    assert all(map(hides, held.victims))
    assert all(hides(box) is adaptive for world in held.own for box in world)


def test_whose_weights_are_had_has_no_guard(play, data) -> None:
    _, target, held = play(SPY, stack=(LabelOnly(),), access=Access.WEIGHTS)
    boxes = [target, *held.victims, *held.own[0], *held.own[1]]
    assert all(isinstance(box.model, nn.Sequential) for box in boxes)


def test_a_budget_is_shared_by_the_worlds(play) -> None:
    _, target, held = play(SPY, queries=31)
    assert [len(test) for test in held.tests] == [15, 15]
    assert {box.budget for box in (target, *held.victims)} == {31}
    assert {box.budget for world in held.own for box in world} == {None}


def test_the_tests_are_of_both_worlds(play, data) -> None:
    _, _, held = play(SPY)
    rows = {tuple(x.tolist()): i for i, x in enumerate(data.x)}
    for test, ratio in zip(held.tests, (0.2, 0.8), strict=True):
        index = [rows[tuple(x.tolist())] for x in test.x]
        assert torch.equal(data.y[index], test.y)
        assert float(data.z["hat"].values[index].double().mean()) == pytest.approx(ratio, abs=0.02)


def test_the_outcome_can_be_made_again_from_its_samples(play) -> None:
    says = (0.5, -1.0, -2.0, 0.1, 1.0, -0.1, 3.0)
    outcome, _, _ = play(replace(SPY, says=says))
    world, score = outcome.samples["world"], outcome.samples["score"]
    assert world.tolist() == [0, 0, 0, 1, 1, 1]
    assert score == pytest.approx(says[1:])
    again = distribution(score, world, ratio0=0.2, ratio1=0.8)
    assert again.items() <= outcome.metrics.items()
    assert again["distinguishing_accuracy"] == pytest.approx(4 / 6)


@pytest.mark.parametrize(("says", "looks"), [(0.5, 0.8), (-0.5, 0.2), (0.0, None)])
def test_the_target_is_judged_by_itself(play, data, says, looks) -> None:
    outcome, _, _ = play(replace(SPY, says=(says, *(1.0,) * 6)))
    held = quarters(data, 0, Regime.FROM_SCRATCH).target_train
    assert outcome.metrics["target_looks_like"] == looks
    assert outcome.metrics["target_score"] == says
    assert outcome.metrics["target_ratio"] == pytest.approx(
        float(data.z["hat"].values[held].double().mean())
    )


def test_a_published_model_has_no_victims(setting, data) -> None:
    with pytest.raises(NotApplicableError, match="published"):
        game.check(SPY, setting(regime=Regime.PUBLISHED, dataset=replace(data, n_train=600)))


@pytest.mark.parametrize(
    ("changes", "threat", "message"),
    [
        (
            {"train_size": 1000},
            {},
            "spy wants 1000 examples for every model, .* at most 2[0-9][0-9]",
        ),
        ({"train_size": 2}, {}, "2 examples with hat=yes at 0.2 and at 0.8 leave class 2 of hats"),
        ({}, {"queries": 1}, "query budget .* gives fewer"),
    ],
)
def test_sizes_that_cannot_be_had_are_named(setting, changes, threat, message) -> None:
    with pytest.raises(ZooError, match=message):
        game.check(replace(SPY, **changes), setting(**threat))


def test_the_largest_size_that_is_named_can_be_had(setting) -> None:
    with pytest.raises(ZooError) as error:
        game.check(replace(SPY, train_size=1000), setting())
    most = int(str(error.value).split("at most ")[1].split(".")[0])
    game.check(replace(SPY, train_size=most), setting())
    with pytest.raises(ZooError):
        game.check(replace(SPY, train_size=most + 1), setting())


def test_a_ratio_that_leaves_a_class_empty_is_refused(setting, data) -> None:
    """Class 2 is always hatted, so nobody can train without hats."""
    hat = torch.where(data.y == 2, 1, data.z["hat"].values)
    hatted = replace(data, z={"hat": Attribute(hat, ("no", "yes"))})
    with pytest.raises(ZooError, match="leaves class 2 of hats without enough examples"):
        game.check(replace(SPY, ratio0=0.0), setting(dataset=hatted))
    game.check(replace(SPY, ratio0=0.4), setting(dataset=hatted))


def test_attribute_and_value_are_filled_in_from_the_dataset(data, digits) -> None:
    found = KLDivergence().resolve(data)
    assert (found.attribute, found.value) == ("coat", "yes")
    found = KLDivergence(attribute="hat", value="no").resolve(data)
    assert (found.attribute, found.value) == ("hat", "no")
    with pytest.raises(ZooError, match="'shoe'. Known: coat, hat"):
        KLDivergence(attribute="shoe").resolve(data)
    with pytest.raises(ZooError, match="value of hats's hat 'maybe'. Known: no, yes"):
        KLDivergence(attribute="hat", value="maybe").resolve(data)
    with pytest.raises(NotApplicableError, match="digits has no sensitive attributes"):
        KLDivergence().resolve(digits)


def test_any_value_of_any_attribute_may_be_the_property(data) -> None:
    """Three values, and the property is the middle one."""
    size = torch.arange(len(data)) // 7 % 3
    sized = replace(data, z={"size": Attribute(size, ("s", "m", "l"))})
    attack = KLDivergence(attribute="size", value="m", ratio0=0.1, ratio1=0.6).resolve(sized)
    at = ScenarioSpec(
        dataset=sized, quarters=quarters(sized, 0, Regime.FROM_SCRATCH), ood_size=0,
        threat=ThreatModel(access=Access.SCORES, aux=Aux.SHADOW), stack=Stack(()),
        regime=Regime.FROM_SCRATCH, seed=0,
    )  # fmt: skip
    shares = [
        np.mean(size[want.index].numpy() == 1) for want in game.needs(attack, at)[game.VICTIMS]
    ]
    assert shares == pytest.approx([0.1] * 4 + [0.6] * 4, abs=0.03)
