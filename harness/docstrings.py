"""What docstrings in Google's style say, piece by piece."""

from __future__ import annotations

import re


def split_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The text of a docstring in Google's style, and what it says of each attribute or argument."""
    described: dict[str, str] = {}
    about: list[str] = []
    section, name = "", ""
    for line in text.splitlines():
        if re.fullmatch(r"[A-Z][a-z]+:", line):
            section, name = line[:-1], ""
        elif section in ("Attributes", "Args") and line.strip():
            if found := re.match(r" {4}(\w+): (.*)", line):
                name = found[1]
                described[name] = found[2]
            elif name:
                described[name] += f" {line.strip()}"
        elif section == "References" or not section:
            about.append(line.strip() if section else line)
    return "\n".join(about).strip(), described
