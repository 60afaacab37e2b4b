"""Networks by name: what an architecture's key in the catalog stands for."""

from zoo.nets.answers import logits_of
from zoo.nets.libraries import LIBRARIES
from zoo.nets.registry import SHAPED, build, known, left_out, names, skeleton
from zoo.nets.scaled import Chosen, Scaled

__all__ = [
    "LIBRARIES",
    "SHAPED",
    "Chosen",
    "Scaled",
    "build",
    "known",
    "left_out",
    "logits_of",
    "names",
    "skeleton",
]
