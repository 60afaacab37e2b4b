"""Randomized smoothing: votes, radii worked by hand, and attacks that try to break a certificate."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import nn

from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints
from harness.data.dataset import DataLocation
from harness.data.examples import Split
from harness.defenses.gaussian_noise import GaussianNoise
from harness.defenses.randomized_smoothing import RandomizedSmoothing
from harness.defenses.shared.defender import DefenderData
from harness.registry import describe
from harness.target import BlackBox
from harness.training.single import train_alone
from harness.types import Access
from zoo.errors import ZooError
from zoo.recipe import Recipe

NOTHING = Split(torch.zeros(0, 1), torch.zeros(0).long())
SHOP = DefenderData(
    data=NOTHING, trusted=NOTHING, num_classes=10, train=lambda data: nn.Identity(), recipe=None,
    seed=0,
)  # fmt: skip
"""These guards look at none of it."""


SMOOTHING = RandomizedSmoothing(sigma=0.25)


class Plane(nn.Module):
    """Class 1 where 3 * x0 - x1 > 1, with inputs (n, 1, 1, 2) and steep logits."""

    def forward(self, x):
        value = 100 * (3 * x[:, 0, 0, 0] - x[:, 0, 0, 1] - 1)
        return torch.stack([-value, value], 1)


def _points(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(rows).view(-1, 1, 1, 2)


def _distance(x: torch.Tensor) -> torch.Tensor:
    """From the plane, signed: the radius of the smoothed classifier in closed form."""
    return (3 * x[:, 0, 0, 0] - x[:, 0, 0, 1] - 1) / math.sqrt(10)


def test_the_radius_of_a_unanimous_vote_by_hand() -> None:
    """All of n votes: the share is at least alpha^(1/n), so the radius is sigma * Phi^-1 of it."""

    class Always(nn.Module):
        def forward(self, x):
            return torch.tensor([[0.0, 1.0, 0.0]]).expand(len(x), 3)

    label, radius = SMOOTHING.certify(Always(), _points((0.5, 0.5)), SHOP, seed=0)
    assert (label.tolist(), label.dtype) == ([1], torch.int64)
    assert radius.tolist() == pytest.approx([0.25 * norm.ppf(0.001 ** (1 / 1000))])
    assert radius.tolist() == pytest.approx([0.6158], abs=1e-4)


def test_an_even_vote_has_no_certificate() -> None:
    label, radius = SMOOTHING.certify(Plane(), _points((0.5, 0.5)), SHOP, seed=0)
    assert (label.tolist(), radius.tolist()) == ([-1], [0.0])


def test_certified_radii_stay_below_the_true_ones_and_come_close() -> None:
    stream = torch.Generator().manual_seed(0)
    x = torch.rand(40, 1, 1, 2, generator=stream)
    true = _distance(x)
    wide = RandomizedSmoothing(sigma=0.25, n=40_000, batch_size=50_000)
    label, radius = wide.certify(Plane(), x, SHOP, seed=0)
    certified = label >= 0
    assert certified.sum() >= 36
    assert torch.equal(label[certified], (true > 0).long()[certified])
    assert (radius <= true.abs()).all()
    reached = (true.abs() > 0.1) & (true.abs() < 0.6)
    assert reached.sum() > 15
    assert (radius / true.abs())[reached].mean() > 0.93


def test_a_certificate_depends_on_the_seed_and_nothing_else() -> None:
    x = _points((0.5, 0.4), (0.6, 0.6))
    first = SMOOTHING.certify(Plane(), x, SHOP, seed=1)[1]
    state = torch.get_rng_state()
    torch.rand(1)
    assert torch.equal(SMOOTHING.certify(Plane(), x, SHOP, seed=1)[1], first)
    torch.set_rng_state(state)
    assert not torch.equal(SMOOTHING.certify(Plane(), x, SHOP, seed=2)[1], first)


def test_answers_are_the_shares_of_the_votes() -> None:
    x = _points((0.5, 0.4), (0.45, 0.4), (0.2, 0.2))
    many = RandomizedSmoothing(sigma=0.25, votes=20_000)
    seen = BlackBox(many.guard(Plane(), SHOP), Access.SCORES).scores(x)
    expected = norm.cdf(_distance(x).numpy() / 0.25)
    assert seen[:, 1].numpy() == pytest.approx(expected, abs=0.012)
    assert seen.sum(1).numpy() == pytest.approx(1)
    # A class without votes has a logit, too.
    assert torch.isfinite(many.guard(Plane(), SHOP)(_points((0.9, 0.1)))).all()


def test_the_same_query_gets_the_same_answer_in_any_batch() -> None:
    x = torch.rand(30, 1, 1, 2, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.3
    guarded = SMOOTHING.guard(Plane(), SHOP)
    state = torch.get_rng_state()
    found = guarded(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(found.unique(dim=0)) > 10
    assert torch.equal(torch.cat([guarded(row[None]) for row in x]), found)
    assert torch.equal(guarded(x.flip(0)).flip(0), found)
    at_once = RandomizedSmoothing(sigma=0.25, batch_size=10_000).guard(Plane(), SHOP)
    assert torch.equal(at_once(x), found)


def test_no_more_copies_are_on_the_device_than_said() -> None:
    sizes = []

    class Counting(Plane):
        def forward(self, x):
            sizes.append(len(x))
            return super().forward(x)

    few = RandomizedSmoothing(sigma=0.25, votes=40, n0=30, n=500, batch_size=100)
    few.guard(Counting(), SHOP)(torch.rand(5, 1, 1, 2))
    assert sizes == [80, 80, 40]
    sizes.clear()
    few.certify(Counting(), torch.rand(1, 1, 1, 2), SHOP, seed=0)
    assert sizes == [30] + [100] * 5


def test_who_differentiates_gets_the_gradient_of_the_mean_score() -> None:
    """The vote's own gradient is 0 everywhere; chunks and recomputation change nothing."""
    from harness.defenses.shared.rewritten_scores import noise

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))
    x = torch.rand(5, 1, 1, 2).requires_grad_()
    found = SMOOTHING.guard(model, SHOP)(x)
    shift = 0.25 * noise("randomized-smoothing", x, 100, 1, 1, 2)
    copies = [model(x + shift[:, i]).softmax(1) for i in range(100)]
    expected = torch.stack(copies).mean(0).log()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found[:, 0].sum(), x)[0],
        torch.autograd.grad(expected[:, 0].sum(), x)[0],
    )


