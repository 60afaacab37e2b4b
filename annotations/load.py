"""Read the annotation files, and report everything that is wrong with them at once."""

import re
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from annotations.cells import check_value, read_cell
from annotations.checks import check_facts, check_models, check_references, with_evidence
from annotations.record import (
    AnnotationError,
    Annotations,
    Codebook,
    Field,
    FrameworkMapping,
    Origin,
    Provenance,
    RiskEntry,
    Row,
    Table,
    Taxonomy,
    Value,
)
from annotations.table_file import read_rows

FOLDER = Path(__file__).parent
"""The annotations that come with this program."""

_TOML_TYPES = {"text": str, "int": int, "float": (int, float)}


def load(folder: Path = FOLDER) -> Annotations:
    """Every row and recipe of ``folder``, valid against its codebook.

    Raises:
        AnnotationError: Something is wrong; every problem is listed with its file and line.
        OSError: A file cannot be read.
    """
    codebook = load_codebook(folder)
    problems: list[str] = []
    recipes = _load_recipes(folder, codebook, problems)
    origins = load_origins(folder, codebook)
    rows: dict[str, list[Row]] = {}
    broken: set[str] = set()  # a reference to these may be to a row that could not be read
    for table in codebook.tables.values():
        before = len(problems)
        origin = None if table.origin is None else origins[table.origin]
        rows[table.name] = _load_table(folder, table, codebook, origin, problems)
        if len(problems) > before:
            broken.add(table.entity)
    check_references(codebook, rows, set(recipes), broken, problems)
    rows = with_evidence(codebook, rows, broken, problems)
    annotations = Annotations(codebook, rows, recipes, origins)
    check_facts(annotations, problems)
    check_models(annotations, problems)
    if problems:
        raise AnnotationError(problems)
    return annotations


def load_codebook(folder: Path = FOLDER) -> Codebook:
    """What every column means and may hold.

    Raises:
        AnnotationError: It is not of the form that its first lines describe.
    """
    document = _read_toml(folder, "codebook.toml")

    def fields(described: Mapping[str, Any]) -> dict[str, Field]:
        found = {
            name: Field(**{**facts, "values": tuple(facts.get("values", ()))})
            for name, facts in described.items()
        }
        for field in found.values():
            re.compile(field.pattern or "")
        return found

    try:
        shared = {name: fields(kind["fields"]) for name, kind in document["entities"].items()}
        tables = {
            name: Table(
                name,
                table["file"],
                table["entity"],
                tuple(table["key"]),
                shared.get(table["entity"], {}) | fields(table.get("fields", {})),
                table.get("origin"),
            )
            for name, table in document["tables"].items()
        }
        return Codebook(
            document["version"],
            tables,
            fields(document["provenance"]),
            fields(document["recipes"]),
            fields(document["sources"]),
            {
                group: {code: tuple(columns) for code, columns in codes.items()}
                for group, codes in document["codes"].items()
            },
        )
    except (AttributeError, KeyError, TypeError, re.error) as problem:
        raise AnnotationError([f"codebook.toml: {problem}"]) from problem


def load_origins(folder: Path, codebook: Codebook) -> dict[str, Origin]:
    """The places that whole files were read from: ``sources.toml``, by key.

    Raises:
        AnnotationError: A value is missing or wrong, or a table of the codebook names none.
    """
    document = _read_toml(folder, "sources.toml")
    problems: list[str] = []
    origins: dict[str, Origin] = {}
    for key, facts in document.items():
        where = f"sources.toml: {key}"
        if not isinstance(facts, dict):
            problems.append(f"{where} is not a table")
            continue
        own = facts.get("fields", {})
        if not isinstance(own, dict) or not all(isinstance(said, dict) for said in own.values()):
            problems.append(f"{where}: fields is not a table of tables")
            continue
        columns = {**codebook.sources, **codebook.provenance}
        values = _toml_values(columns, {k: v for k, v in facts.items() if k != "fields"}, where)
        default = {name: values.pop(name, None) for name in codebook.provenance}
        singles = {
            name: _toml_values(codebook.provenance, default | single, f"{where}.fields.{name}")
            for name, single in own.items()
        }
        problems += [
            problem for part in (values, *singles.values()) for problem in part.pop("", ())
        ]
        if not problems:
            origins[key] = Origin(
                key=key,
                title=str(values["title"]),
                url=str(values["url"]),
                version=values["version"],
                licence=values["licence"],
                publisher_type=values["publisher_type"],
                default=Provenance(**default),
                fields={name: Provenance(**single) for name, single in singles.items()},
            )
    for table in codebook.tables.values():
        if table.origin is not None and table.origin not in document:
            problems.append(f"sources.toml: no table {table.origin!r}, which {table.file} needs")
    if problems:
        raise AnnotationError(problems)
    return origins


