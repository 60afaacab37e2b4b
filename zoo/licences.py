"""What a licence allows, as far as its name tells, and which ones a user has accepted."""

import json
import re
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.files import write_json
from zoo.home import Home


class Kind(StrEnum):
    """What a licence says about use that earns money."""

    PERMISSIVE = "permissive"
    """Any use, though perhaps under conditions, as those of copyleft licences."""
    NON_COMMERCIAL = "non-commercial"
    UNKNOWN = "unknown"


# Licences of research only whose names do not say so.
_RESEARCH_ONLY = {
    "apple-amlr",  # Apple Machine Learning Research: "exclusively for research purposes"
    "seer-license",  # of Meta's SEER models, a copy of their non-commercial research licence
}
# Licences by one publisher that allow commercial use. Those of Apple are, up to the name, its
# sample code licence: use, change and pass on without a limit to research (unlike apple-amlr).
_OPEN = {
    "apple-ascl",
    "cvnets-license",
    "dinov3-license",
    "fastvit-license",
    "gemma",
    "mobileone-license",
    "nvidia-open-model-license",
}
_OPEN_WORDS = re.compile(
    r"\b(mit|apache|bsd|isc|unlicense|[al]?gpl|mpl|epl|wtfpl|zlib|openrail|afl|cc-?(by|0))(v?\d|\b)"
)
_NON_COMMERCIAL = re.compile(
    r"\bnc\b|\bnon-?commercial|\bno-commercial|\bresearch-(only|licen[cs]e|use|purposes)"
    r"|\bonly-for-research|\bacademic(?!-free)"
)


def kind(licence: str | None) -> Kind:
    """What a licence allows, told by its name or by a sentence about it.

    A name that is not known here is ``unknown``, not guessed at.
    """
    text = re.sub(r"[^a-z0-9.]+", "-", (licence or "").lower()).strip("-")
    if text in _RESEARCH_ONLY or _NON_COMMERCIAL.search(text):
        return Kind.NON_COMMERCIAL
    if text in _OPEN or _OPEN_WORDS.search(text):
        return Kind.PERMISSIVE
    return Kind.UNKNOWN


def needs_acceptance(entry: ModelEntry) -> bool:
    """Whether the weights are somebody else's, and not for commercial use."""
    theirs = entry.recipe is None and entry.source != "local"
    return theirs and kind(entry.licence) is Kind.NON_COMMERCIAL


def accepted(entry: ModelEntry, home: Home) -> bool:
    """Whether the user of this store has accepted the licence that the catalog states now."""
    try:
        record = json.loads(_record(entry, home).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(record, dict) and record.get("licence", 0) == entry.licence


def accept(entry: ModelEntry, home: Home) -> None:
    """Remember that the user accepts the terms of a model, whatever they are."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"name": entry.name, "licence": entry.licence, "accepted": now}
    write_json(_record(entry, home), record)


def check(entry: ModelEntry, home: Home, *, accepting: bool) -> None:
    """Let a model through whose licence needs no acceptance, or has it.

    Args:
        entry: The model.
        home: Where acceptance is remembered.
        accepting: Whether the user accepts it now.

    Raises:
        ZooError: It needs acceptance and has none; the text says how to give it.
    """
    if not needs_acceptance(entry) or accepted(entry, home):
        return
    if not accepting:
        raise ZooError(
            f"{entry.name} is not for commercial use: its licence is {entry.licence}. If you "
            f"accept it, say so once with: zoo fetch {entry.name} --accept-licence"
        )
    accept(entry, home)


def _record(entry: ModelEntry, home: Home) -> Path:
    return home.model(entry.name) / "accepted.json"
