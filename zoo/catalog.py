"""Ask the catalog: which models there are, and what is known about each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import duckdb

from zoo.added import entry_file
from zoo.at_hand import folders, is_at_hand
from zoo.build import refresh
from zoo.database import connect, one_line
from zoo.entry import Artifact, ModelEntry
from zoo.errors import UnknownNameError, ZooError, unknown
from zoo.home import Home
from zoo.recipe import Recipe
from zoo.search import find, nearest
from zoo.sources.blobs import recorded

if TYPE_CHECKING:
    import pandas as pd

Table = tuple[list[str], list[tuple[Any, ...]]]
"""Column names, and rows."""

Purpose = Literal["benchmark", "security", "other"]
PURPOSES: tuple[str, ...] = get_args(Purpose)

DEFAULT_COLUMNS = (
    "name",
    "purpose",
    "dataset",
    "architecture",
    "parameters",
    "accuracy",
    "accuracy_by",
    "backdoored",
)


def open_catalog(home: Home | None = None) -> "Catalog":
    """The catalog of a store, built first if it is missing or older than its annotations.

    Args:
        home: The store; by default the one at ``$ZOO_HOME``.

    Raises:
        ZooError: It had to be built and an annotation is wrong.
    """
    home = home or Home.open()
    refresh(home)
    return Catalog(home)


@dataclass(frozen=True)
class Catalog:
    """Questions to the catalog. Each opens the database for itself, so none sees an old one."""

    home: Home

    def names(self) -> list[str]:
        """Every model, sorted."""
        return self._column("SELECT name FROM models ORDER BY name")

    def entry(self, name: str) -> ModelEntry:
        """The model of that name.

        Raises:
            UnknownNameError: There is none; the text shows the nearest names.
        """
        return _entry(*self._model(name))

    def entries(
        self, where: str | None = None, *, dataset: str | None = None, purpose: str | None = None
    ) -> list[ModelEntry]:
        """The models of ``v_models`` that match all that is given, sorted by name.

        Those that take no images, but volumes, are left out: nothing here can load them.

        Args:
            where: SQL expression over the columns of ``v_models``.
            dataset: Key of a dataset.
            purpose: One of `PURPOSES`.

        Raises:
            ZooError: The expression is wrong, or a name is unknown.
        """
        header, rows = self.list(["*"], where, dataset, purpose)
        shape = header.index("input_shape")
        return [_entry(header, row) for row in rows if row[shape] is not None]

    def models(
        self,
        where: str | None = None,
        *,
        columns: Sequence[str] = ("*",),
        search: str | None = None,
        all: bool = False,
    ) -> "pd.DataFrame":
        """Models as a pandas frame, one row each: see `list` for the arguments.

        Raises:
            ZooError: The expression is wrong, or a name is unknown.
        """
        return _frame(self.list(columns, where, search=search, all=all))

    def query(self, sql: str) -> "pd.DataFrame":
        """The answer to one question in SQL, as a pandas frame: see `sql`.

        Raises:
            ZooError: It is not one question, or DuckDB refuses it.
        """
        return _frame(self.sql(sql))

    def list(
        self,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        where: str | None = None,
        dataset: str | None = None,
        purpose: str | None = None,
        limit: int | None = None,
        *,
        search: str | None = None,
        all: bool = False,
        sort: str | None = None,
    ) -> Table:
        """Columns of ``v_models`` for the models that match, sorted by name.

        Args:
            columns: Names of columns, or ``["*"]`` for all.
            where: SQL expression over the columns.
            dataset: Key of a dataset.
            purpose: One of `PURPOSES`.
            limit: How many models at most.
            search: Words that describe the models; one that they name comes first, then the best
                matches.
            all: Also those that ``v_models`` leaves out.
            sort: Column to sort by instead; with ``-`` before it, the largest first.

        Raises:
            ZooError: The expression is wrong, or a name is unknown.
        """
        if purpose is not None and purpose not in PURPOSES:
            raise unknown("purpose", purpose, PURPOSES)
        given = {"dataset": dataset, "purpose": purpose}
        filters = {column: value for column, value in given.items() if value is not None}
        conditions = ["true", *(f"{column} = ?" for column in filters)]
        values: list[Any] = list(filters.values())
        view = "v_all_models" if all else "v_models"
        with connect(self.home.database) as con:
            known = _fetch(con, "SELECT * FROM v_models LIMIT 0")[0]
            for column in columns:
                if column != "*" and column not in known:
                    raise unknown("column", column, known)
            if dataset is not None:
                datasets = [key for (key,) in _fetch(con, "SELECT key FROM datasets")[1]]
                if dataset not in datasets:
                    raise unknown("dataset", dataset, datasets)
            if where is not None:
                _check_expression(con, where)
                conditions.append(f"(\n{where}\n)")  # the line break ends a comment
            # Of the joined tables only the view's columns are shown.
            chosen = [f"{view}.{column}" for column in columns]
            # What is at hand today is not known to a database that was built before.
            now = (
                "(SELECT * REPLACE (CASE WHEN attackable = 'with data' AND "
                "list_contains(?, dataset) THEN 'here' ELSE attackable END AS attackable) "
                f"FROM {view}) AS {view}"
            )
            values.insert(0, _at_hand(con))
            query, order = f"SELECT {', '.join(chosen)} FROM {now}", "name"
            if search is not None:
                find(con, search)
                query += " JOIN found USING (name)"
                order = "called DESC, score DESC, accuracy DESC NULLS LAST, name"
            if sort is not None:
                column = sort.removeprefix("-")
                if column not in known:
                    raise unknown("column", column, known)
                direction = "DESC" if sort.startswith("-") else "ASC"
                order = f"{view}.{column} {direction} NULLS LAST, name"
            query += f" WHERE {' AND '.join(conditions)} ORDER BY {order}"
            if limit is not None:
                query += f" LIMIT {limit:d}"
            return _fetch(con, query, values)

    def dataset(self, key: str) -> dict[str, Any]:
        """The columns of ``datasets`` for one dataset.

        Raises:
            UnknownNameError: There is none; the text shows the nearest names.
        """
        found = self._records("SELECT * FROM datasets WHERE key = ?", [key])
        if not found:
            raise unknown("dataset", key, self._column("SELECT key FROM datasets"))
        return found[0]

    def accuracy(self, name: str) -> "list[dict[str, Any]]":
        """What others measured of a model: split, value, n, evaluator and notes of each accuracy.

        The publisher's claims come first, then what was measured on the mirror's files.
        """
        return self._records(
            "SELECT split, value, n, evaluator, notes FROM metrics "
            "WHERE model = ? AND metric = 'accuracy' "
            "ORDER BY evaluator = 'source' DESC, n DESC, split",
            [name],
        )

    def show(self, name: str) -> dict[str, Any]:
        """Everything known about a model: its values, the metrics, and where each comes from.

        Raises:
            UnknownNameError: There is no such model; the text shows the nearest names.
        """
        header, row = self._model(name)
        model = dict(zip(header, row, strict=True))
        facts = self._records(
            """
            WITH about AS (
                FROM annotations
                WHERE (entity, entity_id) IN (
                    ('models', $name), ('datasets', $dataset), ('exclusions', $name),
                    ('pins', $name),
                    ('architectures', $architecture), ('families', $family),
                    ('networks', $network)
                )
                OR (entity = 'metrics' AND starts_with(entity_id, $name || ' '))
            )
            FROM about
            UNION ALL
            FROM annotations
            WHERE entity = 'papers' AND entity_id IN (SELECT value FROM about WHERE field = 'paper')
            ORDER BY entity <> 'models', entity, entity_id, field
            """,
            {key: model[key] for key in ("name", "dataset", "architecture", "family")}
            | {"network": _network_key(model)},
        )
        metrics = self._records(
            "SELECT * EXCLUDE model FROM metrics WHERE model = ? ORDER BY ALL", [name]
        )
        return {
            "model": model,
            "metrics": metrics,
            "fetched": recorded(self.home, name),
            "facts": facts,
        }

    def sql(self, query: str) -> Table:
        """The answer to one question in SQL, which can read the catalog and nothing else.

        Raises:
            ZooError: It is not one question, or DuckDB refuses it.
        """
        with connect(self.home.database) as con:
            try:
                statements = con.extract_statements(query)
            except duckdb.Error as problem:
                raise ZooError(one_line(problem)) from problem
            asks = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
            if len(statements) != 1 or statements[0].type not in asks:
                raise ZooError(
                    "Ask one question: a single SELECT, FROM, DESCRIBE, SHOW or EXPLAIN. The "
                    "catalog cannot be changed from here."
                )
            return _fetch(con, query)

    def _model(self, name: str) -> tuple[Sequence[str], Sequence[Any]]:
        """Columns and values of ``v_all_models`` for one model."""
        with connect(self.home.database) as con:
            header, rows = _fetch(con, "SELECT * FROM v_all_models WHERE name = ?", [name])
            if rows:
                return header, rows[0]
            near = nearest(con, name)
        if (record := entry_file(self.home, name)).is_file():
            raise ZooError(
                f"No model {name!r}: {record} is left out of the catalog. `zoo build` says why."
            )
        raise UnknownNameError(
            f"No model {name!r}. "
            + (f"Nearest: {', '.join(near)}." if near else "Search with `zoo list --search WORDS`.")
        )

    def _column(self, query: str) -> "list[str]":
        with connect(self.home.database) as con:
            return [value for (value,) in _fetch(con, query)[1]]

    def _records(
        self, query: str, parameters: Sequence[Any] | dict[str, Any]
    ) -> "list[dict[str, Any]]":
        with connect(self.home.database) as con:
            header, rows = _fetch(con, query, parameters)
        return [dict(zip(header, row, strict=True)) for row in rows]


def _fetch(
    con: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[Any] | dict[str, Any] | None = None,
) -> Table:
    try:
        result = con.execute(query, parameters or None)
        return [column[0] for column in result.description or []], result.fetchall()
    except duckdb.Error as problem:
        raise ZooError(one_line(problem)) from problem


def _check_expression(con: duckdb.DuckDBPyConnection, where: str) -> None:
    """Refuse an empty text, and one that closes the brackets it is put in and goes on with SQL."""
    if all(kind is duckdb.token_type.comment for _, kind in duckdb.tokenize(where)):
        raise ZooError(
            f'--where {where!r}: the condition is empty. Write one, like "accuracy > 0.9", or '
            "leave the option out."
        )
    for opening, closing in ("()", "[]"):
        try:
            statements = con.extract_statements(f"SELECT {opening}\n{where}\n{closing}")
        except duckdb.Error as problem:
            raise ZooError(
                f"--where {where!r} is not a condition: {one_line(problem)}"
            ) from problem
        if len(statements) != 1:
            raise ZooError(f"--where {where!r} is more than one condition.")


def _frame(table: Table) -> "pd.DataFrame":
    import pandas as pd

    header, rows = table
    return pd.DataFrame(rows, columns=header)


def _at_hand(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The datasets whose files are in the folders that the environment names."""
    data_dir, mirror = folders()
    _, rows = _fetch(con, "SELECT key, files FROM datasets")
    return [
        key
        for key, files in rows
        if is_at_hand(files if files is not None else [f"{key}.toml"], data_dir, mirror)
    ]


