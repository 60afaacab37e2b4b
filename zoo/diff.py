"""Which facts changed between two catalogs."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb

from zoo.build import build
from zoo.database import NO_EXTENSIONS, one_line, quoted
from zoo.errors import ZooError
from zoo.home import Home


@dataclass(frozen=True)
class Change:
    """One value that is not the same, or not from the same source.

    Attributes:
        change: ``added``, ``removed``, ``changed``, or ``evidence``: the value is the same, but
            who wrote it down, how, or how sure they are is not.
        entity: Kind of thing: ``models``, ``papers``.
        entity_id: Key of the thing.
        field: Column.
        old: What it was: the value, or the provenance.
        new: What it is.
        file: Where the new value stands, or where the old one stood.
        line: In that file.
    """

    change: str
    entity: str
    entity_id: str
    field: str
    old: str | None
    new: str | None
    file: str
    line: int


_PROVENANCE = "concat_ws(', ', {0}.coder, {0}.method, {0}.confidence, {0}.evidence)"
_QUERY = f"""
WITH
    before AS (SELECT *, {_PROVENANCE.format("a")} AS said FROM old.annotations AS a),
    after AS (SELECT *, {_PROVENANCE.format("a")} AS said FROM new.annotations AS a),
    paired AS (
        SELECT
            coalesce(before.entity, after.entity) AS entity,
            coalesce(before.entity_id, after.entity_id) AS entity_id,
            coalesce(before.field, after.field) AS field,
            before.value AS was, after.value AS is_now,
            before.said AS said_before, after.said AS said_now,
            coalesce(after.file, before.file) AS file,
            coalesce(after.line, before.line) AS line
        FROM before
        FULL JOIN after USING (entity, entity_id, field)
    )
SELECT
    CASE
        WHEN was IS NULL THEN 'added'
        WHEN is_now IS NULL THEN 'removed'
        WHEN was <> is_now THEN 'changed'
        ELSE 'evidence'
    END AS change,
    entity, entity_id, field,
    CASE WHEN was = is_now THEN said_before ELSE was END,
    CASE WHEN was = is_now THEN said_now ELSE is_now END,
    file, line
FROM paired
WHERE was IS DISTINCT FROM is_now OR said_before IS DISTINCT FROM said_now
ORDER BY entity, entity_id, field
"""


def diff(old: Path, new: Path) -> list[Change]:
    """Every fact that differs, sorted by entity, key and field.

    Args:
        old: A folder of annotations, a store, or a catalog's ``.duckdb`` file.
        new: Another one.

    Raises:
        ZooError: One of them is no catalog, or its annotations are wrong.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            name: _database(path, Path(folder) / name)
            for name, path in (("old", old), ("new", new))
        }
        with duckdb.connect(config=dict(NO_EXTENSIONS)) as con:
            for name, path in paths.items():
                try:
                    con.execute(f"ATTACH {quoted(path)} AS {name} (READ_ONLY)")
                except duckdb.Error as problem:
                    raise ZooError(f"{path} is no catalog: {one_line(problem)}") from problem
            # A view in a stranger's database could read any file.
            con.execute("SET enable_external_access = false")
            con.execute("SET lock_configuration = true")
            try:
                return [Change(*row) for row in con.execute(_QUERY).fetchall()]
            except duckdb.Error as problem:
                raise ZooError(
                    f"{old} or {new} is no catalog of this program: {one_line(problem)}"
                ) from problem


def _database(path: Path, scratch: Path) -> Path:
    """The database of a catalog, built in ``scratch`` if only its annotations were named."""
    if path.is_file():
        return path
    if (path / "zoo.duckdb").is_file():
        return path / "zoo.duckdb"
    if (path / "codebook.toml").is_file():
        home = Home.open(scratch)
        build(home, path)
        return home.database
    raise ZooError(
        f"{path} is no catalog. Name a folder of annotations, a store ($ZOO_HOME), or a catalog's "
        ".duckdb file."
    )
