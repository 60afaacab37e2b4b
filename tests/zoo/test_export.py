"""The exported files hold what the catalog holds, and outsiders' programs can read them."""

import csv
import datetime
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import mlcroissant
import pytest

from annotations.load import FOLDER
from zoo import croissant
from zoo import export as exporting
from zoo.build import build, built_from
from zoo.database import connect
from zoo.errors import ZooError
from zoo.export import TABLES, Written, export
from zoo.files import sha256_file
from zoo.home import Home

Rows = list[tuple[Any, ...]]
UNPUBLISHED = (
    '[Metadata(zoo-catalog)] Property "https://schema.org/datePublished" is recommended, '
    "but does not exist."
)


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's annotations, as they are when these tests begin."""
    folder = tmp_path_factory.mktemp("annotations") / "copy"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return folder


@pytest.fixture(scope="module")
def store(annotated: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home.open(tmp_path_factory.mktemp("store"))
    build(home, annotated)
    return home


@pytest.fixture(scope="module", params=["parquet", "csv"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def exported(store: Home, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "new" / "folder"
    export(store, folder, kind=kind)
    return folder


@pytest.fixture
def ask(store: Home) -> Callable[[str], Rows]:
    def rows(sql: str) -> Rows:
        with connect(store.database) as con:
            return con.execute(sql).fetchall()

    return rows


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.iterdir()}


def document(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "croissant.json").read_text())


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def relation(table: str) -> str:
    return "v_models" if table == "models" else table


# What the files hold


def test_every_table_is_there_and_nothing_else(exported: Path, kind: str) -> None:
    tables = {f"{table}.{kind}" for table in ("models", *TABLES)}
    assert {path.name for path in exported.iterdir()} == {"croissant.json", *tables}


@pytest.mark.parametrize("table", ["models", *TABLES])
def test_a_table_is_the_catalogs(
    exported: Path, kind: str, table: str, ask: Callable[[str], Rows]
) -> None:
    expected = ask(f"FROM {relation(table)} ORDER BY ALL")
    path = exported / f"{table}.{kind}"
    if kind == "parquet":
        assert duckdb.sql(f"FROM '{path}' ORDER BY ALL").fetchall() == expected
        return
    columns = ask(f"SELECT column_name FROM (DESCRIBE {relation(table)})")
    found = [tuple(row.values()) for row in csv_rows(path)]
    assert sorted(found) == sorted(tuple(map(as_text, row)) for row in expected)
    header = path.read_text().splitlines()[0]
    assert header.split(",") == [name for (name,) in columns]


def as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value)


def test_parquet_is_compressed_with_zstd_and_keeps_types(store: Home, tmp_path: Path) -> None:
    export(store, tmp_path)
    path = tmp_path / "models.parquet"
    codecs = duckdb.sql(f"SELECT DISTINCT compression FROM parquet_metadata('{path}')").fetchall()
    assert codecs == [("ZSTD",)]
    types = dict(duckdb.sql(f"SELECT column_name, column_type FROM (DESCRIBE '{path}')").fetchall())
    assert types["input_shape"] == "INTEGER[]"
    assert types["backdoored"] == "BOOLEAN"
    assert types["recipe"] == "VARCHAR"  # not every reader knows Parquet's JSON


def test_csv_ends_lines_with_lf_and_tells_empty_from_unknown(store: Home, tmp_path: Path) -> None:
    export(store, tmp_path, kind="csv")
    for path in tmp_path.glob("*.csv"):
        assert b"\r\n" not in path.read_bytes()
        assert path.read_bytes().endswith(b"\n")
    unknown, empty = (
        duckdb.sql(
            f"SELECT count(*) FROM read_csv('{tmp_path}/models.csv', all_varchar = true, "
            "allow_quoted_nulls = false) "
            f"WHERE state_dict {condition}"
        ).fetchall()[0][0]
        for condition in ("IS NULL", "= ''")
    )
    with connect(store.database) as con:
        assert (unknown, empty) == con.execute(
            "SELECT count(*) FILTER (state_dict IS NULL), count(*) FILTER (state_dict = '') "
            "FROM v_models"
        ).fetchone()
    assert min(unknown, empty) > 0


def test_the_same_catalog_gives_the_same_bytes(
    exported: Path, kind: str, store: Home, annotated: Path, tmp_path: Path
) -> None:
    export(store, tmp_path / "again", kind=kind)
    other = Home.open(tmp_path / "other")
    build(other, annotated)
    export(other, tmp_path / "elsewhere", kind=kind)
    assert hashes(exported) == hashes(tmp_path / "again") == hashes(tmp_path / "elsewhere")


def test_what_was_written_is_told(store: Home, tmp_path: Path, ask: Callable[[str], Rows]) -> None:
    written = export(store, tmp_path)
    assert [file.file for file in written] == [
        "croissant.json", "models.parquet", *(f"{table}.parquet" for table in TABLES)
    ]  # fmt: skip
    for file in written:
        path = tmp_path / file.file
        rows = None
        if file.file != "croissant.json":
            ((rows,),) = ask(f"SELECT count(*) FROM {relation(path.stem)}")
        assert file == Written(path.name, rows, path.stat().st_size, sha256_file(path))


# Which models


def names(folder: Path) -> list[str]:
    found = duckdb.sql(f"SELECT name FROM '{folder}/models.parquet'").fetchall()
    return [name for (name,) in found]


@pytest.mark.parametrize("all", [False, True])
def test_where_chooses_models_and_leaves_the_other_tables_whole(
    all: bool, store: Home, tmp_path: Path, ask: Callable[[str], Rows]
) -> None:
    condition = "dataset = 'cifar10' -- it's \"quoted\""
    written = export(store, tmp_path, where=condition, all=all)
    view = "v_all_models" if all else "v_models"
    expected = ask(f"SELECT name FROM {view} WHERE dataset = 'cifar10' ORDER BY name")
    assert names(tmp_path) == [name for (name,) in expected]
    assert len(expected) > 10
    ((datasets,),) = ask("SELECT count(*) FROM datasets")
    assert {file.file: file.rows for file in written}["datasets.parquet"] == datasets
    assert f"only those where {condition}." in document(tmp_path)["description"]


def test_all_adds_what_the_default_view_leaves_out(
    store: Home, tmp_path: Path, ask: Callable[[str], Rows]
) -> None:
    export(store, tmp_path, all=True)
    assert names(tmp_path) == [name for (name,) in ask("SELECT name FROM v_all_models ORDER BY 1")]
    excluded = duckdb.sql(f"SELECT count(excluded) FROM '{tmp_path}/models.parquet'").fetchall()
    assert excluded[0][0] > 0
    described = {field["name"] for field in fields(tmp_path, "models") if "description" in field}
    assert "accuracy" in described  # though the columns of v_all_models have no comments


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("accuracy > 2", "No model matches --where 'accuracy > 2'"),
        ("accuracies > 0.9", "accuracies"),
        ("", "the condition is empty"),
        ("true) TO '/tmp/stolen.csv'; (SELECT 1", "is not a condition"),
        ("name IN (SELECT content FROM read_text('/etc/passwd'))", "disabled by configuration"),
    ],
)
def test_a_wrong_condition_is_refused_and_nothing_written(
    condition: str, said: str, store: Home, tmp_path: Path
) -> None:
    with pytest.raises(ZooError, match=said):
        export(store, tmp_path / "new", where=condition)
    assert not (tmp_path / "new").exists()


