"""Numbers as a reader sees them."""

import math

import pytest

from harness.types import Regime
from leaderboard import words


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0312, "+3.1"),
        (-0.125, "−12.5"),
        (0.0, "0.0"),
        (0.0004, "0.0"),
        (-0.0004, "0.0"),
        (None, "–"),
    ],
)
def test_points_carry_a_sign_and_one_decimal(value: float | None, shown: str):
    assert words.points(value) == shown


def test_an_interval_is_written_in_points():
    assert words.interval(0.0121, 0.0493) == "[+1.2, +4.9]"
    assert words.interval(None, 0.04) == "no interval"
    assert words.interval(0.04, None) == "no interval"


def test_unknown_is_a_dash_and_never_a_zero():
    for write in (words.points, words.raw, words.percent, words.probability, words.plain):
        assert write(None) == "–"


def test_metrics_have_three_decimals_and_accuracy_is_a_percentage():
    assert words.raw(0.91239) == "0.912"
    assert words.raw(-0.5) == "−0.500"
    assert words.percent(0.9722) == "97.2%"


def test_a_small_p_is_not_shown_as_zero():
    assert words.probability(0.0005) == "<0.001"
    assert words.probability(0.001) == "0.001"
    assert words.probability(0.81) == "0.810"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (False, "no"),
        (3, "3"),
        (3.25, "3.25"),
        (1e-5, "1e-05"),
        (math.inf, "∞"),
        ("", "–"),
        ("rdp", "rdp"),
        ("ab" * 32, "abababababab"),
        ([1, 8, 8], "1, 8, 8"),
        ((), "–"),
        ({"b": 2, "a": None}, "a –, b 2"),
    ],
)
def test_a_fact_of_any_kind_becomes_text(value: object, shown: str):
    assert words.plain(value) == shown


def test_a_name_is_escaped_before_it_is_made_breakable():
    assert words.breakable("a_b<i>(c)") == "a_<wbr>b&lt;i&gt;(<wbr>c)"


def test_one_is_singular():
    assert words.count(1, "seed") == "1 seed"
    assert words.count(1200, "seed") == "1,200 seeds"


def test_every_verdict_has_a_symbol_of_its_own_and_every_regime_has_words():
    assert len(set(words.SYMBOLS.values())) == len(words.SYMBOLS) == 7
    assert set(words.REGIME_WORDS) == set(Regime)


def test_what_stands_in_backquotes_is_code_and_nothing_else_is_html() -> None:
    assert words.with_code("``linf`` or `l2` < <b>") == (
        "<code>linf</code> or <code>l2</code> &lt; &lt;b&gt;"
    )
