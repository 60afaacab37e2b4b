"""Adversarial trainings: each step by hand, on the true label, with the model left as it is."""

from dataclasses import replace

import foolbox
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from harness import registry
from harness.attacks.shared import perturbation
from harness.data.examples import Split
from harness.defenses.adversarial_training import AdversarialTraining
from harness.defenses.fast_adversarial_training import FastAdversarial
from harness.defenses.gaussian_noise import GaussianNoise
from harness.defenses.trades import TRADES
from harness.learning.fit import batches, num_steps
from harness.seeds import derive, generator
from harness.training.job import network
from harness.training.single import train_alone
from zoo.errors import ZooError
from zoo.recipe import Recipe

EPSILON = 0.1
ATTACKING = [
    AdversarialTraining(epsilon=EPSILON, steps=3, step_size=0.05),
    FastAdversarial(epsilon=EPSILON, step_size=0.125),
]
NAMES = [defense.name for defense in ATTACKING]


class Plane(nn.Module):
    """Class 1 where 3 * x0 - x1 > 1, with inputs (n, 1, 1, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.normal = nn.Parameter(torch.tensor([3.0, -1.0]))

    def forward(self, x):
        value = x.flatten(1) @ self.normal - 1
        return torch.stack([-value, value], 1)


X = torch.tensor([[0.5, 0.2], [0.6, 0.6], [0.4, 0.5], [0.3, 0.5]]).view(-1, 1, 1, 2)
Y = torch.tensor([1, 1, 1, 0])


def _stream():
    return generator("test", 0)


def test_inputs_are_moved_to_the_corner_that_is_worst_for_the_true_label() -> None:
    """Also where the model is wrong: the third is taken for class 0 and is pushed further in."""
    attack = AdversarialTraining(epsilon=EPSILON, steps=20, step_size=0.05)
    found = attack.inputs(Plane(), Split(X, Y), _stream())
    away = torch.where(Y == 1, -1.0, 1.0).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, X + away * torch.tensor([0.1, -0.1]))


def test_a_single_step_from_a_random_start_is_cut_back_to_the_ball() -> None:
    start = perturbation.random_start(Split(X, Y), EPSILON, "linf", _stream())
    away = torch.where(Y == 1, -1.0, 1.0).view(-1, 1, 1, 1) * torch.tensor([1.0, -1.0])
    expected = torch.clamp(start + 0.125 * away - X, -EPSILON, EPSILON) + X
    found = FastAdversarial(epsilon=EPSILON, step_size=0.125).inputs(
        Plane(), Split(X, Y), _stream()
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_inputs_equal_foolbox(norm, digits, job_for, monkeypatch) -> None:
    job = job_for("cnn-small", recipe=Recipe(lr=3e-3, epochs=5))
    model = train_alone(job, digits.all.take(job.index), None).model
    points = digits.all.take(torch.arange(1000, 1060))
    epsilon = 0.1 if norm == "linf" else 0.5
    monkeypatch.setattr(perturbation, "random_start", lambda points, *_: points.x)
    ours = AdversarialTraining(epsilon=epsilon, norm=norm, steps=5, step_size=epsilon / 3)
    found = ours.inputs(model, points, _stream())
    kind = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD
    theirs = kind(abs_stepsize=epsilon / 3, steps=5, random_start=False)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    _, expected, _ = theirs(wrapped, points.x, points.y, epsilons=epsilon)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_training_is_one_step_a_batch_on_adversarial_inputs_only(job_for, digits) -> None:
    """The whole training written out: from a fresh network, not from a trained one."""
    defense = AdversarialTraining(epsilon=EPSILON, steps=3, step_size=0.05)
    recipe = Recipe(lr=3e-3, epochs=1, batch_size=64)
    job = job_for(recipe=recipe, stack=(registry.describe(defense),))
    data = digits.all.take(job.index)
    found = train_alone(job, data, None).model

    model, _ = network(replace(job, stack=()), None)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    seed = derive("train", job.seed)
    stream = generator("hooks", seed)
    for batch in batches(len(data), recipe, seed):
        x, y = data.x[batch], data.y[batch]
        moved = x + (torch.rand(x.shape, generator=stream) * 2 - 1) * EPSILON
        moved = moved.clamp(0, 1)
        for _ in range(3):
            moved.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(moved), y), moved)
            moved = moved.detach() + 0.05 * gradient.sign()
            moved = torch.min(torch.max(moved, x - EPSILON), x + EPSILON).clamp(0, 1)
        optimizer.zero_grad()
        F.cross_entropy(model(moved), y).backward()
        optimizer.step()
    for want, have in zip(model.parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(have, want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("defense", "passes"), [*((d, 1) for d in ATTACKING), (TRADES(epsilon=0.1, step_size=0.025), 2)]
)
def test_attack_steps_leave_batch_norm_and_the_optimizer_alone(
    defense, passes, job_for, digits, monkeypatch
) -> None:
    """As many updates as there are training passes; TRADES passes clean and moved inputs."""
    recipe = Recipe(lr=3e-3, epochs=1, batch_size=64)
    job = job_for("resnet8", recipe=recipe, stack=(registry.describe(defense),))
    data = digits.all.take(job.index[:128])
    taken = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *a, **k: taken.append(step(*a, **k)))
    model = train_alone(job, data, None).model
    steps = num_steps(len(data), recipe)
    updates = [
        int(layer.num_batches_tracked)
        for layer in model.modules()
        if isinstance(layer, nn.BatchNorm2d)
    ]
    assert len(taken) == steps == 2
    assert updates == [passes * steps] * 7
    assert not model.training


@pytest.mark.parametrize("defense", ATTACKING, ids=NAMES)
def test_every_layer_keeps_its_mode_and_no_parameter_gets_a_gradient(defense) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
    model[2].eval()
    found = defense.inputs(model, Split(X, Y), _stream())
    assert [layer.training for layer in model] == [True, True, False, True]
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not found.requires_grad
    assert (found - X).abs().max() <= EPSILON + 1e-6


def test_a_mode_is_put_back_also_after_an_error() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2)).train()
    with pytest.raises(RuntimeError):
        ATTACKING[0].inputs(model, Split(X, Y), _stream())
    assert model.training


@pytest.mark.parametrize(
    "defense",
    [AdversarialTraining(epsilon=0.0), FastAdversarial(epsilon=0.0), TRADES(epsilon=0.1, beta=0.0)],
)
def test_a_defense_that_does_nothing_trains_the_undefended_model(defense, job_for, digits) -> None:
    defense = defense.resolve(digits)
    plain = job_for(recipe=Recipe(lr=3e-3, epochs=1))
    data = digits.all.take(plain.index)
    found = train_alone(replace(plain, stack=(registry.describe(defense),)), data, None).model
    expected = train_alone(plain, data, None).model
    for want, have in zip(expected.parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(have, want, atol=1e-6, rtol=1e-5)


def test_the_loss_of_trades_is_its_formula() -> None:
    model = Plane()
    defense = TRADES(epsilon=EPSILON, step_size=0.025)
    loss = defense.loss(model, Split(X, Y), _stream())
    moved = defense._farthest(model, Split(X, Y), _stream())
    p, q = model(X).softmax(1), model(moved).softmax(1)
    natural = -p[torch.arange(4), Y].log()
    expected = natural + 6 * (p * (p.log() - q.log())).sum(1)
    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss.mean(), model.normal)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(expected.mean(), model.normal)[0])


def test_trades_looks_where_the_answer_changes_most_whatever_the_label_is() -> None:
    """On a plane that is the corner on either side; the label does not matter."""
    moved = TRADES(epsilon=EPSILON, step_size=0.025, steps=20)._farthest(
        Plane(), Split(X, Y), _stream()
    )
    side = torch.sign((moved - X)[:, :, :, :1])
    torch.testing.assert_close(moved, X + side * torch.tensor([0.1, -0.1]))


def test_trades_starts_beside_the_input_where_there_is_a_gradient() -> None:
    """At the input itself the divergence is smallest: every step from there stays there."""
    first = TRADES(epsilon=EPSILON, steps=1, step_size=0.01)._farthest(
        Plane(), Split(X, Y), _stream()
    )
    assert ((first - X).abs() > 0.005).all()
    assert ((first - X).abs() < 0.015).all()


def test_noise_is_gaussian_fresh_and_not_clipped() -> None:
    defense, stream = GaussianNoise(sigma=0.5), _stream()
    x = torch.zeros(20_000, 1, 1, 2)
    first, second = (defense.inputs(nn.Identity(), Split(x, Y), stream) for _ in range(2))
    assert first.mean().abs() < 0.01
    assert first.std() == pytest.approx(0.5, abs=0.01)
    assert first.min() < -1
    assert not torch.equal(first, second)
    assert torch.equal(first, defense.inputs(nn.Identity(), Split(x, Y), _stream()))


def test_the_datasets_customary_radius_is_the_default(tiny) -> None:
    found = AdversarialTraining().resolve(tiny)
    assert (found.epsilon, found.step_size) == (0.1, pytest.approx(0.025))
    assert AdversarialTraining(norm="l2").resolve(tiny).epsilon == 0.5
    assert FastAdversarial().resolve(tiny).step_size == pytest.approx(0.125)
    assert TRADES(epsilon=0.2).resolve(tiny).step_size == pytest.approx(0.05)
    assert GaussianNoise().resolve(tiny).sigma == 0.25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: AdversarialTraining(epsilon=8).resolve(d), r"pixel range \[0, 1\], found 8"),
        (lambda d: AdversarialTraining(steps=0), "steps of at least 1, found 0"),
        (lambda d: FastAdversarial(step_size=-0.1), "step_size of at least 0, found -0.1"),
        (lambda d: TRADES(beta=-1), "beta of at least 0, found -1"),
        (lambda d: TRADES(epsilon=-0.1).resolve(d), "epsilon of at least 0"),
        (lambda d: GaussianNoise(sigma=0.0), "sigma above 0, found 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message, tiny) -> None:
    with pytest.raises(ZooError, match=message):
        make(tiny)
