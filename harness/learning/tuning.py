"""Which settings are tried before a model is trained for good, and which of them is kept. Pure.

A defense that is trained with settings made for the undefended model looks worse than anybody would
deploy it, and the other way round: both are tuned, with the same budget. The first candidate is
always the one without tuning, and the others are spread evenly over what may be tuned (Halton's
points), so that a larger budget tries what a smaller one does and more. Chosen is the first
candidate whose accuracy is within one standard error of the best one's, so that luck on a few
hundred examples changes nothing.

Settings are tried on splits of their own, like those of the seeds but of no seed: a model is
trained on its ``target_train`` quarter without the tenth that the owner trusts, and judged on that
tenth, as the owner would do. All seeds share what comes of it. Strictly, an owner's tuning could
use no example that is a test or shadow example of that owner's seed. But the seeds of one dataset
together test on nearly all of it, so either nothing would be left to tune on, or each seed would
have settings of its own, and seeds would no longer repeat one experiment. What passes from the
tuning into a seed is which of the N candidates was chosen: at most log2(N) bits (3.6 of twelve),
the same for all seeds, of which a quarter of the judged examples are on average among that seed's
test examples. It is not covered by a guarantee of differential privacy: choosing by private
examples is a mechanism of its own, whose cost is in no account here (`left_out`).

References:
    Bergstra and Bengio (2012). Random Search for Hyper-Parameter Optimization. JMLR.
    Breiman et al. (1984). Classification and Regression Trees. (the rule of one standard error)
    Liu and Talwar (2019). Private Selection from Private Candidates. STOC.
    Papernot and Steinke (2022). Hyperparameter Tuning with Rényi Differential Privacy. ICLR.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.results import Value
from zoo.recipe import Recipe

FEWEST, MOST = 2, 4
"""Splits that every candidate is tried on: two tell how much trainings differ."""

ENOUGH = 200
"""Judged examples of all splits together from which no further split is wanted."""

ROUNDING = 1e-12
"""What rounding may leave of a number that is 0.

Where one split holds all of a difference, it is one standard error exactly, whatever its size."""

_PRIMES = (2, 3, 5, 7, 11, 13)

Settings = Mapping[str, Value]
"""Values by ``recipe.field`` or ``defense.field``."""


def of_recipe(recipe: Recipe) -> dict[str, tuple[Value, ...]]:
    """The values that a training by ``recipe`` is tried with, those of the recipe first."""
    return {
        "lr": multiples(recipe.lr, 1, 1 / 3, 3, 10),
        "epochs": whole_multiples(recipe.epochs, 1, 0.5, 2),
    }


def multiples(value: float, *factors: float) -> tuple[float, ...]:
    """``value`` times each factor to three digits, without repetitions."""
    return tuple(dict.fromkeys(value if f == 1 else float(f"{value * f:.3g}") for f in factors))


def whole_multiples(value: int, *factors: float) -> tuple[int, ...]:
    """``value`` times each factor as a whole number of at least 1, without repetitions."""
    return tuple(dict.fromkeys(max(1, round(value * f)) for f in factors))


def candidates(values: Mapping[str, Sequence[Value]], budget: int) -> list[dict[str, Value]]:
    """At most ``budget`` combinations of ``values``, the one of all first values first.

    Those of a smaller budget are among those of a larger one.

    Args:
        values: By setting, not empty; at most six settings.
        budget: At least 1.
    """
    total = math.prod(len(tried) for tried in values.values())
    found: dict[tuple[int, ...], None] = {}
    for point in itertools.count():
        if len(found) == min(budget, total):
            break
        shares = (_inverse(point, base) for base in _PRIMES)
        places = (int(s * len(v)) for s, v in zip(shares, values.values(), strict=False))
        found.setdefault(tuple(places))
    return [
        {name: tried[place] for (name, tried), place in zip(values.items(), places, strict=True)}
        for places in found
    ]


def _inverse(number: int, base: int) -> float:
    """The digits of ``number`` mirrored at the point, in [0, 1): 6 of base 2 is 0.011."""
    found, place = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        place /= base
        found += digit * place
    return found


def splits_wanted(judged: int) -> int:
    """How many splits to try on, if ``judged`` examples are judged in each."""
    return min(MOST, max(FEWEST, math.ceil(ENOUGH / max(judged, 1))))


@dataclass(frozen=True, eq=False, kw_only=True)
class Tried:
    """What came of one candidate.

    Attributes:
        settings: The candidate.
        correct: (splits, judged) bool, which examples its models answered rightly; None if a
            training failed.
        failed: Why; None if none did.
    """

    settings: Settings
    correct: np.ndarray | None = None
    failed: str | None = None


def choose(tried: Sequence[Tried]) -> tuple[int | None, list[dict[str, Any]]]:
    """The position of the first candidate within one standard error of the best, and all scores.

    Args:
        tried: All on the same splits and examples.

    Returns:
        None if every candidate failed. Of each candidate ``settings`` and either ``failed`` or its
        ``accuracy``, how far it is ``behind`` the best, and the standard error of that, ``se``. The
        error is that of the paired difference, over splits or over examples, whichever is larger:
        the one over few splits can be small by chance, and the one over examples does not see that
        trainings differ.
    """
    means = [-math.inf if one.correct is None else one.correct.mean() for one in tried]
    first = int(np.argmax(means)) if means else 0
    best = tried[first].correct if tried else None
    chosen, rows = None, []
    for position, one in enumerate(tried):
        if one.correct is None or best is None:
            rows.append({"settings": dict(one.settings), "failed": one.failed})
            continue
        difference = best.astype(float) - one.correct
        behind = float(difference.mean())
        se = max(_error(difference.mean(1)), _error(difference.ravel()))
        accuracy = float(one.correct.mean())
        rows.append(
            {"settings": dict(one.settings), "accuracy": accuracy, "behind": behind, "se": se}
        )
        if chosen is None and behind <= se + ROUNDING:
            chosen = position
    return chosen, rows


def _error(values: np.ndarray) -> float:
    """Standard error of the mean of ``values`` (n,); 0 of fewer than two."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def left_out(evidence: Mapping[str, Any]) -> tuple[str, ...]:
    """What a claim of differential privacy leaves out if the settings were tuned, in words.

    Args:
        evidence: Of a training; `Settled.record` at ``tuning`` if its settings were chosen.
    """
    tried = evidence.get("tuning", {}).get("tried", ())
    if len(tried) < 2:
        return ()
    return (f"the tuning (a choice among {len(tried)} settings by accuracy on private examples)",)
