"""What the three commands share: tables, progress bars, and problems told in one line."""

import csv
import errno
import inspect
import io
import json
import math
import os
import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from zoo.errors import ZooError
from zoo.files import DISK_FULL

if TYPE_CHECKING:
    from rich.progress import Progress

Row = Sequence[Any]

LONGEST_WORD = 24
"""Characters of a word from which it may be broken on a terminal."""

_NUMBER = re.compile(r"-|[+-]?[0-9.]+(e[+-]?[0-9]+)?")


class Format(StrEnum):
    """How a command prints rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def new_app(help: str) -> typer.Typer:
    """A command line that leaves problems to `run` and writes plain text."""
    return typer.Typer(
        help=help,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        add_completion=False,
    )


def _keep_examples(app: typer.Typer) -> None:
    """Have the examples in the help of every command printed line by line, as they are written."""
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _keep_examples(group.typer_instance)
    for command in app.registered_commands:
        text = command.help or inspect.getdoc(command.callback) or ""
        about, *rest = _EXAMPLES.split(text, 1)
        if rest:
            heading, examples = rest
            blocks = [block.strip("\n") for block in examples.split("\n\n") if block.strip()]
            command.help = about + heading + "".join(f"\n\n\b\n{block}" for block in blocks)


_EXAMPLES = re.compile(r"^(Examples?:)$", re.MULTILINE)


def run(app: typer.Typer) -> NoReturn:
    """Run a command line and exit: 0 done, 2 the user must act, 130 interrupted."""
    _prepare_streams()
    _keep_examples(app)
    warnings.showwarning = _show_warning
    try:
        try:
            app([_expanded(argument) for argument in sys.argv[1:]])
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt as stopped:
        _interrupted(stopped)
    except SystemExit as end:
        # Typer makes of an interruption an exit of its own, without a word.
        if stopped := _interruption(end):
            _interrupted(stopped)
        raise
    except RuntimeError as problem:
        if "Query interrupted" not in str(problem):  # what DuckDB makes of an interruption
            raise
        _interrupted(KeyboardInterrupt())
    except ZooError as problem:
        fail(str(problem))
    except BrokenPipeError:
        # The reader has gone; Python's own flush at exit must not complain of it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as problem:
        path = problem.filename2 or problem.filename  # of a move, where to
        if problem.errno in DISK_FULL:
            where = f" (writing {path})" if path else ""
            fail(
                f"the disk is full{where}; nothing was lost, "
                "free some space and run the same command again"
            )
        if not path:
            raise
        advice = ""
        if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = " Ask for the right to write there, or set ZOO_HOME to a store of your own."
        fail(f"{path} cannot be used: {problem.strerror}.{advice}")
    sys.exit(0)


def fail(message: str) -> NoReturn:
    """Say on one line of stderr what the user must do, and exit with 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _prepare_streams() -> None:
    """Let nothing that is printed be a failure: closed streams swallow it, others escape it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the program was started with it closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _expanded(argument: str) -> str:
    """``~/x`` and ``--out=~/x`` with the user's folder, which shells leave quoted or behind =."""
    option, equals, value = argument.partition("=")
    if option.startswith("--") and equals:
        return f"{option}={os.path.expanduser(value)}"
    return os.path.expanduser(argument)


def _interruption(end: BaseException | None) -> KeyboardInterrupt | None:
    """The interruption that an exit was made of, if it was."""
    while end is not None and not isinstance(end, KeyboardInterrupt):
        end = end.__cause__ or end.__context__
    return end


def _interrupted(stopped: KeyboardInterrupt) -> NoReturn:
    """Say what an interruption has left, which its notes tell, and exit with 130."""
    kept = "; ".join(getattr(stopped, "__notes__", ())) or "what was finished is kept"
    print(f"interrupted: {kept}; the same command goes on from there.", file=sys.stderr)
    sys.exit(130)


