"""Read what each coder of a round wrote, before anybody decided between them.

``codings/README.md`` describes the process and the files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from annotations.load import FOLDER
from annotations.record import AnnotationError
from annotations.table_file import read_rows

FIELDS = {
    "family": (
        "paper_title",
        "arxiv",
        "arxiv_year",
        "venue",
        "venue_year",
        "venue_type",
        "n_authors",
        "affiliations",
        "affiliation_types",
        "countries",
        "architecture_type",
    ),
    "dataset": (
        "paper_title",
        "topic",
        "granularity",
        "train_size",
        "test_size",
        "num_classes",
        "input_shape",
        "licence",
        "year",
        "sensitive_attributes",
    ),
}
"""What is coded, by kind of thing, in the order of the rules."""

MULTIPLE = frozenset({"affiliations", "affiliation_types", "countries", "sensitive_attributes"})
"""Fields that hold several values, separated by ``;``."""

_SAMPLE = ("entity", "item", "hint")
_CODER = ("entity", "item", "field", "value", "confidence", "evidence")
_ADJUDICATED = ("entity", "item", "field", "value", "decided_by", "reason")
_ALIASES = ("field", "alias", "value")
_CONFIDENCES = ("high", "medium", "low")


@dataclass(frozen=True)
class Cell:
    """One fact that is coded.

    Attributes:
        entity: Kind of thing: a key of `FIELDS`.
        item: Name of the thing in the sample.
        field: What is coded about it.
    """

    entity: str
    item: str
    field: str

    def __str__(self) -> str:
        return f"{self.field} of {self.entity} {self.item!r}"


@dataclass(frozen=True)
class Decision:
    """What was decided about a cell after its evidence was looked at again.

    Attributes:
        value: Empty if the evidence does not give it.
        decided_by: Who decided.
        reason: Why.
    """

    value: str
    decided_by: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Round:
    """Everything that was written in one round of coding, and found valid.

    Attributes:
        name: Of its folder.
        items: What every coder was given, as pairs of entity and item, in the sample's order.
        codings: What each coder wrote, as written; coders are sorted by name.
        decisions: Those made so far.
        aliases: By field and spelling, both in lower case: the spelling that it stands for.
    """

    name: str
    items: tuple[tuple[str, str], ...]
    codings: Mapping[str, Mapping[Cell, str]]
    decisions: Mapping[Cell, Decision]
    aliases: Mapping[tuple[str, str], str]

    def values(self, coder: str, cell: Cell) -> frozenset[str]:
        """What a coder's cell means, in one spelling; empty if it could not be found."""
        text = self.codings[coder].get(cell, "")
        parts = text.split(";") if cell.field in MULTIPLE else [text]
        spelled = {_spelling(part) for part in parts} - {""}
        return frozenset(self.aliases.get((cell.field, part), part) for part in spelled)


def rounds(folder: Path = FOLDER) -> list[str]:
    """Names of the rounds under ``folder``, oldest first: they are named by their dates."""
    return sorted(path.parent.name for path in (folder / "codings").glob("*/sample.csv"))


def load_round(name: str, folder: Path = FOLDER) -> Round:
    """What every coder of one round wrote.

    Raises:
        AnnotationError: Something is wrong; every problem is listed with its file and line.
        OSError: A file cannot be read.
    """
    problems: list[str] = []
    place = f"codings/{name}"
    aliases = _load_aliases(folder, problems)
    before = len(problems)
    sample = _load_sample(folder, f"{place}/sample.csv", problems)
    # What refers to a row that could not be read is not a second problem.
    sampled = set(sample) if len(problems) == before else None
    before = len(problems)
    codings: dict[str, dict[Cell, str]] = {}
    for path in sorted((folder / place).glob("*.csv")):
        if path.name not in ("sample.csv", "adjudicated.csv"):
            file = f"{place}/{path.name}"
            codings[path.stem] = _load_coder(folder, file, sampled, problems)
    decisions: dict[Cell, Decision] = {}
    if (folder / place / "adjudicated.csv").exists():
        coded = {cell for cells in codings.values() for cell in cells}
        decisions = _load_decisions(
            folder,
            f"{place}/adjudicated.csv",
            coded if len(problems) == before else None,
            problems,
        )
    if problems:
        raise AnnotationError(problems)
    return Round(
        name=name, items=tuple(sample), codings=codings, decisions=decisions, aliases=aliases
    )


