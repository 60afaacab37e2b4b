"""Reading a source anew changes what it says, and nothing that people wrote."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from annotations.load import FOLDER, load
from annotations.record import AnnotationError
from zoo.curate import compute as computing
from zoo.curate.compute import check, compute, networks
from zoo.curate.listing import Listing
from zoo.curate.snapshot import SOURCES, snapshot, update
from zoo.errors import ZooError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the project's annotations."""
    copy = tmp_path / "annotations"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return copy


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def listing(version: str | None = None) -> Listing:
    """What torchvision listed when the committed files were written, whatever is installed."""
    annotations = load()

    def rows(table: str) -> list[dict[str, Any]]:
        return [dict(row.values) for row in annotations.rows[table]]

    return Listing(
        version or str(annotations.origins["torchvision"].version),
        rows("torchvision"),
        rows("metrics-torchvision"),
        rows("exclusions-torchvision"),
    )


@pytest.mark.parametrize("source", ["torchvision", "timm", "pytorchcv"])
def test_the_committed_files_are_what_the_installed_packages_say(source: str) -> None:
    found = snapshot(FOLDER, source, write=False)
    if found.version == load().origins[source].version:  # else there may be newer models
        assert (found.added, found.changed, found.withdrawn, found.uncoded) == ((), (), (), ())


def test_reading_again_writes_the_same_bytes(folder: Path) -> None:
    before = content(folder)
    update(folder, "torchvision", listing())
    assert content(folder) == before


def test_a_new_model_is_added_and_the_version_recorded(folder: Path) -> None:
    newer = listing("9.9")
    newer.models.append({**newer.models[0], "name": "torchvision/alexnet.imagenet1k_v9"})
    found = update(folder, "torchvision", newer)
    assert found.added == ("torchvision/alexnet.imagenet1k_v9",)
    annotations = load(folder)
    assert annotations.origins["torchvision"].version == "9.9"
    assert annotations.origins["timm"].version == load().origins["timm"].version


def test_a_model_that_is_no_longer_listed_stays(folder: Path) -> None:
    before = content(folder)
    older = listing()
    gone = older.models.pop(0)["name"]
    assert update(folder, "torchvision", older).withdrawn == (gone,)
    assert content(folder) == before


def test_a_name_is_never_given_to_other_weights(folder: Path) -> None:
    before = content(folder)
    other = listing()
    other.models[0]["sha256_prefix"] = "0" * 8
    with pytest.raises(ZooError, match="now means other weights by torchvision/alexnet"):
        update(folder, "torchvision", other)
    assert content(folder) == before


def test_a_model_of_an_uncoded_architecture_waits_for_its_family(folder: Path) -> None:
    newer = listing()
    newer.models.append(
        {
            **newer.models[0],
            "name": "torchvision/newnet.imagenet1k_v1",
            "architecture": "torchvision/newnet",
        }
    )
    found = update(folder, "torchvision", newer)
    assert found.uncoded == ("torchvision/newnet",)
    assert found.added == ()
    load(folder)


def test_what_has_evidence_of_its_own_is_not_overwritten(folder: Path) -> None:
    path = folder / "sources" / "torchvision.csv"
    path.write_text(path.read_text().replace("BSD-3-Clause", "MIT", 1))
    evidence = folder / "evidence.csv"
    header, *rows = evidence.read_text().splitlines(keepends=True)
    name = load(folder).rows["torchvision"][0].key
    rows.append(f"models,{name},licence,second,manual,high,asked its author\n")
    evidence.write_text(header + "".join(sorted(rows)))
    update(folder, "torchvision", listing())
    first, second = load(folder).rows["torchvision"][:2]
    assert (first.values["licence"], second.values["licence"]) == ("MIT", "BSD-3-Clause")


def test_an_unknown_source_shows_the_known() -> None:
    with pytest.raises(ZooError, match="No source of models 'tim'. Nearest: timm"):
        snapshot(FOLDER, "tim")
    assert set(SOURCES) == {"timm", "torchvision", "pytorchcv", "robustbench"}


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Listing:
        raise ImportError("No module named 'pytorchcv'")

    monkeypatch.setattr("zoo.curate.pytorchcv_models.list_models", missing)
    with pytest.raises(ZooError, match="Install it: pip install pytorchcv"):
        snapshot(FOLDER, "pytorchcv")


def test_every_network_that_can_be_built_is_counted() -> None:
    annotations = load()
    counted = {
        (row.values["architecture"], row.values["input_shape"], row.values["num_classes"])
        for row in annotations.of("networks")
    }
    assert set(networks(annotations)) <= counted


def test_a_random_sample_of_the_counts_is_right() -> None:
    annotations = load()
    for package in ("timm", "torchvision", "pytorchcv"):
        if version(package).split("+")[0] != annotations.origins[package].version:
            pytest.skip(f"another {package} is installed than was counted with")
    assert check(FOLDER, 15, seed=20261124) == []


def test_a_snapshot_that_would_be_invalid_changes_nothing(folder: Path) -> None:
    before = content(folder)
    wrong = listing()
    wrong.models.append(
        {**wrong.models[0], "name": "torchvision/alexnet.imagenet1k_v9", "dataset": "imagenet-9k"}
    )
    with pytest.raises(AnnotationError, match="no row 'imagenet-9k' among the datasets"):
        update(folder, "torchvision", wrong)
    assert content(folder) == before


def test_only_the_sources_own_version_is_changed(folder: Path) -> None:
    path = folder / "sources.toml"
    text = path.read_text().replace('version = "0.29.1"\n', "")
    path.write_text(text)
    update(folder, "torchvision", listing("9.9"))
    assert path.read_text() == text


def test_a_wrong_count_is_found(folder: Path) -> None:
    path = folder / "computed" / "nets.csv"
    path.write_text(path.read_text().replace(",9610,", ",9611,"))
    everything = len(networks(load(folder)))
    problems = [p for p in check_only(folder, "mlp-128", everything) if "parameters" in p]
    assert problems == ["mlp-128 1x8x8: parameters is 9610, not 9611"]


def check_only(folder: Path, architecture: str, sample: int) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        chosen = [n for n in networks(load(folder)) if n[0] == architecture]
        patch.setattr(computing.random.Random, "sample", lambda *_: chosen)
        return check(folder, sample)


def test_counting_adds_what_is_missing_and_touches_nothing_else(folder: Path) -> None:
    path = folder / "computed" / "nets.csv"
    before = path.read_bytes()
    lines = before.decode().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("mlp-6x100,")))
    seen: list[tuple[int, int]] = []
    assert compute(folder, progress=lambda done, total: seen.append((done, total))) == (1, [])
    assert path.read_bytes() == before
    assert seen == [(0, 1)]
    assert compute(folder) == (0, [])
