"""Where the three commands print to: closed, or in an encoding that has few letters."""

import csv
import io
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

MEASURED = (
    "select [0.0/0.0, 1] as a, {'x': [0.0/0.0]} as b, map {date '2020-01-01': 2} as c, 'é' as d"
)
COMMANDS = [
    ("zoo", "list", "--limit", "2"),
    ("zoo", "sql", MEASURED),
    ("harness", "list", "risks"),
    ("harness", "list", "attacks", "--long"),
    ("harness", "plan", "--model", "digits-mlp", "--risk", "evasion"),
    ("leaderboard", "--help"),
]
FORMATS = ["table", "csv", "json"]


def ends(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", list(command))
    with pytest.raises(SystemExit) as end:
        import_module(f"cli.{command[0]}_app").main()
    return end.value.code or 0


def cases() -> list[tuple[str, ...]]:
    takes_no_format = [c for c in COMMANDS if c[0] == "leaderboard"]
    return takes_no_format + [
        (*command, "--format", format)
        for command in COMMANDS
        if command not in takes_no_format
        for format in FORMATS
    ]


@pytest.mark.parametrize("command", cases(), ids=" ".join)
def test_a_closed_output_is_no_failure(
    command: tuple[str, ...], home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert ends(command, monkeypatch) == 0


@pytest.mark.parametrize("command", cases(), ids=" ".join)
def test_letters_that_the_encoding_lacks_are_escaped(
    command: tuple[str, ...], home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    assert ends(command, monkeypatch) == 0
    assert printed.getvalue().decode("ascii")


def test_a_problem_with_letters_that_the_encoding_lacks_is_one_line(
    home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(printed, encoding="ascii"))
    assert ends(("leaderboard", "build", "--out", "é"), monkeypatch) == 2
    assert ends(("zoo", "show", "é"), monkeypatch) == 2
    sys.stderr.flush()
    assert b"No model '\\xe9'" in printed.getvalue()


def test_a_shell_that_closes_the_output(home_dir: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "zoo", "list"],
        stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1), check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_numbers_that_are_none_within_lists_are_null(
    home_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(("zoo", "sql", MEASURED, "--format", "json"), monkeypatch) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {"a": [None, 1.0], "b": {"x": [None]}, "c": {"2020-01-01": 2}, "d": "é"}
    assert ends(("zoo", "sql", MEASURED, "--format", "csv"), monkeypatch) == 0
    (cells,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert json.loads(cells["a"]) == [None, 1.0]
    assert json.loads(cells["b"]) == {"x": [None]}


@pytest.mark.parametrize("given", ["--mirror", "--mirror=", "ZOO_MIRROR", "--data-dir"])
def test_a_tilde_is_the_users_folder(
    given: str, home_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    command = ["zoo", "fetch", "akamaster/resnet20-cifar10"]
    wanted = f"The mirror {tmp_path}/nowhere is not a folder"
    if given == "--data-dir":
        command, wanted = ["harness", "list", "datasets"], f"No folder {tmp_path}/nowhere"
    if given == "ZOO_MIRROR":
        monkeypatch.setenv(given, "~/nowhere")
    elif given.endswith("="):
        command.append(f"{given}~/nowhere")
    else:
        command += [given, "~/nowhere"]
    assert ends(tuple(command), monkeypatch) == 2
    assert wanted in capsys.readouterr().err


def test_a_tilde_in_the_folder_of_the_store_and_in_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZOO_HOME", "~/store")
    monkeypatch.setenv("ZOO_DATA_DIR", "~/nowhere")
    assert ends(("zoo", "export", "~/made"), monkeypatch) == 0
    assert (tmp_path / "store/zoo.duckdb").exists()
    assert (tmp_path / "made/croissant.json").exists()
    (tmp_path / "mine.pt").write_bytes(b"junk")
    assert (
        ends(("zoo", "fetch", "akamaster/resnet20-cifar10", "--from-file=~/mine.pt"), monkeypatch)
        == 2
    )
    assert f"{tmp_path}/mine.pt should have" in capsys.readouterr().err
    assert ends(("harness", "list", "datasets"), monkeypatch) == 2
    assert f"No folder {tmp_path}/nowhere" in capsys.readouterr().err
