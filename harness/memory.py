"""How much memory this process has needed."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


def peak_mb(device: str = "cpu") -> float:
    """Largest memory that this process has held so far, in MiB: of the accelerator, else resident.

    Args:
        device: Such as ``cpu`` or ``cuda:0``.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    # On Linux getrusage gives a new process the peak of the one that started it.
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
