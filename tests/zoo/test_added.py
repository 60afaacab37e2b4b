"""What lies in the store as a user's own entry is checked like any other row."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from annotations.load import load
from zoo.added import read_added
from zoo.build import build
from zoo.catalog import open_catalog
from zoo.errors import ZooError
from zoo.home import Home

ENTRY: dict[str, Any] = {
    "values": {
        "name": "me/mlp",
        "purpose": "other",
        "task": "image classification",
        "dataset": "digits",
        "architecture": "mlp-128",
        "input_shape": [1, 8, 8],
        "num_classes": 10,
        "mean": [1e-7],
        "std": [1e20],
        "licence": None,
        "paper": None,
        "backdoored": False,
        "notes": None,
        "sha256": "0" * 64,
        "size": 1,
        "mirror_path": None,
        "url": None,
        "state_dict": "",
        "strip_prefix": "",
    },
    "provenance": {
        "coder": "user",
        "method": "manual",
        "confidence": "medium",
        "evidence": "added with zoo add",
    },
}


def put(home: Home, content: bytes, name: str = "me/mlp") -> Path:
    path = home.model(name) / "entry.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def with_values(**changed: Any) -> bytes:
    return json.dumps({**ENTRY, "values": {**ENTRY["values"], **changed}}).encode()


def without(name: str) -> bytes:
    values = {key: value for key, value in ENTRY["values"].items() if key != name}
    return json.dumps({**ENTRY, "values": values}).encode()


def test_an_entry_is_read_as_a_row(home: Home) -> None:
    put(home, with_values())
    (row,) = read_added(home, load()).models
    assert (row.key, row.file) == ("me/mlp", "models/me__mlp/entry.json")
    assert (row.values["mean"], row.values["std"]) == ((1e-7,), (1e20,))
    assert (row.values["licence"], row.values["backdoored"]) == (None, False)
    assert vars(row.provenance) == ENTRY["provenance"]
    assert open_catalog(home).entry("me/mlp").std == (1e20,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting"),
        (b"[]", "list"),
        (b"1", "int"),
        (b"\xff\xfe", "utf-8"),
        (b"{}", "values"),
        (b'{"values": {}}', "name is missing"),
        (b'{"values": []}', "name is missing"),
        (b'{"values": 1}', "int"),
        (json.dumps({"values": ENTRY["values"]}).encode(), "provenance"),
        (json.dumps({**ENTRY, "provenance": {"coder": "user"}}).encode(), "method"),
        (json.dumps({**ENTRY, "provenance": []}).encode(), "list"),
        (without("sha256"), "sha256 is missing"),
        (without("mean"), "mean, std and input_shape must all be given"),
        (with_values(mean=[math.nan]), "mean 'nan' is not a number"),
        (with_values(std=[math.inf]), "std 'inf' is not a number"),
        (with_values(std=[0.0]), "std 0.0 is not above 0"),
        (with_values(std=[1.0, 1.0]), "need 1 numbers"),
        (with_values(mean="half"), "mean 'half' is not a number"),
        (with_values(mean=None), "must all be given"),
        (with_values(input_shape=[1, 8]), "input_shape has 2 numbers"),
        (with_values(sha256="../../x"), "sha256 '../../x' does not look like"),
        (with_values(backdoored="maybe"), "backdoored 'maybe'"),
        (with_values(licence="\udcff"), "licence"),
        (with_values(name="me/other"), "it is of me/other"),
    ],
)
def test_a_damaged_entry_is_one_line_that_names_the_file(
    home: Home, content: bytes, said: str
) -> None:
    path = put(home, content)
    with pytest.warns(UserWarning, match="left out") as caught:
        catalog = open_catalog(home)
    text = str(caught[0].message)
    assert text.startswith(
        f"A model is left out of the catalog: {path} is not an entry that `zoo add` wrote ("
    )
    assert said in text
    assert "\n" not in text
    assert "digits-cnn" in catalog.names()
    assert not any(name.startswith("me/") for name in catalog.names())
    with pytest.raises(ZooError, match=f"{path} is left out of the catalog. `zoo build` says why"):
        catalog.entry("me/mlp")


def test_the_entries_beside_a_damaged_one_are_there(home: Home) -> None:
    put(home, b"{")
    put(home, with_values(name="me/other"), "me/other")
    with pytest.warns(UserWarning, match="me__mlp/entry.json is not an entry"):
        assert "me/other" in open_catalog(home).names()


@pytest.mark.parametrize("field", ["dataset", "architecture", "paper"])
def test_an_entry_of_what_the_annotations_lack_is_named(home: Home, field: str) -> None:
    path = put(home, with_values(**{field: "nothing"}))
    with pytest.warns(UserWarning, match=f"{path}: {field}: no row 'nothing' among the {field}s"):
        build(home)


def test_a_name_that_the_annotations_have_taken_since_is_named(home: Home) -> None:
    path = put(home, with_values(name="digits-cnn"), "digits-cnn")
    with pytest.warns(UserWarning, match=f"{path} is of digits-cnn, but the annotations have"):
        build(home)
    assert open_catalog(home).entry("digits-cnn").source == "selftrained"
