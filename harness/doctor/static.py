"""What a class of methods says of itself, looked at without running anything."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

from harness import registry
from harness.defenses.protocol import (
    Adapts,
    ChangesInputs,
    ChangesLoss,
    Cleans,
    Edits,
    FiltersInputs,
    GuardsOutputs,
    InspectsModels,
    ProvesOwnership,
    ReplacesTraining,
)
from harness.docstrings import split_docstring
from harness.doctor.watching import DefectError
from harness.types import Part
from zoo.errors import ZooError

PARTS: dict[Part, tuple[Any, ...]] = {
    Part.DATA: (Cleans,),
    Part.NETWORK: (Adapts,),
    Part.INPUTS: (ChangesInputs, ChangesLoss),
    Part.LOSS: (ChangesLoss, ReplacesTraining),
    Part.GRADIENTS: (ReplacesTraining,),
    Part.SCHEDULE: (ReplacesTraining,),
    Part.MODEL: (Edits,),
    Part.OUTPUT: (GuardsOutputs,),
    Part.INSPECTION: (InspectsModels, FiltersInputs),
    Part.EVIDENCE: (ProvesOwnership,),
}
"""Of which protocols a defense that acts on a part has to be one."""

PLAIN = (str, int, float, bool, type(None))
"""Types of settings: what a record of a cell can hold, and nobody can change."""


def check_class(kind: registry.Kind, name: str) -> None:
    """Look at the facts, the settings and the words of an attack or a defense.

    Raises:
        DefectError: With the first thing that is wrong.
    """
    found = registry.get(kind, name)
    if missing := registry.what_is_missing(kind, name, found):
        raise DefectError(missing)
    made = found()
    _, described = split_docstring(inspect.getdoc(found) or "")
    for field in fields(made):
        value = getattr(made, field.name)
        if not isinstance(value, PLAIN):
            raise DefectError(
                f"the setting {field.name} has to be a text, a number, a bool or None, found "
                f"{type(value).__name__}: it enters the key of a cell."
            )
        if not field.kw_only:
            raise DefectError(f"the setting {field.name} is not keyword-only.")
        if field.name not in described:
            raise DefectError(
                f"the setting {field.name} is not in the docstring of its class, under Attributes."
            )
    again = registry.make(kind, name, dict(registry.describe(made).params))
    if again != made or hash(again) != hash(made):
        raise DefectError("made again from its own settings, it is not the same.")
    _check_texts(kind, name, made)
    if kind == "defense":
        check_parts(made)


def _check_texts(kind: registry.Kind, name: str, made: Any) -> None:
    """Settings that a command line gives are texts."""
    texts = {k: str(v) for k, v in registry.describe(made).params}
    try:
        again = registry.make(kind, name, texts)
    except ZooError as error:
        raise DefectError(f"its settings as texts are not read: {error}") from error
    if again != made:
        raise DefectError("made from its settings as texts, it is not the same.")


def check_parts(defense: Any) -> None:
    """A defense has the methods of the parts that it acts on.

    Raises:
        DefectError: It has not.
    """
    for part in sorted(defense.acts_on):
        if not isinstance(defense, PARTS[part]):
            wanted = " or ".join(protocol.__name__ for protocol in PARTS[part])
            raise DefectError(
                f"it acts on {part}, but is no {wanted} of harness.defenses.protocol."
            )
