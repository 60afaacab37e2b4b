"""The logarithmic ROC curve lies where its rates say."""

import numpy as np

from harness.metrics.roc_picture import BOTTOM, CURVE, LEFT, MARGIN, SIDE, log_roc, places


def test_rates_lie_on_logarithmic_axes() -> None:
    found = places(np.array([1.0, 0.01, 0.0]), np.array([1.0, 0.01, 1e-9]))
    right, top, bottom = SIDE - MARGIN, MARGIN, SIDE - BOTTOM
    assert found[0].tolist() == [right, top]
    assert found[1].tolist() == [(LEFT + right) / 2, (top + bottom) / 2]
    assert found[2].tolist() == [LEFT, bottom]  # what is below the axes lies on them


def _curve(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Rows and columns of the curve's pixels, (n, 2)."""
    return np.argwhere((log_roc(scores, member) == CURVE).all(2))


def test_a_perfect_attack_runs_along_the_upper_edge_and_chance_along_the_diagonal() -> None:
    member = np.arange(20_000) % 2 == 0
    perfect = _curve(member.astype(float), member)
    assert perfect[perfect[:, 1] > LEFT + 2][:, 0].max() <= MARGIN + 1
    noise = np.random.default_rng(0).random(len(member))
    chance = _curve(noise, member)
    right = chance[chance[:, 1] > (LEFT + SIDE) / 2]
    across = (right[:, 1] - LEFT) / (SIDE - MARGIN - LEFT)
    up = (SIDE - BOTTOM - right[:, 0]) / (SIDE - BOTTOM - MARGIN)
    assert np.abs(across - up).max() < 0.05
