"""Defenses that perturb inputs, on tables: categories stay as they are, numbers move as always."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import norm as gaussian
from torch import nn

from harness import registry
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared import tabular_perturbation
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.examples import Column, Split
from harness.defenses.protocol import ChangesInputs
from harness.defenses.randomized_smoothing import RandomizedSmoothing
from harness.defenses.shared.defender import DefenderData
from harness.defenses.trades import TRADES
from harness.seeds import generator
from harness.target import BlackBox
from harness.training.single import train_alone
from harness.types import Access
from zoo.recipe import Recipe

COLUMNS = (
    Column("age", 0, 1),
    Column("colour", 1, 4, values=("red", "green", "blue")),
    Column("height", 4, 5),
)
NUMBERS, CATEGORIES = [0, 4], [1, 2, 3]
PERTURBING = ["adversarial-training", "fast-adversarial-training", "gaussian-noise", "trades"]


def _people(n: int) -> Split:
    stream = torch.Generator().manual_seed(0)
    x = torch.zeros(n, 5)
    x[:, NUMBERS] = torch.rand(n, 2, generator=stream)
    x[:, CATEGORIES] = torch.eye(4)[torch.arange(n) % 4][:, :3]
    return Split(x, (x[:, 0] > x[:, 4]).long(), columns=COLUMNS)


class Asked(nn.Module):
    """A model that keeps what it was asked, with answers that categories matter much to."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = []
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 2))

    def forward(self, x):
        self.seen.append(x.detach())
        return self.net(x)


def _make(name):
    settings = {"sigma": "0.3"} if name == "gaussian-noise" else {"epsilon": "0.2"}
    if name not in ("gaussian-noise", "fast-adversarial-training"):
        settings |= {"step_size": "0.05"}
    elif name == "fast-adversarial-training":
        settings |= {"step_size": "0.25"}
    return registry.make("defense", name, settings)


@pytest.mark.parametrize("name", PERTURBING)
def test_a_training_step_sees_whole_categories_and_moved_numbers(name) -> None:
    batch, model, defense = _people(60), Asked(), _make(name)
    stream = generator("test", 0)
    if isinstance(defense, ChangesInputs):
        model.seen.append(defense.inputs(model, batch, stream))
    else:
        defense.loss_for(None)(model, batch, stream)
    for x in model.seen:
        assert torch.equal(x[:, CATEGORIES], batch.x[:, CATEGORIES])
    moved = (model.seen[-1] - batch.x)[:, NUMBERS]
    assert (moved != 0).double().mean() > 0.9
    if name == "gaussian-noise":
        assert moved.std().item() == pytest.approx(0.3, abs=0.05)
    else:
        assert moved.abs().max() <= 0.2 + 1e-6


def test_trades_in_l2_gives_the_whole_radius_to_the_numbers() -> None:
    batch, model = _people(60), Asked()
    defense = TRADES(epsilon=0.1, norm="l2", steps=20, step_size=0.05)
    far = defense._farthest(model, batch, generator("test", 0))
    size = (far - batch.x).norm(dim=1)
    inside = ((far > 0) & (far < 1))[:, NUMBERS].all(1)
    assert inside.sum() > 30
    torch.testing.assert_close(size[inside], torch.full_like(size[inside], 0.1), atol=1e-4, rtol=0)


def _shop(data: Split) -> DefenderData:
    return DefenderData(
        data=data, trusted=data, num_classes=2, train=lambda d: nn.Identity(), recipe=None, seed=0
    )


class Line(nn.Module):
    """Class 1 where 3 * age - 4 * height + 9 * (indicators - 1) is above 0."""

    def forward(self, x):
        value = 3 * x[:, 0] - 4 * x[:, 4] + 9 * (x[:, 1:4].sum(1) - 1)
        return torch.stack([-value, value], 1)


def _distance(x: torch.Tensor) -> torch.Tensor:
    """Of the numbers from the line of those with a colour, signed."""
    return (3 * x[:, 0] - 4 * x[:, 4]) / 5


