"""The ``leaderboard`` command, on a store as the harness writes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.experiment.store import EvaluationStore
from harness.results import Method
from harness.types import Risk
from zoo.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def leaderboard(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from cli.leaderboard_app import main; main()",
            *map(str, arguments),
        ],
        env={**os.environ, "ZOO_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def measure(home: Path, evaluation, **changes) -> None:
    """Two seeds of a model with and without dpsgd."""
    dpsgd = Method("dpsgd", (("noise_multiplier", 1.1),), "dpsgd", Risk.MEMBERSHIP_INFERENCE)
    for seed in range(2):
        for stack, value in (((), 0.5), ((dpsgd,), 0.75)):
            EvaluationStore(Home.open(home)).put(
                evaluation(stack=stack, seed=seed, susceptibility=value, **changes)
            )


def test_builds_the_site_of_a_store_and_prints_its_first_page_last(home, tmp_path, evaluation):
    measure(home, evaluation)
    measure(home, evaluation, recipe=(("epochs", 5),))
    measure(home, evaluation, model="gone/from-the-catalog")

    done = leaderboard(home, "build", "--out", tmp_path / "site")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "site" / "index.html")
    index = (tmp_path / "site" / "index.html").read_text()
    assert index.count("<b>+25.0</b>") == 3
    page = (tmp_path / "site" / "models" / "digits-cnn.html").read_text()
    assert "cnn-small" in page
    (changed,) = (tmp_path / "site" / "models").glob("digits-cnn-epochs-5-*.html")
    assert "cnn-small" in changed.read_text()
    gone = tmp_path / "site" / "models" / "gone__from-the-catalog.html"
    assert "not in the catalog any more" in gone.read_text()


def test_the_same_store_gives_the_same_site(home, tmp_path, evaluation):
    measure(home, evaluation)
    sites = []
    for name in ("one", "two"):
        assert leaderboard(home, "build", "--out", tmp_path / name).returncode == 0
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        sites.append([(path.relative_to(tmp_path / name), path.read_bytes()) for path in files])

    assert sites[0] == sites[1]


def test_old_evaluations_are_counted_with_the_command_that_renews_them(home, tmp_path, evaluation):
    measure(home, evaluation)
    for path in (home / "cells").glob("*/spec.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))
        path.parent.rename(path.parent.with_name(f"old-{path.parent.name}"))
    assert [cell.seed for cell in EvaluationStore(Home.open(home)).outdated()].count(1) == 2

    for renewed in (False, True):
        if renewed:
            measure(home, evaluation)
        assert leaderboard(home, "build", "--out", tmp_path / "site").returncode == 0
        index = (tmp_path / "site" / "index.html").read_text()
        assert ("4 evaluations of an earlier version" in index) != renewed
        assert ("harness eval --model digits-cnn --defense dpsgd" in index) != renewed


def test_an_empty_store_is_said_in_one_line(home, tmp_path):
    done = leaderboard(home, "build", "--out", tmp_path / "site")

    assert done.returncode == 2
    assert done.stderr == f"error: no evaluations in {home}; run `harness eval …` first\n"
    assert done.stdout == ""
    assert not (tmp_path / "site").exists()


def test_a_folder_that_is_no_site_is_refused_in_one_line(home, tmp_path, evaluation):
    measure(home, evaluation)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years")

    done = leaderboard(home, "build", "--out", tmp_path / "thesis")

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'thesis'} holds files that are not a site")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


def test_help_and_import_leave_heavy_packages_alone(home):
    heavy = {"torch", "numpy", "pandas", "scipy", "duckdb", "jinja2"}
    code = (
        "import sys; from typer.testing import CliRunner; from cli.leaderboard_app import app; "
        "result = CliRunner().invoke(app, ['build', '--help']); "
        "assert result.exit_code == 0 and '--out' in result.output, result.output; "
        f"print(sorted({heavy} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stdout == "[]\n", done.stderr


def test_building_the_site_does_not_import_torch(home, tmp_path, evaluation):
    measure(home, evaluation)
    code = (
        "import sys; from pathlib import Path; from leaderboard.build import build; "
        "from zoo.home import Home; build(Home.open(), Path(sys.argv[1])); "
        "print('torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        env={**os.environ, "ZOO_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout == "False\n", done.stderr
