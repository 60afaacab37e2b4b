"""Run examples of a document one after the other in this folder, each in a process of its own.

Reads them from standard input as JSON, ``[[kind, text], ...]``, and writes what came of each to
standard output likewise: ``[[exit code, what it printed], ...]``. The processes are forks of one
that has imported what is large, which would take longer than most examples.
"""

import doctest
import json
import os
import shlex
import sys
import tempfile
import traceback
from importlib.metadata import entry_points

import duckdb  # noqa: F401
import pandas  # noqa: F401
import torch

import harness.experiment.run  # noqa: F401
import zoo.api  # noqa: F401


def _command(text: str) -> None:
    program, *words = shlex.split(text, comments=True)
    (script,) = entry_points(group="console_scripts", name=program)
    sys.argv = [program, *words]
    sys.exit(script.load()())


def _python(text: str) -> None:
    names = {"__name__": "__main__", "images": torch.rand(2, 1, 8, 8)}  # which examples have
    if ">>>" not in text:
        exec(compile(text, "example", "exec"), names)
        return
    example = doctest.DocTestParser().get_doctest(text, names, "example", None, None)
    if doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example).failed:
        sys.exit(1)


def _run(kind: str, text: str) -> tuple[int, str]:
    with tempfile.TemporaryFile() as printed:
        child = os.fork()
        if child == 0:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            code = 0
            try:
                {"command": _command, "python": _python}[kind](text)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                traceback.print_exc()
                code = 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        printed.seek(0)
        return os.waitstatus_to_exitcode(status), printed.read().decode(errors="replace")


if __name__ == "__main__":
    json.dump([_run(kind, text) for kind, text in json.load(sys.stdin)], sys.stdout)
