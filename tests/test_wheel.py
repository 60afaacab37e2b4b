"""What is installed has everything that a checkout has (RobustBench 212)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("annotations", "zoo", "harness", "leaderboard", "cli")


def test_the_wheel_has_every_file_of_the_packages(installed: Path) -> None:
    listed = ["git", "ls-files", "-z", *PACKAGES]
    found = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = found.split("\0")[:-1]
    assert {Path(file).suffix for file in files} >= {".py", ".toml", ".csv", ".j2", ".css", ".sql"}
    assert [file for file in files if not (installed / file).is_file()] == []


@pytest.mark.parametrize(
    ("app", "words", "said"),
    [
        ("zoo", ["list", "--where", "name = 'digits-cnn'"], "digits-cnn"),
        ("harness", ["list", "datasets"], "adult"),
    ],
)
def test_commands_run_from_the_wheel(
    installed: Path, tmp_path: Path, app: str, words: list[str], said: str
) -> None:
    code = (
        f"import sys, {app}; assert {app}.__file__.startswith({str(installed)!r}); "
        f"from cli.{app}_app import main; sys.argv[1:] = {words!r}; main()"
    )
    variables = os.environ | {"PYTHONPATH": str(installed), "ZOO_HOME": str(tmp_path / "home")}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert said in found.stdout
