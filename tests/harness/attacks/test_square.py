"""The Square attack: its moves by hand, its budget, and that it needs no gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from harness.attacks import square
from harness.attacks.apgd import APGDCE
from harness.attacks.protocol import AttackedPoints
from harness.attacks.square import Square
from harness.data.examples import Split
from harness.games import evasion
from harness.seeds import generator
from harness.target import AccessDeniedError, BlackBox
from harness.types import Access, ThreatModel
from zoo.errors import ZooError


def test_squares_shrink_as_the_paper_says() -> None:
    attack = Square(p_init=0.8)
    asked = (5, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)
    assert [attack._area(n, 10_000) for n in asked] == [0.8 / 2**k for k in range(10)]
    assert attack._area(101, 500) == attack._area(2020, 10_000)  # stretched to the queries


def test_a_square_move_changes_one_square_to_a_corner_of_the_ball() -> None:
    origin = torch.full((2, 3, 8, 8), 0.5)
    new = square._square(origin, origin, 0.1, area=9.0, stream=generator("test", 0))
    changed = (new != origin).all(1)
    assert changed.flatten(1).sum(1).tolist() == [9, 9]
    rows, columns = changed[0].nonzero().unbind(1)
    assert rows.max() - rows.min() == columns.max() - columns.min() == 2
    delta = (new - origin).abs()
    torch.testing.assert_close(delta[delta > 0], torch.full((54,), 0.1))
    for channel in (new - origin)[0]:
        assert len(channel[channel != 0].sign().unique()) == 1  # one sign for each channel


def test_a_bump_is_a_sum_over_nested_squares() -> None:
    tops = [1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9]
    expected = torch.tensor(
        [[tops[max(abs(r - 2), abs(c - 2))] for c in range(5)] for r in range(5)]
    )
    torch.testing.assert_close(square._bump(5, 5), expected)
    pair = square._pair(5, generator("test", 0))
    assert pair.norm() == pytest.approx(1)
    assert pair.min() < 0 < pair.max()


def test_an_l2_move_keeps_the_length_of_the_perturbation() -> None:
    origin = torch.full((4, 3, 16, 16), 0.5)
    stream = generator("test", 0)
    best = square._tiles(origin, 0.4, stream)
    for area in (40.0, 10.0, 1.0):
        moved = square._swap(best, origin, 0.4, area, stream)
        torch.testing.assert_close((moved - origin).flatten(1).norm(dim=1), torch.full((4,), 0.4))
        share = (moved != best).flatten(1).double().mean(1).max()
        assert 0 < share <= 2 * max(area**0.5 + 2, 3) ** 2 / 256
        best = moved


class First(nn.Module):
    """Class 1 where the first pixel is above .45; the slope is hidden by rounding."""

    def forward(self, x):
        at = ((x[:, 0, 0, 0] - 0.45) * 1000).round() / 1000
        return torch.stack([-at, at], 1)


def _data(n: int) -> AttackedPoints:
    x = torch.full((n, 1, 4, 4), 0.5)
    return AttackedPoints(
        points=Split(x, torch.ones(n, dtype=torch.int64)),
        num_classes=2, architecture="", input_shape=(1, 4, 4),
    )  # fmt: skip


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_can_be_broken_is_and_what_cannot_is_not(norm) -> None:
    for epsilon, broken in ((0.12 if norm == "linf" else 0.4, True), (0.04, False)):
        attack = Square(epsilon=epsilon, norm=norm, queries=400)
        found = attack.run(BlackBox(First(), Access.SCORES), _data(5), seed=0)
        assert (First()(found).argmax(1) == 0).tolist() == [broken] * 5


def test_it_asks_no_more_than_its_queries_and_its_budget() -> None:
    for queries, budget, most in ((30, None, 150), (30, 50, 50), (30, 59, 55)):
        target = BlackBox(First(), Access.SCORES, budget=budget)
        Square(epsilon=0.01, queries=queries).run(target, _data(5), seed=0)
        assert target.queries == most
    target = BlackBox(First(), Access.SCORES)
    Square(epsilon=0.5, queries=1000).run(target, _data(5), seed=0)
    assert target.queries < 100  # nobody asks about what is broken


def test_needs_scores_and_two_queries_about_each_example(
    tiny, digits, trained, scenario_for
) -> None:
    with pytest.raises(AccessDeniedError, match="wants scores, but the target gives labels only"):
        Square(epsilon=0.1).run(BlackBox(First(), Access.LABELS), _data(5), seed=0)
    with pytest.raises(ZooError, match="budget is 9. Raise --queries"):
        Square(epsilon=0.1).run(BlackBox(First(), Access.SCORES, budget=9), _data(5), seed=0)
    with pytest.raises(ZooError, match="queries of at least 2, found 1"):
        Square(queries=1)
    with pytest.raises(ZooError, match=r"p_init in \(0, 1\], found 2"):
        Square(p_init=2)
    with pytest.raises(ZooError, match=r"pixel range \[0, 1\], found 8"):
        Square(epsilon=8).resolve(tiny)
    setting = scenario_for(digits, trained).spec
    few, enough = (
        replace(setting, threat=ThreatModel(access=Access.SCORES, queries=n)) for n in (800, 898)
    )
    with pytest.raises(ZooError, match="at least twice each, but the query budget is 800"):
        evasion.check(Square(), few)
    evasion.check(Square(), enough)


def test_scores_tell_as_much_as_logits(trained, points, robust) -> None:
    attack, few = Square(epsilon=0.1, queries=150), points.take(torch.arange(100))
    by_scores = robust(trained, attack, few, access=Access.SCORES)
    assert by_scores == robust(trained, attack, few, access=Access.WEIGHTS)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_never_rises_with_the_radius_and_hardly_with_queries(norm, trained, points, robust) -> None:
    few, unit = points.take(torch.arange(60)), 0.05 if norm == "linf" else 0.3
    rates = [
        robust(trained, Square(epsilon=unit * k, norm=norm, queries=100), few) for k in range(5)
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.9 > 0.6 > rates[-1]
    queries = [
        robust(trained, Square(epsilon=2 * unit, norm=norm, queries=n), few) for n in (2, 20, 150)
    ]
    assert queries == sorted(queries, reverse=True)


def test_square_is_between_art_and_the_gradients(trained, points, robust) -> None:
    """A search cannot do better than gradients on a plain model; on 8x8 ART's squares do worse."""
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import PyTorchClassifier

    few = points.take(torch.arange(100))
    wrapped = PyTorchClassifier(
        trained, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1), device_type="cpu"
    )
    np.random.seed(0)
    theirs = SquareAttack(
        wrapped, norm=np.inf, eps=0.1, max_iter=400, p_init=0.8, nb_restarts=1, batch_size=100,
        verbose=False,
    )  # fmt: skip
    found = torch.from_numpy(theirs.generate(few.x.numpy(), few.y.numpy()))
    right = trained(few.x).argmax(1) == few.y
    rate = ((trained(found).argmax(1) == few.y) & right).double().mean().item()
    ours = robust(trained, Square(epsilon=0.1, queries=400), few)
    assert robust(trained, APGDCE(epsilon=0.1), few) <= ours <= rate + 0.01
