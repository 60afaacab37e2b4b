"""Measures of a risk that other packages add to those of its game.

They are made from what is stored of each example, whenever a store is read: cells need not be
measured again for them, and a cell is the same whether the package is installed or not.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Protocol

import numpy as np

from harness.results import Evaluation
from harness.types import Risk

Samples = Mapping[str, np.ndarray]
"""The per-example columns of a cell, by name and of one length; see the games for what they are."""


class Metric(Protocol):
    """One more measure of a risk; a class that is made without arguments.

    It stands beside the primary metric and enters no verdict.

    Attributes:
        direction: Which way it points.
        reference: Who proposed it.
    """

    name: ClassVar[str]
    risk: ClassVar[Risk]
    direction: ClassVar[Literal["higher is worse", "higher is safer"]]
    reference: ClassVar[str]

    def measure(self, samples: Samples) -> float | None:
        """The measure of one cell, of the same value whenever it is asked.

        It is also asked about parts of the examples, for the interval.

        Args:
            samples: Not to be changed.

        Returns:
            None where it is not defined, as where an attack keeps other columns.
        """
        ...


def added(evaluation: Evaluation, samples: Samples | None, metrics: Sequence[Metric]) -> Evaluation:
    """An evaluation with the further measures of its risk among its metrics.

    One that fails or is not finite is left out with a warning.

    Args:
        evaluation: As stored.
        samples: Its per-example columns; None if it has none.
        metrics: Of any risk, with other names than those of the evaluation.
    """
    if evaluation.status != "ok" or not samples:
        return evaluation
    found: dict[str, float | None] = {}
    for metric in metrics:
        if metric.risk is evaluation.cell.risk:
            try:
                found[metric.name] = measured(metric, samples)
            except Exception as error:  # somebody else's code may fail in any way
                left_out(metric, f"{type(error).__name__}: {error}")
    return replace(evaluation, metrics={**evaluation.metrics, **found}) if found else evaluation


def measured(metric: Metric, samples: Samples) -> float | None:
    """What a metric says of examples.

    Raises:
        ValueError: It is no finite number.
    """
    value = metric.measure(samples)
    if value is None:
        return None
    if not isinstance(value, float | int | np.floating) or not math.isfinite(value):
        raise ValueError(f"it has to be a finite number or None, found {value!r}")
    return float(value)


def left_out(metric: Metric, reason: str) -> None:
    """Warn that a metric cannot be used, and why."""
    warnings.warn(f"The metric {metric.name!r} is left out: {reason}", stacklevel=3)
