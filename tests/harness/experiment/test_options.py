"""A request is the same wherever it is written down."""

import inspect
import json
from dataclasses import fields
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

import harness
from cli.options import asked
from harness.data.dataset import DataLocation
from harness.experiment import presets
from harness.experiment import request as requests
from harness.experiment.options import Options, helps, schema, swept
from harness.experiment.presets import PRESETS
from zoo.errors import ZooError
from zoo.home import Home

EVERYTHING = Options(
    model=("digits-mlp", "digits-cnn"),
    defense=("none", "dpsgd+watermark"),
    regime="fine-tuned",
    risk=("evasion",),
    attack=("pgd",),
    access="weights",
    aux="none",
    queries=("100", "500"),
    adversary=("naive",),
    preset="securitynet",
    seeds=3,
    set={"epsilon": ("0.01", "8/255"), "dpsgd.lr": ("0.1",), "dpsgd.augmult": ("none",)},
    tuning="5",
    mirror=Path("/mirror"),
    data_dir=Path("/data"),
    unreadable="skip",
    device="cuda:1",
    workers=2,
    executor="ray",
)


def test_what_is_written_is_read_again(tmp_path) -> None:
    path = tmp_path / "request.toml"
    EVERYTHING.write(path)
    assert Options.read(path) == EVERYTHING
    Options(risk=("all",)).write(path)
    assert path.read_text() == 'risk = ["all"]\n'


VALUES = [
    ("risk", ["all", "evasion", "evasion, extraction", ["all"], ["evasion", "poisoning"]], True),
    ("risk", ["evason", "evasion,evason", ["evason"], [], 3], False),
    ("preset", ["securitynet", "ml-doctor"], True),
    ("preset", ["x", ""], False),
    ("adversary", ["naive", "adaptive,naive", ["naive"]], True),
    ("adversary", ["smart", ["smart"]], False),
    ("aux", ["shadow", "ood", "ood:mnist", "partial", "partial:0.7", "partial:.25"], True),
    ("aux", ["shadow:x", "partial:3", "partial:", "partial:0", "ood:", "others"], False),
    ("queries", [100, [100, 500], "10,20", "10"], True),
    ("queries", [0, "0", "ten", [0], 1.5], False),
    ("tuning", ["none", "standard", 5, "12", 0], True),
    ("tuning", ["some", 1], False),
    ("examples", [100, "100", "all"], True),
    ("examples", [0, "0", "few", -1], False),
    ("model", ["a", ["a", "b"], "a,b"], True),
]
"""Values of options, and whether they are right."""


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [(name, value, fits) for name, values, fits in VALUES for value in values],
)
def test_what_the_schema_says_of_a_value_is_what_becomes_of_it(home_dir, name, value, fits) -> None:
    def read() -> None:
        options = Options.of({"model": "digits-mlp", "risk": "evasion", name: value})
        if name != "model":
            made = requests.of(options, Home.open(home_dir), DataLocation())
            presets.get(made.preset)

    if fits:
        read()
    else:
        with pytest.raises(ZooError):
            read()


def test_an_empty_text_is_no_list(tmp_path) -> None:
    for value in ("", ",", [""]):
        with pytest.raises(ZooError, match="model of the call is empty"):
            Options.of({"model": value}, "the call")
    assert Options.of({"model": ()}).model == ()


@pytest.mark.parametrize("value", [3, ["a"], True])
def test_a_path_is_a_text(value) -> None:
    if isinstance(value, list):
        with pytest.raises(ZooError, match="mirror of .* wants a text"):
            Options.of({"mirror": value})
    else:
        assert Options.of({"mirror": value}).mirror == Path(str(value).lower())


def test_a_request_is_written_whole_to_a_folder_that_is_there(tmp_path) -> None:
    with pytest.raises(ZooError, match="There is no folder"):
        Options(risk=("all",)).write(tmp_path / "no" / "such" / "r.toml")
    assert list(tmp_path.iterdir()) == []


def test_a_written_request_fits_the_schema_and_a_wrong_one_does_not(tmp_path) -> None:
    rules = json.loads(json.dumps(schema(PRESETS)))
    check = jsonschema.Draft202012Validator(rules)
    check.check_schema(rules)
    assert list(check.iter_errors(EVERYTHING.given())) == []
    given = asked(None, {"queries": ["100,500"], "tuning": "7", "risk": ["all"]}).given()
    assert given == {"queries": [100, 500], "tuning": 7, "risk": ["all"]}
    assert list(check.iter_errors(given)) == []
    assert list(check.iter_errors({"risk": "all", "set": {"dpsgd": {"lr": [0.1, 0.2]}}})) == []
    for wrong in ({"riks": "all"}, {"seeds": 0}, {"executor": "cloud"}, {"set": {"lr": []}}):
        assert list(check.iter_errors(wrong)), wrong
    for name, values, fits in VALUES:
        for value in values:
            assert (list(check.iter_errors({name: value})) == []) is fits, (name, value)
    assert set(rules["properties"]) == {option.name for option in fields(Options)} == set(helps())


