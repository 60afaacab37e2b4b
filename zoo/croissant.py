"""The Croissant document (MLCommons' JSON-LD) that describes exported tables, column by column."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import date

NAME = "zoo-catalog"
_TITLE = "Zoo: an annotated catalog of public and self-trained classifiers of images"
_AUTHOR = "The Zoo project"
_LICENCE = "https://spdx.org/licenses/Apache-2.0"
# The MIME types that mlcroissant reads; Parquet's registered one is not among them.
_ENCODING = {"parquet": "application/x-parquet", "csv": "text/csv"}

_TYPES = {
    "VARCHAR": "sc:Text",
    "JSON": "sc:Text",
    "INTEGER": "sc:Integer",
    "BIGINT": "sc:Integer",
    "DOUBLE": "sc:Float",
    "BOOLEAN": "sc:Boolean",
}

_CROISSANT_TERMS = (
    "annotation",
    "arrayShape",
    "citeAs",
    "column",
    "containedIn",
    "equivalentProperty",
    "excludes",
    "extract",
    "field",
    "fileObject",
    "fileProperty",
    "fileSet",
    "format",
    "includes",
    "isArray",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "readLines",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "sdVersion",
    "separator",
    "source",
    "subField",
    "transform",
    "unArchive",
    "value",
)
# The context of Croissant 1.1's appendix, with the terms that mlcroissant warns of missing.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _CROISSANT_TERMS},
}


@dataclass(frozen=True)
class Written:
    """A file of an export.

    Attributes:
        file: Its name in the folder.
        rows: How many, or None if it is no table.
        bytes: Its size.
        sha256: Of its bytes, in hex.
    """

    file: str
    rows: int | None
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Column:
    """A column of an exported table; ``type`` is DuckDB's."""

    name: str
    type: str
    description: str | None


@dataclass(frozen=True)
class ExportedTable:
    """A table of an export: what it is called there, and the relation of the catalog it is.

    Attributes:
        name: Of the file, without suffix, and of the record set.
        relation: Table or view of the catalog.
        description: What it holds.
        key: Columns that tell its rows apart; empty if none are known to.
        columns: In order.
    """

    name: str
    relation: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]


def croissant(
    tables: Sequence[ExportedTable],
    files: Sequence[Written],
    *,
    kind: str,
    version: str,
    selection: str,
    url: str | None = None,
    published: "date | None" = None,
) -> dict[str, Any]:
    """The Croissant 1.1 document (JSON-LD) that describes an export.

    Args:
        tables: What was exported.
        files: The file of each table, in the same order.
        kind: One of `zoo.export.KINDS`.
        version: Of the catalog.
        selection: Which models there are, in a sentence.
        url: Page of the dataset; by default the folder that the document lies in.
        published: When it was first published.
    """
    cite = {"title": _TITLE, "author": f"{{{_AUTHOR}}}", "version": version}
    if url is not None:
        cite["url"] = url
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": NAME,
        "alternateName": _TITLE,
        "description": (
            "Image classifiers with what selects them (data, architecture, publication, accuracy, "
            "licence), and where every value comes from. Weights are not part of it and have "
            f"licences of their own. {selection} The version is that of the codebook, then the "
            "hash of the catalog this was taken from."
        ),
        "license": _LICENCE,
        "url": url or "./",
        "version": version,
        "creator": {"@type": "sc:Organization", "name": _AUTHOR},
        "citeAs": f"@misc{{{NAME}, "
        + ", ".join(f"{key} = {{{value}}}" for key, value in cite.items())
        + "}",
        "keywords": ["machine learning models", "image classification", "provenance"],
        "inLanguage": "en",
    }
    if published is not None:
        document["datePublished"] = published.isoformat()
    document["distribution"] = [
        {
            "@type": "cr:FileObject",
            "@id": file.file,
            "name": file.file,
            "description": table.description,
            "contentUrl": file.file,
            "contentSize": f"{file.bytes} B",
            "encodingFormat": _ENCODING[kind],
            "sha256": file.sha256,
        }
        for table, file in zip(tables, files, strict=True)
    ]
    document["recordSet"] = [
        _record_set(table, file.file, lists=kind == "parquet")
        for table, file in zip(tables, files, strict=True)
    ]
    return document


def _record_set(table: ExportedTable, file: str, *, lists: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": table.description,
    }
    if table.key:
        found["key"] = [{"@id": f"{table.name}/{column}"} for column in table.key]
    found["field"] = [_field(table.name, column, file, lists=lists) for column in table.columns]
    return found


def _field(table: str, column: Column, file: str, *, lists: bool) -> dict[str, Any]:
    """A column in Croissant's words; ``lists``: the file holds lists as such, not as JSON texts."""
    found: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{table}/{column.name}",
        "name": column.name,
    }
    is_list = column.type.endswith("[]")
    notes = [column.description, "JSON list" if is_list and not lists else None]
    if any(notes):
        found["description"] = "; ".join(filter(None, notes))
    if is_list and lists:
        found["dataType"] = _TYPES[column.type.removesuffix("[]")]
        found |= {"isArray": True, "arrayShape": "-1"}
    else:
        found["dataType"] = "sc:Text" if is_list else _TYPES[column.type]
    found["source"] = {"fileObject": {"@id": file}, "extract": {"column": column.name}}
    return found
