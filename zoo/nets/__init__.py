"""Networks by name: what an architecture's key in the catalog stands for."""

from zoo.nets.registry import build, names
from zoo.nets.scaled import Scaled

__all__ = ["Scaled", "build", "names"]
