"""Public bug reports about other tools, each as what a user of ours would type."""

import io
import json
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.examples import UNKNOWN
from zoo import nets
from zoo.build import refresh
from zoo.files import sha256_file
from zoo.home import Home
from zoo.loading import to_safetensors
from zoo.recipe import Recipe

Called = Callable[..., tuple[int, str, str]]


KEPT = ("cells", "artifacts", "tunings")
"""Folders of a store that hold what was measured or trained."""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """One store for all: its catalog is built once."""
    return tmp_path_factory.mktemp("refused") / "home"


@pytest.fixture
def call(home, monkeypatch, capsys) -> Called:
    """Call a command; its exit code and what it prints."""
    monkeypatch.setenv("ZOO_HOME", str(home))

    def run(program: str, *arguments: str) -> tuple[int, str, str]:
        if program == "zoo":
            from cli.zoo_app import main
        else:
            from cli.harness_app import main

        monkeypatch.setattr(sys, "argv", [program, *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        found = capsys.readouterr()
        return int(end.value.code or 0), found.out, found.err

    return run


@pytest.fixture
def refused(home, call) -> Callable[..., str]:
    """Call ``harness``, see it end with one line and exit code 2, and nothing be stored."""

    def run(*arguments: str) -> str:
        before = {path for kind in KEPT for path in (home / kind).glob("*")}
        code, printed, said = call("harness", *arguments)
        assert (code, printed) == (2, "")
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert {path for kind in KEPT for path in (home / kind).glob("*")} == before
        return said

    return run


@pytest.fixture
def unread(call) -> Callable[[Path], str]:
    """See a model of a table be refused in one line."""

    def run(folder: Path) -> str:
        asked = ["--name", "me/people", "--dataset", "people", "--data-dir", str(folder)]
        code, printed, said = call("zoo", "add", "--train", *asked, "--architecture", "mlp-32")
        assert (code, printed) == (2, "")
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        return said

    return run


@pytest.mark.parametrize("command", ["eval", "plan"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("dpsgd.noise_multplier", "No setting of dpsgd 'noise_multplier'. Nearest: noise_multiplier"),
        ("dpsgd.noise-multiplier", "No setting of dpsgd 'noise-multiplier'. Nearest: noise_multiplier"),
        ("noise_multplier", "No setting 'noise_multplier'. Nearest: dpsgd.noise_multiplier"),
        ("dpsgd.noise", "noise_multiplier"),
        ("dpsgd.sigma", "noise_multiplier"),
        ("sigma", "dpsgd.noise_multiplier"),
        ("dp-sgd.noise_multiplier", "No method in this request with settings 'dp-sgd'. Nearest: dpsgd"),
        ("recipe.noise_multiplier", "No setting of recipe 'noise_multiplier'"),
    ],
)  # fmt: skip
def test_no_misspelt_noise_trains_without_privacy(command, given, said, refused) -> None:
    """LeakPro 447: the run went on with no noise at all."""
    asked = ["--model", "digits-mlp", "--defense", "dpsgd", "--risk", "evasion", "--attack", "fgsm"]
    assert said in refused(command, *asked, "--tuning", "none", "--set", f"{given}=1")


def _request(kind: registry.Kind, name: str) -> list[str]:
    """Options that ask for this method."""
    if kind == "defense":
        return ["--defense", name, "--risk", "evasion", "--attack", "fgsm"]
    return ["--risk", registry.get("attack", name).risk, "--attack", name]


@pytest.mark.parametrize(
    ("kind", "name"), [("defense", n) for n in registry.DEFENSES] + [("attack", n) for n in registry.ATTACKS]
)  # fmt: skip
def test_a_misspelt_setting_of_any_method_is_refused(kind, name, refused) -> None:
    """LeakPro 447, wherever else a setting could be dropped in silence."""
    meant = next((f.name for f in fields(registry.get(kind, name))), None)
    given = f"{meant[:1]}{meant[2:]}x" if meant else "strength"
    asked = ["plan", "--model", "digits-mlp", *_request(kind, name)]
    said = refused(*asked, "--set", f"{name}.{given}=1")
    assert f"No setting of {name} {given!r}." in said
    assert (meant or "Known: none") in said


def test_a_misspelt_setting_of_the_recipe_is_refused(refused) -> None:
    """LeakPro 447."""
    asked = ["plan", "--model", "digits-mlp", "--risk", "evasion", "--attack", "fgsm"]
    for field in fields(Recipe):
        said = refused(*asked, "--set", f"recipe.{field.name}s=1")
        assert f"No setting of recipe '{field.name}s'. Nearest: {field.name}" in said


PEOPLE = "age,sex,repaid\n" + "".join(
    f"{18 + 7 * k % 60},{'fm'[k % 2]},{'ny'[k // 2 % 2]}\n" for k in range(80)
)
SAID = 'label = "repaid"\nclasses = ["n", "y"]\n[sensitive.sex]\n'


def _table(folder: Path, content: str, said: str = SAID, *, parquet: bool = False) -> Path:
    """A folder with a described table; its fifth row is on line 6."""
    file = folder / ("people.parquet" if parquet else "people.csv")
    if parquet:
        frame = pd.read_csv(io.StringIO(content), keep_default_na=False)
        frame.to_parquet(file, index=False)
    else:
        file.write_text(content)
    (folder / "people.toml").write_text(f'file = "{file.name}"\n{said}')
    return folder


def _fifth(old: str, new: str) -> str:
    lines = PEOPLE.splitlines()
    lines[5] = lines[5].replace(old, new)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("parquet", [False, True])
@pytest.mark.parametrize("nan", ["NaN", "nan", "-nan"])
def test_a_group_that_is_no_number_is_refused_with_its_place(
    nan, parquet, tmp_path, unread
) -> None:
    """Fairlearn 1698: neither a group that is called NaN nor one that disappears unseen."""
    folder = _table(tmp_path, _fifth(",f,", f",{nan},"), parquet=parquet)
    said = unread(folder)
    assert f"{'row 5' if parquet else 'line 6'}, column 'sex': '{nan}' is what programs" in said
    assert "List it under missing in" in said


@pytest.mark.parametrize(
    ("said", "groups", "nobody"),
    [
        ('missing = ["NaN"]\n' + SAID, ("f", "m"), 1),
        (SAID + '[sensitive.sex.groups]\nf = ["f"]\nm = ["m"]\nunsaid = ["NaN"]\n',
         ("f", "m", "unsaid"), 0),
        ('missing = ["NaN"]\n' + SAID
         + '[sensitive.sex.groups]\nf = ["f"]\nm = ["m"]\nunsaid = ["NaN"]\n',
         ("f", "m", "unsaid"), 0),
    ],
)  # fmt: skip
def test_who_has_no_group_is_in_none_or_in_the_one_that_was_named(
    said, groups, nobody, tmp_path
) -> None:
    """Fairlearn 1698."""
    datasets.load.cache_clear()
    found = datasets.load(
        "people", DataLocation(data_dir=_table(tmp_path, _fifth(",f,", ",NaN,"), said))
    )
    sex = found.z["sex"]
    assert sex.names == groups
    counts = [int((sex.values == k).sum()) for k in range(len(groups))]
    assert counts == [39, 40, 1][: len(groups)]
    assert int((sex.values == UNKNOWN).sum()) == nobody


def test_a_missing_number_of_parquet_is_in_no_group(tmp_path) -> None:
    """Fairlearn 1698: pandas stores a missing whole number as NaN."""
    frame = pd.read_csv(io.StringIO(PEOPLE))
    frame["sex"] = (frame["sex"] == "f").astype(float)
    frame.loc[4, "sex"] = float("nan")
    frame.to_parquet(tmp_path / "people.parquet", index=False)
    (tmp_path / "people.toml").write_text('file = "people.parquet"\n' + SAID)
    datasets.load.cache_clear()
    sex = datasets.load("people", DataLocation(data_dir=tmp_path)).z["sex"]
    assert sex.names == ("0", "1")
    assert [int((sex.values == k).sum()) for k in (UNKNOWN, 0, 1)] == [1, 40, 39]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("1" * 400, "is too large a number for a float. Correct the cell, or list it under"),
        ("x" * 400, "is no number. Correct the cell, or list it under missing"),
    ],
)
def test_a_cell_of_400_characters_is_not_printed_whole(cell, said, tmp_path, unread) -> None:
    found = unread(_table(tmp_path, _fifth(PEOPLE.splitlines()[5].split(",")[0], cell)))
    assert f"line 6, column 'age': '{cell[:30]}…' (400 characters) {said}" in found
    assert cell[:31] not in found


