"""Other packages add sources; one that is broken takes nobody else down."""

from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import zoo.plugins
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.fetch import Fetched, Progress, fetch, sources
from zoo.home import Home
from zoo.recipe import Recipe


class Fixed:
    """A source that has every model already."""

    def fetch(
        self, entry: ModelEntry, home: Home, *, progress: Progress | None = None, **_: object
    ) -> Fetched:
        return Fetched(entry.name, Path("weights"), "0" * 64, True, 0.5)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("fixed", f"{__name__}:Fixed", "zoo.sources"),
        EntryPoint("broken", "no.such.package:Source", "zoo.sources"),
    ]
    monkeypatch.setattr(EntryPoint, "load", lambda point: Fixed if point.name == "fixed" else 1 / 0)
    monkeypatch.setattr(zoo.plugins, "entry_points", lambda group: points)


@pytest.mark.usefixtures("plugins")
def test_an_installed_source_is_used_and_a_broken_one_left_out(
    entry: ModelEntry, home: Home
) -> None:
    with pytest.warns(
        UserWarning, match=r"source 'broken' of no\.such\.package:Source is left out"
    ):
        found = fetch(replace(entry, source="fixed"), home)  # type: ignore[arg-type]
    assert found.accuracy == 0.5


@pytest.mark.usefixtures("plugins")
def test_an_unknown_source_names_the_known_ones(entry: ModelEntry, home: Home) -> None:
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(
            ZooError, match=r"No source of models 'timm'\. Known: fixed, local, published"
        ),
    ):
        fetch(replace(entry, source="timm", artifact=None, recipe=Recipe()), home)


@pytest.mark.usefixtures("plugins")
def test_whoever_lists_a_published_model_its_file_is_got_from_where_it_lies(
    published: ModelEntry, home: Home
) -> None:
    with pytest.warns(UserWarning, match="left out"):
        assert not fetch(replace(published, source="timm"), home).cached


def test_the_harness_provides_the_self_trained_models() -> None:
    assert {"local", "published", "selftrained"} <= set(sources())