def show(header: Sequence[str], rows: Sequence[Row], format: Format) -> None:
    """Print rows on stdout in the format that the user asked for."""
    if format is Format.TABLE:
        table(header, rows)
    else:
        sys.stdout.write(as_csv(header, rows) if format is Format.CSV else as_json(header, rows))


def table(header: Sequence[str], rows: Sequence[Row], *, droppable: Sequence[str] = ()) -> None:
    """Print rows for people; None is ``-``. A pipe gets plain columns, with no cell cut short.

    On a terminal, numbers are never folded. What does not fit loses columns, and if it still does
    not, each row becomes a block of lines.

    Args:
        header: Names of the columns.
        rows: Their values.
        droppable: Columns that may be left out, the first one first.
    """
    texts = [[_cell(value) for value in row] for row in rows]
    right = [
        bool(rows) and all(map(_NUMBER.fullmatch, column)) for column in zip(*texts, strict=True)
    ] or [False] * len(header)
    if sys.stdout.isatty():
        _on_terminal(header, texts, right, droppable)
        return
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    for line in [list(header), *texts]:
        cells = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(line, widths, right, strict=True)
        ]
        print("  ".join(cells).rstrip())


def as_csv(header: Sequence[str], rows: Sequence[Row]) -> str:
    """Rows as CSV with a header and LF line ends; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if value is None else _exact(value) for value in row] for row in rows])
    return text.getvalue()


def as_json(header: Sequence[str], rows: Sequence[Row]) -> str:
    """Rows as a JSON list of objects; None, and a number that is not finite, is ``null``."""
    records = [dict(zip(header, map(_finite, row), strict=True)) for row in rows]
    return json.dumps(records, indent=1, default=str, allow_nan=False) + "\n"


def progress() -> "Progress":
    """A progress bar on stderr, silent unless stderr is a terminal. Use it in a ``with``."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _show_warning(message: Warning | str, *_: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


GAP = 3
"""Columns of a terminal between two of a table, as it is drawn."""


def _on_terminal(
    header: Sequence[str], texts: Sequence[Row], right: Sequence[bool], droppable: Sequence[str]
) -> None:
    """A table as wide as the terminal, or blocks where it is too narrow for one."""
    width = shutil.get_terminal_size().columns
    kept = list(range(len(header)))

    def least() -> int:
        """The narrowest that the kept columns can be: numbers whole, texts broken at words."""
        of_one = [
            max(len(word) for text in (header[i], *(row[i] for row in texts))
                for word in ([text] if right[i] else text.split() or [""]))
            for i in kept
        ]  # fmt: skip
        whole = sum(min(size, width) if right[i] else min(size, LONGEST_WORD)
                    for i, size in zip(kept, of_one, strict=True))  # fmt: skip
        return whole + GAP * (len(kept) - 1) + 2

    left_out = []
    for name in droppable:
        if least() <= width:
            break
        if name in header:
            left_out.append(name)
            kept.remove(header.index(name))
    if least() > width:
        _blocks(header, texts)
        return
    _rich_table(
        [header[i] for i in kept],
        [[row[i] for i in kept] for row in texts],
        [right[i] for i in kept],
    )
    if left_out:
        print(
            f"not shown on a terminal of {width} columns: {', '.join(left_out)} "
            "(--columns, --format json)",
            file=sys.stderr,
        )


def _blocks(header: Sequence[str], texts: Sequence[Row]) -> None:
    size = max(map(len, header))
    for row in texts:
        for name, text in zip(header, row, strict=True):
            print(f"{name.ljust(size)}  {text}".rstrip())
        print()


def _rich_table(header: Sequence[str], texts: Sequence[Row], right: Sequence[bool]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name, is_right in zip(header, right, strict=True):
        drawn.add_column(
            name, justify="right" if is_right else "left", overflow="fold", no_wrap=is_right
        )
    for row in texts:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else _exact(value)
    return " ".join(text.split())


def _exact(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | dict):
        return json.dumps(_finite(value), default=str)
    return str(value)


def _finite(value: Any) -> Any:
    """A value as JSON can have it: numbers that are not finite are None, keys are texts."""
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
