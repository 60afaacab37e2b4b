"""The taxonomy names the harness's eight risks, each placed in every framework."""

from collections.abc import Callable
from pathlib import Path

import pytest

from annotations.load import load_taxonomy
from annotations.record import AnnotationError
from harness.types import Risk


def test_the_risks_are_those_of_the_harness() -> None:
    assert list(load_taxonomy().risks) == [str(risk) for risk in Risk]


def test_every_risk_is_placed_in_every_framework() -> None:
    taxonomy = load_taxonomy()
    assert set(taxonomy.frameworks) == {"nist", "atlas", "owasp"}
    for risk in taxonomy.risks.values():
        assert set(risk.frameworks) == set(taxonomy.frameworks)
        assert risk.definition.count(".") == 1


def test_fairness_has_no_place_at_nist() -> None:
    place = load_taxonomy().risks["discriminatory-behavior"].frameworks["nist"]
    assert (place.mapping, place.ids) == ("none", ())


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('mapping = "exact", ids = ["ML01"]', 'mapping = "same", ids = ["ML01"]', "no mapping"),
        ('mapping = "exact", ids = ["ML01"]', 'mapping = "none", ids = ["ML01"]', "contradict"),
        ('mapping = "exact", ids = ["ML01"]', 'mapping = "exact", ids = []', "contradict"),
    ],
)
def test_a_wrong_mapping_is_refused(
    folder: Path, edit: Callable[[str, str, str], None], old: str, new: str, problem: str
) -> None:
    edit("taxonomy.toml", old, new)
    with pytest.raises(AnnotationError, match=f"evasion: owasp: .*{problem}"):
        load_taxonomy(folder)
