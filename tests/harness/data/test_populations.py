"""Samples with a chosen share of a property: the share is right and nothing else has changed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.data.dataset import Dataset
from harness.data.examples import UNKNOWN, Attribute
from harness.data.populations import Populations
from zoo.errors import ZooError

COUNTS = np.array([[300, 100], [80, 120], [150, 50]])  # by class, without and with the hat


def _dataset(counts: np.ndarray) -> Dataset:
    cells = [(y, z) for y, row in enumerate(counts) for z, n in enumerate(row) for _ in range(n)]
    y, z = torch.tensor(cells).T
    return Dataset(
        name="people",
        num_classes=len(counts),
        x=torch.arange(len(y)).float()[:, None],
        y=y,
        z={"hat": Attribute(z, ("no", "yes"))},
    )


def _populations(*ratios: float, counts: np.ndarray = COUNTS) -> Populations:
    return Populations(dataset=_dataset(counts), attribute="hat", value="yes", ratios=ratios)


@pytest.fixture(scope="module")
def found() -> Populations:
    return _populations(0.2, 0.5, 0.8)


def _odds(table: np.ndarray) -> np.ndarray:
    """Odds of the property in each class, in terms of those in the first."""
    odds = table[:, 1] / table[:, 0]
    return odds / odds[0]


def test_only_the_share_of_the_property_changes(found) -> None:
    tables = found.sizes(100_000)
    assert (tables.sum((1, 2)) == 100_000).all()
    for table, ratio in zip(tables, found.ratios, strict=True):
        assert table[:, 1].sum() / table.sum() == pytest.approx(ratio, abs=1e-4)
        assert table.sum(1) / table.sum() == pytest.approx([0.5, 0.25, 0.25])
        assert _odds(table) == pytest.approx(_odds(COUNTS), rel=2e-3)


def test_the_share_that_the_data_have_changes_nothing() -> None:
    assert _populations(270 / 800).sizes(800)[0].tolist() == COUNTS.tolist()


def test_every_world_has_as_many_of_each_class(found) -> None:
    for n in range(1, 60):
        labels = found.sizes(n).sum(2)
        assert labels[0].sum() == n
        assert (labels == labels[0]).all()


def test_the_largest_sample_takes_all_of_some_kind(found) -> None:
    pool = torch.arange(0, 800, 2)
    held = COUNTS // 2
    n = found.largest((torch.arange(800), pool))
    assert (found.sizes(n) <= held).all()
    # Rounding gives or takes one example; beyond that no larger sample fits.
    assert all((found.sizes(m) > held).any() for m in range(n + 1, n + 20))


def test_a_sample_has_the_sizes_and_is_from_the_pool(found) -> None:
    pool = torch.arange(0, 800, 2)
    index = found.draw(pool, 2, 90, seed=3)
    assert len(index.unique()) == 90
    assert torch.isin(index, pool).all()
    table = np.zeros_like(COUNTS)
    y, z = found.dataset.y[index], found.dataset.z["hat"].values[index]
    np.add.at(table, (y.numpy(), z.numpy()), 1)
    assert table.tolist() == found.sizes(90)[2].tolist()
    assert torch.equal(index, found.draw(pool, 2, 90, seed=3))
    assert not torch.equal(index, found.draw(pool, 2, 90, seed=4))
    assert not torch.equal(index.sort().values, index)


@pytest.mark.parametrize(
    ("counts", "ratio", "message"),
    [
        ([[5, 5], [0, 9]], 0.0, "0 with hat=yes leaves class 1 of people .* every one .* Raise"),
        ([[5, 5], [9, 0]], 1.0, "1 with hat=yes leaves class 1 of people .* no one .* Lower"),
        ([[0, 5], [0, 5], [9, 9]], 0.2, "class 0 and 1 of people"),
    ],
)
def test_a_ratio_that_leaves_a_class_empty_is_refused(counts, ratio, message) -> None:
    with pytest.raises(ZooError, match=message):
        _populations(ratio, counts=np.array(counts))


def test_a_class_may_bend_as_far_as_the_others_let_it() -> None:
    """Half of the examples are of a class that always has it; so 0.6 is in reach, and .5 too."""
    tables = _populations(0.6, 0.5, counts=np.array([[0, 50], [25, 25]])).sizes(100)
    assert tables.tolist() == [[[0, 50], [40, 10]], [[0, 50], [50, 0]]]


def test_a_pool_without_some_rare_kind_still_gives_a_small_sample() -> None:
    worlds = _populations(0.2, 0.6)
    cell = 2 * worlds.dataset.y.numpy() + worlds.has
    pool = torch.from_numpy(np.flatnonzero(cell != 5))  # nobody of class 2 has a hat
    most = worlds.largest((pool,))
    assert 0 < most < 10
    for world in (0, 1):
        rows = worlds.draw(pool, world, most, seed=0)
        assert len(rows) == most
        assert not (cell[rows.numpy()] == 5).any()
    assert worlds.sizes(most + 1)[:, 2, 1].max() > 0


def test_whoever_does_not_say_is_in_no_sample() -> None:
    plain, data = _dataset(COUNTS), _dataset(COUNTS)
    silent = torch.arange(0, len(data), 4)
    values = data.z["hat"].values.clone()
    values[silent] = UNKNOWN
    data = replace(data, z={"hat": Attribute(values, ("no", "yes"))})
    found = Populations(dataset=data, attribute="hat", value="yes", ratios=(0.2, 0.8))
    keep = torch.ones(len(plain), dtype=torch.bool)
    keep[silent] = False
    others = replace(plain, x=plain.x[keep], y=plain.y[keep], z={"hat": plain.z["hat"].take(keep)})
    alone = replace(found, dataset=others)
    everybody = torch.arange(len(data))
    n = found.largest([everybody])
    assert n == alone.largest([torch.arange(len(others))])
    assert np.array_equal(found.sizes(n), alone.sizes(n))
    assert found.share(slice(None)) == alone.has.mean()
    assert not torch.isin(found.draw(everybody, 1, n, seed=0), silent).any()
