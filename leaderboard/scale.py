"""The axis that the interval drawings of one table share."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from harness.analysis.verdicts import MARGIN
from harness.results import Interaction

REACH = 0.1
"""How far an interval may stretch the axis beyond its effect; a wider one is drawn cut off, lest
one uncertain result make all others too small to see."""


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
        """The narrowest axis with round ends for every effect, zero, the margin and intervals."""
        ends = [-2 * MARGIN, 2 * MARGIN]
        for one in interactions:
            if one.effect is not None:
                ends.append(one.effect)
                ends += [max(one.ci_low, one.effect - REACH)] if one.ci_low is not None else []
                ends += [min(one.ci_high, one.effect + REACH)] if one.ci_high is not None else []
        width = max(ends) - min(ends)
        step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if width <= 6 * s or s == 1)
        return cls(
            low=round(step * math.floor(round(min(ends) / step, 9)), 9),
            high=round(step * math.ceil(round(max(ends) / step, 9)), 9),
            step=step,
        )

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round values from end to end, zero among them."""
        first, last = round(self.low / self.step), round(self.high / self.step)
        return tuple(round(self.step * tick, 9) for tick in range(first, last + 1))

    def at(self, effect: float) -> str:
        """Where an effect lies from the left end, as an SVG length: ``37.50%``.

        What lies beyond an end is put at that end.
        """
        return self.length(min(max(effect, self.low), self.high) - self.low)

    def length(self, difference: float) -> str:
        """The distance between two effects, as an SVG length."""
        return f"{100 * difference / (self.high - self.low):.2f}%"
