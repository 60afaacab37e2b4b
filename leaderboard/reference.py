"""Pages of every command and every method, made from what these say of themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from harness import registry
from harness.docstrings import split_docstring
from harness.registry import Kind
from harness.types import Risk


@dataclass(frozen=True)
class Option:
    """One option, argument or setting.

    Attributes:
        name: As it is written.
        kind: What it takes, in words.
        default: What holds if it is not given; None for nothing.
        text: What it means.
    """

    name: str
    kind: str
    default: str | None
    text: str


@dataclass(frozen=True)
class Entry:
    """A command or a method.

    Attributes:
        name: As it is called.
        group: What it stands under: a program or a risk.
        paragraphs: What it does.
        facts: Names and values of what else is known.
        options: What can be given.
        examples: Command lines.
    """

    name: str
    group: str
    paragraphs: tuple[str, ...]
    facts: tuple[tuple[str, str], ...] = ()
    options: tuple[Option, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Where on its page it stands."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True)
class Reference:
    """All pages of the reference.

    Attributes:
        commands: Of the three programs.
        attacks: By risk.
        defenses: By the risk they are meant for.
    """

    commands: tuple[Entry, ...] = ()
    attacks: tuple[Entry, ...] = ()
    defenses: tuple[Entry, ...] = ()

    def pages(self) -> list[tuple[str, str, tuple[Entry, ...]]]:
        """Path, title and entries of each page that has some."""
        every = [
            ("reference/commands.html", "Commands", self.commands),
            ("reference/attacks.html", "Attacks", self.attacks),
            ("reference/defenses.html", "Defenses", self.defenses),
        ]
        return [page for page in every if page[2]]


def reference(commands: Sequence[Entry]) -> Reference:
    """The reference of these commands and of every registered method."""
    return Reference(tuple(commands), methods("attack"), methods("defense"))


def methods(kind: Kind) -> tuple[Entry, ...]:
    """Every attack or every defense, by risk and name."""
    found = [method_entry(kind, name, method) for name, method in registry.known(kind).items()]
    order = list(map(str, Risk))
    return tuple(sorted(found, key=lambda one: (order.index(one.group), one.name)))


def method_entry(kind: Kind, name: str, method: type[Any]) -> Entry:
    """What a method says of itself: docstring of its file and of its class, facts and settings."""
    attack = kind == "attack"
    module = inspect.getdoc(inspect.getmodule(method)) or ""
    about, of_fields = split_docstring(inspect.getdoc(method) or "")
    facts = [("Paper", method.reference)]
    if attack:
        facts += [
            ("Access", " or ".join(method.access)),
            ("Auxiliary data", " or ".join(method.aux)),
        ]
    else:
        facts.append(("Acts on", ", ".join(sorted(method.acts_on))))
    settings = tuple(
        Option(
            field.name,
            re.sub(r"\b\w+\.(?=\w)", "", str(field.type)).replace("None", "none"),
            str(registry.default(kind, name, field.name)),
            of_fields.get(field.name, ""),
        )
        for field in fields(method)
    )
    given = f"--attack {name}" if attack else f"--defense {name}"
    risk = method.risk if attack else method.guards
    return Entry(
        name=name,
        group=str(risk),
        paragraphs=paragraphs(about) + paragraphs(split_docstring(module)[0]),
        facts=tuple(facts),
        options=settings,
        examples=(f"harness eval {given} --risk {risk}",),
    )


def paragraphs(text: str) -> tuple[str, ...]:
    """Blocks of a text that empty lines separate, each on one line."""
    blocks = re.split(r"\n\s*\n", text.strip())
    return tuple(" ".join(block.split()) for block in blocks if block.strip())
