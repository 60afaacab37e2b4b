"""What annotations are once they are read: plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = str | int | float | bool | tuple[str, ...] | tuple[int, ...] | tuple[float, ...] | None


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
        values: The only values allowed, of each part for ``texts``; empty for any.
        pattern: Regular expression that the whole cell must match, or each part of ``texts``.
        ref: Kind of thing that the cell names, for type ``ref``.
        min: Smallest number allowed.
        max: Largest number allowed.
        lengths: How many parts there may be, for ``ints``, ``floats`` and ``texts``; empty for any.
        unit: Of the numbers.
    """

    type: Literal["text", "int", "float", "bool", "texts", "ints", "floats", "ref"]
    rule: str
    required: bool = False
    values: tuple[str, ...] = ()
    pattern: str | None = None
    ref: str | None = None
    min: float | None = None
    max: float | None = None
    lengths: tuple[int, ...] = ()
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
        origin: Key in ``sources.toml`` of where every row comes from; None if each row has
            columns that say so.
    """

    name: str
    file: str
    entity: str
    key: tuple[str, ...]
    fields: Mapping[str, Field]
    origin: str | None = None


@dataclass(frozen=True)
class Codebook:
    """Every column of every file.

    Attributes:
        version: Of the meanings of the columns.
        tables: By name.
        provenance: The columns that say where a row comes from.
        recipes: The fields of a training recipe.
        sources: The fields of a table of ``sources.toml``.
        codes: By group, the columns of ``v_models`` in which a code of the group stands.
    """

    version: str
    tables: Mapping[str, Table]
    provenance: Mapping[str, Field]
    recipes: Mapping[str, Field]
    sources: Mapping[str, Field]
    codes: Mapping[str, Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who wrote a value down, how, how sure they are, and where it can be checked."""

    coder: str
    method: str
    confidence: str
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """One place that whole files of rows were read from.

    Attributes:
        key: In ``sources.toml``.
        title: For people.
        url: Where it is published.
        version: Of what was read.
        licence: Of what was read; None if it states none. Weights have their own.
        publisher_type: Who publishes the weights; None if it publishes none.
        default: Provenance of every value that came from there.
        fields: Provenance of those values that were not simply read, by column.
    """

    key: str
    title: str
    url: str
    version: str | None
    licence: str | None
    publisher_type: str | None
    default: Provenance
    fields: Mapping[str, Provenance]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing, with a value or None (unknown) for every column of its table.

    Attributes:
        table: Name of the table.
        key: Values of the key columns, joined by spaces.
        values: By column.
        provenance: Of the values in the row that have none of their own.
        own: Provenance of single values, by column.
        file: Relative to the folder of annotations.
        line: Where the row begins, counted from 1.
    """

    table: str
    key: str
    values: Mapping[str, Value]
    provenance: Provenance
    own: Mapping[str, Provenance] = field(default_factory=dict)
    file: str
    line: int


@dataclass(frozen=True)
class Annotations:
    """Everything that people wrote down, and that was found valid.

    Attributes:
        codebook: What the columns mean.
        rows: By table, sorted by key.
        recipes: By name: the fields of a training recipe that are set.
        origins: By key.
    """

    codebook: Codebook
    rows: Mapping[str, list[Row]]
    recipes: Mapping[str, Mapping[str, str | int | float]]
    origins: Mapping[str, Origin]

    def of(self, entity: str) -> list[Row]:
        """The rows of every file that describes one kind of thing."""
        return [
            row
            for table in self.codebook.tables.values()
            if table.entity == entity
            for row in self.rows[table.name]
        ]


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
