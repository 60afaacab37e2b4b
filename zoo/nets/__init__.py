"""Networks by name: what an architecture's key in the catalog stands for."""

from zoo.nets.libraries import LIBRARIES
from zoo.nets.registry import SHAPED, build, left_out, names
from zoo.nets.scaled import Scaled

__all__ = ["LIBRARIES", "SHAPED", "Scaled", "build", "left_out", "names"]
