"""``zoo export`` as a user runs it."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.files import sha256_file

Zoo = Callable[..., subprocess.CompletedProcess[str]]
MAIN = "from cli.zoo_app import main; main()"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def zoo(store: Path) -> Zoo:
    """Run the command in a process of its own."""

    def run(*arguments: object, code: str = MAIN) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "ZOO_HOME": str(store)},
            check=False,
        )

    return run


def ok(result: subprocess.CompletedProcess[str]) -> str:
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def problem(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that a user's problem prints."""
    assert result.returncode == 2, result
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("error: ")
    return result.stderr


def test_export_prints_what_it_wrote(zoo: Zoo, tmp_path: Path) -> None:
    header, *rows = ok(zoo("export", tmp_path / "a")).splitlines()
    assert header.split() == ["file", "rows", "bytes", "sha256"]
    cells = [row.split() for row in rows]
    assert [row[0] for row in cells[:3]] == [
        "croissant.json", "models.parquet", "datasets.parquet",
    ]  # fmt: skip
    assert cells[0][1] == "-"
    for name, _, size, sha256 in cells:
        path = tmp_path / "a" / name
        assert (int(size), sha256) == (path.stat().st_size, sha256_file(path))


def test_export_for_machines(zoo: Zoo, tmp_path: Path) -> None:
    arguments = ["export", tmp_path, "--as", "csv", "--where", "dataset = 'digits'"]
    records = json.loads(ok(zoo(*arguments, "--format", "json")))
    assert records[0]["rows"] is None
    assert (records[1]["file"], records[1]["rows"]) == ("models.csv", 4)
    again = list(csv.DictReader(io.StringIO(ok(zoo(*arguments, "--format", "csv")))))
    assert [row["sha256"] for row in again] == [record["sha256"] for record in records]


def test_export_takes_all_models_and_where_they_are_published(zoo: Zoo, tmp_path: Path) -> None:
    arguments = ["--url", "https://example.org/zoo", "--published", "2026-12-01"]
    where = ["--where", "excluded = 'backdoored'"]
    assert "No model matches" in problem(zoo("export", tmp_path, *where))
    ok(zoo("export", tmp_path, *where, "--all", *arguments))
    found = json.loads((tmp_path / "croissant.json").read_text())
    assert (found["url"], found["datePublished"]) == ("https://example.org/zoo", "2026-12-01")


def test_export_imports_nothing_heavy(zoo: Zoo, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from cli.zoo_app import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'numpy', 'pandas', 'pyarrow', 'mlcroissant')"
        " if m in sys.modules], file=sys.stderr)"
    )
    for arguments in (["export", tmp_path], ["list"], ["export", "--help"]):
        assert zoo(*arguments, code=code).stderr == "[]\n"


def test_problems_are_one_line(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "did not write" in problem(zoo("export", tmp_path))
    assert "is not a folder" in problem(zoo("export", tmp_path / "notes.txt"))
    assert "cannot be used" in problem(zoo("export", tmp_path / "notes.txt" / "below"))
    assert "cannot be used" in problem(zoo("export", "/proc/zoo"))
    assert "Nearest: csv" in problem(zoo("export", tmp_path / "a", "--as", "cvs"))
    assert "is not a condition" in problem(zoo("export", tmp_path / "a", "--where", "("))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("limit", [1_000, 100_000])
def test_a_full_disk_leaves_the_earlier_export(
    kind: str, limit: int, zoo: Zoo, tmp_path: Path
) -> None:
    ok(zoo("export", tmp_path))
    before = {path.name: sha256_file(path) for path in tmp_path.iterdir()}
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); {MAIN}"
    said = problem(zoo("export", tmp_path, "--as", kind, code=code))
    assert f"the disk is full (writing {tmp_path}" in said
    assert {path.name: sha256_file(path) for path in tmp_path.iterdir()} == before


def test_two_exports_at_once_both_succeed(store: Path, zoo: Zoo, tmp_path: Path) -> None:
    ok(zoo("build"))
    both = [
        subprocess.Popen(
            [sys.executable, "-c", MAIN, "export", str(tmp_path / "a")],
            stdout=subprocess.PIPE,
            env={**os.environ, "ZOO_HOME": str(store)},
        )
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0, 0]
    assert len(set(answers)) == 1
    assert not list((tmp_path / "a").glob(".*"))
