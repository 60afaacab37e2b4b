"""The interactions as files."""

import csv
import io
import json
import math

from harness.results import Interaction
from leaderboard.exports import as_csv, as_json


def test_json_holds_every_field_of_every_interaction(interaction):
    (record,) = json.loads(as_json([interaction(q=None)]))

    assert record["effect"] == 0.031
    assert record["q"] is None
    assert record["defense_params"] == {"dpsgd": {"max_grad_norm": 1.0, "noise_multiplier": 1.1}}
    assert record["guards"] == ["membership-inference"]
    assert record.keys() == Interaction.__dataclass_fields__.keys()


def test_json_is_read_by_strict_readers_too(interaction):
    def refuse(constant: str):
        raise ValueError(constant)

    text = as_json([interaction(evidence={"dp_epsilon": math.inf})])

    assert json.loads(text, parse_constant=refuse)[0]["evidence"] == {"dp_epsilon": "inf"}


def test_csv_leaves_unknown_empty_and_writes_nested_values_as_json(interaction):
    rows = csv.DictReader(
        io.StringIO(as_csv([interaction(q=None, model='a,"b"\nc')]).decode(), newline="")
    )

    (record,) = rows
    assert record["model"] == 'a,"b"\nc'
    assert record["effect"] == "0.031"
    assert record["q"] == ""
    assert record["intended"] == "false"
    assert json.loads(record["metrics"])["surrogate_accuracy"] == [0.9, None]
