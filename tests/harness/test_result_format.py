"""The format of results rises with every change of what a stored number means.

Run as a script, this file records the digest of today's code.
"""

import ast
import hashlib
import io
import json
import tokenize
from pathlib import Path

import pytest

import harness
from harness.results import RESULT_FORMAT

RECORD = Path(__file__).with_suffix(".json")
PACKAGE = Path(harness.__file__).parent


def _measuring() -> list[Path]:
    """The files that stored numbers are made by."""
    return sorted([*PACKAGE.glob("metrics/*.py"), *PACKAGE.glob("games/*.py")])


def _code(source: str) -> str:
    """The text of a module without comments, docstrings and empty lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        said = node.value if isinstance(node, ast.Expr) else None
        if isinstance(said, ast.Constant) and isinstance(said.value, str):
            for row in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[row] = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _digest() -> str:
    sha = hashlib.sha256()
    for path in _measuring():
        sha.update(f"{path.relative_to(PACKAGE).as_posix()}\n{_code(path.read_text())}\n".encode())
    return sha.hexdigest()


def test_the_format_rises_when_the_code_that_measures_changes() -> None:
    recorded = json.loads(RECORD.read_text())
    assert recorded == {"format": RESULT_FORMAT, "code": _digest()}, (
        "The code that stored numbers are made by has changed. If a number that is stored means "
        "something else now, raise RESULT_FORMAT in harness/results.py, so that old cells are "
        "measured again. Then, or if it does not, record the code: "
        "python tests/harness/test_result_format.py"
    )


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (("return x", "return x + 1"), True),
        (("# why", "# because"), False),
        (('"""What."""', '"""Which."""'), False),
        (("\n\n", "\n\n\n"), False),
        (('"text"', '"other"'), True),
    ],
)
def test_only_what_is_computed_counts(change, seen) -> None:
    source = '"""What."""\n\ndef f(x):\n    # why\n    y = "text"  # not this\n    return x\n'
    assert (_code(source.replace(*change)) != _code(source)) == seen


if __name__ == "__main__":
    RECORD.write_text(json.dumps({"format": RESULT_FORMAT, "code": _digest()}, indent=1) + "\n")
