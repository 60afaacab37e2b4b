"""Networks of the libraries, with random weights, on real photographs by the harness's own path."""

import pytest
import torch

from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.target import BlackBox
from harness.types import Access
from zoo import nets
from zoo.catalog import Catalog, open_catalog
from zoo.home import Home

pytestmark = [pytest.mark.mirror, pytest.mark.whole]

NETWORKS = 300
PARTS = 10


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return open_catalog(Home.open(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def names(catalog: Catalog) -> list[str]:
    """One model of each of the architectures with the fewest FLOPs."""
    _, rows = catalog.list(
        ["name", "architecture", "flops"],
        "dataset = 'imagenet-1k' AND attackable <> 'no' AND flops IS NOT NULL",
    )
    first = {architecture: (flops, name) for name, architecture, flops in reversed(rows)}
    return [name for _, name in sorted(first.values())[:NETWORKS]]


@pytest.mark.parametrize("part", range(PARTS))
def test_a_network_classifies_photographs(
    catalog: Catalog, names: list[str], photographs: DataLocation, part: int
) -> None:
    assert len(names) == NETWORKS
    libraries, whole = set(), datasets.load("imagenet-1k", photographs)
    for name in names[part::PARTS]:
        entry = catalog.entry(name)
        net = nets.build(entry.architecture, entry.input_shape, entry.num_classes)
        model = nets.Scaled(net, *entry.scaling, entry.input_shape)
        data = whole.prepared(entry.preparation)
        assert data.input_shape == entry.input_shape
        scores = BlackBox(model, Access.SCORES).scores(data.all.take(torch.tensor([0, 999])).x)
        assert scores.shape == (2, 1000), name
        assert scores.isfinite().all(), name
        libraries.add(entry.architecture.partition("/")[0])
    assert len(libraries) == 3
