"""Every public checkpoint of the mirror: fetched, loaded strictly, as accurate as measured."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor

from annotations.load import load as load_annotations
from zoo.catalog import open_catalog
from zoo.fetch import fetch
from zoo.home import Home
from zoo.loading import load_model

pytestmark = pytest.mark.mirror

TEST_FILES = {
    "cifar10": "cifar10/cifar10_test1000.npz",
    "fashion-mnist": "fashion_mnist/fashion_mnist_test.npz",
    "gtsrb": "gtsrb/gtsrb_test_35px.npz",
    "mnist": "mnist/mnist_test.npz",
}
MIRRORED = [
    row for row in load_annotations().rows["published"] if row.values["mirror_path"] is not None
]
PUBLISHED = [row.key for row in MIRRORED]


@dataclass(frozen=True)
class Images:
    x: Tensor  # (n, channels, height, width) in [0, 1]
    y: Tensor  # (n,)


@cache
def images(mirror: Path, dataset: str) -> Images:
    with np.load(mirror / TEST_FILES[dataset]) as file:
        x, y = file["x"][:1000], file["y"][:1000]
    x = x[..., None] if x.ndim == 3 else x
    return Images(torch.tensor(x).permute(0, 3, 1, 2) / 255, torch.tensor(y.astype(np.int64)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.open(tmp_path_factory.mktemp("home"))


def test_the_catalog_describes_every_checkpoint_of_the_mirror(mirror: Path) -> None:
    manifest = json.loads((mirror / "MANIFEST.json").read_text())["files"]
    files = {file["path"]: file for file in manifest if file["path"].startswith("weights/")}
    rows = MIRRORED
    assert {row.values["mirror_path"] for row in rows} == set(files)
    for row in rows:
        file = files[str(row.values["mirror_path"])]
        source = file["source"]
        assert row.values["sha256"] == file["sha256"]
        assert row.values["size"] == file["bytes"]
        assert row.values["url"] == (
            f"https://raw.githubusercontent.com/{source['repo']}/{source['commit']}/{source['path']}"
        )


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_checkpoint_is_as_accurate_as_it_was_measured(
    mirror: Path, store: Home, name: str
) -> None:
    catalog = open_catalog(store)
    entry = catalog.entry(name)
    found = fetch(entry, store, mirror=mirror, accept_licence=True)
    model = load_model(entry, found.path)
    data = images(mirror, entry.dataset)
    with torch.no_grad():
        right = int((model(data.x).argmax(1) == data.y).sum())

    measured = {
        a["split"]: a["value"] for a in catalog.accuracy(name) if a["evaluator"] == "mirror"
    }
    if "test1000" in measured:  # on these very images; another processor rounds differently
        assert abs(right - round(measured["test1000"] * 1000)) <= 1
    else:  # on more images of the same kind
        (value,) = [measured[split] for split in ("test", "test-mirror") if split in measured]
        assert binomtest(right, 1000, value).pvalue > 1e-3
    assert fetch(entry, store, mirror=mirror, accept_licence=True).cached


def test_the_backdoor_works_on_the_backdoored_model_and_not_on_its_cleaned_twin(
    mirror: Path, store: Home
) -> None:
    catalog = open_catalog(store)
    data = images(mirror, "cifar10")
    x = data.x[data.y != 5].clone()
    x[:, :, -3:, -3:] = 0
    for row, column in ((-1, -1), (-1, -3), (-2, -2), (-3, -1)):
        x[:, :, row, column] = 1
    rates = {}
    for kind in ("backdoored", "teacher"):
        entry = catalog.entry(f"bboylyg/nad-wrn16-1-{kind}-cifar10")
        model = load_model(entry, fetch(entry, store, mirror=mirror, accept_licence=True).path)
        with torch.no_grad():
            rates[kind] = (model(x).argmax(1) == 5).double().mean().item()
        (annotated,) = [
            metric["value"]
            for metric in catalog.show(entry.name)["metrics"]
            if (metric["metric"], metric["evaluator"]) == ("attack_success_rate", "mirror")
        ]
        assert rates[kind] == pytest.approx(annotated, abs=1e-4)
    assert rates["backdoored"] > 0.99 > 0.1 > rates["teacher"]
