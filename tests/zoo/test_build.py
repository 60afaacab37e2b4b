"""The catalog depends on the annotations and on nothing else."""

import shutil
from pathlib import Path

import duckdb
import pytest

from annotations.load import FOLDER, load_codebook
from zoo.build import build, built_from, refresh
from zoo.catalog import open_catalog
from zoo.database import CATALOG_TABLES, connect, content_hash, publish
from zoo.errors import ZooError
from zoo.home import Home


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the project's annotations."""
    copy = tmp_path / "annotations"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return copy


def swap_columns(path: Path, first: str, second: str) -> None:
    """Exchange two columns of a file without quotes."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    a, b = rows[0].index(first), rows[0].index(second)
    for row in rows:
        row[a], row[b] = row[b], row[a]
    path.write_text("".join(",".join(row) + "\n" for row in rows))


def test_two_machines_build_the_same_catalog(home: Home, tmp_path: Path, folder: Path) -> None:
    other = Home.open(tmp_path / "elsewhere")
    for path in sorted(folder.rglob("*.csv"), reverse=True):
        path.write_bytes(path.read_bytes())  # written in another order, at another time
    assert build(home) == build(other, folder)


def test_the_order_of_columns_does_not_matter(home: Home, folder: Path) -> None:
    before = build(home, folder)
    swap_columns(folder / "families.csv", "name", "paper")
    assert build(home, folder) == before


def test_the_order_in_which_rows_were_inserted_does_not_matter(home: Home) -> None:
    content = build(home)
    with publish(home.database, edit=True) as con:
        con.execute("CREATE TEMP TABLE kept AS FROM metrics")
        con.execute("DELETE FROM metrics")
        con.execute("INSERT INTO metrics FROM kept ORDER BY value")
    with connect(home.database) as con:
        assert content_hash(con) == content


def test_accuracy_on_training_images_is_never_a_models_accuracy(home: Home) -> None:
    build(home)
    with publish(home.database, edit=True) as con:
        con.execute("DELETE FROM metrics WHERE split <> 'train1000'")
    catalog = open_catalog(home)
    name = "akamaster/resnet20-cifar10"
    assert [a["split"] for a in catalog.accuracy(name)] == ["train1000"]
    assert catalog.list(["accuracy", "accuracy_by"], f"name = '{name}'")[1] == [(None, None)]


def test_any_changed_value_changes_the_hash(home: Home, folder: Path) -> None:
    before = build(home, folder)
    path = folder / "metrics" / "published.csv"
    path.write_text(path.read_text().replace("0.9173", "0.9174"))
    assert build(home, folder) != before


def test_the_hash_is_recorded_and_evaluations_do_not_touch_it(home: Home) -> None:
    content = build(home)
    assert built_from(home)["content_hash"] == content
    with publish(home.database, edit=True) as con:
        con.execute("INSERT INTO evaluations (key, seed) VALUES ('cell', 3)")
    assert build(home) == content


def test_building_keeps_the_index_of_evaluations(home: Home) -> None:
    build(home)
    with publish(home.database, edit=True) as con:
        con.execute("INSERT INTO evaluations (key, seed, spec) VALUES ('cell', 3, '{\"a\": 1}')")
    build(home)
    with connect(home.database) as con:
        found = con.execute("SELECT key, seed, spec, utility FROM evaluations").fetchall()
    assert found == [("cell", 3, '{"a": 1}', None)]


def test_an_index_of_another_form_is_left_to_be_indexed_again(home: Home) -> None:
    build(home)
    with publish(home.database, edit=True) as con:
        con.execute("ALTER TABLE evaluations RENAME COLUMN seed TO seeds")
        con.execute("INSERT INTO evaluations (key) VALUES ('cell')")
    build(home)
    assert open_catalog(home).sql("SELECT count(*) FROM evaluations")[1] == [(0,)]


def test_a_wrong_annotation_leaves_the_old_catalog(home: Home, folder: Path) -> None:
    before = build(home, folder)
    path = folder / "families.csv"
    path.write_text(path.read_text().replace("he2016", "nobody"))
    with pytest.raises(
        ZooError, match=r"families\.csv:\d+: paper: no row 'nobody' among the papers"
    ):
        build(home, folder)
    assert built_from(home)["content_hash"] == before


def test_a_folder_without_annotations_is_refused(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"annotations in .* cannot be read"):
        build(home, tmp_path / "nothing")


def test_opening_builds_when_an_annotation_changed_and_only_then(home: Home, folder: Path) -> None:
    build(home, folder)
    written = home.database.stat().st_mtime_ns
    open_catalog(home)
    assert home.database.stat().st_mtime_ns == written
    path = folder / "metrics" / "published.csv"
    path.write_text(path.read_text().replace("0.9173", "0.9174"))
    catalog = open_catalog(home)
    assert catalog.accuracy("akamaster/resnet20-cifar10")[0]["value"] == 0.9174
    assert not refresh(home)


def test_a_folder_of_annotations_that_is_gone_is_named(home: Home, folder: Path) -> None:
    build(home, folder)
    shutil.rmtree(folder)
    with pytest.raises(ZooError, match=f"{folder} cannot be read"):
        open_catalog(home)
    build(home)
    open_catalog(home)


def test_every_annotated_column_has_a_place_in_the_catalog(home: Home) -> None:
    build(home)
    with connect(home.database) as con:
        rows = con.execute("SELECT table_name, column_name FROM duckdb_columns()").fetchall()
    for table in load_codebook().tables.values():
        if table.entity in ("evidence", "pins"):
            continue  # they are about the values of others
        columns = {column for name, column in rows if name == table.entity}
        if table.entity == "models":
            columns |= {column for name, column in rows if name == "artifacts"}
        assert set(table.fields) <= columns


KEYS = {"networks": "computed-nets", "exclusions": "exclusions-curated"}
"""Tables of the codebook with the keys of the catalog's tables of other names."""


def test_every_value_is_annotated_once_and_no_unknown_is(home: Home) -> None:
    build(home)
    catalog = open_catalog(home)
    for table in ("papers", "families", "architectures", "networks", "datasets", "exclusions"):
        header, rows = catalog.sql(f"FROM {table}")
        keys = set(load_codebook().tables[KEYS.get(table, table)].key)
        facts = [place for place, name in enumerate(header) if name not in keys]
        known = sum(row[place] is not None for row in rows for place in facts)
        annotated = catalog.sql(f"SELECT count(*) FROM annotations WHERE entity = '{table}'")[1]
        assert annotated == [(known,)]
        assert header[0] in ("key", "architecture", "model")
    where = "WHERE entity = 'papers' AND entity_id = 'li2021' AND field = 'arxiv'"
    ((value, confidence, file, line),) = catalog.sql(
        f"SELECT value, confidence, file, line FROM annotations {where}"
    )[1]
    assert (value, confidence, file) == ("2101.05930", "high", "papers.csv")
    assert (FOLDER / file).read_text().splitlines()[line - 1].startswith("li2021,")


def test_every_table_is_explained(home: Home) -> None:
    build(home)
    with connect(home.database) as con:
        rows = con.execute("SELECT table_name, comment FROM duckdb_tables()").fetchall()
    assert {name for name, _ in rows} == {*CATALOG_TABLES, "evaluations", "build"}
    assert all(comment for _, comment in rows)


def test_a_reference_that_nothing_satisfies_is_refused_by_the_database(home: Home) -> None:
    build(home)
    with pytest.raises(duckdb.ConstraintException), publish(home.database, edit=True) as con:
        con.execute("UPDATE families SET paper = 'nobody' WHERE key = 'cnn'")