def _toml_values(
    columns: Mapping[str, Field], facts: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The values of one TOML table, and under the empty key what is wrong with them."""
    problems = [f"{where}: unknown field {name!r}" for name in facts if name not in columns]
    values: dict[str, Any] = {}
    for name, column in columns.items():
        value = facts.get(name)
        try:
            if value is None and column.required:
                raise ValueError("is required, but empty")
            if value is not None:
                if not isinstance(value, str):
                    raise ValueError(f"{value!r} is not a text")
                check_value(column, value)
            values[name] = value
        except ValueError as problem:
            problems.append(f"{where}: {name}: {problem}")
    return values | ({"": problems} if problems else {})


def load_taxonomy(folder: Path = FOLDER) -> Taxonomy:
    """The eight risks with their places in the frameworks.

    Raises:
        AnnotationError: The file is not of the form that its first lines describe.
    """
    document = _read_toml(folder, "taxonomy.toml")
    frameworks = document["frameworks"]
    problems: list[str] = []
    risks: dict[str, RiskEntry] = {}
    for key, risk in document["risks"].items():
        mapped: dict[str, FrameworkMapping] = {}
        for name in frameworks:
            place = risk.get(name, {})
            if place.get("mapping") not in ("exact", "broader", "none"):
                problems.append(f"taxonomy.toml: {key}: {name}: no mapping exact, broader or none")
            elif (place["mapping"] == "none") != (not place["ids"]):
                problems.append(f"taxonomy.toml: {key}: {name}: identifiers contradict the mapping")
            else:
                mapped[name] = FrameworkMapping(
                    place["mapping"], tuple(place["ids"]), place.get("note")
                )
        risks[key] = RiskEntry(key, risk["title"], risk["definition"], mapped)
    if problems:
        raise AnnotationError(problems)
    return Taxonomy(frameworks, risks)


def _read_toml(folder: Path, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / name).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise AnnotationError([f"{name}: {problem}"]) from problem


def _load_recipes(
    folder: Path, codebook: Codebook, problems: list[str]
) -> dict[str, dict[str, Any]]:
    document = _read_toml(folder, "recipes.toml")
    lines = (folder / "recipes.toml").read_text(encoding="utf-8").splitlines()
    for name, recipe in document.items():
        where = f"recipes.toml:{lines.index(f'[{name}]') + 1 if f'[{name}]' in lines else 1}"
        if not isinstance(recipe, dict):
            problems.append(f"{where}: {name} is not a table")
            continue
        for key in recipe.keys() - codebook.recipes.keys():
            problems.append(f"{where}: {name}: unknown field {key!r}")
        for key, field in codebook.recipes.items():
            if key not in recipe:
                if field.required:
                    problems.append(f"{where}: {name}: {key} is required")
                continue
            value = recipe[key]
            if isinstance(value, bool) or not isinstance(value, _TOML_TYPES[field.type]):
                problems.append(f"{where}: {name}: {key}: {value!r} is not of type {field.type}")
                continue
            try:
                check_value(field, value)
            except ValueError as problem:
                problems.append(f"{where}: {name}: {key}: {problem}")
    return document


def _load_table(
    folder: Path, table: Table, codebook: Codebook, origin: Origin | None, problems: list[str]
) -> list[Row]:
    columns = dict(table.fields) if origin else {**table.fields, **codebook.provenance}
    rows: list[Row] = []
    for where, cells in read_rows(folder, table.file, columns, problems):
        row = _read_row(table, columns, cells, origin, where)
        if isinstance(row, Row):
            rows.append(row)
        else:
            problems += row
    _check_order(rows, problems)
    return rows


def _read_row(
    table: Table,
    columns: Mapping[str, Field],
    cells: Mapping[str, str],
    origin: Origin | None,
    where: str,
) -> Row | list[str]:
    values: dict[str, Value] = {}
    problems: list[str] = []
    for name, field in columns.items():
        try:
            values[name] = read_cell(field, cells[name])
        except ValueError as problem:
            problems.append(f"{where}: {name}: {problem}")
    if problems:
        return problems
    file, line = where.rsplit(":", 1)
    return Row(
        table=table.name,
        key=" ".join(cells[name] for name in table.key),
        values={name: values[name] for name in table.fields},
        provenance=origin.default
        if origin
        else Provenance(**{n: str(values[n]) for n in columns if n not in table.fields}),
        own=origin.fields if origin else {},
        file=file,
        line=int(line),
    )


def _check_order(rows: list[Row], problems: list[str]) -> None:
    for before, row in pairwise(rows):
        if row.key == before.key:
            problems.append(f"{row.file}:{row.line}: {row.key!r} is already on line {before.line}")
        elif row.key < before.key:
            problems.append(
                f"{row.file}:{row.line}: {row.key!r} must come before {before.key!r}: sort the rows"
            )
