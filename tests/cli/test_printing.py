"""What the commands share: how rows are printed, and how problems end."""

import csv
import errno
import io
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from cli.printing import Format, as_csv, as_json, new_app, progress, run, show, table
from zoo.errors import ZooError

HEADER = ["name", "accuracy", "n", "ok"]
ROWS = [("long-name", 0.91731, 10_000, True), ("b", None, None, False)]


def app_that(raises: BaseException | None) -> typer.Typer:
    app = new_app("Help.")

    @app.command()
    def command() -> None:
        if raises is not None:
            raise raises

    return app


def exit_of(
    raises: BaseException | None, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...] = ()
) -> object:
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit) as caught:
        run(app_that(raises))
    return caught.value.code


def test_a_table_in_a_pipe_is_aligned_and_shows_unknown_as_a_dash(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table(HEADER, ROWS)
    assert capsys.readouterr().out == (
        "name       accuracy      n  ok\n"
        "long-name    0.9173  10000  true\n"
        "b                 -      -  false\n"
    )


def test_a_table_in_a_pipe_cuts_nothing_short(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 5_000
    table(["a", "b"], [(long, "line\nbreak")])
    assert capsys.readouterr().out.splitlines()[1] == f"{long}  line break"


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    table(["a", "b"], [])
    assert capsys.readouterr().out == "a  b\n"


def test_a_table_on_a_terminal_shows_every_character(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    table(["name", "value"], [("[bold]" + "x" * 60, 3)])
    out = capsys.readouterr().out
    assert out.count("x") == 60
    assert "[bold]" in out


def test_csv_and_json_keep_exact_values() -> None:
    assert as_csv(HEADER, ROWS) == ("name,accuracy,n,ok\nlong-name,0.91731,10000,true\nb,,,false\n")
    assert json.loads(as_json(HEADER, ROWS))[1] == {
        "name": "b", "accuracy": None, "n": None, "ok": False,
    }  # fmt: skip
    assert json.loads(as_json(["a"], [(math.nan,), ([1, 2],)])) == [{"a": None}, {"a": [1, 2]}]


@given(st.lists(st.tuples(st.text(), st.none() | st.integers()), max_size=5))
def test_rows_survive_csv_and_json(rows: list[tuple[str, int | None]]) -> None:
    found = list(csv.reader(io.StringIO(as_csv(["a", "b"], rows), newline="")))
    if not any("\r" in text or "\n" in text for text, _ in rows):
        assert found[1:] == [[text, "" if n is None else str(n)] for text, n in rows]
    assert json.loads(as_json(["a", "b"], rows)) == [{"a": text, "b": n} for text, n in rows]


@pytest.mark.parametrize("format", Format)
def test_show_prints_in_the_format_asked_for(
    format: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    show(["a", "b"], [(1, 2)], format)
    expected = {"table": "a  b\n1  2\n", "csv": "a,b\n1,2\n"}
    out = capsys.readouterr().out
    if format is Format.JSON:
        assert json.loads(out) == [{"a": 1, "b": 2}]
    else:
        assert out == expected[format]


def test_a_command_that_ends_well_exits_with_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exit_of(None, monkeypatch) == 0


def test_a_users_problem_is_one_line_and_exit_code_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(ZooError("No model 'x'.\nTry 'y'."), monkeypatch) == 2
    assert capsys.readouterr().err == "error: No model 'x'. Try 'y'.\n"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_says_that_nothing_is_lost(
    code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(OSError(code, os.strerror(code), "/home/me/zoo"), monkeypatch) == 2
    assert capsys.readouterr().err == (
        "error: the disk is full (writing /home/me/zoo); nothing was lost, free some space and "
        "run the same command again\n"
    )


@pytest.mark.parametrize(
    "code", [errno.EEXIST, errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.EISDIR, errno.EROFS]
)
def test_a_path_that_cannot_be_used_is_one_line_with_the_reason(
    code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(OSError(code, os.strerror(code), "/home/me/zoo"), monkeypatch) == 2
    said = f"error: /home/me/zoo cannot be used: {os.strerror(code)}."
    advice = ""
    if code in (errno.EACCES, errno.EROFS):
        advice = " Ask for the right to write there, or set ZOO_HOME to a store of your own."
    assert capsys.readouterr().err == f"{said}{advice}\n"


def test_a_file_that_cannot_be_moved_is_named_by_its_destination(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = OSError(errno.EXDEV, "Invalid cross-device link", "/a/.part", None, "/b/file")
    assert exit_of(problem, monkeypatch) == 2
    assert capsys.readouterr().err.startswith("error: /b/file cannot be used: ")


def test_a_programmers_mistake_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["command"])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(OSError, match="Permission"):
        run(app_that(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(KeyError):
        run(app_that(KeyError("a")))


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), RuntimeError("Query interrupted")])
def test_an_interrupt_is_one_line_and_exits_with_130(
    raised: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(raised, monkeypatch) == 130
    assert capsys.readouterr().err == (
        "interrupted: what was finished is kept; the same command goes on from there.\n"
    )


def test_an_interrupted_command_says_what_it_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = KeyboardInterrupt()
    stopped.add_note("2 models are kept")
    assert exit_of(stopped, monkeypatch) == 130
    assert capsys.readouterr().err == (
        "interrupted: 2 models are kept; the same command goes on from there.\n"
    )


def test_a_wrong_option_exits_with_two(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exit_of(None, monkeypatch, ("--nothing",)) == 2


def test_a_warning_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = new_app("Help.")

    @app.command()
    def command() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("two\nlines", stacklevel=1)

    monkeypatch.setattr(sys, "argv", ["command"])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit):
        run(app)
    assert capsys.readouterr().err == "warning: two lines\n"


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_goes_away_is_no_problem(tmp_path: Path, lines: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from cli.printing import new_app, run\n"
        "app = new_app('Help.')\n"
        "@app.command()\n"
        f"def command() -> None:\n    print('line\\n' * {lines})\n"
        "run(app)\n"
    )
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=buffered,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_progress_is_silent_unless_stderr_is_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress() as bars:
        bars.advance(bars.add_task("work", total=2))
    assert capsys.readouterr().err == ""
