"""Imports go one way, and starting a command costs no heavy import."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from harness import registry

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["annotations", "zoo", "harness", "leaderboard", "cli"]
ROOMS = [
    "types", "seeds", "batches", "finite", "memory", "docstrings", "results", "registry",
    "data.examples", "data.images", "data.tables", "data",
    "target", "learning", "metrics", "analysis",
    "attacks.protocol", "attacks.shared", "attacks",
    "defenses.shared", "defenses.protocol", "defenses",
    "score_audit", "games", "training", "zoo_models", "experiment.executors", "experiment", "listing", "doctor",
    "api",
]  # fmt: skip
"""Files and folders of harness from the ground up: each imports only what stands before it."""
NO_METHODS = {"__init__", "protocol", "stack"}
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


def _modules() -> dict[str, Path]:
    """Every module of harness by its dotted name without ``harness.``."""
    files = {
        p.relative_to(ROOT / "harness").with_suffix(""): p for p in (ROOT / "harness").rglob("*.py")
    }
    return {".".join(name.parts): path for name, path in files.items() if name.name != "__init__"}


def _room(module: str) -> str:
    return max((r for r in ROOMS if f"{module}.".startswith(f"{r}.")), key=len, default="")


def _arrows() -> dict[tuple[str, str], set[str]]:
    """For each pair of rooms of harness, who of the first imports from the second."""
    modules = _modules()
    arrows: dict[tuple[str, str], set[str]] = {}
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(
                "harness"
            ):
                continue
            package = (node.module or "").removeprefix("harness").removeprefix(".")
            for alias in node.names:
                names = (f"{package}.{alias.name}".removeprefix("."), package)
                wanted = next((name for name in names if name in modules), None)
                if wanted and _room(wanted) != _room(module):
                    arrows.setdefault((_room(module), _room(wanted)), set()).add(module)
    return arrows


def test_every_module_of_harness_has_a_room() -> None:
    assert [module for module in _modules() if not _room(module)] == []


def test_a_room_of_harness_imports_only_from_rooms_before_it() -> None:
    arrows = _arrows()
    below = Counter(lower for _, lower in arrows)
    for room in ROOMS:
        print(
            f"{room:24} imports from {sum(a == room for a, _ in arrows):2} rooms, {below[room]:2} import from it"
        )
    print(f"{len(ROOMS)} rooms, {len(arrows)} arrows")
    upward = {
        pair: sorted(who)
        for pair, who in arrows.items()
        if ROOMS.index(pair[0]) < ROOMS.index(pair[1])
    }
    assert upward == {}


@pytest.mark.parametrize("kind", ["attack", "defense"])
def test_every_file_of_methods_holds_a_method(kind: Literal["attack", "defense"]) -> None:
    named = registry.ATTACKS if kind == "attack" else registry.DEFENSES
    files = {path.stem for path in (ROOT / "harness" / f"{kind}s").glob("*.py")} - NO_METHODS
    assert files == {place.partition(":")[0].rpartition(".")[2] for place in named.values()}


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
    plugin = ROOT / "tests" / "plugin"  # what tests install elsewhere
    found = (ROOT / "tests").rglob("__init__.py")
    assert [path for path in found if not path.is_relative_to(plugin)] == []