def _network_key(model: dict[str, Any]) -> str:
    """Key of the row with what was counted on a model's network."""
    shape = ";".join(map(str, model["input_shape"] or ()))
    return f"{model['architecture']} {shape} {model['num_classes']}"


def _entry(header: Sequence[str], row: Sequence[Any]) -> ModelEntry:
    values = dict(zip(header, row, strict=True))
    if values["input_shape"] is None:
        raise ZooError(
            f"{values['name']} takes neither images nor rows of a table ({values['notes']}): it is "
            "in the catalog to be counted and compared, not to be loaded."
        )
    artifact = None
    if values["state_dict"] is not None:
        artifact = Artifact(**{name: values[name] for name in Artifact.__dataclass_fields__})
    return ModelEntry(
        name=values["name"],
        source=values["source"],
        purpose=values["purpose"],
        dataset=values["dataset"],
        architecture=values["architecture"],
        input_shape=tuple(values["input_shape"]),
        num_classes=values["num_classes"],
        mean=None if values["mean"] is None else tuple(values["mean"]),
        std=None if values["std"] is None else tuple(values["std"]),
        licence=values["licence"],
        backdoored=values["backdoored"],
        artifact=artifact,
        recipe=None if values["recipe"] is None else Recipe(**json.loads(values["recipe"])),
        resize=values["resize"],
        fit=values["fit"],
        interpolation=values["interpolation"],
    )
