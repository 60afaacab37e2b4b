"""What annotations are once they are read: plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Value = str | int | float | bool | tuple[int, ...] | tuple[float, ...] | None


class AnnotationError(Exception):
    """The annotation files break their codebook.

    Attributes:
        problems: One text per problem, ``file:line: what is wrong``, in the order of the files.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
        super().__init__(f"{count} in the annotations: " + "; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column, as the codebook describes it.

    Attributes:
        type: How a cell is read.
        rule: What the column means, for whoever fills it in.
        required: Whether a cell may not be empty.
        values: The only values allowed; empty for any.
        pattern: Regular expression that the whole cell must match.
        ref: Kind of thing that the cell names, for type ``ref``.
        min: Smallest number allowed.
        max: Largest number allowed.
        length: How many numbers, for ``ints`` and ``floats``.
        unit: Of the numbers.
    """

    type: Literal["text", "int", "float", "bool", "ints", "floats", "ref"]
    rule: str
    required: bool = False
    values: tuple[str, ...] = ()
    pattern: str | None = None
    ref: str | None = None
    min: float | None = None
    max: float | None = None
    length: int | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Table:
    """One file of rows.

    Attributes:
        name: In the codebook.
        file: Relative to the folder of annotations.
        entity: Kind of thing that a row describes; several files may describe one kind.
        key: Names of the columns that tell rows apart, and that rows are sorted by.
        fields: The columns, without those of provenance.
    """

    name: str
    file: str
    entity: str
    key: tuple[str, ...]
    fields: Mapping[str, Field]


@dataclass(frozen=True)
class Codebook:
    """Every column of every file."""

    version: str
    tables: Mapping[str, Table]
    provenance: Mapping[str, Field]
    recipes: Mapping[str, Field]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who wrote a row down, how, how sure they are, and where it can be checked."""

    coder: str
    method: str
    confidence: str
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing, with a value or None (unknown) for every column of its table.

    Attributes:
        table: Name of the table.
        key: Values of the key columns, joined by spaces.
        values: By column.
        provenance: Of every value in the row.
        file: Relative to the folder of annotations.
        line: Where the row begins, counted from 1.
    """

    table: str
    key: str
    values: Mapping[str, Value]
    provenance: Provenance
    file: str
    line: int


@dataclass(frozen=True)
class Annotations:
    """Everything that people wrote down, and that was found valid.

    Attributes:
        codebook: What the columns mean.
        rows: By table, sorted by key.
        recipes: By name: the fields of a training recipe that are set.
    """

    codebook: Codebook
    rows: Mapping[str, list[Row]]
    recipes: Mapping[str, Mapping[str, str | int | float]]


@dataclass(frozen=True)
class FrameworkMapping:
    """Where a framework puts a risk.

    Attributes:
        mapping: Whether the identifiers mean this risk, more than it, or do not exist.
        ids: The framework's identifiers.
        note: What the identifiers leave open.
    """

    mapping: Literal["exact", "broader", "none"]
    ids: tuple[str, ...]
    note: str | None = None


@dataclass(frozen=True)
class RiskEntry:
    """One of the eight risks.

    Attributes:
        key: As in `harness.types.Risk`.
        title: For headings.
        definition: One sentence.
        frameworks: By framework: ``nist``, ``atlas``, ``owasp``.
    """

    key: str
    title: str
    definition: str
    frameworks: Mapping[str, FrameworkMapping]


@dataclass(frozen=True)
class Taxonomy:
    """The risks, and which version of each framework they are mapped to."""

    frameworks: Mapping[str, str]
    risks: Mapping[str, RiskEntry]
