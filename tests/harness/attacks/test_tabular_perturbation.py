"""Evasion of tables: only numbers move, exactly what can be broken is, and nobody half is asked."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from harness import registry
from harness.attacks.apgd_t import APGDT
from harness.attacks.autoattack import AutoAttack
from harness.attacks.fab_t import FABT
from harness.attacks.fgsm import FGSM
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints, EvasionData
from harness.attacks.shared import perturbation, square_rows, tabular_perturbation
from harness.attacks.square import Square
from harness.attacks.transfer import Transfer
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Column, Split
from harness.data.quarters import quarters
from harness.games import evasion
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Aux, NotApplicableError, Regime, Risk, ThreatModel
from zoo.recipe import Recipe

COLUMNS = (
    Column("age", 0, 1),
    Column("colour", 1, 4, values=("red", "green", "blue")),
    Column("height", 4, 5),
    Column("height is missing", 5, 6, values=("yes",)),
)
CATEGORIES = [1, 2, 3, 5]
QUICK = {
    "apgd-ce": {"steps": 10},
    "apgd-t": {"steps": 10},
    "autoattack": {"steps": 10, "queries": 100},
    "fab-t": {"steps": 20},
    "fgsm": {},
    "pgd": {},
    "square": {"queries": 300},
    "transfer": {"source": "twin"},
}


def _categories(n: int) -> torch.Tensor:
    """Rows with any of the categories, or none, and numbers of 0."""
    x = torch.zeros(n, 6)
    colour = torch.arange(n) % 4
    x[:, 1:4] = torch.eye(4)[colour][:, :3]  # the fourth is no colour that is known
    x[:, 5] = (torch.arange(n) // 4 % 2).float()
    return x


def _dataset(x, y, columns=COLUMNS, classes=2) -> Dataset:
    return Dataset(
        name="people", num_classes=classes, x=x, y=y, columns=columns,
        epsilon={"linf": 0.1, "l2": 0.1},
    )  # fmt: skip


@pytest.fixture(scope="module")
def people() -> Dataset:
    stream = torch.Generator().manual_seed(0)
    x = _categories(160)
    x[:, [0, 4]] = torch.rand(160, 2, generator=stream)
    return _dataset(x, torch.arange(160) % 4, classes=4)


def _attack(name, data, **settings):
    return registry.make("attack", name, {**QUICK[name], **settings}).resolve(data)


def _threat(attack) -> ThreatModel:
    return ThreatModel(access=attack.access[-1], aux=Aux.NONE)


def test_whole_inputs_are_left_as_they_are() -> None:
    x = _categories(8) + torch.tensor([0.3, 0, 0, 0, 0.7, 0])
    assert torch.equal(tabular_perturbation.snap(x, COLUMNS), x)
    images = torch.rand(3, 1, 4, 4)
    assert torch.equal(tabular_perturbation.snap(images, ()), images)
    model = nn.Identity()
    assert tabular_perturbation.whole(model, ()) is model
    assert tabular_perturbation.whole(model, (Column("age", 0, 1), Column("height", 1, 2))) is model


def test_the_nearest_whole_row_is_the_one_that_a_search_finds() -> None:
    stream = torch.Generator().manual_seed(0)
    x = torch.rand(300, 6, generator=stream) * 1.4 - 0.2
    colours = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    choices = torch.tensor([(*c, m) for c, m in itertools.product(colours, (0.0, 1.0))])
    nearest = torch.cdist(x[:, CATEGORIES], choices).argmin(1)
    found = tabular_perturbation.snap(x, COLUMNS)
    assert torch.equal(found[:, CATEGORIES], choices[nearest])
    assert torch.equal(found[:, [0, 4]], x[:, [0, 4]])
    assert torch.equal(tabular_perturbation.snap(found, COLUMNS), found)
    assert len(nearest.unique()) == 8


def test_a_gradient_reaches_the_numbers_and_stops_at_the_categories() -> None:
    x = _categories(8).requires_grad_()
    weights = torch.arange(1.0, 7)
    (gradient,) = torch.autograd.grad((tabular_perturbation.snap(x, COLUMNS) @ weights).sum(), x)
    assert torch.equal(gradient, torch.tensor([1.0, 0, 0, 0, 5, 0]).expand(8, 6))


class Between(nn.Module):
    """Class 1 where 3 * age + 4 * height > 3.5, for whoever has a colour that is one.

    Half a colour, or more than one, would change the answer more than both numbers do.
    """

    def forward(self, x):
        colour = x[:, 1:4].sum(1)
        value = 3 * x[:, 0] + 4 * x[:, 4] - 3.5 + 9 * (colour - colour.detach().round())
        return torch.stack([-value, value], 1)


@pytest.fixture(scope="module")
def margins() -> dict[str, Dataset]:
    """For each norm, rows of which every other one is out of reach for a radius of .1."""
    found = {}
    for norm, reach in (("linf", 0.7), ("l2", 0.5)):
        x, y = _categories(160), torch.arange(160) // 2 % 2
        x[:, 0] = torch.linspace(0.4, 0.6, 160)
        margin = reach * torch.where(torch.arange(160) % 2 == 0, 0.8, 1.2)
        x[:, 4] = (3.5 + (2 * y - 1) * margin - 3 * x[:, 0]) / 4
        found[norm] = _dataset(x, y)
    return found


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", [name for name in QUICK if name != "apgd-t"])
def test_exactly_what_the_numbers_reach_falls(name, norm, margins, scenario_for) -> None:
    data, model = margins[norm], Between()
    attack = _attack(name, data, norm=norm)
    table = scenario_for(data, model, threat=_threat(attack), source=model)
    outcome = evasion.play(attack, table)
    index = torch.from_numpy(outcome.samples["index"])
    within = index % 2 == 0
    assert outcome.metrics["clean_accuracy"] == 1
    broken = outcome.samples["perturbed"] != outcome.samples["label"]
    assert torch.equal(torch.from_numpy(broken), within)
    assert outcome.metrics["robust_accuracy"] == (~within).double().mean()


@pytest.mark.parametrize("name", [name for name in QUICK if name != "apgd-t"])
def test_a_model_of_the_categories_alone_cannot_be_evaded(name, margins, scenario_for) -> None:
    class Red(nn.Module):
        def forward(self, x):
            return torch.stack([0.5 - x[:, 1], x[:, 1] - 0.5], 1)

    x = margins["linf"].x
    data = replace(margins["linf"], y=x[:, 1].long())
    for settings in ({"epsilon": "0.9"}, {"norm": "l2", "epsilon": "1.2"}):
        attack = _attack(name, data, **settings)
        table = scenario_for(data, Red(), threat=_threat(attack), source=Red())
        metrics = evasion.play(attack, table).metrics
        assert metrics["robust_accuracy"] == metrics["clean_accuracy"] == 1


def _wild() -> nn.Module:
    """A network that changes its mind often, in every direction."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 30), nn.Tanh(), nn.Linear(30, 4))
    model[0].weight.data *= 10
    return model.eval()