def test_a_certificate_is_about_the_numbers_in_closed_form() -> None:
    """Noise on the indicators would blur the vote: their weight is three times the numbers'."""
    points = _people(80)
    points = points.take(points.x[:, CATEGORIES].any(1))
    true = _distance(points.x)
    smoothing = RandomizedSmoothing(sigma=0.25, n=20_000, batch_size=20_000)
    label, radius = smoothing.certify(Line(), points.x, _shop(points), seed=0)
    certified = label >= 0
    assert certified.double().mean() > 0.9
    assert torch.equal(label[certified], (true > 0).long()[certified])
    assert (radius <= true.abs()).all()
    reached = (true.abs() > 0.1) & (true.abs() < 0.6)
    assert reached.sum() > 15
    assert (radius / true.abs())[reached].mean() > 0.9


def test_votes_are_of_people_with_the_same_categories() -> None:
    points, model = _people(20), Line()
    points = points.take(points.x[:, CATEGORIES].any(1))
    guarded = RandomizedSmoothing(sigma=0.25, votes=4000).guard(model, _shop(points))
    share = BlackBox(guarded, Access.SCORES).scores(points.x)[:, 1]
    expected = gaussian.cdf(_distance(points.x).numpy() / 0.25)
    assert share.numpy() == pytest.approx(expected, abs=0.03)
    asked = Asked()
    RandomizedSmoothing(sigma=0.25, votes=7).guard(asked, _shop(points))(points.x)
    for x in asked.seen:
        copies = x.view(-1, 7, 5)
        assert torch.equal(copies[:, :, CATEGORIES].amax(1), copies[:, :, CATEGORIES].amin(1))
        assert copies[:, :, NUMBERS].std() > 0.1


def test_no_move_of_numbers_within_the_certified_radius_changes_the_answer() -> None:
    points = _people(200)
    model = Line()
    smoothing = RandomizedSmoothing(sigma=0.2)
    label, radius = smoothing.certify(model, points.x, _shop(points), seed=0)
    guarded = tabular_perturbation.whole(smoothing.guard(model, _shop(points)), COLUMNS)
    at = Split(points.x, label.clamp_min(0), columns=COLUMNS)
    data = AttackedPoints(points=at, num_classes=2, architecture="", input_shape=(5,))
    attack = PGD(norm="l2", epsilon=0.2, step_size=0.05, steps=10)
    moved = attack.run(BlackBox(guarded, Access.WEIGHTS), data, seed=0)
    after = guarded(moved).argmax(1)
    sure = radius >= 0.2
    assert sure.sum() > 40
    assert torch.equal(after[sure], label[sure])
    assert (after != label)[(label >= 0) & ~sure].any()  # the attack is a real one


@pytest.mark.mirror
def test_every_one_of_them_guards_adult(mirror, job_for, measure) -> None:
    data = datasets.load("adult", DataLocation(mirror=mirror))
    data = replace(data, x=data.x[:2400], y=data.y[:2400], z={}, n_train=0)

    def metrics(stack, **settings):
        few = {"adversarial-training": {"steps": "3"}, "trades": {"steps": "3"}}
        defenses = tuple(
            registry.make("defense", name, few.get(name, {})).resolve(data) for name in stack
        )
        job = job_for("mlp-32", data=data, recipe=Recipe(lr=1e-2, epochs=25, batch_size=64))
        job = replace(job, stack=tuple(registry.describe(d) for d in defenses))
        trained = train_alone(job, data.all.take(job.index), None)
        return measure(data, trained, 0, PGD(steps=3, **settings), stack=defenses)[0].metrics

    plain = metrics(())["robust_accuracy"]
    for name in ("adversarial-training", "trades", "fast-adversarial-training"):
        assert metrics((name,))["robust_accuracy"] > plain + 0.05
    found = metrics(("gaussian-noise", "randomized-smoothing"), norm="l2", epsilon=0.5)
    assert 0.5 < found["certified_accuracy"] <= found["robust_accuracy"] <= found["clean_accuracy"]