def test_an_unknown_kind_of_file_is_refused(store: Home, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="No kind of file 'parquets'. Nearest: parquet"):
        export(store, tmp_path / "new", kind="parquets")
    assert not (tmp_path / "new").exists()


# Where to


def test_a_folder_with_something_else_is_refused_and_kept(store: Home, tmp_path: Path) -> None:
    (tmp_path / "models.csv").write_text("mine")
    for other in (None, "[]", "{", json.dumps({"name": "cifar"})):
        if other is not None:
            (tmp_path / "croissant.json").write_text(other)
        with pytest.raises(ZooError, match="holds files that `zoo export` did not write"):
            export(store, tmp_path, kind="csv")
    assert (tmp_path / "models.csv").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_is_no_folder(store: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ZooError, match="is not a folder"):
        export(store, tmp_path / "file")
    with pytest.raises(OSError, match="Not a directory"):
        export(store, tmp_path / "file" / "below")


def test_an_earlier_export_is_replaced_and_what_else_is_there_kept(
    store: Home, tmp_path: Path
) -> None:
    (tmp_path / ".git").mkdir()
    export(store, tmp_path)
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "leaderboard.parquet").write_text("mine")
    written = export(store, tmp_path, kind="csv")
    assert {path.name for path in tmp_path.iterdir()} == {
        ".git", "README.md", "leaderboard.parquet", *(file.file for file in written)
    }  # fmt: skip


