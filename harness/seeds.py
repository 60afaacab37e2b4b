"""Randomness that depends on names and seeds only: every random stream starts here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(*parts: str | int) -> int:
    """A 63-bit seed for the stream named by ``parts``; streams of different names are unrelated."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1


def generator(*parts: str | int) -> torch.Generator:
    """A CPU generator for the stream named by ``parts``."""
    import torch

    return torch.Generator().manual_seed(derive(*parts))


@contextmanager
def seeded(*parts: str | int) -> Iterator[None]:
    """Run a block with torch's global generator seeded, and leave it as it was before."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(*parts))
        yield