def _spelling(value: str) -> str:
    return value.strip().casefold()


def _load_aliases(folder: Path, problems: list[str]) -> dict[tuple[str, str], str]:
    file = "codings/aliases.csv"
    if not (folder / file).exists():
        return {}
    known = {field for fields in FIELDS.values() for field in fields}
    aliases: dict[tuple[str, str], str] = {}
    lines: dict[tuple[str, str], str] = {}
    for where, row in read_rows(folder, file, _ALIASES, problems):
        key, value = (row["field"], _spelling(row["alias"])), _spelling(row["value"])
        if row["field"] not in known:
            problems.append(f"{where}: unknown field {row['field']!r}")
        elif not key[1] or not value:
            problems.append(f"{where}: an alias and a value are required")
        elif row["field"] in MULTIPLE and ";" in key[1] + value:
            problems.append(f"{where}: {row['field']}: one value per row, without ';'")
        elif key in aliases:
            problems.append(f"{where}: {row['alias']!r} is already on line {_line(lines[key])}")
        else:
            aliases[key], lines[key] = value, where
    for (field, alias), value in aliases.items():
        if (field, value) in aliases:
            problems.append(
                f"{lines[field, alias]}: {value!r} is itself an alias, "
                f"on line {_line(lines[field, value])}"
            )
    return aliases


def _load_sample(folder: Path, file: str, problems: list[str]) -> dict[tuple[str, str], str]:
    """Where each item of the sample stands."""
    sample: dict[tuple[str, str], str] = {}
    for where, row in read_rows(folder, file, _SAMPLE, problems):
        item = (row["entity"], row["item"])
        if row["entity"] not in FIELDS:
            problems.append(f"{where}: unknown entity {row['entity']!r}")
        elif not row["item"].strip():
            problems.append(f"{where}: item: is required, but empty")
        elif item in sample:
            problems.append(f"{where}: {row['item']!r} is already on line {_line(sample[item])}")
        else:
            sample[item] = where
    return sample


def _load_coder(
    folder: Path, file: str, sample: set[tuple[str, str]] | None, problems: list[str]
) -> dict[Cell, str]:
    values: dict[Cell, str] = {}
    for where, cell, row in _read_cells(folder, file, _CODER, problems):
        if sample is not None and (cell.entity, cell.item) not in sample:
            problems.append(f"{where}: {cell.entity} {cell.item!r} is not in the sample")
        confidence = row["confidence"]
        if confidence not in _CONFIDENCES and (confidence or row["value"].strip()):
            problems.append(
                f"{where}: confidence: {confidence!r} is not one of {', '.join(_CONFIDENCES)}"
            )
        values[cell] = row["value"].strip()
    return values


def _load_decisions(
    folder: Path, file: str, coded: set[Cell] | None, problems: list[str]
) -> dict[Cell, Decision]:
    """The decisions made; a row without value and ``decided_by`` waits for one."""
    decisions: dict[Cell, Decision] = {}
    for where, cell, row in _read_cells(folder, file, _ADJUDICATED, problems):
        decision = Decision(*(row[name].strip() for name in ("value", "decided_by", "reason")))
        if coded is not None and cell not in coded:
            problems.append(f"{where}: nobody coded the {cell}")
        if decision.decided_by:
            decisions[cell] = decision
            if not decision.reason:
                problems.append(f"{where}: reason: is required, but empty")
        elif decision.value:
            problems.append(f"{where}: decided_by: is required, but empty")
    return decisions


def _read_cells(
    folder: Path, file: str, columns: tuple[str, ...], problems: list[str]
) -> Iterator[tuple[str, Cell, dict[str, str]]]:
    """Rows that are about one cell each, and about no cell twice."""
    seen: dict[Cell, str] = {}
    for where, row in read_rows(folder, file, columns, problems):
        cell = Cell(row["entity"], row["item"], row["field"])
        if cell.entity not in FIELDS:
            problems.append(f"{where}: unknown entity {cell.entity!r}")
        elif cell.field not in FIELDS[cell.entity]:
            problems.append(f"{where}: unknown field {cell.field!r} of a {cell.entity}")
        elif cell in seen:
            problems.append(f"{where}: the {cell} is already on line {_line(seen[cell])}")
        else:
            seen[cell] = where
            yield where, cell, row


def _line(where: str) -> str:
    return where.rsplit(":", 1)[1]
