"""What messages and help tell people to type exists: commands, options, models, datasets, methods."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.types import Risk
from zoo import STARTERS
from zoo.catalog import open_catalog
from zoo.nets.registry import SHAPED
from zoo.nets.registry import names as networks

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("annotations", "zoo", "harness", "leaderboard", "cli")
APPS = ("zoo", "harness", "leaderboard")

GAP = "\0"
"""Stands for what a message fills in."""


FILES = re.compile(r"\.(jpg|txt|npz|json|csv)$")
OTHERS = {
    "fine-tune", "fine-tuned", "data-dir", "gtsrb-pytorch", "ml-doctor", "imagenet-sample",
    "cifar-10-batches-py", "cifar-100-python", "tiny-imagenet-200",
}  # fmt: skip
"""Words that only look like names: a repository, a preset and folders among them."""


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the program: where it is, and what it says."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts: set[int] = set()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts |= {id(part) for part in node.values}
                    text = "".join(
                        p.value if isinstance(p, ast.Constant) else GAP for p in node.values
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    if id(node) in parts:
                        continue
                    text = node.value
                else:
                    continue
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text


@cache
def commands() -> dict[str, set[str]]:
    """The options of every command, by its words: ``zoo annotate pin``."""
    found: dict[str, set[str]] = {}

    def walk(name: str, command: Any) -> None:
        options = {option for parameter in command.params for option in parameter.opts}
        found[name] = {option for option in options if option.startswith("--")} | {"--help"}
        for word, inner in getattr(command, "commands", {}).items():
            walk(f"{name} {word}", inner)

    for name in APPS:
        walk(name, get_command(import_module(f"cli.{name}_app").app))
    return found


def told_commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The command lines in a text: between backticks, or as the examples of a help have them."""
    lines = re.findall(r"`((?:zoo|harness|leaderboard) [^`]+)`", text)
    lines += (
        re.findall(rf"(?:^|\n) *((?:{'|'.join(APPS)}) [a-z][^\n]*(?:\n +--[^\n]*)*)", text)
        if "\n" in text
        else []
    )
    lines += re.findall(
        rf"(?:with|first|again|next|once with): ((?:{'|'.join(APPS)}) [^\n`]*)", text
    )
    for line in lines:
        words = line.split()
        if not re.fullmatch("[a-z]+", words[1]):
            continue
        name = " ".join(words[:3] if words[1] in ("annotate", "audit") else words[:2])
        yield name, re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)


def test_every_command_that_is_told_exists_with_its_options() -> None:
    told, wrong = 0, []
    for where, text in texts():
        for name, options in told_commands(text):
            told += 1
            if name not in commands():
                wrong.append(f"{where}: there is no `{name}`")
            else:
                wrong += [
                    f"{where}: no {o} of `{name}`" for o in options if o not in commands()[name]
                ]
    assert wrong == []
    assert told > 60


def test_every_option_that_is_told_exists() -> None:
    known = set().union(*commands().values())
    others = {  # of git and pip
        "--always", "--dirty", "--disable-pip-version-check", "--no-deps", "--no-input",
        "--only-binary", "--quiet", "--require-hashes", "--requirement", "--dest", "--hash",
    }  # fmt: skip
    told = {
        (where, option)
        for where, text in texts()
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
    }
    assert len(told) > 100
    assert {(w, o) for w, o in told if o not in known | others and not o.endswith("-")} == set()


@pytest.fixture
def names(home_dir: Path) -> set[str]:
    """Whatever a message may name: models, datasets, architectures, methods and risks."""
    catalog = open_catalog()
    _, architectures = catalog.sql("SELECT key FROM architectures")
    _, known = catalog.sql("SELECT key FROM datasets")
    return {
        *catalog.names(),
        *(key for (key,) in [*architectures, *known]),
        *networks(),
        *datasets.names(DataLocation()),
        *registry.ATTACKS,
        *registry.DEFENSES,
        *Risk,
    }


def test_every_model_dataset_and_network_that_is_told_exists(names: set[str]) -> None:
    """Of what is written like one of them: it begins as one does."""
    begins = {re.split("[-/]", name)[0] for name in names if re.search("[-/]", name)}
    told, wrong = set(), []
    for where, text in texts():
        for word in re.findall(
            r"(?<![\w/.=:{}\0-])[a-z0-9]+(?:[-/.][a-z0-9_]+)+(?![\w/\0-])", text
        ):
            looks_like_one = re.split("[-/]", word)[0] in begins and not FILES.search(word)
            if looks_like_one and word not in OTHERS and not where.startswith("zoo/curate"):
                told.add(word)
                if word.split("/")[0] not in SHAPED and word not in names:
                    wrong.append(f"{where}: {word}")
    assert wrong == []
    assert told >= {"digits-cnn", "adult-mlp", "mlp-128"}


def test_the_models_to_begin_with_exist(names: set[str]) -> None:
    assert set(STARTERS) <= names
