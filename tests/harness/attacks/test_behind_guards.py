"""Attacks on guards that decide for themselves: what is followed, and what counts as success."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from harness import registry
from harness.attacks.apgd import APGDCE
from harness.attacks.autoattack import AutoAttack
from harness.attacks.fab_t import FABT
from harness.attacks.fgsm import FGSM
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints, Evaded, Resolves
from harness.attacks.shared import perturbation
from harness.attacks.shared.redraws import DRAWS, Finds, wrong_in
from harness.attacks.square import Square
from harness.data.examples import Attribute, Column, Split
from harness.defenses.label_only import LabelOnly
from harness.defenses.shared.rewritten_scores import Rewritten, uniform
from harness.games.evasion import REDRAWS
from harness.learning.scores import Draws, Redecides, differentiates, drawn_again, is_random
from harness.target import BlackBox
from harness.training.single import train_alone
from harness.types import Access, Part
from zoo.recipe import Recipe


class Slope(nn.Module):
    """The margin of class 1 is the mean of the input, less a half."""

    def forward(self, x):
        lead = x.flatten(1).mean(1) - 0.5
        return torch.stack([-lead, lead], 1)


class Stricter(Redecides):
    """Class 1 is what is up to .2 below the model's own boundary."""

    def __init__(self):
        super().__init__()
        self.model = Slope()

    def forward(self, x):
        logits = self.model(x)
        if differentiates(x):
            return logits
        return F.one_hot((logits[:, 1] > -0.2).long(), 2).float()


POINTS = Split(torch.full((3, 4), 0.55), torch.tensor([1, 1, 0]))
"""The first two are .05 above the model's boundary and .25 above the guard's, the last is wrong."""

DATA = AttackedPoints(points=POINTS, num_classes=2, architecture="none", input_shape=(4,))


@pytest.mark.parametrize(
    "attack",
    [
        FGSM(epsilon=0.3),
        PGD(epsilon=0.3, step_size=0.04),
        PGD(epsilon=0.3, step_size=0.04, targets=1),
        APGDCE(epsilon=0.3, steps=20),
        Square(epsilon=0.3, queries=200),
    ],
    ids=lambda attack: attack.name,
)
def test_an_attack_goes_on_until_the_guard_is_wrong(attack) -> None:
    """The model's own boundary is crossed after .05, the guard's after .25."""
    found = attack.run(BlackBox(Stricter(), Access.WEIGHTS), DATA, seed=0)
    moved = (POINTS.x - found).mean(1)
    assert (moved[:2] > 0.25).all()
    short = replace(attack, epsilon=0.2)
    found = short.run(BlackBox(Stricter(), Access.WEIGHTS), DATA, seed=0)
    assert (Stricter()(found).argmax(1)[:2] == 1).all()  # out of reach


@pytest.mark.parametrize(
    "attack",
    [PGD(epsilon=0.3, step_size=0.04), APGDCE(epsilon=0.3), FABT(epsilon=0.3), Square(epsilon=0.3)],
    ids=lambda attack: attack.name,
)
def test_what_the_guard_gets_wrong_already_is_left_alone(attack) -> None:
    """The model is right about an input of class 0 at .45, the guard is not."""
    points = Split(torch.full((1, 4), 0.45), torch.tensor([0]))
    assert Slope()(points.x).argmax(1) == 0
    target = BlackBox(Stricter(), Access.WEIGHTS)
    found = attack.run(target, replace(DATA, points=points), seed=0)
    assert torch.equal(found, points.x)


class Drawn(Draws):
    """Of an input that is right by ``lead``, class 0 is as likely as ``chance`` of that says."""

    def __init__(self, chance, *, key="owner"):
        super().__init__(key)
        self.model, self._chance = Slope(), chance

    def forward(self, x):
        logits = self.model(x)
        if differentiates(x):
            return logits
        wrong = uniform(self.key, x, 1)[:, 0] < self._chance(logits[:, 1])
        return F.one_hot((~wrong).long(), 2).float()


def _zones(lead):
    """Of an input at .55, a third of what is moved by .05 is drawn wrong, and all after .25."""
    return torch.where(lead > 0, 0.0, torch.where(lead > -0.2, 1 / 3, 1.0))


MANY = Split(
    0.55 + 0.001 * torch.rand(60, 4, generator=torch.Generator().manual_seed(0)),
    torch.ones(60).long(),
)
"""No two are the same, or they would be drawn alike."""

MOVING = [
    PGD(epsilon=0.3, step_size=0.04),
    PGD(epsilon=0.3, step_size=0.04, restarts=2),
    APGDCE(epsilon=0.3, steps=30),
    Square(epsilon=0.3, queries=200),
    AutoAttack(epsilon=0.3, steps=20, queries=100),
]


