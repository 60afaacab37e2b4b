"""The table of means that an evaluation prints, worked by hand."""

import pytest

from harness.results import Cell, Evaluation, Method
from harness.summary import HEADER, rows
from harness.types import Access, Regime, Risk, ThreatModel


def _evaluation(seed: int, value: float | None, status="ok") -> Evaluation:
    cell = Cell(
        model="m", model_key="k", dataset="d", fingerprint="f", regime=Regime.FROM_SCRATCH,
        stack=(), risk=Risk.EVASION, attack=Method("pgd"),
        threat=ThreatModel(access=Access.WEIGHTS), seed=seed,
    )  # fmt: skip
    if value is None:
        return Evaluation(cell=cell, status=status, reason="why")
    return Evaluation(
        cell=cell, status="ok", metrics={"robust_accuracy": value}, primary="robust_accuracy",
        susceptibility=1 - value, utility=0.5,
    )  # fmt: skip


def test_means_are_over_what_was_measured_and_the_rest_is_counted() -> None:
    header, (row,) = rows(
        [_evaluation(0, 0.2), _evaluation(1, 0.4), _evaluation(2, None, "failed"), None]
    )
    found = dict(zip(header, row, strict=True))
    assert (found["seeds"], found["metric"], found["status"]) == (2, "robust_accuracy", "1 failed")
    assert found["mean"] == pytest.approx(0.3)
    assert found["sd"] == pytest.approx(0.02**0.5)
    assert (found["susceptibility"], found["accuracy"]) == (pytest.approx(0.7), 0.5)


def test_what_was_never_measured_has_no_numbers() -> None:
    _, (row,) = rows([_evaluation(0, None, "not applicable")])
    found = dict(zip(HEADER, row, strict=True))
    assert (found["seeds"], found["mean"], found["sd"]) == (0, None, None)
    assert found["status"] == "1 not applicable"
