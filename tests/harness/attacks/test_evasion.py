"""FGSM and PGD on models whose answer is known, and against foolbox."""

import foolbox
import pytest
import torch
from torch import nn

from harness.attacks import perturbation
from harness.attacks.fgsm import FGSM
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackerData
from harness.seeds import generator
from harness.target import AccessDeniedError, BlackBox
from harness.types import Access, Split
from zoo.errors import ZooError


def _data(x: torch.Tensor, y: torch.Tensor) -> AttackerData:
    return AttackerData(
        points=Split(x, y), num_classes=2, architecture="none", input_shape=(1, 1, 2)
    )


class Plane(nn.Module):
    """Class 1 where 3 * x0 - x1 > 1, with inputs (n, 1, 1, 2)."""

    def forward(self, x):
        value = 3 * x[:, 0, 0, 0] - x[:, 0, 0, 1] - 1
        return torch.stack([-value, value], 1)


def _points(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(rows).view(-1, 1, 1, 2)


X = _points((0.5, 0.2), (0.6, 0.6), (0.9, 0.5), (0.1, 0.5))
Y = torch.tensor([1, 1, 1, 0])


def test_fgsm_moves_every_coordinate_by_epsilon_against_the_label() -> None:
    found = FGSM(epsilon=0.1).run(BlackBox(Plane(), Access.WEIGHTS), _data(X, Y), seed=0)
    torch.testing.assert_close(found, _points((0.4, 0.3), (0.5, 0.7), (0.8, 0.6), (0.2, 0.4)))


def test_fgsm_in_l2_moves_along_the_normal() -> None:
    found = FGSM(epsilon=0.1, norm="l2").run(BlackBox(Plane(), Access.WEIGHTS), _data(X, Y), seed=0)
    normal = torch.tensor([3.0, -1.0]) / 10**0.5
    expected = X - torch.where(Y == 1, 1.0, -1.0).view(-1, 1, 1, 1) * 0.1 * normal.view(1, 1, 1, 2)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("attack", [FGSM(epsilon=0.3), PGD(epsilon=0.3, step_size=0.1)])
def test_perturbed_pixels_stay_in_range(attack) -> None:
    x = _points((0.05, 0.95), (0.95, 0.05))
    found = attack.run(BlackBox(Plane(), Access.WEIGHTS), _data(x, torch.tensor([1, 0])), seed=0)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found - x).abs().max() <= 0.3 + 1e-6


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_finds_the_optimum_of_a_linear_model(norm) -> None:
    """The best point of the ball is known: the corner (L∞), or along the normal (L2)."""
    attack = PGD(epsilon=0.1, norm=norm, steps=100, step_size=0.02)
    found = attack.run(BlackBox(Plane(), Access.WEIGHTS), _data(X, Y), seed=0)
    best = FGSM(epsilon=0.1, norm=norm).run(BlackBox(Plane(), Access.WEIGHTS), _data(X, Y), seed=0)
    torch.testing.assert_close(found, best, atol=1e-4, rtol=0)


def test_a_radius_of_nothing_changes_nothing() -> None:
    for attack in (FGSM(epsilon=0.0), PGD(epsilon=0.0, step_size=0.0)):
        found = attack.run(BlackBox(Plane(), Access.WEIGHTS), _data(X, Y), seed=0)
        assert torch.equal(found, X)


def test_pgd_attacks_the_true_label_not_the_predicted_one() -> None:
    """On a mistake, raising the true label's loss drives the point further into the mistake."""
    x, wrong = _points((0.2, 0.5)), torch.tensor([1])
    gradient = perturbation.input_gradient(Plane(), x, wrong)
    assert gradient[0, 0, 0, 0] < 0
    assert gradient[0, 0, 0, 1] > 0


def test_a_broken_example_is_left_alone_by_later_restarts(monkeypatch) -> None:
    sizes = []
    real = PGD._ascend

    def counted(self, model, points, starts):
        sizes.append(len(points))
        return real(self, model, points, starts)

    monkeypatch.setattr(PGD, "_ascend", counted)
    attack = PGD(epsilon=0.05, step_size=0.02, restarts=3)
    # With this radius (0.5, 0.2) and (0.6, 0.6) fall: 3*.5-.2-1=.3 > .2 stands, .2 = .2 is the edge.
    attack.run(BlackBox(Plane(), Access.WEIGHTS), _data(X[:3], Y[:3]), seed=0)
    assert sizes[0] == 3
    assert sizes[1] < 3


