"""What is done to models, and what is measured."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import audit_scores, compare, list_methods, measure, plan

__all__ = ["audit_scores", "compare", "list_methods", "measure", "plan"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that a command's help needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(import_module("harness.api"), name)


def __dir__() -> list[str]:
    """What a notebook completes."""
    return __all__
