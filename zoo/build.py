"""Build the catalog from the annotation files and the user's own entries."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from annotations.cells import write_cell
from annotations.codings import Round, load_round, rounds
from annotations.load import FOLDER, load
from annotations.record import AnnotationError, Annotations, Provenance, Row, Table
from zoo.added import ARTIFACT, NETWORK, Added, entry_files, read_added
from zoo.database import (
    CATALOG_TABLES,
    connect,
    content_hash,
    not_opened,
    one_line,
    publish,
    quoted,
)
from zoo.errors import ZooError
from zoo.files import write_atomic
from zoo.home import Home
from zoo.search import split_words

_SCHEMA = Path(__file__).with_name("schema.sql")
_PLAIN = ("papers", "families", "architectures", "networks", "datasets", "metrics", "exclusions")
_MODEL = (
    "name",
    "source_name",
    "purpose",
    "task",
    "dataset",
    "architecture",
    "input_shape",
    "num_classes",
    "mean",
    "std",
    "resize",
    "fit",
    "interpolation",
    "licence",
    "paper",
    "pretraining",
    "extra_data",
    "backdoored",
    "notes",
)


def build(home: Home, annotations_dir: Path | None = None) -> str:
    """Write the catalog anew, keeping the index of evaluations, and return its content hash.

    The hash depends on the annotations and the user's own entries only.

    Args:
        home: Where the database goes.
        annotations_dir: Annotations to use instead of those that come with this program; later
            builds that nobody asked for use them too.

    Raises:
        ZooError: An annotation is wrong; every problem is named with its file and line.
    """
    folder = annotations_dir or FOLDER
    inputs = inputs_hash(home, folder)  # before they are read: a later change will be noticed
    try:
        annotations = load(folder)
        coded = [load_round(name, folder) for name in rounds(folder)]
    except AnnotationError as problem:
        raise ZooError(f"{problem}. Correct the files and run `zoo build` again.") from problem
    except OSError as problem:
        raise ZooError(
            f"The annotations in {folder} cannot be read: {problem}. `zoo build` alone goes back "
            "to those that come with this program."
        ) from problem
    tables = _tables(annotations, read_added(home, annotations)) | _coding(coded)
    try:
        with publish(home.database) as con:
            con.execute(_SCHEMA.read_text(encoding="utf-8"))
            for table in CATALOG_TABLES:
                _insert(con, table, tables[table])
            _carry_evaluations(con, home.database)
            content = content_hash(con)
            facts = {
                "content_hash": content,
                "inputs_hash": inputs,
                "codebook_version": annotations.codebook.version,
                "annotations_dir": str(annotations_dir.resolve()) if annotations_dir else None,
            }
            _insert(con, "build", [{"key": key, "value": value} for key, value in facts.items()])
    except duckdb.Error as problem:
        raise ZooError(f"The catalog could not be built: {one_line(problem)}") from problem
    return content


def refresh(home: Home) -> bool:
    """Build the catalog if it is missing or older than what it is built from; whether it was.

    Raises:
        ZooError: It had to be built, and an annotation is wrong.
    """
    folder = None
    if home.read_only and not home.database.exists():
        with suppress(OSError):  # there is none, or it may not be read
            write_atomic(home.database, (home.root / home.database.name).read_bytes())
    if home.database.exists():
        facts = built_from(home)
        folder = Path(facts["annotations_dir"]) if facts["annotations_dir"] else None
        if facts["inputs_hash"] == inputs_hash(home, folder or FOLDER):
            return False
    build(home, folder)
    return True


def built_from(home: Home) -> dict[str, str | None]:
    """The ``build`` table of an existing catalog: hashes, codebook version, annotations folder."""
    with connect(home.database) as con:
        return dict(con.execute("SELECT key, value FROM build").fetchall())


def inputs_hash(home: Home, folder: Path) -> str:
    """Hex sha256 over every file that the catalog is built from, and over the code that does it."""
    files = [path for kind in ("*.csv", "*.toml") for path in folder.rglob(kind)]
    named = [(path.relative_to(folder).as_posix(), path) for path in files]
    code = [*FOLDER.glob("*.py"), _SCHEMA]
    code += [_SCHEMA.with_name(f"{name}.py") for name in ("added", "build", "database", "search")]
    named += [(path.name, path) for path in code]
    named += [(path.relative_to(home.root).as_posix(), path) for path in entry_files(home)]
    sha = hashlib.sha256()
    for name, path in sorted(named):
        sha.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return sha.hexdigest()


def _tables(annotations: Annotations, added: Added) -> dict[str, list[dict[str, Any]]]:
    """The rows of every table of the catalog."""
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in CATALOG_TABLES}
    tables["sources"] = [
        {
            "key": origin.key,
            "title": origin.title,
            "url": origin.url,
            "version": origin.version,
            "licence": origin.licence,
            "publisher_type": origin.publisher_type,
        }
        for origin in annotations.origins.values()
    ]
    for entity in _PLAIN:
        rows = [*annotations.of(entity), *added.brought.get(entity, ())]
        tables[entity] = [dict(row.values) for row in rows]
    tables["codes"] = [
        {"code_group": group, "code": code, "columns": columns}
        for group, codes in annotations.codebook.codes.items()
        for code, columns in codes.items()
    ]
    models = [*annotations.of("models"), *added.models]
    recipes = {**annotations.recipes, **added.recipes}
    pins = {row.values["model"]: row.values for row in annotations.of("pins")}
    for row in models:
        model: dict[str, Any] = {k: v for k, v in row.values.items() if k in _MODEL}
        recipe = row.values.get("recipe")
        model["recipe"] = recipe and dict(sorted(recipes[str(recipe)].items()))
        tables["models"].append({**model, "source": _source(row)})
        pin = pins.get(row.key, {})
        artifact = {name: row.values.get(name) or pin.get(name) for name in ARTIFACT}
        if any(value is not None for value in artifact.values()):
            for path in ("state_dict", "strip_prefix"):
                artifact[path] = artifact[path] or ""
            artifact["in_order"] = bool(artifact["in_order"])
            tables["artifacts"].append({**artifact, "model": row.key})
    tables["networks"] += _counted(added.models, tables["networks"])
    tables["words"] = list(_words(annotations, added, models))
    for name, table in annotations.codebook.tables.items():
        if table.entity != "evidence":
            for row in annotations.rows[name]:
                tables["annotations"] += _facts(annotations, table, row)
    like_published = replace(annotations.codebook.tables["published"], origin=None)
    for row in added.models:
        tables["annotations"] += _facts(annotations, like_published, row)
    for kind, brought in added.brought.items():
        for row in brought:
            tables["annotations"] += _facts(annotations, annotations.codebook.tables[kind], row)
    for row in _documents(annotations):
        document = Table(row.table, row.file, row.table, (), {})
        tables["annotations"] += _facts(annotations, document, row)
    return tables


def _coding(rounds: Sequence[Round]) -> dict[str, list[dict[str, Any]]]:
    """What coders wrote, and what was decided where they disagreed."""
    return {
        "codings": [
            {"round": part.name, "coder": coder, **vars(cell), "value": value or None}
            for part in rounds
            for coder, cells in part.codings.items()
            for cell, value in cells.items()
        ],
        "adjudications": [
            {"round": part.name, **vars(cell), **vars(said), "value": said.value or None}
            for part in rounds
            for cell, said in part.decisions.items()
        ],
    }


def _source(row: Row) -> str:
    return "local" if row.table == "added" else row.table


def _counted(added: Sequence[Row], networks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was counted on the networks of users' models, where the annotations have no counts."""
    known = {(n["architecture"], n["input_shape"], n["num_classes"]) for n in networks}
    found: dict[Any, dict[str, Any]] = {}
    for row in added:
        key = tuple(row.values[name] for name in ("architecture", "input_shape", "num_classes"))
        if key not in known and "counted_with" in row.values:
            found[key] = {name: row.values[name] for name in NETWORK}
    return list(found.values())