@pytest.fixture(scope="module")
def noisy(digits, job_for):
    """A model that was trained with noise, and its job."""
    job = job_for(
        recipe=Recipe(lr=3e-3, epochs=40),
        stack=(describe(GaussianNoise().resolve(digits)),),
    )
    return train_alone(job, digits.all.take(job.index), None)


def test_no_attack_within_the_certified_radius_breaks_it(digits, noisy) -> None:
    points = digits.all.take(torch.arange(1500, 1700))
    smoothing = RandomizedSmoothing().resolve(digits)
    label, radius = smoothing.certify(noisy.model, points.x, SHOP, seed=0)
    guarded = smoothing.guard(noisy.model, SHOP)
    data = AttackedPoints(points=points, num_classes=10, architecture="", input_shape=(1, 8, 8))
    attack = PGD(norm="l2", epsilon=0.45, steps=10).resolve(digits)
    moved = attack.run(BlackBox(guarded, Access.WEIGHTS), data, seed=0)
    judge = BlackBox(guarded, Access.LABELS)
    before, after = judge.labels(points.x), judge.labels(moved)
    assert torch.equal(before[label >= 0], label[label >= 0])
    sure = radius >= 0.45
    assert sure.sum() > 60
    assert torch.equal(after[sure], label[sure])
    # The attack is a real one: where nothing is certified, it succeeds.
    assert (after != before)[~sure].double().mean() > 0.3


def test_training_with_noise_is_what_makes_certificates(digits, noisy, job_for, measure) -> None:
    plain = job_for(recipe=Recipe(lr=3e-3, epochs=40))
    trained = train_alone(plain, digits.all.take(plain.index), None)
    smoothing = RandomizedSmoothing().resolve(digits)
    found = {
        name: measure(
            digits, model, 0, "pgd", norm="l2", steps=5, stack=(*stack, smoothing)
        )[0].metrics
        for name, model, stack in (
            ("plain", trained, ()), ("noisy", noisy, (GaussianNoise().resolve(digits),)),
        )
    }  # fmt: skip
    for metrics in found.values():
        assert 0 < metrics["certified_accuracy"] <= metrics["robust_accuracy"]
    assert found["noisy"]["certified_accuracy"] > found["plain"]["certified_accuracy"] + 0.1
    assert found["noisy"]["clean_accuracy"] > 0.85


@pytest.mark.mirror
def test_a_published_robust_model_is_certified_and_its_guards_mask_nothing(
    mirror, home_dir
) -> None:
    import zoo
    from harness.data import datasets
    from harness.defenses.label_only import LabelOnly

    data = datasets.load("mnist", DataLocation(mirror=mirror))
    points = data.all.take(torch.arange(data.n_train, data.n_train + 30))
    model = zoo.load("locuslab/fast-adversarial-pgd-mnist", mirror=mirror, accept_licence=True)
    model.eval().requires_grad_(False)
    label, radius = SMOOTHING.certify(model, points.x, SHOP, seed=0)
    sure = (label == points.y) & (radius >= 0.5)
    assert sure.double().mean() > 0.7
    held = AttackedPoints(points=points, num_classes=10, architecture="", input_shape=(1, 28, 28))
    attack = PGD(norm="l2", epsilon=0.5, steps=3).resolve(data)
    guarded = SMOOTHING.guard(model, SHOP)
    moved = attack.run(BlackBox(guarded, Access.WEIGHTS), held, seed=0)
    assert torch.equal(BlackBox(guarded, Access.LABELS).labels(moved)[sure], label[sure])
    hard = PGD(epsilon=0.4, steps=5).resolve(data)
    bare = hard.run(BlackBox(model, Access.WEIGHTS), held, seed=0)
    assert (model(bare).argmax(1) != points.y).any()
    hidden = LabelOnly().guard(model, SHOP)
    assert torch.equal(hard.run(BlackBox(hidden, Access.WEIGHTS), held, seed=0), bare)


def test_the_noise_goes_with_the_dataset(tiny) -> None:
    assert RandomizedSmoothing().resolve(tiny).sigma == GaussianNoise().resolve(tiny).sigma == 0.25
    assert RandomizedSmoothing(sigma=0.5).resolve(tiny).sigma == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0.0}, "sigma above 0, found 0"),
        ({"votes": 0}, "votes of at least 1, found 0"),
        ({"n": 0}, "n of at least 1, found 0"),
        ({"alpha": 1.0}, "alpha between 0 and 1, found 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        RandomizedSmoothing(**settings)
