"""Of the models whose weights can be fetched, which can be attacked once the data are there."""

from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch

from annotations.load import load as load_annotations
from harness.data import datasets, label_spaces
from harness.data.dataset import DataLocation
from harness.zoo_models.attackable import attackable
from zoo import nets
from zoo.at_hand import IN_MIRROR
from zoo.catalog import open_catalog
from zoo.entry import ModelEntry
from zoo.home import Home

pytestmark = pytest.mark.whole

WANTED = 0.95
PARTS = 10


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[ModelEntry]:
    """Published models whose weights can be fetched."""
    home = Home.open(tmp_path_factory.mktemp("catalog"))
    return [one for one in open_catalog(home).entries() if one.artifact is not None]


def test_nearly_all_models_whose_weights_can_be_fetched_can_be_attacked(entries) -> None:
    found = Counter(attackable(one, DataLocation()).state for one in entries)
    assert len(entries) > 2000
    assert found["here"] == 0, "without data there is nothing to attack"
    assert found["with data"] / len(entries) > WANTED


def test_every_model_that_stays_out_has_a_reason(entries) -> None:
    out = {one.name: attackable(one, DataLocation()).reason for one in entries
           if attackable(one, DataLocation()).state == "no"}  # fmt: skip
    assert all(out.values())
    assert len(out) < 30


@cache
def _distinct(home: Path) -> list[tuple[str, tuple[int, ...], int]]:
    found = [
        one for one in open_catalog(Home.open(home)).entries("attackable <> 'no'") if one.artifact
    ]
    return sorted({(one.architecture, one.input_shape, one.num_classes) for one in found})


def _answer(architecture: str, shape: tuple[int, ...], classes: int) -> torch.Tensor:
    with torch.no_grad():
        try:
            net = nets.skeleton(architecture, shape, classes).eval()
            return nets.logits_of(net(torch.empty(1, *shape, device="meta")))
        except NotImplementedError:  # it looks at numbers on its way, so it needs some
            net = nets.build(architecture, shape, classes).eval()
            return nets.logits_of(net(torch.rand(1, *shape)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize("part", range(PARTS))
def test_every_network_takes_its_input_and_gives_its_classes(home: Path, part: int) -> None:
    """Without memory for weights: one after the other, all that the catalog has."""
    wrong = []
    for architecture, shape, classes in _distinct(home)[part::PARTS]:
        logits = _answer(architecture, shape, classes)
        if tuple(logits.shape) != (1, classes):
            wrong.append((architecture, tuple(logits.shape)))
    assert wrong == []


def test_every_model_says_how_its_photographs_are_prepared(entries) -> None:
    photographs = {"imagenet-1k", "cub-200-2011", *label_spaces.OF_DATASETS}
    for one in entries:
        if one.dataset in photographs and attackable(one, DataLocation()).state != "no":
            assert one.resize is not None, one.name
            assert one.fit is not None, one.name
            assert one.interpolation is not None, one.name
            assert one.preparation is not None
            assert one.preparation.size == one.input_shape[1:]


def test_every_label_order_is_known(entries) -> None:
    """A model has as many logits as its data have classes, or it is stated which are meant."""
    classes = {row.key: row.values["num_classes"] for row in load_annotations().of("datasets")}
    for one in entries:
        if attackable(one, DataLocation()).state != "no":
            known = label_spaces.OF_DATASETS.get(one.dataset, (classes[one.dataset],))
            assert one.num_classes in known, one.name


def test_the_catalog_and_the_readers_agree_about_what_is_read() -> None:
    rows = {row.key: row.values["files"] for row in load_annotations().of("datasets")}
    read = set(datasets.names()) - {"photo-patches"}
    assert {key for key, files in rows.items() if files} == read


def test_the_catalog_and_the_readers_agree_about_what_is_at_hand(tmp_path: Path) -> None:
    """A reader finds what the catalog says that it looks for, and nothing in empty folders."""
    for row in load_annotations().of("datasets"):
        files = row.values["files"] or ()
        assert isinstance(files, tuple)
        for number, file in enumerate(files):
            root = tmp_path / row.key / str(number)
            data, mirror = root / "data", root / "mirror"
            data.mkdir(parents=True)
            mirror.mkdir()
            source = DataLocation(data_dir=data, mirror=mirror)
            if file == "none":
                assert datasets.is_here(row.key, source)
                continue
            assert not datasets.is_here(row.key, source), row.key
            path = (mirror if file.startswith(IN_MIRROR) else data) / file.removeprefix(IN_MIRROR)
            for one in _all_of(row.key, path):
                one.parent.mkdir(parents=True, exist_ok=True)
                one.write_text("") if one.suffix else one.mkdir(exist_ok=True)
            assert datasets.is_here(row.key, source), (row.key, file)


def _all_of(name: str, path: Path) -> list[Path]:
    """A path and what else belongs to the same dataset."""
    from harness.data import public

    mirrored = public.SETS[name].mirror if name in public.SETS else ()
    if mirrored and path.parent.name == "mirror":
        return [path, *(path.parent / file for file in mirrored)]
    if path.name == "adult.test":
        return [path, path.with_name("adult.data")]
    return [path]


@pytest.mark.parametrize("name", ["models", "where"])
def test_a_list_shows_and_chooses_what_can_be_attacked(
    home_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    catalog = open_catalog(Home.open(home_dir))
    if name == "where":
        _, rows = catalog.list(["dataset"], "attackable = 'here' AND recipe IS NULL")
        assert {dataset for (dataset,) in rows} == {"cifar100"}
    _, rows = catalog.list(["dataset", "attackable"], "recipe IS NULL")
    assert {state for _, state in rows} == {"here", "with data", "no"}
    assert {dataset for dataset, state in rows if state == "here"} == {"cifar100"}


def test_the_catalog_and_the_harness_count_the_same(
    home_dir: Path, entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ZOO_DATA_DIR", "ZOO_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    _, rows = open_catalog(Home.open(home_dir)).list(["name", "attackable"])
    told = dict(rows)
    for one in entries:
        assert told[one.name] == attackable(one, DataLocation()).state, one.name