def test_restarts_never_help_the_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 30), nn.Tanh(), nn.Linear(30, 2))
    x = torch.rand(200, 1, 1, 2)
    y = model(x).argmax(1)
    rates = []
    for restarts in (1, 5):
        attack = PGD(epsilon=0.1, steps=3, step_size=0.05, restarts=restarts)
        found = attack.run(BlackBox(model, Access.WEIGHTS), _data(x, y), seed=0)
        rates.append((model(found).argmax(1) == y).float().mean().item())
    assert rates[1] <= rates[0]


def test_evasion_needs_the_weights() -> None:
    with pytest.raises(AccessDeniedError, match="wants weights, but the target gives scores only"):
        FGSM(epsilon=0.1).run(BlackBox(Plane(), Access.SCORES), _data(X, Y), seed=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: PGD(epsilon=8).resolve(d), r"pixel range \[0, 1\], found 8"),
        (lambda d: FGSM(epsilon=-0.1).resolve(d), "at least 0"),
        (lambda d: PGD(steps=0), "steps of at least 1, found 0"),
        (lambda d: PGD(restarts=2, random_start=False), "use restarts=1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message, tiny) -> None:
    with pytest.raises(ZooError, match=message):
        make(tiny)


def test_the_datasets_customary_radius_is_the_default(tiny) -> None:
    assert FGSM(norm="l2").resolve(tiny).epsilon == 0.5
    resolved = PGD().resolve(tiny)
    assert (resolved.epsilon, resolved.step_size) == (0.1, pytest.approx(2.5 * 0.1 / 20))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_fill_the_ball(norm) -> None:
    start = torch.full((4000, 1, 1, 2), 0.5)
    found = perturbation.random_start(start, 0.2, norm, generator("test", 0)) - start
    size = found.flatten(1).abs().amax(1) if norm == "linf" else found.flatten(1).norm(dim=1)
    assert size.max() <= 0.2 + 1e-6
    # In two dimensions a quarter of the volume of either ball is within half the radius.
    assert (size < 0.1).float().mean() == pytest.approx(0.25, abs=0.03)


@pytest.fixture(scope="module")
def trained(digits, job_for):
    from harness.training import train_alone
    from zoo.recipe import Recipe

    job = job_for("cnn-small", recipe=Recipe(lr=3e-3, epochs=20))
    return train_alone(job, digits.all.take(job.index), None).model


@pytest.fixture(scope="module")
def points(digits):
    return digits.all.take(torch.arange(1000, 1200))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("epsilon", [0.05, 0.1])
def test_pgd_equals_foolbox_step_for_step(norm, epsilon, trained, points, digits) -> None:
    """Same model, inputs, start, steps and step size: the same points, so the same accuracy."""
    epsilon = epsilon if norm == "linf" else 5 * epsilon
    ours = PGD(epsilon=epsilon, norm=norm, steps=10, step_size=epsilon / 4, random_start=False)
    data = AttackerData(
        points=points, num_classes=10, architecture="cnn-small", input_shape=(1, 8, 8)
    )
    # Left-alone examples: foolbox perturbs mistakes too, ours does not; compare where both act.
    found = ours.run(BlackBox(trained, Access.WEIGHTS), data, seed=0)
    kind = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD
    theirs = kind(abs_stepsize=epsilon / 4, steps=10, random_start=False)
    wrapped = foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu")
    _, expected, broken = theirs(wrapped, points.x, points.y, epsilons=epsilon)
    right = trained(points.x).argmax(1) == points.y
    assert right.sum() > 150
    torch.testing.assert_close(found[right], expected[right], atol=2e-5, rtol=0)
    ours_robust = ((trained(found).argmax(1) == points.y) & right).float().mean().item()
    assert ours_robust == pytest.approx((~broken & right).float().mean().item(), abs=1e-9)
    assert 0 < ours_robust < right.float().mean()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm_equals_foolbox(norm, trained, points) -> None:
    epsilon = 0.1 if norm == "linf" else 0.5
    kind = (
        foolbox.attacks.LinfFastGradientAttack
        if norm == "linf"
        else foolbox.attacks.L2FastGradientAttack
    )
    wrapped = foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu")
    _, expected, _ = kind(random_start=False)(wrapped, points.x, points.y, epsilons=epsilon)
    data = AttackerData(
        points=points, num_classes=10, architecture="cnn-small", input_shape=(1, 8, 8)
    )
    found = FGSM(epsilon=epsilon, norm=norm).run(BlackBox(trained, Access.WEIGHTS), data, seed=0)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
