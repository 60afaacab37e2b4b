"""The game of each risk."""

from __future__ import annotations

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

GAMES: dict[Risk, Game] = {
    Risk.EVASION: evasion,
    Risk.POISONING: poisoning,
    Risk.EXTRACTION: extraction,
    Risk.MEMBERSHIP_INFERENCE: membership,
    Risk.ATTRIBUTE_INFERENCE: attribute,
    Risk.DATA_RECONSTRUCTION: reconstruction,
    Risk.DISTRIBUTION_INFERENCE: distribution,
    Risk.DISCRIMINATORY_BEHAVIOR: discrimination,
}
