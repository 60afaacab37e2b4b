"""Every command and every method has its place on the site, with all that it takes."""

import re
from dataclasses import dataclass, fields
from typing import ClassVar

import pytest

from cli.command_reference import PROGRAMS, commands, split_help, walk
from harness import registry
from harness.docstrings import split_docstring
from harness.types import Access, Aux, Risk
from leaderboard.reference import method_entry, paragraphs, reference
from leaderboard.render import render
from leaderboard.tables import tables

WALKED = [one for program in PROGRAMS for one in walk(program)]
UNDOCUMENTED_WITHOUT_EXAMPLE = {"zoo build", "zoo accept"}


@pytest.fixture(scope="module")
def site() -> dict[str, str]:
    files = render(tables([], [], {}, {}, []), reference(commands()))
    return {path: text.decode() for path, text in files.items() if path.endswith(".html")}


@pytest.mark.parametrize(("name", "command"), WALKED, ids=[name for name, _ in WALKED])
def test_a_command_and_all_its_options_say_what_they_are(name, command) -> None:
    assert (command.help or "").strip(), name
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_every_command_and_option_is_on_its_page(site) -> None:
    page = site["reference/commands.html"]
    assert len(WALKED) > 15
    for name, command in WALKED:
        assert f"<code>{name}</code>" in page
        for parameter in command.params:
            if parameter.opts and max(parameter.opts, key=len).startswith("--"):
                assert f"<code>{max(parameter.opts, key=len)}</code>" in page


@pytest.mark.parametrize("kind", ["attack", "defense"])
def test_every_method_and_setting_is_on_its_page_with_words(kind, site) -> None:
    page = site[f"reference/{kind}s.html"]
    for name, method in registry.known(kind).items():
        entry = method_entry(kind, name, method)
        assert f"<code>{name}</code>" in page
        assert entry.paragraphs, name
        assert [one.name for one in entry.options] == [field.name for field in fields(method)]
        for option in entry.options:
            assert option.text, f"{name}.{option.name} is not described"


def test_links_of_the_reference_lead_somewhere(site) -> None:
    for path in ("reference/commands.html", "reference/attacks.html", "reference/defenses.html"):
        targets = set(re.findall(r'id="([^"]+)"', site[path]))
        links = re.findall(r'href="#([^"]+)"', site[path])
        assert len(links) > 15
        assert set(links) - {"content"} <= targets
        assert f'href="{path}"' in site["index.html"]


def test_a_docstring_comes_apart_by_its_sections() -> None:
    about, described = split_docstring(
        "One line.\n\nMore\nwords.\n\nAttributes:\n    a: First\n        goes on.\n    b: Second.\n\n"
        "Raises:\n    ZooError: Never.\n\nReferences:\n    A paper."
    )
    assert paragraphs(about) == ("One line.", "More words.", "A paper.")
    assert described == {"a": "First goes on.", "b": "Second."}


def test_help_comes_apart_at_its_examples() -> None:
    assert split_help("Do.\n\nExamples:\n  a b\n\n  c\n    d") == ("Do.\n\n", ("a b", "c d"))
    assert split_help("Do.") == ("Do.", ())


def test_a_method_by_hand() -> None:
    @dataclass(frozen=True)
    class Guess:
        """Guesses.

        Attributes:
            often: How often.
        """

        often: int = 3
        name: ClassVar[str] = "guess"
        risk: ClassVar[Risk] = Risk.EVASION
        access: ClassVar = (Access.LABELS, Access.SCORES)
        aux: ClassVar = (Aux.NONE,)
        reference: ClassVar[str] = "Nobody (1900)"

    entry = method_entry("attack", "guess", Guess)
    assert entry.facts == (
        ("Paper", "Nobody (1900)"), ("Access", "labels or scores"), ("Auxiliary data", "none"),
    )  # fmt: skip
    (option,) = entry.options
    assert (option.name, option.text) == ("often", "How often.")
    assert entry.examples == ("harness eval --attack guess --risk evasion",)
