"""Distances to the boundary from labels alone, where they are known exactly."""

import math

import pytest
import torch
from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack
from foolbox.models.pytorch import PyTorchModel
from sklearn.metrics import roc_auc_score
from torch import nn

from harness.attacks.boundary import Boundary, hop, nearest, normal, search, search_steps
from harness.attacks.protocol import AttackedPoints
from harness.data.examples import Split
from harness.target import BlackBox
from harness.types import Access
from zoo import nets
from zoo.errors import ZooError


class Half(nn.Module):
    """Calls 1 what is beyond the plane through the middle of the box, across the diagonal."""

    def forward(self, x):
        side = (x.flatten(1) - 0.5).mean(1) * 100
        return torch.stack([-side, side], 1)


class Ball(nn.Module):
    """Calls 1 what is farther than ``RADIUS`` from the middle of the box."""

    def forward(self, x):
        side = (x.flatten(1) - 0.5).norm(dim=1) - RADIUS
        return torch.stack([-side, side], 1)


RADIUS = 0.45


def _data(x: torch.Tensor, y: torch.Tensor) -> AttackedPoints:
    return AttackedPoints(
        points=Split(x, y), num_classes=2, architecture="none", input_shape=tuple(x.shape[1:])
    )


def _near_the_middle(n: int, shape, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) * 0.4 + 0.3


@pytest.mark.parametrize(
    ("shape", "queries", "excess"),
    [((6,), 1000, 0.05), ((1, 5, 5), 1000, 0.06), ((3, 4, 4), 2500, 0.05)],
)
def test_the_distance_from_a_plane_is_found(shape, queries, excess) -> None:
    x = _near_the_middle(60, shape)
    y = Half()(x).argmax(1)
    exact = (x.flatten(1) - 0.5).sum(1).abs() / math.sqrt(x[0].numel())
    target = BlackBox(Half(), Access.LABELS)
    found = Boundary(queries=queries).run(target, _data(x, y), seed=0)
    # What is found is a misclassified point, so it is never nearer than the boundary.
    assert (found >= exact - 1e-5).all()
    ratio = found / exact
    assert ratio.median().item() == pytest.approx(1, abs=excess)
    assert torch.corrcoef(torch.stack([found, exact]))[0, 1] > 0.999


def test_the_distance_from_a_curved_boundary_is_found() -> None:
    stream = torch.Generator().manual_seed(0)
    ways = torch.randn(80, 4, generator=stream)
    lengths = torch.cat([torch.linspace(0.05, 0.4, 40), torch.full((40,), 0.47)])
    x = 0.5 + ways / ways.norm(dim=1, keepdim=True) * lengths[:, None]
    y = Ball()(x).argmax(1)
    assert y.sum() == 40
    attack = Boundary(queries=2500, samples=20)
    found = attack.run(BlackBox(Ball(), Access.LABELS), _data(x, y), seed=0)
    torch.testing.assert_close(found, (lengths - RADIUS).abs(), atol=0.005, rtol=0.1)


def test_more_queries_find_a_nearer_point() -> None:
    x = _near_the_middle(40, (1, 8, 8))
    y = Half()(x).argmax(1)
    found = [
        Boundary(queries=q).run(BlackBox(Half(), Access.LABELS), _data(x, y), seed=0).mean().item()
        for q in (20, 300, 1000)
    ]
    assert found[0] > 1.5 * found[1] > 1.5 * found[2]


def test_what_is_called_something_else_has_no_distance() -> None:
    x = _near_the_middle(20, (6,))
    y = Half()(x).argmax(1)
    wrong = torch.arange(20) < 5
    found = Boundary(queries=300).run(
        BlackBox(Half(), Access.LABELS), _data(x, torch.where(wrong, 1 - y, y)), seed=0
    )
    assert torch.equal(found == 0, wrong)


def test_a_target_that_calls_everything_the_same_is_as_far_as_the_box_is_wide() -> None:
    constant = nn.Linear(6, 2)
    nn.init.zeros_(constant.weight)
    with torch.no_grad():
        constant.bias.copy_(torch.tensor([1.0, 0.0]))
    y = torch.arange(20) % 2
    found = Boundary().run(
        BlackBox(constant, Access.LABELS), _data(_near_the_middle(20, (6,)), y), seed=0
    )
    assert torch.equal(found, torch.where(y == 0, math.sqrt(6), 0.0))


@pytest.mark.parametrize("queries", [30, 200, 1000])
def test_no_more_is_asked_than_granted_and_labels_only(queries) -> None:
    x = _near_the_middle(30, (1, 4, 4))
    y = Half()(x).argmax(1)
    target = BlackBox(Half(), Access.LABELS)
    Boundary(queries=queries).run(target, _data(x, y), seed=0)
    assert queries / 2 < target.queries / 30 + 10 <= queries + 10
    target = BlackBox(Half(), Access.LABELS, budget=150 * 30)
    Boundary(queries=queries).run(target, _data(x, y), seed=0)
    assert target.queries <= min(queries, 150) * 30


def test_a_turn_that_could_exceed_the_queries_is_not_begun() -> None:
    """After 1 question and 6 of bisection, a turn asks 100, hops at least once, and bisects."""
    x = _near_the_middle(30, (1, 4, 4))
    target = BlackBox(Half(), Access.LABELS)
    Boundary(queries=113).run(target, _data(x, Half()(x).argmax(1)), seed=0)
    assert target.queries <= 113 * 30


