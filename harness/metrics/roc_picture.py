"""The receiver operating characteristic as a picture with both axes logarithmic.

References:
    Carlini et al. (2022). Membership Inference Attacks From First Principles. IEEE S&P.
"""

from __future__ import annotations

import numpy as np

SIDE, LEFT, BOTTOM, MARGIN = 340, 46, 34, 10
"""Pixels: of the picture, and of what is left free around the curve."""

DECADES = 4
"""The axes go from 10 ** -DECADES to 1."""

INK, LINE, CURVE = (40, 40, 40), (215, 215, 215), (31, 95, 168)


def log_roc(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """True-positive over false-positive rate, on logarithmic axes, with the line of chance.

    Rates below the axes lie on them.

    Args:
        scores: (n,), larger means more likely a member.
        member: (n,) bool.

    Returns:
        (SIDE, SIDE, 3) uint8.
    """
    from PIL import Image, ImageDraw
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(member, scores, drop_intermediate=False)
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(picture)
    for decade in range(DECADES + 1):
        x, y = places(np.array([10.0**-decade]), np.array([10.0**-decade]))[0]
        draw.line([(x, MARGIN), (x, SIDE - BOTTOM)], LINE)
        draw.line([(LEFT, y), (SIDE - MARGIN, y)], LINE)
        label = f"{10.0**-decade:g}"
        draw.text((x, SIDE - BOTTOM + 4), label, INK, anchor="ma" if decade else "ra")
        draw.text((LEFT - 4, y), label, INK, anchor="rm")
    draw.text(((LEFT + SIDE) / 2, SIDE - 2), "false-positive rate", INK, anchor="md")
    draw.text((LEFT + 4, MARGIN), "true-positive rate", INK, anchor="la")
    ends = np.array([0.0, 1.0])
    draw.line(list(map(tuple, places(ends, ends))), LINE, width=2)
    draw.line(list(map(tuple, places(false, true))), CURVE, width=2)
    return np.asarray(picture)


def places(false: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Where rates (n,) lie in the picture: (n, 2), from the left and from the top."""
    across, up = (
        1 + np.log10(np.maximum(rate, 10.0**-DECADES)) / DECADES for rate in (false, true)
    )
    x = LEFT + across * (SIDE - MARGIN - LEFT)
    y = SIDE - BOTTOM - up * (SIDE - BOTTOM - MARGIN)
    return np.stack([x, y], axis=1)
