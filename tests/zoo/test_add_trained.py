"""A model of the user's own that is trained: of the user's own table, too."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from annotations.load import load
from annotations.record import Annotations
from zoo.add_trained import Data, add_trained
from zoo.added import read_added
from zoo.catalog import open_catalog
from zoo.errors import ZooError
from zoo.home import Home
from zoo.recipe import Recipe

LOANS = Data(
    name="loans",
    input_shape=(5,),
    num_classes=2,
    train_size=80,
    test_size=None,
    attributes=("sex", "town"),
    widths=(1, 3, 1),
)
MINE: dict[str, Any] = {
    "name": "me/loans-mlp",
    "data": LOANS,
    "architecture": "mlp-32",
    "recipe": Recipe(epochs=20, lr=0.01),
}


def test_it_is_in_the_catalog_with_its_recipe_and_its_dataset(home: Home) -> None:
    added = add_trained(home, **MINE)
    catalog = open_catalog(home)
    assert catalog.entry("me/loans-mlp") == added
    assert (added.source, added.artifact, added.scaling) == ("local", None, ((0.0,), (1.0,)))
    assert added.recipe == MINE["recipe"]
    dataset = catalog.dataset("loans")
    assert (dataset["train_size"], dataset["test_size"], dataset["topic"]) == (80, None, None)
    assert dataset["sensitive_attributes"] == ["other attributes", "sex"]
    shown = catalog.show("me/loans-mlp")
    assert (shown["model"]["task"], shown["model"]["parameters"]) == (
        "tabular classification",
        5 * 32 + 32 + 32 * 2 + 2,
    )
    said = {(f["entity"], f["entity_id"]) for f in shown["facts"] if f["coder"] == "user"}
    assert said == {("models", "me/loans-mlp"), ("datasets", "loans")}


def test_a_transformer_is_told_the_widths_of_the_columns(home: Home) -> None:
    entry = add_trained(home, **{**MINE, "architecture": "tabular-transformer"})
    assert entry.architecture == "tabular-transformer/1,3,1"
    assert open_catalog(home).show("me/loans-mlp")["model"]["family"] == "ft-transformer"


def test_what_is_known_of_a_dataset_goes_before_what_an_entry_says(home: Home) -> None:
    digits = replace(LOANS, name="digits", input_shape=(1, 8, 8), num_classes=10, train_size=3)
    add_trained(home, **{**MINE, "data": digits})
    catalog = open_catalog(home)
    assert catalog.dataset("digits")["train_size"] == 1797
    assert catalog.show("me/loans-mlp")["model"]["task"] == "image classification"


def test_each_entry_brings_its_dataset_so_that_another_can_be_removed(home: Home) -> None:
    add_trained(home, **MINE)
    add_trained(home, **{**MINE, "name": "me/other"})
    (home.model("me/loans-mlp") / "entry.json").unlink()
    catalog = open_catalog(home)
    assert catalog.entry("me/other").dataset == "loans"
    assert "me/loans-mlp" not in catalog.names()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "digits-cnn"}, "There is a model 'digits-cnn' already"),
        ({"name": "Me"}, "--name 'Me' does not look like"),
        ({"purpose": "fun"}, "No purpose 'fun'"),
        ({"architecture": "mlp-12"}, "No architecture 'mlp-12'. Nearest: mlp-128"),
        ({"architecture": "cnn-small"}, "Architecture cnn-small cannot take inputs of 5"),
        ({"architecture": "tabular-transformer/2,2"}, "Columns of 4 features in all were named"),
        (
            {"architecture": "tabular-transformer", "data": replace(LOANS, widths=())},
            "is for tables, and loans has no columns",
        ),
        ({"std": [0.0]}, "those of --std above 0"),
        ({"mean": [0.0, 0.0]}, "need 1 comma-separated finite number"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_recorded(
    home: Home, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(ZooError) as caught:
        add_trained(home, **{**MINE, **changed})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(home.root.glob("models/*"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Annotations, str]:
    """The annotations, and the file of an entry."""
    home = Home.open(tmp_path_factory.mktemp("written"))
    add_trained(home, **MINE)
    return load(), (home.model("me/loans-mlp") / "entry.json").read_text()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["recipe"], {"epochs": 0}, "epochs of at least 1"),
        (["recipe"], {"epoch": 3}, "epoch"),
        (["recipe"], None, "mapping"),
        (["brings", "datasets", "num_classes"], "two", "num_classes of datasets 'two'"),
        (["brings", "datasets", "key"], None, "key of datasets is required"),
        (["brings", "datasets"], [], "list"),
        (["values", "mean"], [0.0] * 5, "mean and std need 1 numbers"),
    ],
)
def test_a_damaged_entry_is_one_line_that_names_the_file(
    written: tuple[Annotations, str], tmp_path: Path, path: list[str], value: object, said: str
) -> None:
    annotations, text = written
    home = Home(tmp_path)
    file = home.model("me/loans-mlp") / "entry.json"
    file.parent.mkdir(parents=True)
    document = place = json.loads(text)
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    file.write_text(json.dumps(document))
    with pytest.warns(UserWarning, match="left out") as caught:
        added = read_added(home, annotations)
    assert added.models == []
    text = str(caught[0].message)
    assert f"{file} is not an entry that `zoo add` wrote (" in text
    assert said in text
    assert "\n" not in text
