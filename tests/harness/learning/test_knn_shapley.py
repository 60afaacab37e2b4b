"""KNN-Shapley is the Shapley value, and fast enough to be used."""

import time
from itertools import combinations
from math import comb

import pytest
import torch
from torch import Tensor

from harness.learning import knn_shapley as module
from harness.learning.knn_shapley import knn_shapley


def _data(n: int, m: int, width: int = 3, classes: int = 3):
    stream = torch.Generator().manual_seed(0)
    x, x_valid = (torch.randn(size, width, generator=stream).double() for size in (n, m))
    y, y_valid = (torch.randint(classes, (size,), generator=stream) for size in (n, m))
    return x, y, x_valid, y_valid


def _utility(members: tuple[int, ...], x, y, x_valid, y_valid, k: int) -> float:
    """Probability that the nearest neighbours among ``members`` give the right label."""
    if not members:
        return 0.0
    rows = torch.tensor(members)
    shares = []
    for point, label in zip(x_valid, y_valid, strict=True):
        nearest = (x[rows] - point).norm(dim=1).argsort(stable=True)[:k]
        shares.append((y[rows[nearest]] == label).sum().item() / k)
    return sum(shares) / len(shares)


def _by_definition(x, y, x_valid, y_valid, k: int) -> Tensor:
    """The mean marginal contribution over all coalitions."""
    n = len(x)
    values = torch.zeros(n, dtype=torch.float64)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            for members in combinations(others, size):
                gain = _utility(tuple(sorted((*members, i))), x, y, x_valid, y_valid, k)
                gain -= _utility(members, x, y, x_valid, y_valid, k)
                values[i] += gain / (n * comb(n - 1, size))
    return values


@pytest.mark.parametrize("k", [1, 3, 11])  # with 11, more neighbours vote than there are
def test_it_is_the_shapley_value_of_every_coalition(k) -> None:
    data = _data(8, 2)
    found = knn_shapley(*data, k=k)
    torch.testing.assert_close(found, _by_definition(*data, k=k), rtol=0, atol=1e-9)
    assert found.sum().item() == pytest.approx(_utility(tuple(range(8)), *data, k=k))


def test_at_a_tie_the_earlier_example_is_nearer() -> None:
    x = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    data = x, torch.tensor([1, 0, 1]), torch.zeros(1, 1).double(), torch.tensor([1])
    torch.testing.assert_close(knn_shapley(*data, k=1), _by_definition(*data, k=1))


def test_the_example_with_a_wrong_label_is_worth_least() -> None:
    x = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    y = torch.tensor([0, 1, 0, 1, 1, 1])
    values = knn_shapley(x, y, torch.tensor([[0.12], [0.15]]), torch.tensor([0, 0]), k=1)
    assert values.argmin() == 1
    assert values[1] < 0 < values[2]


def test_blocks_change_nothing(monkeypatch) -> None:
    data = _data(50, 20)
    whole = knn_shapley(*data)
    monkeypatch.setattr(module, "BLOCK", 150)  # 3 validation examples at a time
    torch.testing.assert_close(knn_shapley(*data), whole)


def loop(x: Tensor, y: Tensor, x_valid: Tensor, y_valid: Tensor, k: int) -> Tensor:
    """The recursion of the paper, one example after the other."""
    n = len(x)
    values = torch.zeros(n, dtype=torch.float64)
    for point, label in zip(x_valid, y_valid, strict=True):
        order = (x - point).norm(dim=1).argsort(stable=True).tolist()
        right = (y == label).tolist()
        value = right[order[-1]] * min(k, n) / (k * n)
        values[order[-1]] += value
        for place in range(n - 1, 0, -1):
            here, there = order[place - 1], order[place]
            value += (right[here] - right[there]) / k * min(k, place) / place
            values[here] += value
    return values / len(x_valid)


def test_it_is_many_times_faster_than_a_loop_over_pairs() -> None:
    data = _data(1000, 40)
    seconds = {}
    for name, way in (("loop", loop), ("ours", knn_shapley)):
        begin = time.process_time()
        found = way(*data, k=5)
        seconds[name] = time.process_time() - begin
        if name == "loop":
            wanted = found
    torch.testing.assert_close(found, wanted)
    assert seconds["ours"] < seconds["loop"] / 5
