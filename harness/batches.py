"""How many inputs a network is given at once."""

from __future__ import annotations

import math

from torch import Tensor

MOST = 1024
"""Inputs at once, unless they are large."""

LARGE = 3 * 64 * 64
"""Numbers in an input from which on it is large."""

AT_ONCE = 8 * 3 * 224 * 224
"""Numbers in all large inputs of one batch: 8 photographs of 224x224 pixels.

What a network keeps of each to differentiate is a hundred times that. On one core more at once are
slower: efficientnet-lite0 and its gradient take 35 ms an image by 4, 47 by 8, 62 by 27.
"""


def at_once(x: Tensor, most: int = MOST) -> int:
    """How many of the inputs (n, ...) are worked on at once: ``most``, fewer if they are large."""
    size = math.prod(x.shape[1:])
    return most if size <= LARGE else max(1, min(most, AT_ONCE // size))


def parts(x: Tensor, most: int = MOST) -> tuple[Tensor, ...]:
    """The inputs (n, ...) in parts of `at_once`."""
    return x.split(at_once(x, most))