class Asked(nn.Module):
    """A model that refuses rows of nobody, and remembers how many rows it was asked about."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model, self.rows = model, 0

    def forward(self, x):
        assert torch.equal(tabular_perturbation.snap(x, COLUMNS), x)
        assert 0 <= x.min() <= x.max() <= 1
        self.rows += len(x)
        return self.model(x)

    def __deepcopy__(self, memo):
        return self  # all copies count together


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", QUICK)
def test_every_attack_asks_about_whole_rows_only(name, norm, people, scenario_for) -> None:
    model = _wild()
    data = replace(people, y=model(people.x).argmax(1))
    attack = _attack(name, data, norm=norm, epsilon="0.3")
    target, source = Asked(model), Asked(model)
    table = scenario_for(data, target, threat=_threat(attack), source=source)
    metrics = evasion.play(attack, table).metrics
    assert metrics["robust_accuracy"] < metrics["clean_accuracy"] == 1
    assert target.rows + source.rows >= 3 * 40


def test_what_an_attack_does_to_categories_does_not_count(
    people, scenario_for, monkeypatch
) -> None:
    """Nor does it tell the attacker about anybody half."""
    model = Asked(_wild())
    scores = []

    def run(self, target, data, *, seed):
        x = data.points.x
        turned = x.clone()
        turned[:, 1:4] = (x[:, 1:4] - 0.4).abs()
        scores.append((target.scores(turned), target.scores(x)))
        return torch.where(tabular_perturbation.movable(x, COLUMNS), x, 1 - x)

    monkeypatch.setattr(FGSM, "run", run)
    outcome = evasion.play(FGSM(epsilon=0.1), scenario_for(people, model))
    assert torch.equal(*scores[0])
    assert outcome.metrics["mean_linf"] == 0
    assert (outcome.samples["clean"] == outcome.samples["perturbed"]).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", QUICK)
def test_a_table_of_a_single_number_is_attacked(name, norm, scenario_for) -> None:
    x = torch.linspace(0, 1, 160)[:, None]
    y = (x[:, 0] * 3.999).long()
    data = _dataset(x, y, (Column("age", 0, 1),), classes=4)

    class Steps(nn.Module):
        def forward(self, x):
            return -((x - torch.tensor([[0.125, 0.375, 0.625, 0.875]])) ** 2)

    attack = _attack(name, data, norm=norm)
    table = scenario_for(data, Steps(), threat=_threat(attack), source=Steps())
    outcome = evasion.play(attack, table)
    index = torch.from_numpy(outcome.samples["index"])
    at = x[index, 0]
    to_step = (at[:, None] - torch.tensor([0.25, 0.5, 0.75])).abs().amin(1)
    falls = torch.from_numpy(outcome.samples["perturbed"] != outcome.samples["label"])
    # In the middle the loss may be followed to the farther step, except by looking around.
    followed = (y[index] % 3 == 0) | (name in ("square", "autoattack", "fab-t"))
    assert falls[followed & (to_step < 0.08)].all()
    assert not falls[to_step > 0.1 + 1e-6].any()


@pytest.mark.parametrize("name", [*QUICK, "adversarial-training", "trades", "gaussian-noise",
                                  "fast-adversarial-training", "randomized-smoothing"])  # fmt: skip
def test_a_table_of_categories_alone_has_nothing_to_move(name, people) -> None:
    data = replace(
        people, x=people.x[:, 1:4], columns=(Column("colour", 0, 3, values=("r", "g", "b")),)
    )
    kind = "attack" if name in QUICK else "defense"
    message = f"{name} moves numbers, but all 1 columns of people have categories"
    with pytest.raises(NotApplicableError, match=message):
        registry.make(kind, name, {}).resolve(data)


def test_every_evasion_attack_is_tried_here() -> None:
    known = registry.known("attack")
    assert set(QUICK) == {name for name, kind in known.items() if kind.risk is Risk.EVASION}


def test_a_random_start_is_uniform_in_the_ball_of_the_numbers() -> None:
    points = Split(_categories(4000) + torch.tensor([0.5, 0, 0, 0, 0.5, 0]), torch.zeros(4000).long(),
                   columns=COLUMNS)  # fmt: skip
    for norm in ("linf", "l2"):
        moved = perturbation.random_start(points, 0.2, norm, generator("test", 0)) - points.x
        assert not moved[:, CATEGORIES].any()
        size = perturbation.sizes(moved, norm)
        assert size.max() <= 0.2 + 1e-6
        # In two dimensions a quarter of the volume is within half the radius.
        assert (size < 0.1).float().mean() == pytest.approx(0.25, abs=0.03)


MOVABLE = torch.tensor([True, False, True, True, False, True, True, True, True, False])


def test_a_move_turns_a_share_of_the_numbers_to_the_ends_of_their_range() -> None:
    origin, stream = torch.full((200, 10), 0.5), generator("test", 0)
    for share, changed in ((0.8, 6), (0.5, 4), (0.3, 2), (0.01, 1)):
        moved = square_rows.turn(origin, origin, 0.1, share, stream, movable=MOVABLE)
        delta = moved - origin
        assert ((delta != 0).sum(1) == changed).all()
        assert not delta[:, ~MOVABLE].any()
        torch.testing.assert_close(delta[delta != 0].abs(), torch.full((200 * changed,), 0.1))
        # Each number as often as another, and up as often as down.
        often = (delta != 0).double().mean(0)[MOVABLE]
        assert often == pytest.approx(changed / 7, abs=0.12)
        assert delta.sign().sum() / delta.sign().abs().sum() == pytest.approx(0, abs=0.15)
    start = square_rows.corner(torch.full((5, 10), 0.95), 0.1, stream, movable=MOVABLE)
    assert ((start == 1) | ((start - 0.85).abs() < 1e-6))[:, MOVABLE].all()
    assert (start[:, ~MOVABLE] == 0.95).all()


def test_an_l2_move_keeps_the_length_and_moves_some_of_it() -> None:
    origin, stream = torch.full((200, 10), 0.5), generator("test", 0)
    best = square_rows.sphere(origin, 0.3, stream, movable=MOVABLE)
    torch.testing.assert_close((best - origin).norm(dim=1), torch.full((200,), 0.3))
    assert (best - origin)[:, MOVABLE].abs().numpy() == pytest.approx(0.3 / 7**0.5)
    for share, most in ((0.6, 7), (0.3, 4), (0.01, 4)):
        moved = square_rows.swap(best, origin, 0.3, share, stream, movable=MOVABLE)
        torch.testing.assert_close((moved - origin).norm(dim=1), torch.full((200,), 0.3))
        assert (moved[:, ~MOVABLE] == 0.5).all()
        changed = ((moved - best).abs() > 1e-6).sum(1)
        assert changed.float().mean() >= 1
        assert changed.max() <= most
        best = moved


def test_square_finds_every_corner_that_breaks_a_network() -> None:
    """A slow look at all the corners of the ball says what there is to find."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 30), nn.Tanh(), nn.Linear(30, 3))
    columns = (
        *(Column(f"n{i}", i, i + 1) for i in range(5)),
        Column("c", 5, 8, values=tuple("abc")),
    )
    x = torch.cat([torch.rand(300, 5), torch.eye(3)[torch.arange(300) % 3]], 1)
    y = model(x).argmax(1)
    stands = torch.ones(300, dtype=torch.bool)
    for signs in itertools.product((-1.0, 1.0), repeat=5):
        moved = (x + 0.1 * torch.tensor([*signs, 0, 0, 0])).clamp(0, 1)
        stands &= model(moved).argmax(1) == y
    data = AttackedPoints(
        points=Split(x, y, columns=columns), num_classes=3, architecture="", input_shape=(8,)
    )
    found = Square(epsilon=0.1, queries=400).run(BlackBox(model, Access.SCORES), data, seed=0)
    standing = model(found).argmax(1) == y
    assert not (standing & ~stands).double().mean() > 0.01
    assert not (stands & ~standing).any()
    assert 0.1 < stands.double().mean() < 0.9


