"""Image classifiers on the Hugging Face Hub that the catalog does not have yet."""

import csv
import io
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from zoo.catalog import open_catalog
from zoo.home import Home
from zoo.sources.hub import endpoint, reaching_the_hub

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

TO_FILL = (
    "accept",
    "dataset",
    "architecture",
    "input_shape",
    "num_classes",
    "mean",
    "std",
    "notes",
)
"""Columns of `as_rows` that a curator fills in: ``yes`` to accept the row, and what no card says in
a form that can be trusted, as the codebook has it."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model as its card on the Hub describes it. Nothing of it is checked or coded.

    Attributes:
        name: Proposed for the catalog: the repository's, in the catalog's letters.
        hub_repo: Repository.
        hub_revision: Its newest commit when it was asked for: what to pin.
        licence: As the card states it; None if it states none.
        card_datasets: What the card says it was trained on, with spaces between.
        library: Package that the card says it is for.
        downloads: In the last month.
        likes: In all.
        gated: Whether its authors ask for agreement with their terms.
        last_modified: Date, as YYYY-MM-DD.
        tags: All that it has, with spaces between.
    """

    name: str
    hub_repo: str
    hub_revision: str | None
    licence: str | None
    card_datasets: str | None
    library: str | None
    downloads: int | None
    likes: int | None
    gated: bool
    last_modified: str | None
    tags: str | None


def discover(home: Home, *, search: str | None = None, limit: int) -> list[Candidate]:
    """The most downloaded image classifiers of the Hub that are not in the catalog.

    Args:
        home: The store whose catalog counts.
        search: Words in the repository's name.
        limit: How many at most.

    Raises:
        ZooError: The Hub cannot be asked.
    """
    from huggingface_hub import HfApi

    query = "SELECT DISTINCT hub_repo FROM artifacts WHERE hub_repo IS NOT NULL"
    known = {repo.lower() for (repo,) in open_catalog(home).sql(query)[1]}
    with reaching_the_hub("The list of models", "", "Try again later."):
        found = list(
            HfApi(endpoint=endpoint()).list_models(
                pipeline_tag="image-classification",
                search=search,
                sort="downloads",
                limit=limit + len(known),  # of which so many may be left out below
                full=True,
                cardData=True,
            )
        )
        return _new(found, known)[:limit]


def as_rows(candidates: Collection[Candidate]) -> str:
    """A CSV file for a curator: a column for each field of `Candidate`, and `TO_FILL`, empty."""
    text = io.StringIO()
    columns = [*TO_FILL, *(field.name for field in fields(Candidate))]
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(candidate) for candidate in candidates)
    return text.getvalue()


def _new(found: "list[ModelInfo]", known: Collection[str]) -> list[Candidate]:
    return [_candidate(info) for info in found if info.id.lower() not in known]


def _candidate(info: "ModelInfo") -> Candidate:
    card = info.card_data.to_dict() if info.card_data else {}
    licence = card.get("license_name") if card.get("license") == "other" else card.get("license")
    tags = [str(tag) for tag in info.tags or []]
    return Candidate(
        name=re.sub(r"[^a-z0-9./-]+", "-", info.id.lower()),
        hub_repo=info.id,
        hub_revision=info.sha,
        licence=_words(licence) or _words(_tagged(tags, "license")),
        card_datasets=_words(card.get("datasets")) or _words(_tagged(tags, "dataset")),
        library=info.library_name,
        downloads=info.downloads,
        likes=info.likes,
        gated=bool(info.gated),
        last_modified=info.last_modified and info.last_modified.date().isoformat(),
        tags=_words(tags),
    )


def _tagged(tags: list[str], kind: str) -> list[str]:
    """``imagenet-1k`` of a tag ``dataset:imagenet-1k``."""
    return [tag.partition(":")[2] for tag in tags if tag.startswith(f"{kind}:")]


def _words(value: object) -> str | None:
    """One word or a list of them, as cards have both."""
    words = value if isinstance(value, list) else [value]
    return " ".join(str(word) for word in words if word) or None
