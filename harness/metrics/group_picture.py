"""The rates of groups side by side as a picture, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

WIDTH, LEFT, RIGHT = 340, 118, 44
"""Pixels: of the picture, and of what is left for the groups' names and for the numbers."""

HEAD, LINE_HEIGHT, GAP, FOOT = 18, 15, 20, 18
"""Pixels: of the title, of a group, of the name of a rate, and of the axis."""

INK, SOFT, GRID, BAND = (40, 40, 40), (120, 120, 120), (215, 215, 215), (150, 170, 195)

WORDS = {
    "selection_rate": "selection rate",
    "tpr": "true-positive rate",
    "fpr": "false-positive rate",
    "accuracy": "accuracy",
}
"""How the picture calls the rates; also their order."""

LONGEST = 18
"""Letters of a group's name that there is room for."""


def group_rates(bands: Mapping[str, np.ndarray], names: Sequence[str], *, title: str) -> np.ndarray:
    """For each rate a line per group: its interval as a bar, itself as a dot and in figures.

    Args:
        bands: By name of a rate (groups, 3): the rate and the ends of its interval, in [0, 1]; NaN
            where there are too few examples, which is what the line says then.
        names: Of the groups.
        title: What the rates are about.

    Returns:
        (height, WIDTH, 3) uint8.
    """
    from PIL import Image, ImageDraw

    block = GAP + len(names) * LINE_HEIGHT
    bottom = HEAD + len(WORDS) * block
    picture = Image.new("RGB", (WIDTH, bottom + FOOT), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((4, 3), title, SOFT)
    for tick in (0.0, 0.5, 1.0):
        draw.line([(across(tick), HEAD + GAP), (across(tick), bottom)], GRID)
        draw.text((across(tick), bottom + 3), f"{tick:g}", SOFT, anchor="ma")
    for i, (rate, words) in enumerate(WORDS.items()):
        top = HEAD + i * block
        draw.rectangle([(0, top), (WIDTH, top + GAP - 2)], "white")
        draw.text((4, top + 5), words, INK)
        for j, (name, band) in enumerate(zip(names, bands[rate], strict=True)):
            middle = top + GAP + j * LINE_HEIGHT + LINE_HEIGHT // 2
            short = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
            draw.text((LEFT - 8, middle), short, SOFT, anchor="rm")
            if np.isnan(band).any():
                draw.text((across(0.0) + 4, middle), "too few to say", SOFT, anchor="lm")
                continue
            value, low, high = map(across, band)
            draw.rectangle([(low, middle - 3), (high, middle + 3)], BAND)
            draw.ellipse([(value - 3, middle - 3), (value + 3, middle + 3)], INK)
            draw.text((WIDTH - 4, middle), f"{100 * band[0]:.1f}%", INK, anchor="rm")
    return np.asarray(picture)


def across(rate: float) -> int:
    """Where a rate in [0, 1] lies from the left, in pixels."""
    return LEFT + round(float(rate) * (WIDTH - RIGHT - LEFT))