def test_a_name_with_quotes_and_a_relative_one_are_fine(
    store: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    export(store, Path('it\'s [a] *"folder"'))
    assert (tmp_path / 'it\'s [a] *"folder"' / "codes.parquet").exists()


def test_nothing_but_the_files_to_write_can_be_reached(store: Home, tmp_path: Path) -> None:
    with exporting._opened(store, tmp_path / "staging") as con:
        for question in (
            "FROM read_text('/etc/hostname')",
            f"COPY codes TO '{tmp_path}/codes.csv'",
        ):
            with pytest.raises(duckdb.PermissionException):
                con.execute(question)
        with pytest.raises(duckdb.Error, match="locked"):
            con.execute("SET allowed_directories = ['/']")
    assert not list(tmp_path.iterdir())


def test_a_failed_export_leaves_the_earlier_one(
    store: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(store, tmp_path)
    before = hashes(tmp_path)
    monkeypatch.setitem(croissant._TYPES, "BOOLEAN", float("nan"))  # after the tables are written
    with pytest.raises(ValueError, match="not JSON compliant"):
        export(store, tmp_path, kind="csv")
    assert hashes(tmp_path) == before


def test_an_export_that_was_killed_is_made_good_by_the_next(
    store: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = []

    def replace(old: Path, new: Path) -> None:
        if len(moved) == 3:
            raise KeyboardInterrupt
        moved.append(old)
        old.rename(new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            export(store, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / ".zoo-export").mkdir()
    (tmp_path / ".zoo-export" / "models.parquet").write_text("a part")
    written = export(store, tmp_path)
    assert hashes(tmp_path) == {file.file: file.sha256 for file in written}


# How it is described


def fields(folder: Path, table: str) -> list[dict[str, Any]]:
    (found,) = (entry for entry in document(folder)["recordSet"] if entry["name"] == table)
    return found["field"]


def test_mlcroissant_finds_nothing_to_complain_of(exported: Path, store: Home) -> None:
    context = mlcroissant.Dataset(jsonld=exported / "croissant.json").metadata.ctx
    assert (context.issues.errors, context.issues.warnings) == (set(), {UNPUBLISHED})


def test_a_published_export_says_where_and_when(store: Home, tmp_path: Path) -> None:
    export(store, tmp_path, url="https://example.org/zoo", published=datetime.date(2026, 12, 1))
    found = mlcroissant.Dataset(jsonld=tmp_path / "croissant.json").metadata
    assert found.ctx.issues.warnings == set()
    assert found.url == "https://example.org/zoo"
    assert found.date_published == datetime.datetime(2026, 12, 1)
    assert "url = {https://example.org/zoo}" in str(found.cite_as)


def test_the_document_names_the_catalog_it_describes(exported: Path, store: Home) -> None:
    found = document(exported)
    facts = built_from(store)
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert found["version"] == f"{facts['codebook_version']}.0+{facts['content_hash']}"
    assert found["license"] == "https://spdx.org/licenses/Apache-2.0"
    assert found["url"] == "./"
    assert found["citeAs"].startswith("@misc{zoo-catalog, title = {Zoo: ")
    assert f"version = {{{found['version']}}}}}" in found["citeAs"]


@pytest.mark.parametrize(
    ("codebook", "version"), [("3", "3.0.0+a1"), ("2.1", "2.1.0+a1"), ("2.1.4", "2.1.4+a1")]
)
def test_versions_have_three_parts(codebook: str, version: str) -> None:
    assert exporting._version(codebook, "a1") == version


def test_every_file_is_described_as_it_is(exported: Path, kind: str) -> None:
    for entry in document(exported)["distribution"]:
        path = exported / entry["contentUrl"]
        assert entry["@id"] == entry["name"] == path.name
        assert entry["sha256"] == sha256_file(path)
        assert entry["contentSize"] == f"{path.stat().st_size} B"
        expected = {"parquet": "application/x-parquet", "csv": "text/csv"}[kind]
        assert entry["encodingFormat"] == expected
    assert len(document(exported)["distribution"]) == len(list(exported.iterdir())) - 1


def test_every_column_is_described_as_the_database_does(
    exported: Path, kind: str, ask: Callable[[str], Rows]
) -> None:
    for entry in document(exported)["recordSet"]:
        table = entry["name"]
        columns = ask(
            "SELECT column_name, comment, data_type FROM duckdb_columns() "
            f"WHERE table_name = '{relation(table)}' ORDER BY column_index"
        )
        assert [field["name"] for field in entry["field"]] == [name for name, _, _ in columns]
        for field, (name, comment, type_) in zip(entry["field"], columns, strict=True):
            assert field["@id"] == f"{table}/{name}"
            assert field["source"] == {
                "fileObject": {"@id": f"{table}.{kind}"},
                "extract": {"column": name},
            }
            if kind == "csv" and type_.endswith("[]"):
                comment = f"{comment}; JSON list" if comment else "JSON list"
            assert field.get("description") == comment


def test_types_lists_and_keys(exported: Path, kind: str) -> None:
    found = {field["name"]: field for field in fields(exported, "models")}
    types = {name: field["dataType"] for name, field in found.items()}
    assert types["name"] == types["recipe"] == types["countries"] == "sc:Text"
    assert (types["flops"], types["year"]) == ("sc:Integer", "sc:Integer")
    assert (types["accuracy"], types["has_dropout"]) == ("sc:Float", "sc:Boolean")
    assert "isArray" not in found["name"]
    if kind == "parquet":
        assert (types["input_shape"], types["mean"]) == ("sc:Integer", "sc:Float")
        assert (found["mean"]["isArray"], found["mean"]["arrayShape"]) == (True, "-1")
    else:
        assert (types["input_shape"], types["mean"]) == ("sc:Text", "sc:Text")
        assert "isArray" not in found["mean"]
    keys = {entry["name"]: entry.get("key") for entry in document(exported)["recordSet"]}
    assert keys["models"] == [{"@id": "models/name"}]
    assert len(keys["metrics"]) == 5
    assert keys["annotations"] is None


@pytest.mark.parametrize("table", ["models", "datasets", "papers", "networks", "codes", "codings"])
def test_mlcroissant_reads_the_records(
    table: str, kind: str, store: Home, tmp_path: Path, ask: Callable[[str], Rows]
) -> None:
    where = "purpose = 'security' OR recipe IS NOT NULL"
    export(store, tmp_path, kind=kind, where=where)
    condition = where if table == "models" else "true"
    expected = ask(f"FROM {relation(table)} WHERE {condition} ORDER BY ALL")
    columns = [field["name"] for field in fields(tmp_path, table)]
    read = mlcroissant.Dataset(jsonld=tmp_path / "croissant.json").records(table)
    found = [[plain(record[f"{table}/{column}"]) for column in columns] for record in read]
    if kind == "csv":
        expected = [[in_csv(value) for value in row] for row in expected]
        if table == "papers":  # it reads 2312.04960 as a number, though it is said to be text
            for row in (*found, *expected):
                row[columns.index("arxiv")] = None
        # A file is in the order of its texts, where 28 comes before 8.
        found, expected = (sorted(rows, key=str) for rows in (found, expected))
    assert found == [list(row) for row in expected]


def plain(value: Any) -> Any:
    """What mlcroissant read, with its bytes as text."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def in_csv(value: Any) -> Any:
    """What a CSV file can say of a value; pandas takes an empty text for an unknown one."""
    return as_text(value) if isinstance(value, list) else None if value == "" else value
