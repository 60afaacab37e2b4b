"""Auto-PGD: its schedule and its losses by hand, and against ART."""

import numpy as np
import pytest
import torch
from torch import nn

from harness.attacks.apgd import APGDCE, checkpoints, climb
from harness.attacks.apgd_t import APGDT, targeted_ratio
from harness.attacks.fgsm import FGSM
from harness.attacks.pgd import PGD
from harness.attacks.shared.perturbation import cross_entropy, ratio
from harness.data.examples import Split
from harness.types import NotApplicableError
from zoo.errors import ZooError

LOGITS = torch.tensor([[4.0, 1.0, 3.0, 0.0, -1.0], [1.0, 5.0, 2.0, 4.0, 0.0]])


def test_the_checkpoints_are_the_papers() -> None:
    # p = 0, .22, then each period .03 shorter, but not shorter than .06.
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(50) == [11, 21, 29, 35, 40, 44, 47, 50]


def test_the_ratio_by_hand() -> None:
    y = torch.tensor([0, 3])
    # (3 - 4) / (4 - 1) where the model is right, (5 - 4) / (5 - 2) where it is wrong.
    torch.testing.assert_close(ratio(LOGITS, y, y), torch.tensor([-1 / 3, 1 / 3]))
    # Towards class 3: (0 - 4) / (4 - (1 + 0) / 2); towards class 0: (1 - 4) / (5 - (2 + 1) / 2).
    found = targeted_ratio(LOGITS, y, torch.tensor([3, 0]))
    torch.testing.assert_close(found, torch.tensor([-4 / 3.5, -3 / 3.5]))


@pytest.mark.parametrize("loss", [ratio, targeted_ratio])
def test_the_ratio_does_not_notice_a_shift_or_a_scale(loss) -> None:
    y, goal = torch.tensor([0, 1]), torch.tensor([2, 3])
    moved = loss(1000 * LOGITS + 7, y, goal)
    torch.testing.assert_close(moved, loss(LOGITS, y, goal), atol=1e-4, rtol=0)


class Recorded(nn.Module):
    """Two logits of one pixel, and every pixel that was asked about."""

    def __init__(self, logit) -> None:
        super().__init__()
        self.logit, self.asked = logit, []

    def forward(self, x):
        self.asked.append(round(x.item(), 6))
        value = self.logit(x.flatten(1)[:, 0])
        return torch.stack([value, torch.full_like(value, -100.0)], 1)


def _climb(logit, *, start, epsilon, steps) -> Recorded:
    model = Recorded(logit)
    x = torch.full((1, 1, 1, 1), 0.5)
    points = Split(x, torch.zeros(1, dtype=torch.int64))
    climb(
        model, points, points.y, x + start, lambda z, y, goal: -z[:, 0],
        epsilon=epsilon, norm="linf", steps=steps,
    )  # fmt: skip
    return model


def test_the_first_step_crosses_the_ball_and_momentum_carries_a_quarter() -> None:
    """The loss falls with the logit, whose slope changes sign at .45: the climb swings."""
    model = _climb(lambda x: 50 - 40 * (x - 0.45).abs(), start=0.0, epsilon=0.2, steps=3)
    # Up by .4, projected to .7. Then the best step is nothing, as the gradient goes on upwards.
    assert model.asked == [0.5, 0.7, 0.7, 0.7]


def test_a_climb_that_swings_gets_half_the_step_from_the_best_point() -> None:
    """The loss is highest at .5: steps as long as the ball throw the climb from side to side."""
    model = _climb(lambda x: 50 + 40 * (x - 0.5) ** 2, start=0.1, epsilon=0.3, steps=9)
    assert checkpoints(9) == [2, 4, 6, 7, 8, 8, 9, 9]
    first = model.asked[:3]
    # From .6 down to the ball's edge .2; from there up to .8, of which .75 * .6 is taken, and a
    # quarter of the last move, -.1: .2 + .45 - .1 = .55.
    assert first == [0.6, 0.2, 0.55]
    # One of two steps raised the loss, less than .75: the step is now .3, and the climb goes on
    # from the best point .55: down to .25, of which .75 is taken, and a quarter of +.35.
    assert model.asked[3] == pytest.approx(0.55 - 0.75 * 0.3 + 0.25 * 0.35)
    assert min(abs(x - 0.5) for x in model.asked) < 0.02


