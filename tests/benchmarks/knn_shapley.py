"""KNN-Shapley of many examples: CPU and wall seconds, and how much faster than a Python loop.

Run: python tests/benchmarks/knn_shapley.py [--train 20000] [--valid 2000] [--threads 2].
"""

import argparse
import importlib.util
import time
from pathlib import Path

import torch

from harness.learning.knn_shapley import knn_shapley
from harness.memory import peak_mb

TEST = Path(__file__).resolve().parent.parent / "harness" / "test_knn_shapley.py"


def _loop():
    """The loop that the test compares with."""
    spec = importlib.util.spec_from_file_location("test_knn_shapley", TEST)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.loop


def _timed(way, data, k: int = 5) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    way(*data, k=k)
    return time.process_time() - cpu, time.perf_counter() - wall


def _data(n: int, m: int, width: int):
    stream = torch.Generator().manual_seed(0)
    x, x_valid = (torch.randn(size, width, generator=stream) for size in (n, m))
    y, y_valid = (torch.randint(10, (size,), generator=stream) for size in (n, m))
    return x, y, x_valid, y_valid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=20_000)
    parser.add_argument("--valid", type=int, default=2_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads")
    print(" train  valid  features    CPU s   wall s")
    for width in (64, 512):
        cpu, wall = _timed(knn_shapley, _data(arguments.train, arguments.valid, width))
        print(f"{arguments.train:6d} {arguments.valid:6d} {width:9d} {cpu:8.2f} {wall:8.2f}")
    data = _data(2000, 200, 64)
    (slow, _), (fast, _) = _timed(_loop(), data), _timed(knn_shapley, data)
    print(f"  2000    200        64 {fast:8.2f}; a Python loop {slow:.2f}: {slow / fast:.0f} times")
    peak = peak_mb()
    print(f"peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
