"""What a source of models lists, as rows for the annotation files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
"""Values by column of the codebook; a column that is left out is unknown."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass
class Listing:
    """All that one source knows about its models.

    Attributes:
        version: Of what was read.
        models: Rows for ``sources/<source>.csv``.
        metrics: Rows for ``metrics/<source>.csv``; None if that file is not the source's.
        exclusions: Rows for ``exclusions/<source>.csv``.
        papers: Rows for ``papers/<source>.csv``; None if it has no such file.
    """

    version: str
    models: list[Row] = field(default_factory=list)
    metrics: list[Row] | None = None
    exclusions: list[Row] = field(default_factory=list)
    papers: list[Row] | None = None


def accuracy(model: str, dataset: str, value: float, n: int, metric: str = "accuracy") -> Row:
    """A row for what the publisher claims of a model on the test split.

    Args:
        model: Name in the catalog.
        dataset: Key of the dataset.
        value: Fraction in [0, 1].
        n: Images that it is a fraction of.
        metric: As the codebook has it.
    """
    return {
        "model": model,
        "dataset": dataset,
        "split": "test",
        "metric": metric,
        "evaluator": "source",
        "value": round(value, 6),
        "n": n,
    }


def excluded(model: str, reason: str, note: str, duplicate_of: str | None = None) -> Row:
    """A row that says why a model is out of the default view, or is not in the catalog at all."""
    return {"model": model, "reason": reason, "duplicate_of": duplicate_of, "notes": note}


def by_name(rows: Sequence[Row]) -> list[Row]:
    """Rows of models in the order of the files."""
    return sorted(rows, key=lambda row: row["name"])
