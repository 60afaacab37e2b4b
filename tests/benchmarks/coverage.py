"""How often 95 % intervals of a mean difference hold the truth: Student's t against BCa.

Run: python tests/benchmarks/coverage.py [--repeats 300]. This is why `harness.compare` uses
Student's interval for the usual dozen of seeds.
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy import stats

TRUTH, SPREAD = 0.1, 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(2)
    draws: dict[str, Callable[[int], np.ndarray]] = {
        "normal": lambda n: rng.normal(TRUTH, SPREAD, n),
        "skewed": lambda n: TRUTH + SPREAD * (rng.exponential(size=n) - 1),
    }
    print("pairs  shape   BCa   t")
    for n in (8, 12, 20, 30):
        for shape, draw in draws.items():
            hits = np.zeros(2)
            for _ in range(repeats):
                d = draw(n)
                bca = stats.bootstrap((d,), np.mean, method="BCa", n_resamples=2999, rng=rng)
                student = stats.ttest_1samp(d, 0).confidence_interval(0.95)
                for i, interval in enumerate((bca.confidence_interval, student)):
                    hits[i] += interval.low <= TRUTH <= interval.high
            print(f"{n:5d}  {shape}  {hits[0] / repeats:.2f}  {hits[1] / repeats:.2f}")


if __name__ == "__main__":
    main()