@pytest.fixture(scope="module")
def adult(mirror, job_for):
    """A network of Adult, and what it is attacked on."""
    from harness.training.single import train_alone

    data = datasets.load("adult", DataLocation(mirror=mirror))
    job = job_for("mlp-32", data=data, recipe=Recipe(lr=3e-3, epochs=10, batch_size=128))
    trained = train_alone(job, data.all.take(job.index), None)
    test = quarters(data, 0, Regime.FROM_SCRATCH).target_test[:600]
    return data, trained.model, data.all.take(test)


@pytest.mark.mirror
def test_robust_accuracy_on_adult_falls_with_the_radius_for_every_attack(adult) -> None:
    data, model, points = adult
    given = EvasionData(
        points=points, aux=points.take(slice(0)), num_classes=2, architecture="mlp-32", input_shape=data.input_shape,
        columns=data.columns, source=model,
    )  # fmt: skip
    target = BlackBox(tabular_perturbation.whole(model, data.columns), Access.WEIGHTS)
    right = model(points.x).argmax(1) == points.y
    numbers = tabular_perturbation.movable(points.x, data.columns)[0].nonzero().squeeze(1)

    def robust(attack) -> float:
        found = attack.run(target, given, seed=0)
        x = tabular_perturbation.restored(getattr(found, "x", found), points)
        assert (x - points.x).abs().max() <= attack.epsilon + 1e-6
        return (right & (model(x).argmax(1) == points.y)).double().mean().item()

    rates = [robust(PGD(epsilon=e).resolve(data)) for e in (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == right.double().mean() > 0.8
    assert rates[3] < rates[0] - 0.1
    stands = right.clone()
    for signs in itertools.product((-0.1, 0.1), repeat=len(numbers)):
        moved = points.x.clone()
        moved[:, numbers] = (moved[:, numbers] + torch.tensor(signs)).clamp(0, 1)
        stands &= model(moved).argmax(1) == points.y
    by_search = stands.double().mean().item()
    for attack in (PGD(), FABT(steps=20), Square(queries=100), Transfer(source="twin"),
                   AutoAttack(steps=10, queries=30)):  # fmt: skip
        assert robust(attack.resolve(data)) == pytest.approx(by_search, abs=0.011), attack.name
    with pytest.raises(NotApplicableError, match="at least 3 classes, found 2"):
        robust(APGDT().resolve(data))


LACKING = (
    Column("size", 0, 1, imputed=0.25),
    Column("size missing", 1, 3, values=("no", "yes")),
    Column("age", 3, 4),
)


def _lacking(n: int = 8) -> Split:
    """Every other row lacks its size."""
    x = torch.tensor([[0.5, 1, 0, 0.5], [0.25, 0, 1, 0.5]]).repeat(n // 2, 1)
    return Split(x, torch.zeros(n).long(), columns=LACKING)


def test_a_number_that_a_row_lacks_is_not_moved() -> None:
    points = _lacking()
    free = tabular_perturbation.movable(points.x, LACKING)
    assert free[:2].tolist() == [[True, False, False, True], [False, False, False, True]]
    x = points.x + 0.1
    restored = tabular_perturbation.restored(x, points)
    assert torch.equal(restored, torch.where(free, x, points.x))
    moved = points.x.clone().requires_grad_()
    tabular_perturbation.whole(torch.nn.Identity(), LACKING)(moved).sum().backward()
    assert moved.grad is not None
    assert torch.equal(moved.grad, free.float())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["pgd", "square", "apgd-ce"])
def test_an_attack_leaves_a_number_that_a_row_lacks(name, norm, measure) -> None:
    points, settings = _lacking(40), {"norm": norm, "epsilon": "0.3"}
    if name == "square":
        settings["queries"] = "50"
    data = Dataset(name="made", num_classes=2, x=points.x, y=torch.arange(40) // 2 % 2,
                   columns=LACKING, n_train=20)  # fmt: skip
    seen = []

    class Watching(torch.nn.Module):
        def forward(self, x):
            seen.append(x.detach())
            return torch.stack([x[:, 0] + x[:, 3], 0.8 * x.sum(1) - 0.5], 1)

    _, outcome = measure(data, Watching(), 0, name, **settings)
    assert np.isfinite(outcome.samples["size"]).all()
    asked = torch.cat(seen)
    lacks = asked[:, 2] == 1
    assert 0 < lacks.sum() < len(lacks)
    assert (asked[lacks, 0] == 0.25).all()
    assert (asked[~lacks, 0] != 0.5).any()


def test_noise_leaves_a_number_that_a_row_lacks(defender) -> None:
    points = _lacking()
    for norm in ("linf", "l2"):
        moved = perturbation.random_start(points, 0.2, norm, generator("test", 0)) - points.x
        assert moved.isfinite().all()
        assert not moved[~tabular_perturbation.movable(points.x, LACKING)].any()
    alone = replace(points, columns=LACKING[:2], x=points.x[:, :3])
    moved = perturbation.random_start(alone, 0.2, "l2", generator("test", 0)) - alone.x
    assert not moved[1::2].any()
    assert moved[::2, 0].all()
    seen = []

    class Watching(torch.nn.Module):
        def forward(self, x):
            seen.append(x.detach())
            return x[:, :2]

    smoothing = registry.make("defense", "randomized-smoothing", {"sigma": "0.1", "n": "20"})
    defender = replace(defender, data=points)
    smoothing.guard(Watching(), defender)(points.x)
    smoothing.certify(Watching(), points.x, defender, seed=0)
    for x in seen:
        lacks = x[:, 2] == 1
        assert (x[lacks, 0] == 0.25).all()
        assert (x[~lacks, 0] != 0.5).all()
        assert (x[:, 3] != 0.5).all()