def test_a_label_and_a_group_of_400_characters_are_not_printed_whole(tmp_path, unread) -> None:
    said = SAID + '[sensitive.sex.groups]\nf = ["f"]\nm = ["m"]\n'
    for place, column in ((1, "sex"), (2, "repaid")):
        line = PEOPLE.splitlines()[5].split(",")
        line[place] = "z" * 400
        lines = PEOPLE.splitlines()
        lines[5] = ",".join(line)
        found = unread(_table(tmp_path, "\n".join(lines) + "\n", said))
        assert f"column '{column}': " in found
        assert f"'{'z' * 30}…' (400 characters)" in found
        assert "z" * 31 not in found


@pytest.mark.parametrize("parquet", [False, True])
def test_whole_numbers_that_a_float_cannot_tell_apart_are_named(parquet, tmp_path) -> None:
    """Two account numbers, 2^53 and the next one, are one float."""
    lines = [f"{2**53 + k % 2},{line}" for k, line in enumerate(PEOPLE.splitlines()[1:])]
    content = "\n".join(["account,age,sex,repaid", *lines]) + "\n"
    datasets.load.cache_clear()
    folder = _table(tmp_path, content, parquet=parquet)
    with pytest.warns(UserWarning, match=r"column 'account': '900719925474099[23]' is the same as"):
        datasets.load("people", DataLocation(data_dir=folder))
    for said in ('categorical = ["account"]\n', 'ignored = ["account"]\n'):
        datasets.load.cache_clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            datasets.load(
                "people",
                DataLocation(data_dir=_table(tmp_path, content, said + SAID, parquet=parquet)),
            )
    datasets.load.cache_clear()
    below = content.replace(str(2**53), str(2**53 - 1)).replace(str(2**53 + 1), str(2**53 - 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        datasets.load("people", DataLocation(data_dir=_table(tmp_path, below, parquet=parquet)))


@pytest.fixture(scope="module")
def taught() -> Mapping[str, Tensor]:
    """Weights of a perceptron that knows digits."""
    digits = datasets.load("digits", DataLocation())
    torch.manual_seed(0)
    net = nets.build("mlp-128", (1, 8, 8), 10)
    steps = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        steps.zero_grad()
        nn.functional.cross_entropy(net(digits.x), digits.y).backward()
        steps.step()
    return {name: value.detach() for name, value in net.state_dict().items()}


DIGITS = ["--dataset", "digits", "--architecture", "mlp-128", "--mean", "0", "--std", "1"]


def _stored(state: Mapping[str, Tensor], folder: Path) -> str:
    to_safetensors(dict(state), folder / "mine.safetensors")
    return str(folder / "mine.safetensors")


def _reversed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same network with its classes in reverse order."""
    last = list(state)[-2:]
    assert {len(state[name]) for name in last} == {10}
    return {name: value.flip(0) if name in last else value for name, value in state.items()}


RENUMBERED = r"but 0.9\d\d if labels were renumbered \(0 to 9 in reverse\): check the label order"


def test_reversed_classes_are_a_warning_when_added_verified_and_measured(
    taught, home, call, tmp_path
) -> None:
    """libreyolo 348: id2label was reversed, and the model looked worthless."""
    code, out, said = call(
        "zoo", "add", _stored(_reversed(taught), tmp_path), "--name", "me/r", *DIGITS
    )
    assert code == 0
    assert re.match(r"accuracy 0.0\d\d on 4\d\d examples of digits\n", out)
    assert re.fullmatch(rf"warning: me/r: accuracy 0.0\d\d, {RENUMBERED}\.\n", said)
    code, _, said = call("zoo", "verify", "me/r")
    assert code == 0
    assert re.search(rf"warning: me/r: accuracy 0.0\d\d, {RENUMBERED}\.\n", said)
    asked = ["--model", "me/r", "--risk", "evasion", "--attack", "fgsm", "--seeds", "1"]
    code, _, said = call("harness", "eval", *asked, "--workers", "1")
    assert code == 0, said
    (cell,) = (json.loads(p.read_text()) for p in (home / "cells").glob("*/result.json"))
    flags = cell["evidence"]["flags"]
    assert [bool(re.search(RENUMBERED, flag)) for flag in flags].count(True) == 1


def test_a_good_model_and_one_that_knows_nothing_are_added_without_a_warning(
    taught, call, tmp_path
) -> None:
    """libreyolo 348."""
    torch.manual_seed(1)
    blank = nets.build("mlp-128", (1, 8, 8), 10).state_dict()
    for name, state in (("me/good", taught), ("me/blank", blank)):
        torch.save(dict(state), tmp_path / "mine.pt")
        found = call("zoo", "add", str(tmp_path / "mine.pt"), "--name", name, *DIGITS)
        code, out, said = found
        assert (code, said) == (0, "")
        measured, added = out.splitlines()
        assert re.fullmatch(r"accuracy [01]\.\d{3} on 4\d\d examples of digits", measured)
        assert added == f"Added {name}. Check it with: zoo verify {name}"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_though_their_hash_is_right(
    value, taught, home, call, tmp_path
) -> None:
    """Nothing that is not finite is ever a result."""
    name = f"me/w{value}".replace("-", "minus")
    assert call("zoo", "add", _stored(taught, tmp_path), "--name", name, *DIGITS)[0] == 0
    (record,) = (home / "models").glob(f"*{name[3:]}*/entry.json")
    first = next(iter(taught))
    broken = {**taught, first: torch.full_like(taught[first], value)}
    file = Path(_stored(broken, tmp_path))
    entry = json.loads(record.read_text())
    entry["values"] |= {"sha256": sha256_file(file), "size": file.stat().st_size}
    record.write_text(json.dumps(entry))
    shutil.copyfile(file, Home.open(home).blobs / entry["values"]["sha256"])
    refresh(Home.open(home))
    code, printed, said = call("zoo", "verify", name, "--format", "json")
    assert code == 2
    assert json.loads(printed or "[]") == []
    assert said.splitlines()[-1].startswith(f"error: The weights of {name} are no model's: ")
    assert "values that are not finite" in said
    assert said.count("error: ") == 1
    asked = ["--model", name, "--risk", "evasion", "--attack", "fgsm", "--seeds", "1"]
    assert "are no model's" in call("harness", "eval", *asked, "--workers", "1")[2]
