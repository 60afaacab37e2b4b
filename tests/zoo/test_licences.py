"""Which licences need to be accepted, and that doing so once is enough."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.fetch import fetch
from zoo.home import Home
from zoo.licences import is_non_commercial, needs_acceptance
from zoo.recipe import Recipe

NC = "CC BY-NC (badge in the README, no licence file)"


@pytest.mark.parametrize(
    "licence",
    [
        "cc-by-nc-4.0",
        "CC-BY-NC-4.0",
        NC,
        "cc-by-nc-sa-3.0",
        "fair-noncommercial-research-license",
        "Non-commercial use only",
        "non commercial",
        "seer-license",
        "apple-amlr",
        "qwen-research-license",
        "for academic use",
        "research only",
        "Apache-2.0, weights for non-commercial use",
        "not for commercial use",
        "Not for any commercial use.",
        "commercial use prohibited",
        "Commercial use is not allowed",
        "commercial use of the weights is forbidden",
        "MIT (code); weights not for commercial use",
        "no commercial use",
        "MIT, but prohibits commercial use",
        "all uses excluding commercial ones",
        "CC_BYNC",
    ],
)
def test_a_licence_without_commercial_use_is_recognised(licence: str) -> None:
    assert is_non_commercial(licence) is True


@pytest.mark.parametrize(
    "licence",
    [
        "mit",
        "The MIT License",
        "apache-2.0",
        "BSD-2-Clause",
        "cc-by-4.0",
        "CC BY-SA 4.0",
        "cc0-1.0",
        "LGPL-3.0",
        "GPLv3",
        "Academic Free License v3.0 (AFL-3.0)",
        "apple-ascl",
        "fastvit-license",
        "mobileone-license",
        "dinov3-license",
        "creativeml-openrail-m",
        "free for commercial use",
        "commercial use allowed",
        "unknown",
        "other",
        "sapiens2-license",
        "no limits",
        "summit",
        "",
    ],
)
def test_a_licence_that_does_not_say_so_is_taken_to_allow_commercial_use(licence: str) -> None:
    assert is_non_commercial(licence) is False


def test_of_no_licence_nothing_is_known(published: ModelEntry) -> None:
    assert is_non_commercial(None) is None
    assert not needs_acceptance(replace(published, licence=None))


@pytest.fixture
def guarded(published: ModelEntry) -> ModelEntry:
    return replace(published, licence=NC)


def test_acceptance_is_asked_for_before_anything_else(
    guarded: ModelEntry, home: Home, server: Any
) -> None:
    for entry in (guarded, replace(guarded, architecture="no-such-net")):
        with pytest.raises(ZooError, match="zoo fetch me/mlp-digits --accept-licence") as caught:
            fetch(entry, home)
        assert NC in str(caught.value)
    assert server.asked == []


def test_a_licence_is_accepted_once(guarded: ModelEntry, home: Home) -> None:
    first = fetch(guarded, home, accept_licence=True)
    assert fetch(guarded, home) == replace(first, cached=True)
    record = json.loads((home.model(guarded.name) / "accepted.json").read_text())
    assert (record["name"], record["licence"]["terms"]) == (guarded.name, NC)
    first.path.unlink()
    assert not fetch(guarded, home).cached


def test_a_cached_file_is_not_given_out_without_acceptance(
    published: ModelEntry, guarded: ModelEntry, home: Home
) -> None:
    fetch(published, home)
    with pytest.raises(ZooError, match="--accept-licence"):
        fetch(guarded, home)


def test_other_terms_have_to_be_accepted_anew(guarded: ModelEntry, home: Home) -> None:
    fetch(guarded, home, accept_licence=True)
    with pytest.raises(ZooError, match="its licence is research only"):
        fetch(replace(guarded, licence="research only"), home)


def test_what_was_not_had_leaves_no_acceptance(guarded: ModelEntry, home: Home, site: Path) -> None:
    content = (site / "mlp.pt").read_bytes()
    (site / "mlp.pt").write_bytes(content[:-1])
    with pytest.raises(ZooError, match="cut short"):
        fetch(guarded, home, accept_licence=True)
    (site / "mlp.pt").write_bytes(content)
    with pytest.raises(ZooError, match="--accept-licence"):
        fetch(guarded, home)


def test_what_is_in_the_store_already_can_be_accepted(
    published: ModelEntry, guarded: ModelEntry, home: Home
) -> None:
    fetch(published, home)
    assert fetch(guarded, home, accept_licence=True).cached
    assert fetch(guarded, home).cached


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"licence": null}', b'{"licence": {"terms": null}}']
)
def test_a_damaged_record_is_no_acceptance(guarded: ModelEntry, home: Home, content: bytes) -> None:
    fetch(guarded, home, accept_licence=True)
    (home.model(guarded.name) / "accepted.json").write_bytes(content)
    with pytest.raises(ZooError, match="--accept-licence"):
        fetch(guarded, home)


@pytest.mark.parametrize("licence", [None, "unknown", "MIT"])
def test_an_unknown_licence_is_not_refused_and_accepting_it_leaves_no_record(
    published: ModelEntry, home: Home, licence: str | None
) -> None:
    fetch(replace(published, licence=licence), home, accept_licence=True)
    assert not Path(home.model(published.name), "accepted.json").exists()


def test_the_users_own_weights_need_no_acceptance(guarded: ModelEntry) -> None:
    assert needs_acceptance(guarded)
    assert not needs_acceptance(replace(guarded, source="local"))
    assert not needs_acceptance(replace(guarded, source="selftrained", recipe=Recipe()))