def _moved(attack, model, points=MANY):
    found = attack.run(BlackBox(model, Access.WEIGHTS), replace(DATA, points=points), seed=0)
    return found.x if isinstance(found, Evaded) else found


@pytest.mark.parametrize("attack", MOVING, ids=lambda attack: attack.name)
def test_an_attack_goes_on_until_every_draw_is_wrong(attack) -> None:
    """The lucky zone lies on the way; whoever stops in it loses two of three in another draw."""
    guard = Drawn(_zones)
    found = _moved(attack, guard)
    assert (guard(found).argmax(1) == 0).all()
    assert (wrong_in(guard, found, MANY.y) == 1).all()
    with drawn_again(guard, "somebody else's"):
        assert (guard(found).argmax(1) == 0).all()


@pytest.mark.parametrize("attack", MOVING, ids=lambda attack: attack.name)
def test_where_nothing_but_luck_is_in_reach_luck_is_taken(attack) -> None:
    """Each try is one more draw, so most are won; in other draws a third are."""
    guard = Drawn(_zones)
    step = {"step_size": 0.01} if isinstance(attack, PGD) else {}
    found = _moved(replace(attack, epsilon=0.2, **step), guard)
    # APGD comes to the same corner again and again, and AutoAttack asks its neighbours.
    least = {"apgd-ce": 0.25, "autoattack": 0.95}.get(attack.name, 0.6)
    assert (guard(found).argmax(1) == 0).double().mean() > least
    other = []
    for draw in range(20):
        with drawn_again(guard, f"judge {draw}"):
            other.append((guard(found).argmax(1) == 0).double().mean())
    # 60 inputs in 20 draws: the standard error is .014.
    assert torch.stack(other).mean() == pytest.approx(1 / 3, abs=0.06)


def test_a_guard_that_could_draw_and_does_not_is_as_any_other() -> None:
    """Bit for bit: nothing is asked again of whoever says that no decision is drawn."""

    class Strict(Drawn):
        @property
        def is_random(self):
            return False

    def chance(lead):
        return (lead < -0.2).float()

    for attack in MOVING:
        plain = _moved(attack, Strict(chance))
        assert torch.equal(plain, _moved(attack, Strict(chance, key="another's")))
        moved = (MANY.x - plain).mean(1)
        assert (moved > 0.25).all()
    standing = torch.tensor([True, False])
    nobody = Finds(Strict(chance), MANY.x[:2], MANY.y[:2])
    assert nobody.going(torch.arange(2), MANY.x[:2], standing) is standing
    assert nobody.best(MANY.x) is MANY.x


def test_what_most_draws_get_wrong_is_kept() -> None:
    x = torch.arange(5.0)[:, None].expand(5, 4) / 100
    y, row = torch.ones(1).long(), torch.zeros(1).long()
    by = torch.tensor([0.0, 0.2, 0.8, 0.5, 1.0])
    guard = Drawn(lambda lead: by[((lead + 0.5) * 100).round().long()])
    shares = wrong_in(guard, x, torch.ones(5).long())
    assert shares[[0, 4]].tolist() == [0, 1]
    assert shares[1:4].tolist() == pytest.approx([0.2, 0.8, 0.5], abs=3 * (0.25 / DRAWS) ** 0.5)
    finds = Finds(guard, x[:1], y)
    right, wrong = torch.tensor([True]), torch.tensor([False])
    assert finds.unfound(row).item()
    assert finds.best(x[4:]).equal(x[4:])
    # What the guard itself gets right is nothing found, whatever the other draws would say.
    assert finds.going(row, x[4:], right).item()
    assert finds.best(x[:1]).equal(x[:1])
    for at, best in ((1, 1), (2, 2), (3, 2)):
        assert finds.going(row, x[at : at + 1], wrong).item()
        assert finds.best(x[:1]).equal(x[best : best + 1])
    assert not finds.unfound(row).item()
    assert not finds.going(row, x[4:], wrong).item()
    assert finds.best(x[:1]).equal(x[4:])


def test_another_draw_is_another_one_through_every_guard_above_it_and_ends() -> None:
    guarded = LabelOnly().guard(Drawn(lambda lead: torch.full_like(lead, 0.5)), None)
    x = torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
    assert is_random(guarded)
    assert not is_random(LabelOnly().guard(Stricter(), None))
    own = guarded(x).argmax(1)
    with drawn_again(guarded, "a"):
        other = guarded(x).argmax(1)
        assert torch.equal(other, guarded(x).argmax(1))
    assert torch.equal(own, guarded(x).argmax(1))
    assert 130 < (own != other).sum() < 270


