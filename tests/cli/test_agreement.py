"""``zoo agreement`` as a user runs it."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

HEAD = "entity,item,field,value,confidence,evidence\n"
FILES = {
    "2026-11/sample.csv": "entity,item,hint\nfamily,A,\nfamily,B,\nfamily,C,\n",
    "2026-11/first.csv": f"{HEAD}family,A,venue,CVPR,high,x\nfamily,B,venue,ICCV,high,x\n",
    "2026-11/second.csv": f"{HEAD}family,A,venue,cvpr,high,x\nfamily,B,venue,CVPR,low,x\n",
    "2025-10/sample.csv": "entity,item,hint\nfamily,A,\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / "codings" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "codings" / name).write_text(text)
    return tmp_path


@pytest.fixture
def agreement(folder: Path, home_dir: Path) -> Run:
    def run(*arguments: str, annotations: Path = folder) -> subprocess.CompletedProcess[str]:
        code = "from cli.zoo_app import main; main()"
        return subprocess.run(
            [
                sys.executable,
                "-c",
                code,
                "agreement",
                "--annotations",
                str(annotations),
                *arguments,
            ],
            capture_output=True,
            text=True,
            env={**os.environ},
            check=False,
        )

    return run


def ok(result: subprocess.CompletedProcess[str]) -> str:
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def problem(result: subprocess.CompletedProcess[str]) -> str:
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_the_newest_round_is_shown_for_people(agreement: Run) -> None:
    header, venue, single, everything = ok(agreement()).splitlines()
    assert header.split() == [
        "entity", "field", "coders", "n", "left_out", "agreement", "kappa", "ci_low", "ci_high",
        "decisions", "undefined_draws", "open",
    ]  # fmt: skip
    assert venue.split()[:7] == ["family", "venue", "first,", "second", "2", "1", "0.5"]
    assert single.split()[:2] == ["all", "single-valued"]
    assert everything.split()[:2] == ["all", "all"]


def test_formats_for_programs(agreement: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(ok(agreement("--format", "csv")))))
    assert rows[0]["coders"] == "first, second"
    assert (rows[0]["agreement"], rows[0]["kappa"], rows[0]["open"]) == ("0.5", "0.0", "1")
    records = json.loads(ok(agreement("--format", "json", "--round", "2026-11")))
    assert records[0]["left_out"] == 1
    assert list(records[0]) == list(rows[0])


def test_what_is_undefined_is_empty(agreement: Run, folder: Path) -> None:
    second = folder / "codings/2026-11/second.csv"
    second.write_text(f"{HEAD}family,A,venue,CVPR,high,x\n")
    (row, *_) = csv.DictReader(io.StringIO(ok(agreement("--format", "csv"))))
    assert (row["agreement"], row["kappa"], row["ci_low"], row["ci_high"]) == ("1.0", "", "", "")


def test_disagreements_and_what_was_decided(agreement: Run, folder: Path) -> None:
    wanted = {
        "entity": "family", "item": "B", "field": "venue", "first": "ICCV", "second": "CVPR",
        "adjudicated": None, "decided_by": None, "reason": None,
    }  # fmt: skip
    assert json.loads(ok(agreement("--disagreements", "--format", "json"))) == [wanted]
    (folder / "codings/2026-11/adjudicated.csv").write_text(
        "entity,item,field,value,decided_by,reason\nfamily,B,venue,ICCV,third,proceedings\n"
    )
    assert json.loads(ok(agreement("--disagreements", "--format", "json"))) == [
        {**wanted, "adjudicated": "ICCV", "decided_by": "third", "reason": "proceedings"}
    ]


def test_the_same_files_give_the_same_bytes(agreement: Run) -> None:
    assert ok(agreement("--format", "json")) == ok(agreement("--format", "json"))


def test_an_unknown_round_names_those_that_exist(agreement: Run) -> None:
    assert "No round 'x'. Known: 2025-10, 2026-11." in problem(agreement("--round", "x"))
    assert "2026-11" in problem(agreement("--round", "2026-12"))
    assert "No round ''" in problem(agreement("--round", ""))
    assert "No round '../codings/2026-11'" in problem(agreement("--round", "../codings/2026-11"))


def test_no_round_at_all(agreement: Run, tmp_path: Path) -> None:
    said = problem(agreement(annotations=tmp_path / "nowhere"))
    assert f"There is no round of coding in {tmp_path / 'nowhere' / 'codings'}." in said


def test_a_round_needs_two_coders(agreement: Run, folder: Path) -> None:
    said = problem(agreement("--round", "2025-10"))
    assert "Round 2025-10 was coded by nobody so far; agreement needs two coders." in said
    (folder / "codings/2026-11/first.csv").unlink()
    assert "was coded by second so far" in problem(agreement("--disagreements"))


def test_every_problem_of_the_files_is_in_one_line(agreement: Run, folder: Path) -> None:
    for name in ("first", "second"):
        path = folder / f"codings/2026-11/{name}.csv"
        path.write_text(path.read_text().replace("family,A", "model,A"))
    said = problem(agreement())
    assert "2 problems in the annotations: codings/2026-11/first.csv:2: unknown entity" in said
    assert "codings/2026-11/second.csv:2: unknown entity 'model'" in said


def test_help_has_examples(agreement: Run) -> None:
    shown = ok(agreement("--help"))
    assert "zoo agreement --disagreements" in shown
    assert "zoo agreement --round 2026-11 --format csv" in shown


def test_what_needs_no_numbers_imports_no_numpy(agreement: Run, folder: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from annotations.agreement import disagreements\n"
        "from annotations.codings import load_round\n"
        f"assert disagreements(load_round('2026-11', Path({str(folder)!r})))\n"
        "assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
