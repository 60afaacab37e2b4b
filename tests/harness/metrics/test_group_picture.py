"""The picture of groups shows each rate where it is, without need of colour."""

import numpy as np
import pytest

from harness.metrics.group_picture import (
    BAND,
    GAP,
    HEAD,
    INK,
    LEFT,
    LINE_HEIGHT,
    RIGHT,
    WIDTH,
    WORDS,
    across,
    group_rates,
)

NAMES = ("Female", "Male")


def _picture(**bands) -> np.ndarray:
    some = np.array([[0.5, 0.4, 0.6], [0.2, 0.1, 0.3]])
    return group_rates({**dict.fromkeys(WORDS, some), **bands}, NAMES, title="class 1")


def _line(picture: np.ndarray, rate: str, group: int) -> np.ndarray:
    """The pixels of one group's drawing, without its name and its figures."""
    top = HEAD + list(WORDS).index(rate) * (GAP + 2 * LINE_HEIGHT) + GAP + group * LINE_HEIGHT
    return picture[top : top + LINE_HEIGHT, LEFT - 5 : WIDTH - RIGHT + 5]


def _columns(line: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.flatnonzero((line == colour).all(2).any(0)) + LEFT - 5


def test_the_axis_goes_from_0_to_1() -> None:
    assert (across(0.0), across(1.0)) == (LEFT, WIDTH - RIGHT)
    assert across(0.5) == pytest.approx((LEFT + WIDTH - RIGHT) / 2, abs=0.5)


@pytest.mark.parametrize("rate", WORDS)
def test_a_bar_covers_the_interval_and_a_dot_is_on_the_rate(rate) -> None:
    picture = _picture(**{rate: np.array([[0.9, 0.7, 0.95], [0.3, 0.05, 0.5]])})
    for group, (value, low, high) in enumerate([(0.9, 0.7, 0.95), (0.3, 0.05, 0.5)]):
        line = _line(picture, rate, group)
        bar, dot = _columns(line, BAND), _columns(line, INK)
        assert (bar.min(), bar.max()) == (across(low), across(high))
        assert (dot.min() + dot.max()) / 2 == pytest.approx(across(value), abs=1)


def test_what_is_not_known_has_no_dot() -> None:
    picture = _picture(tpr=np.array([[0.5, 0.4, 0.6], [np.nan] * 3]))
    line = _line(picture, "tpr", 1)
    assert not len(_columns(line, BAND))
    assert not len(_columns(line, INK))


def test_dot_and_bar_differ_in_grey() -> None:
    dot, bar, paper = (np.mean(colour) for colour in (INK, BAND, (255, 255, 255)))
    assert bar - dot > 60
    assert paper - bar > 60


def test_groups_make_it_longer_not_wider() -> None:
    many = {rate: np.full((10, 3), 0.5) for rate in WORDS}
    picture = group_rates(many, [f"a group with a long name {i}" for i in range(10)], title="")
    assert picture.shape[1] == WIDTH
    assert picture.shape[0] - _picture().shape[0] == len(WORDS) * 8 * LINE_HEIGHT
