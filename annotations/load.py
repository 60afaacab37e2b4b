"""Read the annotation files, and report everything that is wrong with them at once."""

import csv
import io
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

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
    _check_references(codebook, rows, set(recipes), broken, problems)
    rows = _with_evidence(codebook, rows, broken, problems)
    annotations = Annotations(codebook, rows, recipes, origins)
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
            {
                group: {code: tuple(columns) for code, columns in codes.items()}
                for group, codes in document["codes"].items()
            },
        )
    except (AttributeError, KeyError, TypeError) as problem:
        raise AnnotationError([f"codebook.toml: {problem}"]) from problem


def load_origins(folder: Path, codebook: Codebook) -> dict[str, Origin]:
    """The places that whole files were read from: ``sources.toml``, by key.

    Raises:
        AnnotationError: A value is missing or wrong, or a table of the codebook names none.
    """
    document = _read_toml(folder, "sources.toml")
    described = _read_toml(folder, "codebook.toml")["sources"]
    problems: list[str] = []
    origins: dict[str, Origin] = {}
    for key, facts in document.items():
        where = f"sources.toml: {key}"
        if not isinstance(facts, dict):
            problems.append(f"{where} is not a table")
            continue
        own = facts.get("fields", {})
        columns = {name: Field(**field) for name, field in described.items()} | dict(
            codebook.provenance
        )
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
                _check_value(column, value)
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
        case "texts":
            value = tuple(text.split(";"))
            if any(part != part.strip() or not part for part in value):
                raise ValueError(f"{text!r} has an empty part, or spaces around one")
            if len(set(value)) < len(value):
                raise ValueError(f"{text!r} has a part twice")
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
    parts = value if isinstance(value, tuple) else (value,)
    for part in parts:
        if field.values and part not in field.values:
            raise ValueError(f"{part!r} is not one of {', '.join(field.values)}")
        if field.pattern and not re.fullmatch(field.pattern, str(part)):
            raise ValueError(f"{part!r} does not look like {field.pattern}")
    if field.length is not None and isinstance(value, tuple) and len(value) != field.length:
        raise ValueError(f"has {len(value)} numbers instead of {field.length}")
    for number in parts:
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


def _load_table(
    folder: Path, table: Table, codebook: Codebook, origin: Origin | None, problems: list[str]
) -> list[Row]:
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
    columns = dict(table.fields) if origin else {**table.fields, **codebook.provenance}
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
                named = dict(zip(header, cells, strict=True))
                row = _read_row(table, columns, named, origin, where)
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


def _with_evidence(
    codebook: Codebook,
    rows: Mapping[str, list[Row]],
    broken: set[str],
    problems: list[str],
) -> dict[str, list[Row]]:
    """The rows, with the provenance of single values that ``evidence.csv`` gives."""
    told: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows["evidence"]:
        thing = (str(row.values["entity"]), str(row.values["id"]))
        told.setdefault(thing, {})[str(row.values["field"])] = row
    found: dict[str, list[Row]] = {}
    for table in codebook.tables.values():
        found[table.name] = []
        for row in rows[table.name]:
            own = told.pop((table.entity, row.key), {})
            for name, evidence in own.items():
                if row.values.get(name) is None:
                    problems.append(
                        f"{evidence.file}:{evidence.line}: {row.key!r} has no value of {name!r}"
                    )
            singles = {name: evidence.provenance for name, evidence in own.items()}
            found[table.name].append(replace(row, own={**row.own, **singles}) if own else row)
    for (entity, key), own in told.items():
        if entity not in broken:
            problems += [
                f"{evidence.file}:{evidence.line}: no row {key!r} among the {entity}"
                for evidence in own.values()
            ]
    return found


def check_models(annotations: Annotations, problems: list[str]) -> None:
    """What one column of a model must be, given another; adds to ``problems``."""
    datasets = {row.key: row.values for row in annotations.of("datasets")}
    for row in annotations.of("models"):
        values, where = row.values, f"{row.file}:{row.line}"
        shape, mean, std = values["input_shape"], values["mean"], values["std"]
        if isinstance(shape, tuple) and isinstance(mean, tuple) and isinstance(std, tuple):
            if not len(mean) == len(std) == shape[0]:
                problems.append(
                    f"{where}: mean has {len(mean)} and std has {len(std)} numbers, "
                    f"but the input has {shape[0]} channels"
                )
            if min(float(number) for number in std) <= 0:
                problems.append(f"{where}: std: must be above 0")
        if (mean is None) != (std is None):
            problems.append(f"{where}: mean and std: one is given without the other")
        if (values["pretraining"] == ("none",)) != (values["extra_data"] == "none"):
            problems.append(f"{where}: pretraining and extra_data: one is none, the other is not")
        dataset = datasets.get(str(values["dataset"]))
        odd = dataset is not None and dataset["num_classes"] != values["num_classes"]
        if dataset is not None and odd and values["notes"] is None:
            problems.append(
                f"{where}: num_classes: {values['num_classes']}, but {values['dataset']} "
                f"has {dataset['num_classes']}; if that is right, say why in the notes"
            )