def test_values_are_read_as_python_has_them() -> None:
    found = Options.of(
        {
            "model": pd.Series(["a", "b,c", "a"]), "risk": {"evasion"}, "queries": np.array([5, 7]),
            "seeds": np.int64(3), "set": {"lr": np.linspace(0.5, 1, 2), "flag": True, "off": None},
        }
    )  # fmt: skip
    assert (found.model, found.risk, found.queries) == (("a", "b", "c"), ("evasion",), ("5", "7"))
    assert (found.seeds, type(found.seeds)) == (3, int)
    assert found.set == {"lr": ("0.5", "1.0"), "flag": ("true",), "off": ("none",)}


def test_what_is_wrong_is_said_of_the_place_where_it_stands(tmp_path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("risk = 'all'\nseeds = 2\n")
    with pytest.raises(ZooError, match="workers of the command line wants"):
        asked(path, {"workers": 0})
    path.write_text("risk = 'all'\nseeds = 0\n")
    with pytest.raises(ZooError, match=r"seeds of .*r.toml wants"):
        asked(path, {"workers": 1})


def test_tables_in_a_file_are_settings_of_a_method(tmp_path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('risk = "evasion"\n[set]\nepsilon = [0.01, 0.03]\ndpsgd.lr = 1\n')
    found = Options.read(path)
    assert found.risk == ("evasion",)
    assert found.set == {"epsilon": ("0.01", "0.03"), "dpsgd.lr": ("1",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("riks = 'all'", "no option 'riks'. Did you mean risk?"),
        ("seeds = 0", "seeds of .* wants a whole number of at least 1, found 0"),
        ("seeds = true", "wants a whole number"),
        ("seeds = '3'", "wants a whole number"),
        ("set = 3", "wants a table of settings"),
        ("set.lr = []", "lr of .* has no value"),
        ("set.'dpsgd.lr' = 1\nset.dpsgd.lr = 2", "gives dpsgd.lr twice"),
        ("risk = [{}]", "risk of .* wants a text or a number"),
        ("risk = ", "is no TOML: "),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, text, message) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ZooError, match=message) as caught:
        Options.read(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ZooError, match="There is no request file"):
        Options.read(tmp_path / "missing.toml")


def test_a_byte_order_mark_is_no_part_of_a_request(tmp_path) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes("risk = 'all'".encode("utf-8-sig"))
    assert Options.read(path).risk == ("all",)


def test_values_with_commas_between_are_a_sweep_and_a_key_twice_is_refused() -> None:
    assert swept(["a=1, 2", "b.c=x"]) == {"a": ("1", "2"), "b.c": ("x",)}
    assert swept(['a="vit/1,2",b', "c="]) == {"a": ("vit/1,2", "b"), "c": ("",)}
    with pytest.raises(ZooError, match="gives epsilon twice, as 0.1 and as 0.2"):
        swept(["epsilon=0.1", "epsilon=0.2"])


def test_options_of_the_command_line_stand_before_those_of_the_file(tmp_path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("model = 'digits-mlp'\nseeds = 3\n[set]\nepsilon = 0.1\nsteps = 5\n")
    found = asked(path, {"seeds": 5, "set": ["epsilon=0.2"], "where": None, "model": None})
    assert (found.model, found.seeds) == (("digits-mlp",), 5)
    assert found.set == {"epsilon": ("0.2",), "steps": ("5",)}
    other = asked(path, {"where": "dataset = 'digits'"})
    assert (other.model, other.where) == ((), "dataset = 'digits'")


def test_python_has_every_option_of_the_command_line() -> None:
    renamed = {
        "defenses": "defense", "risks": "risk", "attacks": "attack", "adversaries": "adversary",
        "settings": "set", "data": "data_dir",
    }  # fmt: skip
    own = {"home", "progress"}
    options = {option.name for option in fields(Options)}
    names = set(inspect.signature(harness.measure).parameters) - own
    assert {renamed.get(name, name) for name in names} == options
    planned = set(inspect.signature(harness.plan).parameters) - own
    assert {renamed.get(n, n) for n in planned} == options - {"device", "workers", "executor"}