def test_the_normal_is_made_from_answers_less_their_mean() -> None:
    ways = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    ways = ways / ways.norm(dim=1, keepdim=True)
    answers = torch.arange(9) < 2
    expected = ((answers.float() - 2 / 9)[:, None] * ways).sum(0)
    found = normal(
        lambda moved, row: answers,
        torch.full((1, 5), 0.5),
        torch.tensor([0.1]),
        9,
        torch.Generator().manual_seed(0),
    )
    torch.testing.assert_close(found[0], expected / expected.norm())


def test_queries_that_do_not_find_the_boundary_are_refused() -> None:
    x = _near_the_middle(30, (1, 4, 4))
    data = _data(x, Half()(x).argmax(1))
    assert search_steps(x[0].numel()) == 6
    Boundary(queries=7).run(BlackBox(Half(), Access.LABELS), data, seed=0)
    message = "boundary asks about 30 candidates at least 7 times each, but 6 queries about each"
    with pytest.raises(ZooError, match=message):
        Boundary(queries=6).run(BlackBox(Half(), Access.LABELS), data, seed=0)
    with pytest.raises(ZooError, match=message):
        Boundary().run(BlackBox(Half(), Access.LABELS, budget=209), data, seed=0)


@pytest.mark.parametrize("name", ["queries", "samples", "batch_size"])
def test_settings_that_make_no_sense_are_refused(name) -> None:
    with pytest.raises(ZooError, match=f"boundary wants {name} of at least 1, found 0"):
        Boundary(**{name: 0})
    with pytest.raises(ZooError, match="boundary wants candidates of at least 2, found 1"):
        Boundary(candidates=1)


def test_bisection_ends_just_beyond_the_boundary() -> None:
    x, far = torch.zeros(2, 1), torch.tensor([[1.0], [0.5]])
    found = search(lambda moved, row: moved[:, 0] > torch.tensor([0.3, 0.4])[row], x, far, 10)
    assert (found[:, 0] > torch.tensor([0.3, 0.4])).all()
    torch.testing.assert_close(found[:, 0], torch.tensor([0.3, 0.4]), atol=1e-3, rtol=0)


def test_the_nearest_start_is_among_those_called_otherwise() -> None:
    others = torch.tensor([[0.0], [1.0], [2.0], [5.0]])
    allowed = torch.tensor([[False, False, True, True], [False] * 4, [True, False, False, True]])
    start, reached = nearest(torch.tensor([[0.1], [0.1], [4.0]]), others, allowed)
    assert reached.tolist() == [True, False, True]
    assert start[:, 0].tolist() == [2.0, 5.0]


def test_the_normal_of_a_plane_is_estimated() -> None:
    edge = torch.full((3, 1, 3, 3), 0.5)
    beyond = lambda moved, row: (moved.flatten(1) - 0.5).sum(1) > 0  # noqa: E731
    found = normal(beyond, edge, torch.tensor([0.1, 0.01, 0.2]), 4000, torch.Generator())
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.ones(3))
    assert (found.flatten(1).sum(1) / 3 > 0.99).all()  # the cosine with (1, ..., 1) / 3


def test_where_all_directions_agree_the_normal_still_points_away_from_the_right_label() -> None:
    edge, stream = torch.full((1, 5), 0.5), torch.Generator().manual_seed(0)
    ways = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    mean = (ways / ways.norm(dim=1, keepdim=True)).mean(0)
    for answer, sign in ((True, 1), (False, -1)):
        found = normal(
            lambda moved, row, answer=answer: torch.full((len(moved),), answer),
            edge, torch.tensor([0.1]), 7, stream.manual_seed(0),
        )  # fmt: skip
        torch.testing.assert_close(found[0], sign * mean / mean.norm())


def test_a_hop_is_halved_until_it_stays_beyond() -> None:
    edge, ascent = torch.zeros(3, 1), torch.ones(3, 1)
    end = torch.tensor([1.0, 0.3, -1.0])  # what lies beyond it is called right again
    found = hop(lambda moved, row: moved[:, 0] <= end[row], edge, ascent, torch.ones(3))
    assert found[:, 0].tolist() == [1.0, 0.25, 0.0]


def test_foolboxs_search_finds_no_nearer_points() -> None:
    """The same algorithm, started in noise as its authors do, with as many queries (536 on average)."""
    torch.manual_seed(0)
    model = nets.build("mlp-32", (1, 5, 5), 3).eval()
    x = torch.rand(40, 1, 5, 5)
    y = model(x).argmax(1)
    mine = Boundary(queries=500).run(BlackBox(model, Access.LABELS), _data(x, y), seed=0)

    wrapped = PyTorchModel(model, bounds=(0, 1), device="cpu")
    theirs = HopSkipJumpAttack(steps=3, initial_gradient_eval_steps=100)
    _, moved, _ = theirs(wrapped, x, y, epsilons=None)
    other = (moved - x).flatten(1).norm(dim=1)
    assert mine.median() <= other.median()
    assert torch.corrcoef(torch.stack([mine, other]))[0, 1] > 0.6


def test_members_that_are_farther_from_the_boundary_are_found() -> None:
    """And where members are as near as others, nothing is."""
    away = torch.arange(100) % 2 == 0
    for gap, expected in ((0.3, 1.0), (0.0, 0.5)):
        x = torch.full((100, 5), 0.5)
        sign = torch.where(torch.arange(100) % 4 < 2, 1.0, -1.0)
        noise = torch.rand(100, generator=torch.Generator().manual_seed(3)) * 0.05 + 0.02
        x += (sign * (noise + gap * away))[:, None]
        data = _data(x, Half()(x).argmax(1))
        found = Boundary(queries=300).run(BlackBox(Half(), Access.LABELS), data, seed=0)
        assert roc_auc_score(away, found) == pytest.approx(expected, abs=3 * 0.058)
