"""The axis that the interval drawings of one table share."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from harness.compare import MARGIN
from harness.results import Interaction


@dataclass(frozen=True)
class Scale:
    """A linear axis over effects in susceptibility.

    Attributes:
        low: Left end.
        high: Right end.
        step: Distance between two ticks.
    """

    low: float
    high: float
    step: float

    @classmethod
    def over(cls, interactions: Iterable[Interaction]) -> "Scale":
        """The narrowest axis with round ends that holds every interval, zero and the margin."""
        ends = [-2 * MARGIN, 2 * MARGIN]
        for one in interactions:
            ends += [end for end in (one.effect, one.ci_low, one.ci_high) if end is not None]
        width = max(ends) - min(ends)
        step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if width <= 8 * s or s == 1)
        return cls(
            low=step * math.floor(round(min(ends) / step, 9)),
            high=step * math.ceil(round(max(ends) / step, 9)),
            step=step,
        )

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round values from end to end, zero among them."""
        first, last = round(self.low / self.step), round(self.high / self.step)
        return tuple(round(self.step * tick, 9) for tick in range(first, last + 1))

    def at(self, effect: float) -> str:
        """Where an effect lies from the left end, as an SVG length: ``37.5%``."""
        return self.length(effect - self.low)

    def length(self, difference: float) -> str:
        """The distance between two effects, as an SVG length."""
        return f"{100 * difference / (self.high - self.low):.2f}%"
