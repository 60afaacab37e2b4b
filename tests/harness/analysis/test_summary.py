"""The table of means that an evaluation prints, worked by hand."""

from dataclasses import replace

import pytest

from harness.analysis.summary import HEADER, summary_table
from harness.results import Cell, Evaluation, Method, Status
from harness.types import Access, Regime, Risk, ThreatModel


def _evaluation(seed: int, value: float | None, status: Status = "ok") -> Evaluation:
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
    header, (row,) = summary_table(
        [_evaluation(0, 0.2), _evaluation(1, 0.4), _evaluation(2, None, "failed"), None]
    )
    found = dict(zip(header, row, strict=True))
    assert (found["seeds"], found["metric"], found["status"]) == (2, "robust_accuracy", "1 failed")
    assert found["mean"] == pytest.approx(0.3)
    assert found["sd"] == pytest.approx(0.02**0.5)
    assert (found["susceptibility"], found["accuracy"]) == (pytest.approx(0.7), 0.5)
    assert (found["of"], found["why"]) == (3, ["failed: why"])


def test_seeds_whose_susceptibility_is_not_defined_are_no_measured_seeds() -> None:
    undefined = [
        replace(_evaluation(seed, 0.0), susceptibility=None, utility=0.0, reason="never right")
        for seed in range(1, 6)
    ]
    header, (row,) = summary_table([_evaluation(0, 0.2), *undefined])
    found = dict(zip(header, row, strict=True))
    assert (found["seeds"], found["of"], found["status"]) == (1, 6, "5 undefined")
    assert found["why"] == ["undefined: never right"]
    assert (found["mean"], found["susceptibility"]) == (0.2, 0.8)
    assert found["accuracy"] == pytest.approx(0.5 / 6)


def test_every_different_reason_for_doubt_is_listed_with_how_many_seeds_have_it() -> None:
    flags = [
        ["gradients are zero for 3 of 40", "the defense is random"],
        [
            "the defense is random",
            "gradients are zero for 7 of 40",
            "gradients are zero for 8 of 9",
        ],
        [],
    ]
    found = [
        replace(_evaluation(seed, 0.2), evidence={"flags": one}) for seed, one in enumerate(flags)
    ]
    _, (row,) = summary_table([*found, _evaluation(3, None, "failed")])
    assert row[HEADER.index("why")] == [
        "failed: why",
        "in doubt: gradients are zero for 3 of 40 (2 of 3 seeds)",
        "in doubt: the defense is random (2 of 3 seeds)",
    ]


@pytest.mark.parametrize("field", ["fingerprint", "model_key"])
def test_other_data_or_another_model_of_one_name_is_another_row(field) -> None:
    one, other = _evaluation(0, 0.2), _evaluation(0, 0.4)
    other = replace(other, cell=replace(other.cell, **{field: "other"}))
    _, found = summary_table([one, other])
    assert [row[HEADER.index("mean")] for row in found] == [0.2, 0.4]


def test_what_was_never_measured_has_no_numbers() -> None:
    _, (row,) = summary_table([_evaluation(0, None, "not applicable")])
    found = dict(zip(HEADER, row, strict=True))
    assert (found["seeds"], found["mean"], found["sd"]) == (0, None, None)
    assert found["status"] == "1 not applicable"
