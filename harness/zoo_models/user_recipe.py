"""What `zoo add` has to know of a dataset and of a recipe, as plain values."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_type_hints

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.registry import settings
from zoo.errors import unknown
from zoo.own_data import Data
from zoo.recipe import Recipe

STEPS = 2_500
"""Of a table's default recipe. A perceptron takes about as many until it has learnt what it can."""


def facts(name: str, source: DataLocation) -> Data:
    """What the catalog has to know of a dataset.

    Args:
        name: As of `harness.data.datasets.load`.
        source: Where its files are.

    Raises:
        ZooError: There is no such dataset, or its files are not there or wrong.
    """
    found = datasets.load(name, source)
    n_train = found.n_train or len(found)
    return Data(
        name=name,
        input_shape=found.input_shape,
        num_classes=found.num_classes,
        train_size=n_train,
        test_size=len(found) - n_train or None,
        attributes=tuple(found.z),
        widths=tuple(column.stop - column.start for column in found.columns),
    )


def own_facts(name: str, source: DataLocation) -> Data | None:
    """`facts` of a dataset that ``<data-dir>/<name>.toml`` describes; None of any other.

    Raises:
        ZooError: The dataset is not as it is described.
    """
    return facts(name, source) if name in datasets.own_tables(source) else None


def arguments(texts: Sequence[str]) -> dict[str, Any]:
    """``["width=64", "kind=a"]`` as what a user's own code is called with.

    Args:
        texts: Of settings; a value is a number, True, False, None, a list of these, or else text.
    """
    found: dict[str, Any] = {}
    for name, text in settings(texts).items():
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[name] = text
    return found


def recipe(texts: Sequence[str], data: Data) -> Recipe:
    """``["epochs=20", "lr=0.003"]`` as a recipe; the rest is as `zoo.recipe.Recipe` has it.

    Only of a table, whose rows may be few, the epochs are by default as many as make `STEPS`, and
    no fewer than the recipe's.

    Args:
        texts: Of settings.
        data: That are trained on: a quarter of them.

    Raises:
        ZooError: A text is none of its fields, or no value for it.
    """
    hints, values = get_type_hints(Recipe), {}
    for field, text in settings(texts).items():
        if field not in hints:
            raise unknown("setting of a recipe", field, hints)
        values[field] = registry.parse(text, hints[field], field)
    found = Recipe(**values)
    if "epochs" in values or len(data.input_shape) > 1:
        return found
    rows = (data.train_size + (data.test_size or 0)) // 4
    steps = math.ceil(max(rows, 1) / found.batch_size)
    return replace(found, epochs=max(found.epochs, math.ceil(STEPS / steps)))
