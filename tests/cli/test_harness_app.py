"""The harness command: what it prints, and one clear line for every wrong input."""

import csv
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.experiment.store import EvaluationStore
from harness.results import Cell, Evaluation, Method
from harness.types import Access, Regime, Risk, ThreatModel
from zoo.home import Home

BIN = Path(sys.executable).parent


def call(*arguments: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ZOO_HOME": str(home), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(
        [BIN / "harness", *arguments], capture_output=True, text=True, env=environment, timeout=300
    )


UNTUNED = ["--tuning", "none"]
ONE = ["--workers", "1"]
"""A second process takes longer to start than these few measurements do."""
BASE = ["eval", "--model", "digits-mlp", "--risk", "evasion", "--seeds", "1", *UNTUNED]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--model", "digits-mpl", "--risk", "all"], "No model 'digits-mpl'. Nearest: digits-mlp"),
        ([*BASE, "--defense", "dpgsd"], "No defense 'dpgsd'. Nearest: dpsgd"),
        (["eval", "--model", "digits-mlp", "--risk", "evason"], "No risk 'evason'. Nearest: evasion"),
        ([*BASE, "--attack", "pdg"], "No attack 'pdg'. Nearest: pgd"),
        ([*BASE, "--attack", "pgd", "--access", "labels"], "wants access to weights, but labels is granted"),
        ([*BASE, "--tuning", "1"], "tuning wants none, standard or a whole number of at least 2, found '1'"),
        ([*BASE, "--access", "label"], "No access 'label'. Nearest: labels"),
        (
            ["eval", "--model", "digits-mlp", "--risk", "extraction", "--queries", "5000"],
            "query budget is 5000, but the attacker's shadow data holds 898",
        ),
        ([*BASE, "--set", "epsilon=9"], "wants epsilon in the pixel range [0, 1], found 9"),
        ([*BASE, "--set", "epsilom=.1"], "No setting 'epsilom'. Nearest: pgd.epsilon, fgsm.epsilon"),
        ([*BASE, "--set", "epsilon"], "--set wants field=value, found 'epsilon'"),
        ([*BASE, "--device", "cuda:77"], "No device 'cuda:77' here"),
        ([*BASE, "--defense", "dpsgd", "--set", "dp_epsilon=1e-9"], "cannot reach dp_epsilon=1e-09"),
        ([*BASE, "--adversary", "adaptiv"], "No adversary 'adaptiv'. Nearest: adaptive"),
        (
            ["eval", "--model", "digits-tinted-mlp", "--risk", "attribute-inference", "--set", "attribute=sex"],
            "No sensitive attribute of digits-tinted 'sex'. Known: tint",
        ),
        (["eval", "--model", "digits-mlp", "--where", "true", "--risk", "evasion"], "not with both"),
        (["eval", "--model", "digits-mlp"], "risk names no risk"),
        (["eval", "--where", "dataset = 'nowhere'", "--risk", "all"], "No model of the catalog matches"),
        (["eval", "--where", "nonsense here", "--risk", "all"], "error"),
        (["compare"], "Nothing to compare yet"),
        ([*BASE, "--mirror", "/nowhere"], "No folder /nowhere"),
    ],
)  # fmt: skip
def test_wrong_input_gets_one_line_and_exit_code_2(
    arguments, message, tmp_path, monkeypatch, capsys
) -> None:
    from cli.harness_app import main

    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    found = capsys.readouterr()
    assert end.value.code == 2
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1, found.err
    assert message in found.err
    assert not (tmp_path / "home" / "cells").exists()


def test_a_store_of_a_newer_version_is_refused(tmp_path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "format.json").write_text('{"format": 99}')
    found = call(*BASE, home=home)
    assert found.returncode == 2
    assert "written by a newer version (format 99" in found.stderr
    assert found.stderr.count("\n") == 1
    assert sorted(p.name for p in home.iterdir()) == ["format.json"]


