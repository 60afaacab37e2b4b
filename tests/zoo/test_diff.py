"""A changed file is a list of changed facts."""

import shutil
from pathlib import Path

import duckdb
import pytest

from annotations.load import FOLDER
from zoo.build import build
from zoo.diff import Change, diff
from zoo.errors import ZooError
from zoo.home import Home


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the project's annotations."""
    copy = tmp_path / "annotations"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return copy


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_same_annotations_differ_in_nothing(folder: Path) -> None:
    assert diff(FOLDER, folder) == []


def test_a_changed_value_is_named_with_its_line(folder: Path) -> None:
    path = folder / "metrics" / "published.csv"
    edit(path, "0.9173,10000", "0.9174,9999")
    key = "akamaster/resnet20-cifar10 cifar10 test accuracy source"
    assert diff(FOLDER, folder) == [
        Change("changed", "metrics", key, "n", "10000", "9999", "metrics/published.csv", 2),
        Change("changed", "metrics", key, "value", "0.9173", "0.9174", "metrics/published.csv", 2),
    ]


def test_what_is_added_or_removed_is_told(folder: Path) -> None:
    edit(folder / "families.csv", "cnn,plain convolutional network", "cnn,plain net")
    path = folder / "datasets.csv"
    rows = path.read_text().splitlines(keepends=True)
    (usps,) = [row for row in rows if row.startswith("usps,")]
    path.write_text("".join(row for row in rows if row != usps))
    evidence = folder / "evidence.csv"
    lines = evidence.read_text().splitlines(keepends=True)
    evidence.write_text("".join(line for line in lines if not line.startswith("datasets,usps,")))
    found = diff(FOLDER, folder)
    assert {c.change for c in found if c.entity_id == "usps"} == {"removed"}
    assert [(c.change, c.old, c.new) for c in found if c.entity == "families"] == [
        ("changed", "plain convolutional network", "plain net")
    ]
    assert {c.change for c in diff(folder, FOLDER) if c.entity_id == "usps"} == {"added"}


def test_other_evidence_for_the_same_value_is_told(folder: Path) -> None:
    edit(folder / "evidence.csv", ",medium,", ",low,")
    (change,) = diff(FOLDER, folder)
    assert change.change == "evidence"
    assert ", medium, " in str(change.old)
    assert ", low, " in str(change.new)


def test_stores_and_database_files_can_be_compared(
    home: Home, folder: Path, tmp_path: Path
) -> None:
    edit(folder / "families.csv", "plain convolutional network", "plain net")
    other = Home.open(tmp_path / "other")
    build(other, folder)
    (change,) = diff(home.database, other.root)
    assert (change.entity_id, change.new) == ("cnn", "plain net")


def test_recipes_and_sources_are_facts_too(folder: Path) -> None:
    edit(folder / "recipes.toml", "lr = 0.003", "lr = 0.77")
    edit(folder / "sources.toml", 'version = "1.0.31"', 'version = "1.0.32"')
    assert [(c.entity, c.field, c.old, c.new) for c in diff(FOLDER, folder)] == [
        ("recipes", "lr", "0.003", "0.77"),
        ("sources", "version", "1.0.31", "1.0.32"),
    ]


def test_a_strangers_database_reads_no_file(home: Home, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path = tmp_path / "strange.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute(
            "CREATE VIEW annotations AS SELECT content AS entity, content AS entity_id, "
            "content AS field, content AS value, content AS coder, content AS method, "
            "content AS confidence, content AS evidence, content AS file, 1 AS line "
            f"FROM read_text('{secret}')"
        )
    with pytest.raises(ZooError, match="disabled by configuration"):
        diff(path, home.database)


def test_what_is_no_catalog_is_told(tmp_path: Path, home: Home) -> None:
    with pytest.raises(ZooError, match="is no catalog. Name a folder of annotations"):
        diff(tmp_path / "nothing", FOLDER)
    text = tmp_path / "text"
    text.write_text("no database")
    with pytest.raises(ZooError, match="text is no catalog"):
        diff(text, home.database)
