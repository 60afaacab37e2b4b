"""The documents' commands exist, with the options they show, and so do the files they link."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
DOCUMENTS = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "zoo/README.md", ROOT / "harness/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]  # fmt: skip
LONGEST_README = 150
"""Lines that somebody reads who only wants to know what this is."""


def _commands() -> list[tuple[str, str, tuple[str, ...]]]:
    found = set()
    for line in "\n".join(path.read_text() for path in DOCUMENTS).splitlines():
        match = re.match(
            r"(?:    |\$ )(zoo|harness|leaderboard) ((?:annotate|audit) \w+|\w+)(.*)", line
        )
        if match:
            options = tuple(re.findall(r"(--[a-z-]+)", match[3].split("#")[0]))
            found.add((match[1], match[2], options))
    return sorted(found)


def test_the_readme_shows_commands() -> None:
    assert len(_commands()) > 10


@pytest.mark.parametrize(("program", "command", "options"), _commands())
def test_a_command_of_the_readme_exists_with_its_options(program, command, options) -> None:
    done = subprocess.run(
        [BIN / program, *command.split(), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for option in options:
        assert option in done.stdout


def test_the_readme_counts_the_models_that_there_are(home_dir: Path) -> None:
    from zoo import Home, open_catalog

    models = open_catalog(Home.open(home_dir)).sql("SELECT count(*) FROM v_models")[1][0][0]
    assert f"{models:,} classifiers" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_linked_files_exist(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / link).exists(), link


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST_README


def test_every_method_is_named_and_the_standard_attacks_first() -> None:
    from harness import registry

    text = (ROOT / "docs/risks.md").read_text()
    for risk, standard in registry.STANDARD.items():
        row = re.search(rf"^\| {risk.replace('-', ' ')} \| (.*?) \|", text, re.MULTILINE)
        assert row is not None, risk
        assert tuple(row[1].partition(";")[0].split(", ")) == standard
        known = registry.known("attack").items()
        for name in (name for name, kind in known if kind.risk is risk):
            assert re.search(rf"\b{name}\b", row[1]), name
    for name in registry.known("defense"):
        assert re.search(rf"\b{name}\b", text), name
