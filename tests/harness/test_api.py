"""The Python door gives what the command line gives."""

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import api
from harness.analysis.verdicts import MARGIN
from harness.experiment.store import EvaluationStore
from zoo.errors import ZooError
from zoo.home import Home

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]
ASKED = {"defenses": "rounding", "risks": "evasion", "attacks": "fgsm", "seeds": 2}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return Home.open(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def measured(home):
    told = []
    found = harness.measure(
        "digits-mlp", **ASKED, tuning="none", home=home, workers=1,
        progress=lambda step, done, total: told.append((step, done, total)),
    )  # fmt: skip
    return found, told


def test_a_row_for_each_cell_with_what_the_store_has(home, measured) -> None:
    found, _ = measured
    stored = {e.cell.key: e for e in EvaluationStore(home).evaluations()}
    assert set(found.key) == set(stored)
    assert list(zip(found.defense, found.seed, strict=True)) == [
        ("none", 0), ("none", 1), ("rounding", 0), ("rounding", 1),
    ]  # fmt: skip
    for row in found.itertuples():
        assert row.susceptibility == stored[row.key].susceptibility
        assert row.value == stored[row.key].metrics["robust_accuracy"]


def test_progress_ends_where_it_said(measured) -> None:
    _, told = measured
    last = {step: (done, total) for step, done, total in told}
    assert last == {"training models": (2, 2), "measuring cells": (4, 4)}


def test_the_same_call_again_does_nothing(home, measured) -> None:
    told = []
    again = harness.measure(
        "digits-mlp", **ASKED, tuning="none", home=home,
        progress=lambda step, done, total: told.append(total),
    )  # fmt: skip
    assert set(told) == {0}
    assert again.equals(measured[0])


def test_a_plan_says_what_is_missing(home, measured) -> None:
    planned = harness.plan("digits-mlp", **{**ASKED, "seeds": 3}, tuning="none", home=home)
    assert list(planned.missing) == [1, 1]
    assert planned.attrs["cells_missing"] == 2
    assert planned.attrs["trainings_missing"] == 1


def test_comparisons_are_those_of_the_command(home, measured, monkeypatch) -> None:
    found = harness.compare(home=home, defense=["rounding", "dpsgd"])
    monkeypatch.setenv("ZOO_HOME", str(home.root))
    done = subprocess.run(
        [BIN / "harness", "compare", "--format", "json"], capture_output=True, text=True, check=True
    )
    (told,) = json.loads(done.stdout)
    (row,) = found.to_dict("records")
    assert told["effect"] == row["effect"]
    assert abs(row["effect"]) < MARGIN
    with pytest.raises(ZooError, match="No interaction matches. There are: model digits-mlp"):
        harness.compare(home=home, model="digits-cnn")


def test_an_empty_store_says_what_to_run(tmp_path) -> None:
    with pytest.raises(ZooError, match="run `harness eval"):
        harness.compare(home=Home.open(tmp_path))


SCRIPT = """
import harness
found = harness.measure(
    "digits-mlp", risks="evasion", attacks="fgsm", seeds=2, tuning="none", workers=2
)
print(sorted(found.status))
"""


@pytest.mark.parametrize("way", ["a file", "standard input"])
def test_a_script_without_a_guard_measures_in_processes(tmp_path, way) -> None:
    """Workers run their tasks, and not the program that asks for them."""
    (tmp_path / "mine.py").write_text(SCRIPT)
    words = ["mine.py"] if way == "a file" else ["-"]
    done = subprocess.run(
        [sys.executable, *words], input=SCRIPT, capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "ZOO_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['ok', 'ok']\n"


def test_a_notebook_completes_what_there_is() -> None:
    assert dir(harness) == ["audit_scores", "compare", "list_methods", "measure", "plan"]


def test_methods_are_listed() -> None:
    assert "pgd" in set(harness.list_methods("attacks").attack)
    assert "digits" in set(harness.list_methods("datasets").dataset)
    with pytest.raises(ZooError, match="No kind to list 'atacks'. Nearest: attacks"):
        harness.list_methods("atacks")
    with pytest.raises(ZooError, match="risks wants the name of a risk"):
        harness.measure("digits-mlp")


def test_the_examples_run(home, monkeypatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(home.root))
    assert doctest.testmod(api).failed == 0
    assert doctest.testmod(api).attempted > 2
