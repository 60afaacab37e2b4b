"""Tests that take long without the mark `slow`, tests that have the mark and are quick, and files.

Run: python tests/benchmarks/slow_tests.py REPORT..., reports that pytest wrote with --junitxml; those
of `make test-all` are build/tests/quick.xml and build/tests/slow.xml. Times are of the wall clock, with
the set-up of a fixture counted to the test that asked for it first.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

LIMIT = 20.0
"""Seconds from which on a test has to have the mark."""
QUICK = LIMIT / 2
"""Seconds below which a mark is not needed; between the two, machines differ."""


class Timed(NamedTuple):
    file: str
    test: str
    seconds: float
    slow: bool


def read(report: str) -> list[Timed]:
    """Every test of a report, with what `tests/conftest.py` noted about its mark."""
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        noted = {p.get("name") for p in case.iter("property")}
        seconds = float(case.get("time", 0))
        name = case.get("name", "")
        found.append(Timed(case.get("classname", ""), name, seconds, "slow" in noted))
    return found


def unmarked(tests: list[Timed]) -> list[Timed]:
    """Tests that need the mark and have it not, the longest first."""
    return _longest([t for t in tests if t.seconds > LIMIT and not t.slow])


def needlessly_marked(tests: list[Timed]) -> list[Timed]:
    """Tests that have the mark and need it not, the longest first."""
    return _longest([t for t in tests if t.seconds < QUICK and t.slow])


def _longest(tests: list[Timed]) -> list[Timed]:
    return sorted(tests, key=lambda t: -t.seconds)


def main(reports: list[str]) -> None:
    tests = [test for report in reports for test in read(report)]
    for heading, some in (
        (f"Over {LIMIT:g} s without the mark `slow`", unmarked(tests)),
        (f"Marked `slow`, but below {QUICK:g} s", needlessly_marked(tests)),
    ):
        print(f"{heading}: {len(some) or 'none'}")
        for test in some:
            print(f"{test.seconds:8.1f} s  {test.file}::{test.test}")
    files: defaultdict[str, float] = defaultdict(float)
    for test in tests:
        files[test.file] += test.seconds
    print(f"All {len(tests)} tests: {sum(files.values()):.0f} s. The longest files:")
    for file, seconds in sorted(files.items(), key=lambda item: -item[1])[:15]:
        print(f"{seconds:8.1f} s  {file}")


if __name__ == "__main__":
    if len(sys.argv) < 2 or not all(Path(a).is_file() for a in sys.argv[1:]):
        sys.exit(__doc__)
    main(sys.argv[1:])
