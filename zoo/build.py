"""Build the catalog from the annotation files and the user's own entries."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from annotations.load import FOLDER, load, write_cell
from annotations.record import AnnotationError, Annotations, Row
from zoo.added import entry_files, read_added
from zoo.database import CATALOG_TABLES, connect, content_hash, one_line, publish
from zoo.errors import ZooError
from zoo.files import canonical_json
from zoo.home import Home

_SCHEMA = Path(__file__).with_name("schema.sql")
_SOURCES = {"selftrained": "selftrained", "published": "published", "added": "local"}
_ARTIFACT = ("sha256", "size", "mirror_path", "url", "state_dict", "strip_prefix")


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
    except AnnotationError as problem:
        raise ZooError(f"{problem}. Correct the files and run `zoo build` again.") from problem
    except OSError as problem:
        raise ZooError(
            f"The annotations in {folder} cannot be read: {problem}. `zoo build` alone goes back "
            "to those that come with this program."
        ) from problem
    tables = _tables(annotations, read_added(home, annotations))
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
    """Hex sha256 over every file that the catalog is built from, and over this file."""
    files = [*folder.rglob("*.csv"), *folder.rglob("*.toml")]
    named = [(path.relative_to(folder).as_posix(), path) for path in files]
    named += [(path.name, path) for path in (_SCHEMA, Path(__file__))]
    named += [(path.relative_to(home.root).as_posix(), path) for path in entry_files(home)]
    sha = hashlib.sha256()
    for name, path in sorted(named):
        sha.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return sha.hexdigest()


def _tables(annotations: Annotations, added: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
    """The rows of every table of the catalog."""
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in CATALOG_TABLES}
    rows = {**annotations.rows, "added": list(added)}
    for table in ("papers", "families", "architectures", "datasets", "metrics"):
        tables[table] = [dict(row.values) for row in rows[table]]
    for table, source in _SOURCES.items():
        for row in rows[table]:
            model = {k: v for k, v in row.values.items() if k not in _ARTIFACT}
            recipe = model.get("recipe")
            model["recipe"] = (
                canonical_json(annotations.recipes[str(recipe)]) if recipe is not None else None
            )
            tables["models"].append({**model, "source": source})
            if "sha256" in row.values:
                artifact = {name: row.values[name] for name in _ARTIFACT}
                for path in ("state_dict", "strip_prefix"):
                    artifact[path] = artifact[path] or ""
                tables["artifacts"].append({**artifact, "model": row.key})
    entities = {table.name: table.entity for table in annotations.codebook.tables.values()}
    for table in rows:
        for row in rows[table]:
            tables["annotations"] += [
                {
                    "entity": entities.get(table, "models"),
                    "entity_id": row.key,
                    "field": field,
                    "value": write_cell(value),
                    **vars(row.provenance),
                    "codebook_version": annotations.codebook.version,
                    "file": row.file,
                    "line": row.line,
                }
                for field, value in row.values.items()
                if value is not None
            ]
    return tables


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    if not rows:
        return
    columns = sorted(rows[0])
    values = [
        list(value) if isinstance(value, tuple) else value
        for row in rows
        for value in (row[column] for column in columns)
    ]
    places = f"({', '.join('?' * len(columns))})"
    con.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([places] * len(rows))}",
        values,
    )


def _carry_evaluations(con: duckdb.DuckDBPyConnection, old: Path) -> None:
    """Copy the index of evaluations, unless an older version of this program wrote it.

    What is left out is indexed again from the files under ``cells/``.
    """
    if not old.exists():
        return
    quoted = str(old).replace("'", "''")
    con.execute(f"ATTACH '{quoted}' AS old (READ_ONLY)")
    columns = "SELECT column_name FROM duckdb_columns() WHERE table_name = 'evaluations'"
    new_columns = con.execute(f"{columns} AND database_name <> 'old' ORDER BY ALL").fetchall()
    old_columns = con.execute(f"{columns} AND database_name = 'old' ORDER BY ALL").fetchall()
    if new_columns == old_columns:
        con.execute("INSERT INTO evaluations BY NAME SELECT * FROM old.evaluations")
    con.execute("DETACH old")
