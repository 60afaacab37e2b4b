"""How the site writes numbers and verdicts. What is unknown is a dash, never a zero."""

import math
import re
from collections.abc import Mapping

from markupsafe import Markup, escape

from harness.results import Verdict
from harness.types import Regime

MISSING = "–"

SYMBOLS: dict[Verdict, str] = {
    "increases": "▲",
    "decreases": "▼",
    "no effect": "≈",
    "unresolved": "?",
    "defense not effective": "⊘",
    "failed": "✕",
    "not applicable": "∅",
}
"""Stands before the word, so that colour is never needed to tell verdicts apart."""

REGIME_WORDS: dict[Regime, str] = {
    Regime.FROM_SCRATCH: "Every model was trained from scratch, with and without the defense.",
    Regime.FINE_TUNED: "Every model was fine-tuned from published weights, with and without the "
    "defense.",
    Regime.PUBLISHED: "Every model has its published weights; only defenses that change a finished "
    "model, its answers or nothing at all.",
}


def points(value: float | None) -> str:
    """A difference of two values in [0, 1], in points: ``+3.1``. Nothing is rounded to ``-0.0``."""
    if value is None:
        return MISSING
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """The two ends of an interval, in points: ``[+1.2, +4.9]``."""
    if low is None or high is None:
        return "no interval"
    return f"[{points(low)}, {points(high)}]"


def raw(value: float | None) -> str:
    """A metric as measured, with three decimals."""
    return MISSING if value is None else f"{value:.3f}".replace("-", "−")


def percent(value: float | None) -> str:
    """An accuracy: ``97.2%``."""
    return MISSING if value is None else f"{100 * value:.1f}%"


def probability(value: float | None) -> str:
    """A p or q value; below the last digit shown it says so."""
    if value is None:
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def breakable(text: str) -> Markup:
    """A long name, escaped, with places where a narrow column may break it."""
    return Markup(re.sub(r"([_(,/])", r"\1<wbr>", str(escape(text))))


def count(number: int, noun: str) -> str:
    """``1 seed``, ``12 seeds``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def plain(value: object) -> str:
    """A setting or a fact of any kind as text; digests are shortened to 12 digits."""
    match value:
        case None | "":
            return MISSING
        case bool():
            return "yes" if value else "no"
        case float():
            return "∞" if value == math.inf else f"{value:.4g}"
        case Mapping():
            return ", ".join(f"{key} {plain(value[key])}" for key in sorted(value)) or MISSING
        case list() | tuple():
            return ", ".join(map(plain, value)) or MISSING
        case _:
            text = str(value)
            return text[:12] if re.fullmatch(r"[0-9a-f]{40,}", text) else text


def with_code(text: str) -> Markup:
    """A docstring's words as HTML: what stands in backquotes is code."""
    return Markup(re.sub(r"(`{1,2})([^`]+)\1", r"<code>\2</code>", str(escape(text))))
