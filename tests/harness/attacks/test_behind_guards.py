"""Attacks on guards that decide for themselves: what is followed, and what counts as success."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from harness import registry
from harness.attacks import perturbation
from harness.attacks.apgd import APGDCE
from harness.attacks.fab_t import FABT
from harness.attacks.fgsm import FGSM
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackerData, Resolves
from harness.attacks.square import Square
from harness.defenses.answers import Redecides, Rewritten, differentiates
from harness.defenses.label_only import LabelOnly
from harness.target import BlackBox
from harness.training import train_alone
from harness.types import Access, Attribute, Column, Part, Split
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

DATA = AttackerData(points=POINTS, num_classes=2, architecture="none", input_shape=(4,))


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


def test_decisions_are_asked_for_where_they_cannot_be_followed() -> None:
    x = torch.full((2, 4), 0.45)
    guarded = LabelOnly().guard(Stricter(), None)
    for model, decision in ((Slope(), 0), (Stricter(), 1), (guarded, 1)):
        logits, _, _ = perturbation.look(model, x, lambda z: z[:, 1])
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
    right = {}
    for attack in ("autoattack", "pgd", "fgsm"):
        found, _ = measure(
            data, models[data.name], 0, attack, stack=[guard], epsilon=0.05, **SMALL.get(attack, {})
        )
        right[attack] = found.metrics["robust_accuracy"]
    # An attack may miss a few that another one hits, the more so where the answers are draws.
    room = 0.02 if name in ("randomized-smoothing", "threshold-optimizer") else 0.01
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
