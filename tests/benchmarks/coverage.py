"""How often 95 % intervals of an effect hold the truth of the population, by simulation.

Run: python tests/benchmarks/coverage.py [--repeats 1000]. This is why `harness.analysis.intervals` is over
seeds and examples.

A dataset of 1,797 rows is drawn from a population of which the truth is known. Every seed judges a
quarter of the rows (members another quarter), without and with a defense. Designs:

- ``fixed``: the models are the same at every seed, so that seeds only deal rows;
- ``retrained``: every seed has models of its own, with luck of their own;
- ``published``: one model is judged on all rows, and seeds are the luck of an attack.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import stats

from harness.analysis import contributions
from harness.analysis.intervals import Estimate, Values, over_seeds, over_seeds_and_examples
from harness.types import Risk

ROWS = 1_797
DESIGNS = ("fixed", "retrained", "published")
ALPHA, MARGIN = 0.05, 0.02


@dataclass(frozen=True)
class Luck:
    """How much of an answer is the row's, the training's and neither's; variances add up to 1.

    Attributes:
        row: Standard deviation of what a row is to every model.
        training: Of what all answers of one training share.
        rest: Of what is left.
    """

    row: float
    training: float
    rest: float


LUCK = {
    "fixed": Luck(1.0, 0.0, 0.0),
    "retrained": Luck(0.85, 0.08, (1 - 0.85**2 - 0.08**2) ** 0.5),
    "published": Luck((1 - 0.3**2) ** 0.5, 0.0, 0.3),
}


@dataclass(frozen=True)
class World:
    """A drawn dataset and the luck of its models.

    Attributes:
        design: One of `DESIGNS`.
        rng: Of everything that is drawn.
        rows: (2, n) standard normal, what each row is to the models of either side; correlated.
    """

    design: str
    rng: np.random.Generator
    rows: np.ndarray

    @classmethod
    def drawn(cls, design: str, rng: np.random.Generator) -> "World":
        """A dataset of the population."""
        own, other = rng.normal(size=(2, ROWS))
        return cls(design, rng, np.stack([own, 0.9 * own + (1 - 0.9**2) ** 0.5 * other]))

    def quarters(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows that are judged, and as many members; all rows and none where it is published."""
        if self.design == "published":
            half = ROWS // 2
            return np.arange(half), np.arange(half, ROWS)
        order = self.rng.permutation(ROWS)
        return order[: ROWS // 4], order[ROWS // 4 : 2 * (ROWS // 4)]

    def latent(self, side: int, index: np.ndarray) -> np.ndarray:
        """(n,) standard normal, how an answer of one side's model at one seed comes out."""
        luck = LUCK[self.design]
        shared = luck.training * self.rng.normal()
        return (
            luck.row * self.rows[side, index]
            + shared
            + luck.rest * self.rng.normal(size=len(index))
        )


Side = Callable[[World, int, np.ndarray, np.ndarray], Values]


def _rate(levels: tuple[float, float]) -> Side:
    cuts = stats.norm.ppf(levels)

    def values(world: World, side: int, judged: np.ndarray, members: np.ndarray) -> Values:
        index = np.concatenate([judged, members]) if world.design == "published" else judged
        return Values(index, (world.latent(side, index) < cuts[side]).astype(float))

    return values


def _membership(gains: tuple[float, float], measure: contributions.Measure) -> Side:
    def values(world: World, side: int, judged: np.ndarray, members: np.ndarray) -> Values:
        index = np.concatenate([judged, members])
        member = np.arange(len(index)) >= len(judged)
        samples = {
            "index": index,
            "member": member,
            "score": world.latent(side, index) + gains[side] * member,
        }
        found = measure(samples, _nothing())
        assert found is not None
        return found

    return values


def _gap(levels: np.ndarray) -> Side:
    """Levels (2 sides, 2 groups): how often either label is answered right."""
    cuts = stats.norm.ppf(levels)
    measure = contributions.SUSCEPTIBILITY[Risk.DISCRIMINATORY_BEHAVIOR]

    def values(world: World, side: int, judged: np.ndarray, members: np.ndarray) -> Values:
        index = np.concatenate([judged, members]) if world.design == "published" else judged
        # Group and label are the row's, whatever the seed.
        group, label = index % 2, (index // 2) % 2
        right = world.latent(side, index) < cuts[side][group]
        samples = {
            "index": index,
            "group": group,
            "label": label,
            "predicted": np.where(right, label, 1 - label),
        }
        rates = [[right[(group == g) & (label == y)].mean() for g in (0, 1)] for y in (0, 1)]
        odds = max(abs(one - other) for one, other in rates)
        found = measure(samples, _nothing(equalized_odds_difference=odds))
        assert found is not None
        return found

    return values


def _nothing(**metrics: float) -> Any:
    """What the measures read of an evaluation."""
    return SimpleNamespace(metrics=metrics, cell=SimpleNamespace(attack=SimpleNamespace(params=())))


def _roc(gain: float, rate: float | None = None) -> float:
    if rate is None:
        return 2 * float(stats.norm.cdf(gain / 2**0.5)) - 1
    return float(stats.norm.sf(stats.norm.isf(rate) - gain))


OF_MEMBERS = contributions.SUSCEPTIBILITY[Risk.MEMBERSHIP_INFERENCE]
LOW_RATE = contributions.OTHERS[Risk.MEMBERSHIP_INFERENCE]["tpr_at_1pct_fpr"]

METRICS: dict[str, tuple[Side, float]] = {
    "accuracy": (_rate((0.95, 0.90)), -0.05),
    "fidelity": (_rate((0.90, 0.86)), -0.04),
    "auc": (_membership((0.4, 0.3), OF_MEMBERS), _roc(0.3) - _roc(0.4)),
    "tpr at 1 % fpr": (_membership((1.0, 0.7), LOW_RATE), _roc(0.7, 0.01) - _roc(1.0, 0.01)),
    "gap": (_gap(np.array([[0.95, 0.80], [0.92, 0.82]])), -0.05),
}
"""How a side's values are drawn, and the effect in the population."""


def effect(world: World, draw: Side, seeds: int) -> list[Values]:
    """The paired differences of every seed."""
    found = []
    for _ in range(seeds):
        judged, members = world.quarters()
        before, after = (draw(world, side, judged, members) for side in (0, 1))
        found.append(after.minus(before))
    return found


def estimates(values: list[Values], design: str) -> dict[str, Estimate]:
    """By seeds alone, and by seeds and examples."""
    alone = over_seeds([one.value.mean() for one in values], alpha=ALPHA, margin=MARGIN)
    both = over_seeds_and_examples(
        values, alpha=ALPHA, margin=MARGIN, trained=design != "published"
    )
    return {"seeds": alone, "seeds and examples": both}


def coverage(
    design: str, metric: str, seeds: int, repeats: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Share of intervals that hold the truth, and their mean half-width, by what they are over."""
    draw, truth = METRICS[metric]
    hits: dict[str, list[tuple[bool, float]]] = {}
    for _ in range(repeats):
        values = effect(World.drawn(design, rng), draw, seeds)
        for name, found in estimates(values, design).items():
            if found.low is not None and found.high is not None:
                held = found.low <= truth <= found.high
                hits.setdefault(name, []).append((held, (found.high - found.low) / 2))
    return {
        name: (
            float(np.mean([held for held, _ in one])),
            float(np.mean([width for _, width in one])),
        )
        for name, one in hits.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=1_000)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    print("coverage (half-width in points)")
    print(f"{'design':10s} {'metric':15s} seeds  over seeds      over seeds and examples")
    for design in DESIGNS:
        for metric in METRICS:
            for seeds in (1, 12) if design == "published" else (5, 12, 60):
                found = coverage(design, metric, seeds, repeats // (1 + seeds // 30), rng)
                cells = [
                    f"{found[name][0]:.3f} ({100 * found[name][1]:.1f})" if name in found else "-"
                    for name in ("seeds", "seeds and examples")
                ]
                print(
                    f"{design:10s} {metric:15s} {seeds:5d}  {cells[0]:14s}  {cells[1]}", flush=True
                )


if __name__ == "__main__":
    main()
