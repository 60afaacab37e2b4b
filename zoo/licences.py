"""What a licence forbids, as far as its name tells, and which terms a user has accepted."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.files import write_json
from zoo.home import Home

Terms = Literal["licence", "gated"]
"""What is accepted: a licence without commercial use, or what the authors of a gated repository ask
for. Accepting one says nothing about the other."""

# Licences of research only whose names do not say so.
_RESEARCH_ONLY = {
    "apple-amlr",  # Apple Machine Learning Research: "exclusively for research purposes"
    "seer-license",  # of Meta's SEER models, a copy of their non-commercial research licence
}
_NON_COMMERCIAL = re.compile(
    r"\b(by-?)?nc\b"
    r"|\bnon-?commercial"
    r"|\b(no|not|without|never)(-[a-z]+){0,2}-commercial"  # "not for any commercial use"
    r"|\bcommercial(-[a-z]+){0,5}-(prohibited|forbidden|disallowed|excluded|not)\b"
    r"|\b(prohibits?|forbids?|excludes?|excluding|except)(-[a-z]+){0,2}-commercial"
    r"|\bresearch-(only|licen[cs]e|use|purposes)|\bonly-for-research"
    r"|\bacademic(?!-free)"
)


def is_non_commercial(licence: str | None) -> bool | None:
    """Whether a licence forbids use that earns money, told by its name or a sentence about it.

    What is not recognised is taken to allow it; None if no licence is stated.
    """
    if licence is None:
        return None
    text = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")
    return text in _RESEARCH_ONLY or _NON_COMMERCIAL.search(text) is not None


def needs_acceptance(entry: ModelEntry) -> bool:
    """Whether the weights are somebody else's, and not for commercial use."""
    theirs = entry.recipe is None and entry.source != "local"
    return theirs and is_non_commercial(entry.licence) is True


def check(entry: ModelEntry, home: Home, *, accepting: bool) -> None:
    """Let a model through whose licence needs no acceptance, or has it.

    Args:
        entry: The model.
        home: Where acceptance is remembered.
        accepting: Whether the user accepts it now.

    Raises:
        ZooError: It needs acceptance and has none; the text says how to give it.
    """
    if accepting or not needs_acceptance(entry) or _accepted(entry, home, "licence", entry.licence):
        return
    raise ZooError(
        f"{entry.name} is not for commercial use: its licence is {entry.licence}. If you "
        f"accept it, say so once with: zoo fetch {entry.name} --accept-licence"
    )


def check_gated(entry: ModelEntry, repo: str, home: Home, *, accepting: bool) -> None:
    """Let a model of a gated repository through whose terms are accepted.

    Raises:
        ZooError: They are not; the text says how to accept them.
    """
    if accepting or _accepted(entry, home, "gated", repo):
        return
    from zoo.sources.hub import endpoint

    raise ZooError(
        f"{entry.name}: {repo} is gated: its authors ask for agreement with their terms, see "
        f"{endpoint()}/{repo}. If you agree, say so once with: zoo fetch {entry.name} "
        "--accept-licence"
    )


def accept(entry: ModelEntry, home: Home) -> None:
    """Remember that the user accepts the licence of a model that was had, if it needs that."""
    if needs_acceptance(entry):
        _accept(entry, home, "licence", entry.licence)


def accept_gated(entry: ModelEntry, repo: str, home: Home) -> None:
    """Remember that the user accepts the terms of a repository that a model was had from."""
    _accept(entry, home, "gated", repo)


def _accept(entry: ModelEntry, home: Home, kind: Terms, terms: str | None) -> None:
    if _accepted(entry, home, kind, terms):
        return
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = {**_read(entry, home), "name": entry.name, kind: {"terms": terms, "accepted": now}}
    write_json(_record(entry, home), record)


def _accepted(entry: ModelEntry, home: Home, kind: Terms, terms: str | None) -> bool:
    """Whether the user of this store has accepted these very terms of a model."""
    found = _read(entry, home).get(kind)
    return isinstance(found, dict) and found.get("terms", 0) == terms


def _read(entry: ModelEntry, home: Home) -> dict[str, Any]:
    try:
        record = json.loads(_record(entry, home).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _record(entry: ModelEntry, home: Home) -> Path:
    return home.model(entry.name) / "accepted.json"
