"""Imports go one way, and starting a command costs no heavy import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["annotations", "zoo", "harness", "leaderboard", "cli"]
HEAVY = {"torch", "pandas", "numpy", "scipy", "sklearn", "opacus", "torchvision"}


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_what_is_before_it(layer: str) -> None:
    later = set(LAYERS[LAYERS.index(layer) + 1 :])
    files = list((ROOT / layer).rglob("*.py"))
    assert files
    wrong = {str(f.relative_to(ROOT)): _imported(f) & later for f in files}
    assert {f: names for f, names in wrong.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("zoo_app", ["--help"]),
        ("zoo_app", ["list"]),
        ("zoo_app", ["list", "--where", "dataset = 'digits'", "--format", "json"]),
        ("harness_app", ["--help"]),
        ("harness_app", ["eval", "--help"]),
        ("leaderboard_app", ["--help"]),
    ],
)
def test_help_and_list_import_nothing_heavy(
    module: str, arguments: list[str], home_dir: Path
) -> None:
    code = (
        f"import sys; sys.argv = ['x', *{arguments!r}]\n"
        f"from cli.{module} import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"heavy = sorted({HEAVY!r} & set(sys.modules))\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_package_is_hidden_by_the_tests() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