def test_a_broken_example_stays_at_its_first_misclassified_point() -> None:
    class Band(nn.Module):
        """Wrong only between .6 and .8, and surest of itself beyond."""

        def forward(self, x):
            at = x.flatten(1)[:, 0]
            value = torch.where((at > 0.6) & (at < 0.8), -1.0 + 0 * at, 3 - at)
            return torch.stack([value, torch.zeros_like(at)], 1)

    x = torch.full((1, 1, 1, 1), 0.5)
    points = Split(x, torch.zeros(1, dtype=torch.int64))
    found = climb(Band(), points, points.y, x, cross_entropy, epsilon=0.2, norm="linf", steps=5)
    assert found.item() == pytest.approx(0.7)


def test_two_classes_are_too_few_and_three_get_the_untargeted_ratio(tiny, robust) -> None:
    torch.manual_seed(0)
    three = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    attack = APGDT(epsilon=0.3, steps=20)
    y = three(tiny.x).argmax(1)
    given = Split(tiny.x, y)
    by_entropy = robust(three, APGDCE(epsilon=0.3, steps=20), given, num_classes=3)
    assert robust(three, attack, given, num_classes=3) == pytest.approx(by_entropy, abs=0.06)
    assert by_entropy < 0.7
    with pytest.raises(NotApplicableError, match="apgd-t wants at least 3 classes, found 2"):
        robust(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), attack, given, num_classes=2)


@pytest.mark.parametrize("kind", [APGDCE, APGDT])
def test_settings_that_make_no_sense_are_refused(kind, tiny) -> None:
    with pytest.raises(ZooError, match=rf"{kind.name} wants steps of at least 1, found 0"):
        kind(steps=0)
    with pytest.raises(ZooError, match=r"pixel range \[0, 1\], found 8"):
        kind(epsilon=8).resolve(tiny)
    assert kind(norm="l2").resolve(tiny).epsilon == 0.5


@pytest.fixture(scope="module")
def theirs(trained, points):
    """Robust accuracy under ART's Auto-PGD."""
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    wrapped = PyTorchClassifier(
        trained, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1), device_type="cpu"
    )
    right = trained(points.x).argmax(1) == points.y

    def rate(norm, epsilon, loss) -> float:
        np.random.seed(0)
        attack = AutoProjectedGradientDescent(
            wrapped, norm=np.inf if norm == "linf" else 2, eps=epsilon, eps_step=2 * epsilon,
            max_iter=50, nb_random_init=1, batch_size=200, loss_type=loss, verbose=False,
        )  # fmt: skip
        found = torch.from_numpy(attack.generate(points.x.numpy(), points.y.numpy()))
        return ((trained(found).argmax(1) == points.y) & right).double().mean().item()

    return rate


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.05), ("linf", 0.1), ("l2", 0.5)])
def test_auto_pgd_equals_art(norm, epsilon, trained, robust, theirs) -> None:
    ours = robust(trained, APGDCE(epsilon=epsilon, norm=norm, steps=50))
    # Of 200 digits, other random starts and rounding move some either way.
    assert -0.041 < ours - theirs(norm, epsilon, "cross_entropy") < 0.021
    assert 0.3 < ours < 0.8


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_robust_accuracy_never_rises_with_the_radius_or_the_steps(
    norm, trained, points, robust
) -> None:
    points = points.take(torch.arange(100))
    unit = 0.04 if norm == "linf" else 0.2
    for kind in (APGDCE, APGDT):
        few = {} if kind is APGDCE else {"targets": 2}
        rates = [
            robust(trained, kind(epsilon=unit * k, norm=norm, steps=12, **few), points)
            for k in range(5)
        ]
        assert rates == sorted(rates, reverse=True)
        assert rates[0] > 0.9 > 0.5 > rates[-1]
        steps = [
            robust(trained, kind(epsilon=2 * unit, norm=norm, steps=n, **few), points)
            for n in (3, 12, 30)
        ]
        assert steps == sorted(steps, reverse=True)


def test_auto_pgd_is_no_weaker_than_pgd_nor_pgd_than_one_step(trained, robust) -> None:
    for norm, epsilon in (("linf", 0.1), ("l2", 0.5)):
        step = robust(trained, FGSM(epsilon=epsilon, norm=norm))
        pgd = robust(trained, PGD(epsilon=epsilon, norm=norm, step_size=epsilon / 8))
        auto = robust(trained, APGDCE(epsilon=epsilon, norm=norm))
        assert auto <= pgd <= step