@pytest.mark.slow
def test_a_full_disk_loses_nothing(tmp_path) -> None:
    """A real, small filesystem fills up in the middle of a run."""
    home = tmp_path / "small"
    home.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(home)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small filesystem is not allowed here")
    try:
        few = [*BASE, "--attack", "fgsm", "--set", "recipe.epochs=1"]
        assert call(*few, home=home).returncode == 0
        before = {p: p.read_bytes() for p in (home / "cells").glob("*/result.json")}
        assert len(before) == 1
        filler = home / "filler"
        free = os.statvfs(home)
        filler.write_bytes(b"x" * (free.f_bavail * free.f_frsize - 20_000))
        found = call(*few[:-4], "--seeds", "4", *few[-4:], home=home)
        assert found.returncode == 2, found.stderr
        assert "the disk is full" in found.stderr.splitlines()[-1]
        assert "Traceback" not in found.stderr
        assert {p: p.read_bytes() for p in before} == before
        filler.unlink()
        again = call(*few[:-4], "--seeds", "4", *few[-4:], home=home)
        assert again.returncode == 0, again.stderr
        assert {p: p.read_bytes() for p in before} == before
        assert len(list((home / "cells").glob("*/result.json"))) == 4
    finally:
        subprocess.run(["umount", str(home)], check=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("measured") / "home"
    done = call(
        "eval", "--model", "digits-mlp", "--defense", "dpsgd", "--risk", "evasion,extraction",
        "--attack", "fgsm,distillation", "--seeds", "2", "--set", "recipe.epochs=3", "--set",
        "distillation.epochs=3", *UNTUNED, *ONE, home=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "8 cells measured, 6 models trained" in done.stderr
    return home


def test_eval_prints_a_table_of_what_was_asked_for(measured) -> None:
    found = call(
        "eval", "--model", "digits-mlp", "--defense", "dpsgd", "--risk", "evasion", "--attack",
        "fgsm", "--seeds", "2", "--set", "recipe.epochs=3", *UNTUNED, home=measured,
    )  # fmt: skip
    lines = found.stdout.splitlines()
    assert lines[0].split()[:5] == ["model", "regime", "defense", "risk", "attack"]
    assert len(lines) == 3
    assert "nothing to do: all 4 cells are there already" in found.stderr
    assert "dpsgd on digits-mlp(epochs=3): dp_epsilon " in found.stderr


def test_compare_as_json_has_every_column(measured) -> None:
    found = call("compare", "--format", "json", home=measured)
    rows = json.loads(found.stdout)
    assert {row["risk"] for row in rows} == {"evasion", "extraction"}
    wanted = {
        "model", "dataset", "regime", "defense", "risk", "attack", "threat_model", "metric",
        "n_seeds", "baseline", "defended", "effect", "ci_low", "ci_high", "p", "q", "verdict",
        "utility_delta",
    }  # fmt: skip
    for row in rows:
        assert wanted <= row.keys()
        assert row["n_seeds"] == 2
        assert 0 < row["p"] <= 1
        assert row["ci_low"] <= row["effect"] <= row["ci_high"]
        assert row["evidence"]["dp_epsilon"] > 0


def test_compare_can_be_filtered_and_says_what_there_is(measured) -> None:
    rows = json.loads(
        call("compare", "--risk", "evasion", "--format", "json", home=measured).stdout
    )
    assert [row["attack"] for row in rows] == ["fgsm"]
    found = call("compare", "--risk", "poisoning", home=measured)
    assert found.returncode == 2
    assert "There are: model digits-mlp" in found.stderr
    assert "risk evasion, extraction" in found.stderr


def test_compare_as_a_table_fits_its_columns(measured) -> None:
    found = call("compare", home=measured)
    assert "threat_model: " not in found.stdout  # it differs between the rows, so it is a column
    assert "regime: from-scratch" in found.stdout
    assert "dpsgd on digits-mlp(epochs=3): dp_epsilon " in found.stderr
    header = next(line for line in found.stdout.splitlines() if line.startswith("threat_model"))
    assert header.split() == [
        "threat_model", "defense", "risk", "attack", "metric", "n_seeds", "baseline", "defended",
        "effect", "ci_low", "ci_high", "q", "verdict", "utility_delta",
    ]  # fmt: skip


def test_other_measures_of_a_risk_have_a_line_under_its_row(tmp_path) -> None:
    store = EvaluationStore(Home.open(tmp_path / "home"))
    for seed in range(2):
        for stack in ((), (Method("dpsgd", (), "dpsgd", Risk.MEMBERSHIP_INFERENCE),)):
            store.put(_audited(stack, seed, 0.5 + 0.25 * len(stack) + seed / 4 * len(stack)))
    (row,) = json.loads(call("compare", "--format", "json", home=tmp_path / "home").stdout)
    (one,) = row["other_measures"]
    assert (one["name"], one["effect"], one["p"]) == (
        "demographic_parity_difference",
        0.375,
        pytest.approx(2 / math.pi * math.atan(1 / 3)),  # Student's t of 3 with one degree
    )
    assert one["ci_low"] < 0.375 < one["ci_high"]
    lines = call("compare", home=tmp_path / "home").stdout.splitlines()
    [at] = [i for i, line in enumerate(lines) if "demographic_parity_difference" in line]
    assert "equalized_odds_difference" in lines[at - 1]
    assert lines[at].split() == [
        "dpsgd", "discriminatory-behavior", "group-audit", "demographic_parity_difference", "2",
        "0.500", "0.875", "+37.5", f"{100 * one['ci_low']:+.1f}", f"{100 * one['ci_high']:+.1f}",
        "-", "raw", "change,", "p", "0.2048", "-",
    ]  # fmt: skip


def test_old_cells_are_counted_and_the_command_that_renews_them_is_said(tmp_path) -> None:
    home = tmp_path / "home"
    for seed in range(2):
        EvaluationStore(Home.open(home)).put(_audited((), seed, 0.5))
    for path in (home / "cells").glob("*/spec.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))
    found = call("compare", home=home)
    assert found.returncode == 2
    assert found.stderr.startswith("2 stored cells are old and not shown")
    assert "harness eval --model m --defense none --risk discriminatory-behavior" in found.stderr
    assert "all 2 stored cells are of an earlier version" in found.stderr


def _audited(stack, seed: int, parity: float) -> Evaluation:
    cell = Cell(
        model="m", model_key="k", dataset="d", fingerprint="f", regime=Regime.FROM_SCRATCH,
        stack=stack, risk=Risk.DISCRIMINATORY_BEHAVIOR, attack=Method("group-audit"),
        threat=ThreatModel(access=Access.LABELS), seed=seed,
    )  # fmt: skip
    primary = "equalized_odds_difference"
    metrics = {primary: 0.1, "demographic_parity_difference": parity}
    return Evaluation(cell=cell, status="ok", metrics=metrics, primary=primary, susceptibility=0.1)


def test_plan_says_what_is_there_and_what_is_missing(measured) -> None:
    arguments = [
        "plan", "--model", "digits-mlp", "--defense", "dpsgd", "--risk", "evasion", "--attack",
        "fgsm", "--seeds", "5", "--set", "recipe.epochs=3", *UNTUNED, "--format", "json",
    ]  # fmt: skip
    before = sorted(p for p in measured.rglob("*.json"))
    found = json.loads(call(*arguments, home=measured).stdout)
    assert (found["cells"], found["cells_missing"], found["trainings_missing"]) == (10, 6, 6)
    assert found["estimated_seconds"] > 0
    assert found["without_estimate"] == 0
    assert [(g["defense"], g["cells"], g["missing"]) for g in found["groups"]] == [
        ("none", 5, 3), ("dpsgd", 5, 3),
    ]  # fmt: skip
    assert sorted(p for p in measured.rglob("*.json")) == before, "plan changes nothing"


def test_plan_names_what_its_seconds_leave_out(measured) -> None:
    """Fgsm on this model was measured here before, pgd was not."""
    plan = ["plan", "--model", "digits-mlp", "--risk", "evasion", *UNTUNED, "--seeds", "3"]
    found = call(*plan, "--attack", "fgsm,pgd", "--set", "recipe.epochs=3", home=measured)
    assert "6 cells, 4 missing; 1 trainings needed; about" in found.stderr
    assert found.stderr.endswith(
        " workers, not counting 3 measurements: nothing like them was run in this store yet\n"
    )


def test_plan_makes_no_number_up(tmp_path) -> None:
    found = call("plan", "--model", "digits-mlp", "--risk", "evasion", *UNTUNED, "--format", "json",
                 home=tmp_path / "home")  # fmt: skip
    plan = json.loads(found.stdout)
    assert plan["estimated_seconds"] is None
    assert plan["without_estimate"] == plan["cells_missing"] + plan["trainings_missing"] == 36


@pytest.mark.slow
def test_tuning_is_planned_done_once_and_said(tmp_path) -> None:
    few = ["--model", "digits-mlp", "--risk", "evasion", "--attack", "fgsm", "--seeds", "1",
           "--tuning", "2", "--set", "recipe.epochs=1", "--format", "json"]  # fmt: skip
    made = json.loads(call("plan", *few, home=tmp_path / "home").stdout)
    assert made["tunings_missing"] == ["digits-mlp with no defense"]
    assert (made["cells_missing"], made["tuning_trainings_missing"]) == (1, 8)
    done = call("eval", *few, home=tmp_path / "home")
    assert "1 choices of settings made in 8 trainings" in done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["model"], row["status"]) == ("digits-mlp(epochs=1, tuned=2)", "ok")
    again = call("eval", *few, home=tmp_path / "home")
    assert again.stderr.startswith("nothing to do: all 1 cells are there already (")


@pytest.mark.parametrize(
    ("kind", "needle"),
    [
        ("risks", "discriminatory-behavior"),
        ("attacks", "modified-entropy"),
        ("defenses", "dpsgd"),
        ("metrics", "robust_accuracy"),
        ("datasets", "photo-patches"),
    ],
)
def test_list_names_everything(kind, needle, tmp_path) -> None:
    assert needle in call("list", kind, home=tmp_path).stdout
    assert json.loads(call("list", kind, "--format", "json", home=tmp_path).stdout)


def test_the_long_list_is_made_from_the_docstrings(tmp_path) -> None:
    found = call("list", "attacks", "--long", home=tmp_path).stdout
    assert "Raise the loss of the true label within a ball" in found
    assert "https://arxiv.org/abs/1706.06083" in found
    assert "steps = 20" in found


@pytest.mark.parametrize("kind", ["risks", "attacks", "defenses", "metrics", "datasets"])
def test_the_long_list_can_be_read_by_programs_too(kind, tmp_path) -> None:
    short = json.loads(call("list", kind, "--format", "json", home=tmp_path).stdout)
    rows = json.loads(call("list", kind, "--long", "--format", "json", home=tmp_path).stdout)
    assert [
        {name: row[name] for name in one} for one, row in zip(short, rows, strict=True)
    ] == short
    text = call("list", kind, "--long", "--format", "csv", home=tmp_path).stdout
    assert len(list(csv.DictReader(io.StringIO(text)))) == len(rows)
    if kind == "attacks":
        (pgd,) = [row for row in rows if row["attack"] == "pgd"]
        assert pgd["settings"]["steps"] == 20
        assert "Raise the loss of the true label within a ball" in pgd["description"]