def _words(
    annotations: Annotations, added: Added, models: Sequence[Row]
) -> Iterator[dict[str, Any]]:
    """The words that each model is found by."""

    def known(kind: str) -> list[Row]:
        return [*annotations.of(kind), *added.brought[kind]]

    families = {row.key: row.values for row in known("families")}
    family = {row.key: str(row.values["family"]) for row in known("architectures")}
    datasets = {row.key: row.values for row in known("datasets")}
    papers = {row.key: row.values for row in annotations.of("papers")}
    for row in models:
        values = row.values
        kind = families[family[str(values["architecture"])]]
        dataset = datasets[str(values["dataset"])]
        texts = [values[name] for name in ("name", "source_name", "purpose", "licence", "notes")]
        texts += [values["architecture"], kind["key"], kind["name"], dataset["key"]]
        texts += [dataset["name"], dataset["topic"], _source(row)]
        for paper in (values["paper"], kind["paper"]):
            if paper is not None:
                texts += [papers[str(paper)]["title"], papers[str(paper)]["venue"]]
        words = {word for text in texts if text is not None for word in split_words(str(text))}
        for word in sorted(words):
            yield {"model": row.key, "word": word}


def _documents(annotations: Annotations) -> Iterator[Row]:
    """The tables of TOML files as rows: sources and training recipes."""
    for origin in annotations.origins.values():
        names = ("title", "url", "version", "licence", "publisher_type")
        yield Row(
            table="sources",
            key=origin.key,
            values={name: getattr(origin, name) for name in names},
            provenance=origin.default,
            file="sources.toml",
            line=1,
        )
    ours = Provenance(
        coder="maintainers", method="manual", confidence="high", evidence="defined by this project"
    )
    for name, recipe in annotations.recipes.items():
        yield Row(
            table="recipes",
            key=name,
            values=recipe,
            provenance=ours,
            file="recipes.toml",
            line=1,
        )


