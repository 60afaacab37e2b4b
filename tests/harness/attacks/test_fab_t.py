"""FAB: its projection and the nearest boundary point by hand, and against foolbox's FMN."""

import foolbox
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import nn

from harness.attacks.fab_t import FABT, to_plane
from harness.attacks.protocol import AttackedPoints
from harness.data.examples import Split
from harness.target import BlackBox
from harness.types import Access
from zoo.errors import ZooError


def _plane(x, slope, gap, norm):
    return to_plane(torch.tensor([x]), torch.tensor([slope]), torch.tensor([gap]), norm)[0]


def test_the_step_to_a_plane_by_hand() -> None:
    # Inside the pixels: 3a + 4b = 1 is nearest at 1/7 each (L∞), or along the normal (L2).
    torch.testing.assert_close(
        _plane([0.5, 0.5], [3.0, 4.0], 1.0, "linf"), torch.tensor([1 / 7, 1 / 7])
    )
    torch.testing.assert_close(
        _plane([0.5, 0.5], [3.0, 4.0], 1.0, "l2"), torch.tensor([0.12, 0.16])
    )
    # The second pixel has .1 of room and gives .4; the first has to give the other .6.
    torch.testing.assert_close(
        _plane([0.5, 0.9], [3.0, 4.0], 1.0, "linf"), torch.tensor([0.2, 0.1])
    )
    # Downwards, and a pixel that does not matter.
    torch.testing.assert_close(
        _plane([0.5, 0.5, 0.5], [2.0, -2.0, 0.0], -0.8, "linf"), torch.tensor([-0.2, 0.2, 0.0])
    )
    # Out of reach: as far as the pixels go.
    torch.testing.assert_close(_plane([0.5, 0.9], [1.0, 1.0], 9.0, "l2"), torch.tensor([0.5, 0.1]))
    torch.testing.assert_close(_plane([0.5, 0.9], [0.0, 0.0], 1.0, "l2"), torch.zeros(2))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_step_to_a_plane_is_the_shortest_that_solvers_find(norm) -> None:
    stream = torch.Generator().manual_seed(0)
    for _ in range(10):
        x = torch.rand(1, 6, generator=stream, dtype=torch.float64)
        slope = torch.randn(1, 6, generator=stream, dtype=torch.float64)
        most = torch.where(slope > 0, slope * (1 - x), -slope * x).sum()
        gap = most[None] * torch.rand(1, generator=stream, dtype=torch.float64)
        ours = to_plane(x, slope, gap, norm)[0].numpy()
        w, room = slope[0].numpy(), list(zip((-x[0]).tolist(), (1 - x[0]).tolist(), strict=True))
        assert w @ ours == pytest.approx(gap.item())
        if norm == "linf":  # minimise t, with -t <= d <= t
            rows = [
                [(s if i == j else 0) for j in range(6)] + [-1] for i in range(6) for s in (1, -1)
            ]
            best = linprog(
                [0] * 6 + [1], A_ub=rows, b_ub=[0] * 12, A_eq=[[*w, 0]], b_eq=[gap.item()],
                bounds=[*room, (0, None)],
            ).fun  # fmt: skip
            assert abs(ours).max() == pytest.approx(best, abs=1e-6)
        else:
            best = minimize(
                lambda d: d @ d, ours * 0, bounds=room, method="SLSQP",
                constraints={"type": "eq", "fun": lambda d, w=w, gap=gap: w @ d - gap.item()},
            ).fun  # fmt: skip
            assert ours @ ours == pytest.approx(best, abs=1e-5)


class Linear(nn.Module):
    """Class 1 where 3 * x0 + 4 * x1 > 3.5; a step of .1 along the axes takes .7, and L2 .5."""

    def forward(self, x):
        value = 3 * x[:, 0, 0, 0] + 4 * x[:, 0, 0, 1] - 3.5
        return torch.stack([torch.zeros_like(value), value], 1)


@pytest.mark.parametrize(("norm", "reach"), [("linf", 0.7), ("l2", 0.5)])
def test_exactly_what_is_within_the_radius_of_a_plane_falls(norm, reach) -> None:
    margin = torch.tensor([0.1, 0.4, 0.9, 0.95, 1.05, 1.5]) * reach  # for a radius of .1
    x0 = torch.full_like(margin, 0.5)
    x = torch.stack([x0, (3.5 + margin - 3 * x0) / 4], 1).view(-1, 1, 1, 2)
    data = AttackedPoints(
        points=Split(x, torch.ones(6, dtype=torch.int64)),
        num_classes=2,
        architecture="",
        input_shape=(1, 1, 2),
    )
    found = FABT(epsilon=0.1, norm=norm).run(BlackBox(Linear(), Access.WEIGHTS), data, seed=0)
    assert Linear()(found).argmax(1).tolist() == [0, 0, 0, 0, 1, 1]
    assert torch.equal(found[4:], x[4:])  # what withstands stays as it is


def test_a_model_without_gradients_breaks_nothing_and_gives_no_nan(robust, trained) -> None:
    class Rounded(nn.Module):
        def forward(self, x):
            return trained(x).round()

    assert robust(Rounded(), FABT(epsilon=0.1, steps=3)) > 0.85


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.5)])
def test_fab_equals_foolbox(norm, epsilon, trained, points, robust) -> None:
    """Other searches for the nearest boundary: FMN, and for L2 the one that decouples the norm."""
    few = points.take(torch.arange(100))
    kinds = {"linf": foolbox.attacks.LInfFMNAttack, "l2": foolbox.attacks.DDNAttack}
    wrapped = foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu")
    _, _, broken = kinds[norm](steps=100)(wrapped, few.x, few.y, epsilons=epsilon)
    right = trained(few.x).argmax(1) == few.y
    ours = robust(trained, FABT(epsilon=epsilon, norm=norm, steps=40, targets=3), few)
    assert ours == pytest.approx((~broken & right).double().mean().item(), abs=0.0301)


def test_robust_accuracy_never_rises_with_the_radius_or_the_steps(trained, points, robust) -> None:
    few = points.take(torch.arange(100))
    rates = [robust(trained, FABT(epsilon=0.04 * k, steps=10, targets=2), few) for k in range(5)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.9 > 0.5 > rates[-1]
    steps = [robust(trained, FABT(epsilon=0.08, steps=n, targets=2), few) for n in (1, 5, 15)]
    assert steps == sorted(steps, reverse=True)


def test_settings_that_make_no_sense_are_refused(tiny) -> None:
    with pytest.raises(ZooError, match="fab-t wants targets of at least 1, found 0"):
        FABT(targets=0)
    with pytest.raises(ZooError, match=r"pixel range \[0, 1\], found 8"):
        FABT(epsilon=8).resolve(tiny)
