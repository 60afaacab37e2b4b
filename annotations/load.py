"""Read the annotation files, and report everything that is wrong with them at once."""

import csv
import io
import math
import re
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from annotations.record import (
    AnnotationError,
    Annotations,
    Codebook,
    Field,
    FrameworkMapping,
    Provenance,
    RiskEntry,
    Row,
    Table,
    Taxonomy,
    Value,
)

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
    rows: dict[str, list[Row]] = {}
    broken: set[str] = set()  # a reference to these may be to a row that could not be read
    for table in codebook.tables.values():
        before = len(problems)
        rows[table.name] = _load_table(folder, table, codebook, problems)
        if len(problems) > before:
            broken.add(table.entity)
    _check_references(codebook, rows, set(recipes), broken, problems)
    _check_models(rows, problems)
    if problems:
        raise AnnotationError(problems)
    return Annotations(codebook, rows, recipes)


def load_codebook(folder: Path = FOLDER) -> Codebook:
    """What every column means and may hold.

    Raises:
        AnnotationError: It is not of the form that its first lines describe.
    """
    document = _read_toml(folder, "codebook.toml")

    def fields(described: Mapping[str, Any]) -> dict[str, Field]:
        return {
            name: Field(**{**facts, "values": tuple(facts.get("values", ()))})
            for name, facts in described.items()
        }

    try:
        shared = {name: fields(kind["fields"]) for name, kind in document["entities"].items()}
        tables = {
            name: Table(
                name,
                table["file"],
                table["entity"],
                tuple(table["key"]),
                shared.get(table["entity"], {}) | fields(table["fields"]),
            )
            for name, table in document["tables"].items()
        }
        return Codebook(
            document["version"], tables, fields(document["provenance"]), fields(document["recipes"])
        )
    except (KeyError, TypeError) as problem:
        raise AnnotationError([f"codebook.toml: {problem}"]) from problem


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


def read_cell(field: Field, text: str) -> Value:
    """The value that a CSV cell stands for; None if it is empty.

    Raises:
        ValueError: The cell is not what the codebook allows; the text says why.
    """
    if text == "":
        if field.required:
            raise ValueError("is required, but empty")
        return None
    if text != text.strip() or "\n" in text:
        raise ValueError(f"{text!r} has spaces around it, or a line break")
    value: Value
    match field.type:
        case "text" | "ref":
            value = text
        case "bool":
            if text not in ("true", "false"):
                raise ValueError(f"{text!r} is not true or false")
            value = text == "true"
        case "int":
            value = _integer(text)
        case "float":
            value = _number(text)
        case "ints":
            value = tuple(_integer(part) for part in text.split(";"))
        case "floats":
            value = tuple(_number(part) for part in text.split(";"))
    _check_value(field, value)
    return value


def write_cell(value: Value) -> str:
    """The cell that stands for a value: `read_cell` the other way round."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ";".join(map(write_cell, value))
    return str(value)


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _number(text: str) -> float:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", text):
        raise ValueError(f"{text!r} is not a number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is too large")
    return value


def _check_value(field: Field, value: Value) -> None:
    if field.values and value not in field.values:
        raise ValueError(f"{value!r} is not one of {', '.join(field.values)}")
    if field.pattern and not re.fullmatch(field.pattern, str(value)):
        raise ValueError(f"{value!r} does not look like {field.pattern}")
    if field.length is not None and isinstance(value, tuple) and len(value) != field.length:
        raise ValueError(f"has {len(value)} numbers instead of {field.length}")
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, int | float):
            if field.min is not None and number < field.min:
                raise ValueError(f"{number} is below {field.min}")
            if field.max is not None and number > field.max:
                raise ValueError(f"{number} is above {field.max}")


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
                _check_value(field, value)
            except ValueError as problem:
                problems.append(f"{where}: {name}: {key}: {problem}")
    return document


def _load_table(folder: Path, table: Table, codebook: Codebook, problems: list[str]) -> list[Row]:
    try:
        content = (folder / table.file).read_bytes()
    except FileNotFoundError:
        problems.append(f"{table.file}:1: there is no such file")
        return []
    if b"\r" in content:
        problems.append(f"{table.file}:1: lines end in CR; save the file with LF line ends")
        return []
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        problems.append(f"{table.file}:{line}: is not UTF-8")
        return []
    columns = {**table.fields, **codebook.provenance}
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            where, line = f"{table.file}:{line}", reader.line_num + 1
            if header is None:
                header = cells
                wrong = _check_header(header, columns, where)
                if wrong:
                    problems += wrong
                    return []
            elif len(cells) != len(header):
                problems.append(f"{where}: {len(cells)} cells under {len(header)} columns")
            else:
                row = _read_row(table, columns, dict(zip(header, cells, strict=True)), where)
                if isinstance(row, Row):
                    rows.append(row)
                else:
                    problems += row
    except csv.Error as problem:
        problems.append(f"{table.file}:{line}: {problem}")
    if header is None:
        problems.append(f"{table.file}:1: has no header")
    _check_order(rows, problems)
    return rows


def _check_header(header: list[str], columns: Mapping[str, Field], where: str) -> list[str]:
    problems = [f"{where}: unknown column {name!r}" for name in header if name not in columns]
    problems += [f"{where}: no column {name!r}" for name in columns if name not in header]
    problems += [
        f"{where}: column {name!r} twice"
        for name in sorted({n for n in header if header.count(n) > 1})
    ]
    return problems


def _read_row(
    table: Table, columns: Mapping[str, Field], cells: Mapping[str, str], where: str
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
        provenance=Provenance(
            **{name: str(values[name]) for name in columns if name not in table.fields}
        ),
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


def _check_references(
    codebook: Codebook,
    rows: Mapping[str, list[Row]],
    recipes: set[str],
    broken: set[str],
    problems: list[str],
) -> None:
    known: dict[str, dict[str, Row | None]] = {"recipes": dict.fromkeys(recipes)}
    for table in codebook.tables.values():
        things = known.setdefault(table.entity, {})
        for row in rows[table.name]:
            other = things.get(row.key)
            if other is not None and other.file != row.file:
                problems.append(
                    f"{row.file}:{row.line}: {row.key!r} is already in {other.file}:{other.line}"
                )
            things[row.key] = row
    for table in codebook.tables.values():
        for row in rows[table.name]:
            for name, field in table.fields.items():
                value = row.values[name]
                if field.ref is None or field.ref in broken or value is None:
                    continue
                if value not in known[field.ref]:
                    problems.append(
                        f"{row.file}:{row.line}: {name}: no row {value!r} among the {field.ref}"
                    )


def _check_models(rows: Mapping[str, list[Row]], problems: list[str]) -> None:
    """What one column of a model must be, given another."""
    datasets = {row.key: row.values for row in rows["datasets"]}
    for row in [*rows["selftrained"], *rows["published"]]:
        values, where = row.values, f"{row.file}:{row.line}"
        shape, mean, std = values["input_shape"], values["mean"], values["std"]
        assert isinstance(shape, tuple)
        assert isinstance(mean, tuple)
        assert isinstance(std, tuple)
        if not len(mean) == len(std) == shape[0]:
            problems.append(
                f"{where}: mean has {len(mean)} and std has {len(std)} numbers, "
                f"but the input has {shape[0]} channels"
            )
        if min(std) <= 0:
            problems.append(f"{where}: std: must be above 0")
        dataset = datasets.get(str(values["dataset"]))
        if dataset is not None and dataset["num_classes"] != values["num_classes"]:
            problems.append(
                f"{where}: num_classes: {values['num_classes']}, but {values['dataset']} "
                f"has {dataset['num_classes']}"
            )