def _facts(annotations: Annotations, table: Table, row: Row) -> Iterator[dict[str, Any]]:
    """Every value of a row that is known, with where it comes from; what names the row is none."""
    for field, value in row.values.items():
        if value is not None and field not in table.key:
            yield {
                "entity": table.entity,
                "entity_id": row.key,
                "field": field,
                "value": write_cell(value),
                "source": table.origin,
                **vars(row.own.get(field, row.provenance)),
                "codebook_version": annotations.codebook.version,
                "file": row.file,
                "line": row.line,
            }


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; columns that a row leaves out are NULL.

    They go through a file of JSON lines, which is some thirty times faster than parameters.
    """
    if not rows:
        return
    described = con.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?", [table]
    ).fetchall()
    columns = ", ".join(f"'{name}': '{type_}'" for name, type_ in described)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        with path.open("w", encoding="utf-8") as file:
            encode = json.JSONEncoder(ensure_ascii=False).encode
            file.writelines(encode(row) + "\n" for row in rows)
        con.execute(
            f"INSERT INTO {table} BY NAME SELECT * FROM read_json(?, columns = {{{columns}}}, "
            "format = 'newline_delimited')",
            [str(path)],
        )


def _carry_evaluations(con: duckdb.DuckDBPyConnection, old: Path) -> None:
    """Copy the index of evaluations, unless an older version of this program wrote it.

    What is left out is indexed again from the files under ``cells/``.
    """
    if not old.exists():
        return
    try:
        con.execute(f"ATTACH {quoted(old)} AS old (READ_ONLY)")
    except duckdb.Error as problem:
        raise not_opened(old, problem, " Delete it: it is only an index.") from problem
    columns = "SELECT column_name FROM duckdb_columns() WHERE table_name = 'evaluations'"
    new_columns = con.execute(f"{columns} AND database_name <> 'old' ORDER BY ALL").fetchall()
    old_columns = con.execute(f"{columns} AND database_name = 'old' ORDER BY ALL").fetchall()
    if new_columns == old_columns:
        con.execute("INSERT INTO evaluations BY NAME SELECT * FROM old.evaluations")
    con.execute("DETACH old")
