"""The game of each risk."""

from __future__ import annotations

from typing import Any

from harness.games import (
    attribute,
    discrimination,
    distribution,
    evasion,
    extraction,
    membership,
    poisoning,
    reconstruction,
)
from harness.games.game import Game
from harness.types import Risk

GAMES: dict[Risk, Game[Any]] = {
    Risk.EVASION: evasion,
    Risk.POISONING: poisoning,
    Risk.EXTRACTION: extraction,
    Risk.MEMBERSHIP_INFERENCE: membership,
    Risk.ATTRIBUTE_INFERENCE: attribute,
    Risk.DATA_RECONSTRUCTION: reconstruction,
    Risk.DISTRIBUTION_INFERENCE: distribution,
    Risk.DISCRIMINATORY_BEHAVIOR: discrimination,
}
"""An attack fits the protocol of its risk's game, which only a look at its risk can tell."""
