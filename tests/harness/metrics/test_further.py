"""Metrics of other packages: their values, their intervals, and what is wrong with one."""

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from harness.analysis.compare import compare
from harness.analysis.contributions import BLOCKS, of_blocks
from harness.experiment import further_metrics
from harness.experiment.further_metrics import with_further
from harness.metrics.further import added, measured
from harness.results import Cell, Evaluation, Method
from harness.types import Access, Regime, Risk, ThreatModel

N = 10 * BLOCKS


class Robust:
    name: ClassVar[str] = "robust"
    risk: ClassVar[Risk] = Risk.EVASION
    direction: ClassVar[str] = "higher is safer"
    reference: ClassVar[str] = "Nobody (2026)"

    def measure(self, samples: Mapping[str, np.ndarray]) -> float | None:
        return float((samples["perturbed"] == samples["label"]).mean())


class Fails(Robust):
    name: ClassVar[str] = "fails"

    def measure(self, samples: Mapping[str, np.ndarray]) -> float | None:
        return 1 / 0


class OfOthers(Robust):
    risk: ClassVar[Risk] = Risk.EXTRACTION


def _samples(seed: int, right: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, N)
    wrong = rng.random(N) > right
    return {"index": rng.permutation(N), "label": label, "perturbed": (label + wrong) % 3}


def _evaluation(seed: int = 0, stack: tuple[Method, ...] = (), **changes) -> Evaluation:
    cell = Cell(
        model="m", model_key="", dataset="d", fingerprint="", regime=Regime.FROM_SCRATCH,
        stack=stack, risk=Risk.EVASION, attack=Method("fgsm"),
        threat=ThreatModel(access=Access.WEIGHTS), seed=seed,
    )  # fmt: skip
    given = {"cell": cell, "status": "ok", "metrics": {"raw": 0.5}, "primary": "raw",
             "susceptibility": 0.5, "utility": 0.9, **changes}  # fmt: skip
    return Evaluation(**given)


def test_an_evaluation_gets_the_measures_of_its_risk() -> None:
    samples = _samples(0, 0.7)
    found = added(_evaluation(), samples, [Robust(), OfOthers()])
    assert found.metrics == {"raw": 0.5, "robust": Robust().measure(samples)}
    assert added(_evaluation(), None, [Robust()]).metrics == {"raw": 0.5}
    failed = _evaluation(status="failed", metrics={})
    assert added(failed, samples, [Robust()]) == failed


def test_one_that_fails_is_left_out_with_a_warning_and_nothing_else() -> None:
    with pytest.warns(UserWarning, match=r"The metric 'fails' is left out: ZeroDivisionError"):
        found = added(_evaluation(), _samples(0, 0.7), [Fails(), Robust()])
    assert set(found.metrics) == {"raw", "robust"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "much", np.ones(3)])
def test_what_is_no_finite_number_is_no_measure(value, monkeypatch) -> None:
    monkeypatch.setattr(Robust, "measure", lambda self, samples: value)
    with pytest.raises(ValueError, match="finite number or None"):
        measured(Robust(), {})


def test_of_a_mean_the_pseudo_values_are_the_means_of_the_blocks() -> None:
    samples = _samples(0, 0.7)
    right = samples["perturbed"] == samples["label"]
    evaluation = added(_evaluation(), samples, [Robust()])
    found = of_blocks(Robust())(samples, evaluation)
    means = [right[samples["index"] % BLOCKS == b].mean() for b in range(BLOCKS)]
    np.testing.assert_allclose(found.value, means)
    assert found.blocks
    assert of_blocks(Robust())(samples, _evaluation()) is None
    without = {name: column for name, column in samples.items() if name != "index"}
    assert of_blocks(Robust())(without, evaluation) is None


def test_it_stands_beside_the_primary_metric_and_enters_no_verdict() -> None:
    stack = (Method("rounding", guards=Risk.EVASION),)
    samples, evaluations = {}, []
    for seed in range(4):
        for defenses, right in (((), 0.4), (stack, 0.8)):
            one = _evaluation(seed, defenses)
            samples[one.cell.key] = _samples(seed, right)
            evaluations.append(added(one, samples[one.cell.key], [Robust()]))
    (row,) = compare(evaluations, samples.get, [Robust()])
    (other,) = row.other_measures
    assert (other.name, other.direction) == ("robust", "higher is safer")
    assert other.interval == "seeds and examples"
    assert other.effect == pytest.approx(0.4, abs=0.1)
    assert other.ci_low < other.effect < other.ci_high
    assert 0.02 < other.ci_high - other.ci_low < 0.3
    (plain,) = compare(
        [replace(e, metrics={"raw": 0.5}) for e in evaluations], samples.get, [Robust()]
    )
    assert plain.other_measures == ()
    assert replace(row, other_measures=(), metrics=plain.metrics) == plain


def test_one_with_the_name_of_a_cells_own_metric_is_left_out(monkeypatch) -> None:
    class Raw(Robust):
        name: ClassVar[str] = "raw"

    class EvaluationStore:
        @contextmanager
        def reading_samples(self):
            yield lambda key: _samples(0, 0.7)

    kinds = {"raw": Raw, "robust": Robust}
    monkeypatch.setattr(further_metrics.registry, "known", lambda kind: kinds)
    with pytest.warns(UserWarning, match="'raw' is left out: cells of evasion have a metric of"):
        found, metrics = with_further([_evaluation(), None], EvaluationStore())
    assert found[0].metrics["raw"] == 0.5
    assert "robust" in found[0].metrics
    assert found[1] is None
    assert [metric.name for metric in metrics] == ["robust"]
