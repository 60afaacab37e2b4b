"""What the catalog holds, in numbers: how much, how complete, and SecurityNet's Figure 1."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zoo.catalog import PURPOSES, Catalog
from zoo.database import connect

_TOP = 12  # bars of a panel


@dataclass(frozen=True)
class Panel:
    """One part of the figure: how many models there are of each kind.

    Attributes:
        title: What is counted.
        columns: What the groups are, the purposes, and ``models`` for all of them.
        rows: For each group its label and its numbers of models; years in order, else the largest
            groups first.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True)
class Stats:
    """The catalog in numbers.

    Attributes:
        counts: What there is how much of, in reading order.
        excluded: Why how many models are left out of the default view.
        unfilled: By code of the codebook, how many models have no value.
        panels: SecurityNet's Figure 1, by name of the panel.
    """

    counts: Mapping[str, int]
    excluded: Mapping[str, int]
    unfilled: Mapping[str, int]
    panels: Mapping[str, Panel]


def stats(catalog: Catalog) -> Stats:
    """Count the models of the default view."""
    with connect(catalog.home.database) as con:

        def rows(sql: str, *values: Any) -> list[tuple[Any, ...]]:
            return con.execute(sql, list(values)).fetchall()

        con.execute("CREATE TEMP TABLE chosen AS SELECT * FROM v_models")
        codes = rows("SELECT code_group, code, columns FROM codes")
        unfilled = {
            code: rows(f"SELECT count(*) FROM chosen WHERE {_missing(columns)}")[0][0]
            for _, code, columns in codes
        }
        excluded = rows("SELECT reason, count(*) FROM exclusions GROUP BY ALL ORDER BY ALL")
        return Stats(_counts(rows, codes), dict(excluded), unfilled, _panels(rows))


_Rows = Callable[..., list[tuple[Any, ...]]]


def _missing(columns: list[str]) -> str:
    return " OR ".join(f"{column} IS NULL" for column in columns)


def _counts(rows: _Rows, codes: list[tuple[Any, ...]]) -> dict[str, int]:
    def complete(*groups: str, but: tuple[str, ...] = ()) -> int:
        missing = [_missing(c) for group, code, c in codes if group in groups and code not in but]
        return rows(f"SELECT count(*) FROM chosen WHERE NOT ({' OR '.join(missing)})")[0][0]

    def number(sql: str) -> int:
        return rows(f"SELECT {sql}")[0][0]

    return {
        "models": number("count(*) FROM chosen"),
        "models, also those left out": number("count(*) FROM models"),
        "with every code of SecurityNet's codebook": complete("securitynet"),
        "with every code of it and ours, but accuracy and overfitting": complete(
            "securitynet", "zoo", but=("accuracy", "overfitting_level")
        ),
        "with every code": complete("securitynet", "zoo"),
        "with an accuracy": number("count(accuracy) FROM chosen"),
        "with an overfitting level": number("count(overfitting_level) FROM chosen"),
        "with a hash of the weights, or trained here": number(
            "count(*) FROM chosen WHERE coalesce(sha256, sha256_prefix, sha1) IS NOT NULL "
            "OR source IN ('selftrained', 'local')"
        ),
        "with weights that can be fetched": number(
            "count(*) FROM chosen WHERE coalesce(url, hub_repo, mirror_path) IS NOT NULL "
            "OR source IN ('selftrained', 'local')"
        ),
        "for security research": number("count(*) FROM chosen WHERE purpose = 'security'"),
        "sources": number("count(DISTINCT source) FROM chosen"),
        "datasets": number("count(*) FROM datasets"),
        "datasets that models were trained on": number("count(DISTINCT dataset) FROM chosen"),
        "architecture families": number("count(*) FROM families"),
        "architecture families of models": number("count(DISTINCT family) FROM chosen"),
        "architectures of models": number("count(DISTINCT architecture) FROM chosen"),
        "papers": number("count(*) FROM papers"),
        "facts with their source": number("count(*) FROM annotations"),
        "facts that are recalled only": number(
            "count(*) FROM annotations WHERE evidence LIKE '%recalled%'"
        ),
    }


def _panels(rows: _Rows) -> dict[str, Panel]:
    def grouped(title: str, label: str, where: str = "true", source: str = "chosen") -> Panel:
        order = "label" if label == "year" else "models DESC, label"
        limit = "" if label == "year" else f"LIMIT {_TOP}"
        parts = ", ".join(f"count(*) FILTER (purpose = '{p}') AS {p}" for p in PURPOSES)
        found = rows(
            f"SELECT {label} AS label, {parts}, count(*) AS models FROM {source} "
            f"WHERE {label} IS NOT NULL AND {where} GROUP BY ALL ORDER BY {order} {limit}"
        )
        return Panel(title, (label, *PURPOSES, "models"), found)

    countries = "(SELECT unnest(countries) AS country, purpose FROM chosen)"
    return {
        "year": grouped("Year of the model type, or of a security model's paper", "year"),
        "benchmark_families": grouped(
            "Families of benchmark models, the first 12", "family", "purpose = 'benchmark'"
        ),
        "security_families": grouped(
            "Families of security models, the first 12", "family", "purpose = 'security'"
        ),
        "countries": grouped("Countries of the labs, the first 12", "country", source=countries),
        "topics": grouped("Topics of the datasets", "topic"),
        "venues": grouped("Venues, the first 12", "venue"),
        "venue_types": grouped("Fields of the venues", "venue_type"),
        "datasets": grouped("Datasets, the first 12", "dataset"),
        "purpose": grouped("Purpose", "purpose"),
    }


def as_json(found: Stats) -> dict[str, Any]:
    """The numbers as plain JSON values."""
    return {
        "counts": dict(found.counts),
        "excluded": dict(found.excluded),
        "unfilled": dict(found.unfilled),
        "figure": {
            name: [dict(zip(panel.columns, row, strict=True)) for row in panel.rows]
            for name, panel in found.panels.items()
        },
    }
