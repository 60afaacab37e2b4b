"""The largest memory of a process is its own."""

import subprocess
import sys

import numpy as np
import pytest

from harness.memory import peak_mb


def test_it_grows_with_what_is_held() -> None:
    before = peak_mb()
    held = np.ones(int((before + 300) * 2**20 / 8))
    assert peak_mb() > before + 100
    assert held[0] == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_new_process_does_not_begin_with_that_of_its_parent() -> None:
    held = np.ones(3 * 2**30 // 8)
    code = "from harness.memory import peak_mb; print(peak_mb())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2000
    assert held[-1] == 1