def test_decisions_are_asked_for_where_they_cannot_be_followed() -> None:
    x = torch.full((2, 4), 0.45)
    guarded = LabelOnly().guard(Stricter(), None)
    for model, decision in ((Slope(), 0), (Stricter(), 1), (guarded, 1)):
        logits, _, _ = perturbation.logits_loss_gradient(model, x, lambda z: z[:, 1])
        assert logits.argmax(1).tolist() == [0, 0]
        assert perturbation.decided(model, x, logits).tolist() == [decision] * 2


def test_classes_are_ranked_by_what_can_be_followed() -> None:
    """Certain answers say nothing of the classes that lost."""

    class Ranked(nn.Module):
        def forward(self, x):
            return x @ torch.eye(4)

    x = torch.tensor([[0.9, 0.1, 0.3, 0.7]])
    model = Rewritten(Ranked(), lambda x, s: F.one_hot(s.argmax(1), 4).to(s.dtype))
    points = Split(x, torch.tensor([0]))
    assert [perturbation.likely(model, points, rank).item() for rank in (1, 2, 3)] == [3, 2, 1]


@pytest.fixture(scope="module")
def rows(digits):
    """Digits as rows of a table that state one of two groups; the label is whether it is above 4.

    Every third of the first group has the other label, so that the groups' thresholds differ.
    """
    group = torch.arange(len(digits.x)) % 2
    columns = [Column("group", 0, 2, values=("a", "b"))]
    columns += [Column(f"pixel {i}", i + 2, i + 3) for i in range(64)]
    above = digits.y > 4
    noisy = (group == 0) & (torch.arange(len(above)) % 3 == 0)
    return replace(
        digits, name="rows", num_classes=2, y=(above ^ noisy).long(), n_train=0,
        x=torch.cat([F.one_hot(group), digits.x.flatten(1)], 1), columns=tuple(columns),
        z={"group": Attribute(group, ("a", "b"))},
    )  # fmt: skip


SMALL = {
    "autoattack": {"steps": 20, "queries": 50, "targets": 3},
    "memguard": {"steps": 5, "epochs": 1},
    "randomized-smoothing": {"sigma": 0.1, "votes": 10},
}
GUARDS = sorted(n for n, kind in registry.known("defense").items() if Part.OUTPUT in kind.acts_on)


@pytest.fixture(scope="module")
def models(digits, rows, job_for):
    """Of the digits and of the rows, the same for every guard."""
    found = {}
    for data in (digits, rows):
        job = job_for(data=data, recipe=Recipe(lr=3e-3, epochs=20))
        found[data.name] = train_alone(job, data.collected.take(job.index), None)
    return found


@pytest.mark.parametrize("name", GUARDS)
def test_the_stronger_attack_is_stronger_behind_every_guard(
    name, digits, rows, models, measure
) -> None:
    data = rows if name == "threshold-optimizer" else digits
    guard = registry.make("defense", name, SMALL.get(name, {}))
    guard = guard.resolve(data) if isinstance(guard, Resolves) else guard
    found = {}
    for attack in ("autoattack", "pgd", "fgsm"):
        found[attack], _ = measure(
            data, models[data.name], 0, attack, stack=[guard], epsilon=0.05, **SMALL.get(attack, {})
        )
    draws = name in ("randomized-smoothing", "threshold-optimizer")
    # An attack may miss a few that another one hits.
    rooms = {"robust_accuracy": 0.01}
    if draws:
        # Two standard errors of a difference of n means of answers over draws, at most.
        error = (0.5 / (REDRAWS * found["pgd"].evidence["n"])) ** 0.5
        rooms["robust_accuracy_redrawn"] = 0.01 + 2 * error
    assert all(("robust_accuracy_redrawn" in one.metrics) == draws for one in found.values())
    for metric, room in rooms.items():
        right = {attack: one.metrics[metric] for attack, one in found.items()}
        assert right["autoattack"] <= right["pgd"] + room
        assert right["pgd"] <= right["fgsm"] + room


def test_what_was_won_by_luck_is_said(rows, models, measure) -> None:
    """Each moved row is a new draw, and PGD leaves a row where one is wrong."""
    stack = [registry.make("defense", "threshold-optimizer", {}).resolve(rows)]
    metrics, evidence = {}, {}
    for attack in ("pgd", "fgsm"):
        found, _ = measure(rows, models["rows"], 0, attack, stack=stack, epsilon=0.05)
        metrics[attack], evidence[attack] = found.metrics, found.evidence
    lucky = {a: m["robust_accuracy_redrawn"] - m["robust_accuracy"] for a, m in metrics.items()}
    assert lucky["pgd"] > lucky["fgsm"]
    assert lucky["pgd"] > 0.05
    assert evidence["pgd"]["flags"][0].startswith("random guard")
    plain, _ = measure(rows, models["rows"], 0, "pgd", epsilon=0.05)
    assert "robust_accuracy_redrawn" not in plain.metrics
