"""What every command of the three programs says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import typer.main

from leaderboard.reference import Entry, Option, paragraphs

PROGRAMS = ("zoo", "harness", "leaderboard")


def commands() -> list[Entry]:
    """Every command, in the order of the programs and of their help."""
    return [entry for program in PROGRAMS for entry in _of_program(program)]


def walk(program: str) -> Iterator[tuple[str, Any]]:
    """Every command of a program by its whole name, such as ``zoo annotate pin``."""
    root = typer.main.get_command(import_module(f"cli.{program}_app").app)
    yield from _below(program, root)


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for word, child in children.items():
        yield from _below(f"{name} {word}", child)


def _of_program(program: str) -> Iterator[Entry]:
    for name, command in walk(program):
        about, examples = split_help(command.help or "")
        yield Entry(
            name=name,
            group=program,
            paragraphs=paragraphs(about),
            options=tuple(_option(one) for one in command.params if one.name != "help"),
            examples=examples,
        )


def split_help(text: str) -> tuple[str, tuple[str, ...]]:
    """A command's help without its examples, and those: blocks below ``Example:`` and the like."""
    about, *below = re.split(
        r"^(?:Examples?|For example):\s*$", text, maxsplit=1, flags=re.MULTILINE
    )
    blocks = re.split(r"\n\s*\n", below[0].strip()) if below else []
    return about, tuple(" ".join(block.split()) for block in blocks)


def _option(parameter: Any) -> Option:
    switch = getattr(parameter, "is_flag", False)
    name = max(parameter.opts, key=len) if parameter.opts else str(parameter.name)
    default = parameter.default
    return Option(
        name=name if name.startswith("-") else name.upper(),
        kind=_kind(parameter),
        default=None if switch or default in (None, [], ()) else str(default),
        text=getattr(parameter, "help", None) or "",
    )


def _kind(parameter: Any) -> str:
    """How much a parameter takes, in words."""
    if getattr(parameter, "is_flag", False):
        return "nothing: a switch"
    several = getattr(parameter, "multiple", False) or parameter.nargs == -1
    return "one or more" if several else "one"
