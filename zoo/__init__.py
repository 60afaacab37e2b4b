"""Which models there are, and getting them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.api import load
    from zoo.catalog import open_catalog
    from zoo.entry import ModelEntry
    from zoo.errors import ZooError
    from zoo.home import Home

STARTERS = ("digits-mlp", "digits-cnn")
"""Models to begin with: they are trained in seconds, on data that come with scikit-learn."""

__all__ = ["STARTERS", "Home", "ModelEntry", "ZooError", "load", "open_catalog"]

_HOMES = {
    "Home": "zoo.home",
    "ModelEntry": "zoo.entry",
    "ZooError": "zoo.errors",
    "load": "zoo.api",
    "open_catalog": "zoo.catalog",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that listing models needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
