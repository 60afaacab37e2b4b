"""The numbers of the catalog are those of its rows, and what was promised is there."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from zoo.catalog import Catalog, open_catalog
from zoo.figure import draw
from zoo.home import Home
from zoo.stats import Stats, as_json, stats


@pytest.fixture
def catalog(home: Home) -> Catalog:
    return open_catalog(home)


@pytest.fixture
def found(catalog: Catalog) -> Stats:
    return stats(catalog)


def test_there_is_as_much_as_was_promised(found: Stats) -> None:
    assert found.counts["models"] >= 2400
    assert found.counts["with every code of SecurityNet's codebook"] >= 2000
    assert found.counts["datasets"] >= 40
    assert found.counts["architecture families"] >= 150


def test_counts_agree_with_rows_read_one_by_one(catalog: Catalog, found: Stats) -> None:
    frame = catalog.models()
    assert found.counts["models"] == len(frame)
    assert found.counts["with an accuracy"] == frame.accuracy.notna().sum()
    assert found.counts["architectures of models"] == frame.architecture.nunique()
    codes = [
        column
        for group, columns in catalog.sql("SELECT code_group, columns FROM codes")[1]
        for column in columns
        if group == "securitynet"
    ]
    complete = frame[codes].notna().all(axis=1).sum()
    assert found.counts["with every code of SecurityNet's codebook"] == complete
    assert found.unfilled["flops"] == frame.flops.isna().sum()
    assert (
        found.unfilled["elements"] == (frame.has_dropout.isna() | frame.has_batchnorm.isna()).sum()
    )


def test_each_panel_counts_models(catalog: Catalog, found: Stats) -> None:
    frame = catalog.models()

    def totals(panel: str) -> dict[object, int]:
        for row in found.panels[panel].rows:
            assert sum(row[1:-1]) == row[-1]
        return {row[0]: row[-1] for row in found.panels[panel].rows}

    assert totals("purpose") == frame.purpose.value_counts().to_dict()
    years = totals("year")
    assert list(years) == sorted(years)
    assert years == frame.year.dropna().astype(int).value_counts().to_dict()
    countries = frame.countries.explode().value_counts()
    for country, models in totals("countries").items():
        assert countries[country] == models
    secure = frame[frame.purpose == "security"]
    family, models = next(iter(totals("security_families").items()))
    assert (family, models) == (
        secure.family.value_counts().index[0],
        secure.family.value_counts().iloc[0],
    )
    assert found.panels["security_families"].columns[:3] == ("family", "benchmark", "security")
    venue, _, of_security, *_ = found.panels["venues"].rows[0]
    assert of_security == (secure.venue == venue).sum()


def test_the_numbers_are_plain_json(found: Stats) -> None:
    parsed = json.loads(json.dumps(as_json(found)))
    assert parsed["counts"]["models"] == found.counts["models"]
    assert parsed["figure"]["purpose"][0]["purpose"] == "benchmark"


def test_the_figure_shows_every_panel_and_is_the_same_each_time(
    found: Stats, tmp_path: Path
) -> None:
    draw(found, tmp_path / "one.svg")
    draw(found, tmp_path / "two.svg")
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    ET.fromstring(text)
    for panel in found.panels.values():
        assert panel.title in text
        assert str(panel.rows[0][0]) in text
