"""FGSM and PGD on models whose answer is known, and against foolbox."""

from dataclasses import replace

import foolbox
import pytest
import torch
from torch import nn

from harness import registry
from harness.attacks.fgsm import FGSM
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints
from harness.attacks.shared import perturbation
from harness.data.examples import Split
from harness.games import evasion
from harness.seeds import generator
from harness.target import AccessDeniedError, BlackBox
from harness.types import Access
from zoo.errors import ZooError


def _data(x: torch.Tensor, y: torch.Tensor) -> AttackedPoints:
    return AttackedPoints(
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
    firm, y = _points((0.9, 0.5), (0.8, 0.3), (0.1, 0.5)), torch.tensor([1, 1, 0])  # never broken
    found = attack.run(BlackBox(Plane(), Access.WEIGHTS), _data(firm, y), seed=0)
    best = FGSM(epsilon=0.1, norm=norm).run(
        BlackBox(Plane(), Access.WEIGHTS), _data(firm, y), seed=0
    )
    torch.testing.assert_close(found, best, atol=1e-4, rtol=0)


def test_pgd_leaves_an_example_where_it_is_first_misclassified() -> None:
    x, y = _points((0.5, 0.2), (0.9, 0.5)), torch.tensor([1, 1])
    attack = PGD(epsilon=0.2, steps=10, step_size=0.03, random_start=False)
    found = attack.run(BlackBox(Plane(), Access.WEIGHTS), _data(x, y), seed=0)
    # Each step takes .12 off the margin: .3 is gone after three of them, 1.2 is not in ten.
    torch.testing.assert_close(found, _points((0.41, 0.29), (0.7, 0.7)))


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
    real = PGD._attempt

    def counted(self, model, starts, rank, points):
        sizes.append(len(points))
        return real(self, model, starts, rank, points)

    monkeypatch.setattr(PGD, "_attempt", counted)
    attack = PGD(epsilon=0.06, step_size=0.02, restarts=3)
    # Margins .3, .2 and 1.2, of which this radius takes .24: the second falls.
    attack.run(BlackBox(Plane(), Access.WEIGHTS), _data(X[:3], Y[:3]), seed=0)
    assert sizes == [3, 2, 2]


def test_a_target_is_reached_that_is_not_the_nearest_class() -> None:
    """Three classes on a line; towards the second likeliest is the long way round, and the last."""

    class Line(nn.Module):
        def forward(self, x):
            at = x.flatten(1)[:, :1]
            return -((at - torch.tensor([[0.0, 0.5, 1.0]])) ** 2)

    x, y = torch.full((1, 1, 1, 1), 0.4), torch.tensor([1])
    data = AttackedPoints(points=Split(x, y), num_classes=3, architecture="", input_shape=(1, 1, 1))
    found = {
        targets: PGD(epsilon=0.4, step_size=0.02, targets=targets, random_start=False)
        .run(BlackBox(Line(), Access.WEIGHTS), data, seed=0)
        .item()
        for targets in (1, 2)
    }
    assert found[1] < 0.25  # class 0 is the likeliest other one
    far = replace(data, points=Split(torch.full((1, 1, 1, 1), 0.4), y))
    attack = PGD(epsilon=0.1, step_size=0.02, targets=2, random_start=False)
    last = attack.run(BlackBox(Line(), Access.WEIGHTS), far, seed=0).item()
    assert last == pytest.approx(0.5)  # the first failed, the last one went the other way


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
        (lambda d: FGSM(epsilon=float("inf")).resolve(d), "at least 0, found inf"),
        (lambda d: FGSM(epsilon=float("nan")).resolve(d), "at least 0, found nan"),
        (lambda d: PGD(steps=0), "steps of at least 1, found 0"),
        (lambda d: PGD(targets=-1), "targets of at least 0, found -1"),
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
    found = (
        perturbation.random_start(
            Split(start, torch.zeros(4000).long()), 0.2, norm, generator("test", 0)
        )
        - start
    )
    size = found.flatten(1).abs().amax(1) if norm == "linf" else found.flatten(1).norm(dim=1)
    assert size.max() <= 0.2 + 1e-6
    # In two dimensions a quarter of the volume of either ball is within half the radius.
    assert (size < 0.1).float().mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("epsilon", [0.05, 0.1])
def test_pgd_equals_foolbox_step_for_step(norm, epsilon, trained, points) -> None:
    """Same model, inputs, start, steps and step size: the same points, so the same accuracy."""
    epsilon = epsilon if norm == "linf" else 5 * epsilon
    kind = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD
    theirs = kind(abs_stepsize=epsilon / 4, steps=10, random_start=False)
    wrapped = foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu")
    _, expected, broken = theirs(wrapped, points.x, points.y, epsilons=epsilon)
    step = {"epsilon": epsilon, "norm": norm, "steps": 10, "step_size": epsilon / 4}
    # Foolbox goes on after an example is broken, as the crafting of transfer does.
    found = perturbation.ascend(trained, points, points.x, **step, stop=False)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    data = AttackedPoints(
        points=points, num_classes=10, architecture="cnn-small", input_shape=(1, 8, 8)
    )
    ours = PGD(**step, random_start=False).run(BlackBox(trained, Access.WEIGHTS), data, seed=0)
    right = trained(points.x).argmax(1) == points.y
    standing = right & ~broken
    # In smaller batches a gradient of nearly 0 may get the other sign.
    differs = (ours[standing] - expected[standing]).abs() > 2e-5
    assert differs.float().mean() < 1e-3
    robust = ((trained(ours).argmax(1) == points.y) & right).float().mean().item()
    assert robust == pytest.approx(standing.float().mean().item(), abs=0.01)
    assert 0 < robust < right.float().mean()


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
    data = AttackedPoints(
        points=points, num_classes=10, architecture="cnn-small", input_shape=(1, 8, 8)
    )
    found = FGSM(epsilon=epsilon, norm=norm).run(BlackBox(trained, Access.WEIGHTS), data, seed=0)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_inputs_stay_where_they_are_and_only_a_batch_goes_to_the_model(trained, points) -> None:
    """The meta device tells nothing, so what arrives is counted at the model."""
    sizes = []
    hook = trained.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    data = AttackedPoints(
        points=points, num_classes=10, architecture="cnn-small", input_shape=(1, 8, 8)
    )
    try:
        for attack in (
            FGSM(epsilon=0.1, batch_size=64),
            PGD(epsilon=0.1, batch_size=64, steps=3, step_size=0.1),
        ):
            attack.run(BlackBox(trained, Access.WEIGHTS), data, seed=0)
    finally:
        hook.remove()
    assert max(sizes) == 64


class Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.norm(x).flatten(1))


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd-ce", "fab-t", "square", "autoattack"])
def test_an_attack_leaves_no_gradients_and_no_statistics_behind(name) -> None:
    """A model in training mode would count every attack step into its batch norm."""
    torch.manual_seed(0)
    model = Normalised().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    attack = registry.make("attack", name, {"epsilon": 0.2})
    if name == "pgd":
        attack = replace(attack, step_size=0.05)
    attack.run(BlackBox(model, Access.WEIGHTS), _data(X, Y), seed=0)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is None for p in model.parameters())


def test_a_mistake_is_no_robustness_even_when_the_attack_repairs_it(scenario_for, digits) -> None:
    """Attacking the predicted label would push mistakes about, and count some as robust."""

    class Wrong(nn.Module):
        def forward(self, x):  # right about nothing as it is, right once a pixel is moved
            moved = (x[:, 0, 0, 0] > 0.01).float()
            return torch.stack([moved, 0.5 + 0 * moved, *[0 * moved] * 8], 1)

    zeros = replace(digits, y=torch.zeros_like(digits.y))
    outcome = evasion.play(FGSM(epsilon=0.1), scenario_for(zeros, Wrong().eval()))
    assert outcome.metrics["clean_accuracy"] == 0
    assert outcome.metrics["robust_accuracy"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_size": -1.0}, "pgd wants step_size of at least 0, found -1.0"),
        ({"steps": 0}, "pgd wants steps of at least 1, found 0"),
    ],
)
def test_steps_that_lead_nowhere_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        PGD(**settings)


def test_a_radius_of_0_is_a_control_and_no_mistake(tiny) -> None:
    assert PGD(epsilon=0.0).resolve(tiny).step_size == 0
