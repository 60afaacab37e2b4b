"""The table of detectors, worked by hand, and from the command line."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from harness.analysis.detections import HEADER, rows
from harness.experiment.store import EvaluationStore
from harness.results import Cell, Evaluation, Method
from harness.types import Access, Regime, Risk, ThreatModel
from zoo.home import Home

LISTED = "bboylyg/nad-wrn16-1-backdoored-cifar10"


def _evaluation(
    weights: str,
    detector: str,
    *,
    model="m",
    rate=0.1,
    seed=0,
    regime=Regime.FROM_SCRATCH,
    artifact=True,
    status="ok",
    dataset="d",
    **metrics,
) -> Evaluation:
    cell = Cell(
        model=model, model_key="k", dataset=dataset, fingerprint="f", regime=regime,
        stack=(Method(detector),), risk=Risk.POISONING, attack=Method("badnets", (("rate", rate),)),
        threat=ThreatModel(access=Access.WEIGHTS), seed=seed,
    )  # fmt: skip
    if status != "ok":
        return Evaluation(cell=cell, status=status, reason="why")
    provenance = {"weights": weights, **({"artifact": "a"} if artifact else {})}
    return Evaluation(cell=cell, status="ok", metrics=metrics, provenance=provenance, seconds=2.0)


def _table(*evaluations: Evaluation) -> list[dict]:
    header, found = rows(evaluations, detectors={"neural-cleanse", "strip"}, backdoored={LISTED})
    assert header == HEADER
    return [dict(zip(header, row, strict=True)) for row in found]


def _clean(weights, flagged, **changes) -> Evaluation:
    return _evaluation(
        weights, "neural-cleanse", rate=0.0, flagged=flagged, attack_success_rate=0.1, **changes
    )


def _poisoned(weights, flagged, success, **changes) -> Evaluation:
    return _evaluation(
        weights, "neural-cleanse", flagged=flagged, attack_success_rate=success, **changes
    )


def test_rates_of_an_inspection_by_hand() -> None:
    (found,) = _table(
        _clean("a", 1.0), _clean("b", 0.0), _clean("c", 0.0), _clean("d", 0.0),
        _poisoned("e", 1.0, 1.0), _poisoned("f", 1.0, 0.5), _poisoned("g", 0.0, 0.49),
        _evaluation("h", "neural-cleanse", status="failed"),
        _evaluation("i", "dpsgd", attack_success_rate=1.0),
    )  # fmt: skip
    assert found["detector"] == "neural-cleanse"
    assert (found["clean_models"], found["fpr"]) == (4, 0.25)
    # Clopper and Pearson for 1 of 4: the tables say .0063 and .8059.
    assert found["fpr_low"] == pytest.approx(0.0063, abs=1e-4)
    assert found["fpr_high"] == pytest.approx(0.8059, abs=1e-4)
    assert (found["backdoored_models"], found["tpr"]) == (2, 1.0)
    # All of two: from (.05 / 2) ** (1 / 2).
    assert found["tpr_low"] == pytest.approx(0.025**0.5)
    assert found["tpr_high"] == 1
    assert (found["failed_backdoors"], found["not_measured"]) == (1, 1)
    assert (found["seconds_low"], found["seconds_high"]) == (2.0, 2.0)
    assert found["filter_fpr"] is None


def test_rates_of_a_filter_are_over_inputs_and_its_success_is_counted_without_it() -> None:
    (found,) = _table(
        _evaluation("a", "strip", rate=0.0, attack_success_rate=0.0, filter_fpr=0.02,
                    filter_tpr=0.03),
        _evaluation("b", "strip", rate=0.0, attack_success_rate=0.0, filter_fpr=0.04,
                    filter_tpr=0.03),
        _evaluation("c", "strip", attack_success_rate=0.0, success_rate_without_filter=1.0,
                    filter_fpr=0.5, filter_tpr=0.9),
    )  # fmt: skip
    assert (found["clean_models"], found["backdoored_models"]) == (2, 1)
    assert found["filter_fpr"] == pytest.approx(0.03)
    assert found["filter_tpr"] == 0.9
    assert found["fpr"] is found["tpr_low"] is None


def test_seeds_of_one_published_model_are_one_model() -> None:
    flags = [1.0, 1.0, 0.0]
    published = [
        _clean("a", flag, seed=seed, regime=Regime.PUBLISHED, artifact=False)
        for seed, flag in enumerate(flags)
    ]
    (found,) = _table(*published, _clean("b", 0.0))
    assert (found["clean_models"], found["fpr"]) == (2, 0.5)


def test_a_listed_model_is_backdoored_as_downloaded_and_otherwise_if_its_trigger_works() -> None:
    same = {"model": LISTED, "rate": 0.0}
    (found,) = _table(
        _poisoned("a", 1.0, 0.0, regime=Regime.PUBLISHED, artifact=False, **same),
        _poisoned("b", 0.0, 0.1, regime=Regime.PUBLISHED, **same),  # pruned
        _poisoned("c", 1.0, 0.9, regime=Regime.FINE_TUNED, **same),
    )
    assert (found["backdoored_models"], found["tpr"]) == (2, 1.0)
    assert (found["failed_backdoors"], found["clean_models"]) == (1, 0)
    assert found["fpr"] is None


def test_rows_are_by_detector_and_dataset() -> None:
    found = _table(_clean("a", 0.0, dataset="e"), _clean("b", 1.0, dataset="d"))
    assert [(row["dataset"], row["fpr"]) for row in found] == [("d", 1.0), ("e", 0.0)]


def test_the_command_prints_the_table(home_dir) -> None:
    from cli.harness_app import app

    store = EvaluationStore(Home.open())
    for found in (_clean("a", 0.0, dataset="cifar10"), _poisoned("b", 1.0, 0.9)):
        store.put(found)
    done = CliRunner().invoke(app, ["detections", "--format", "json"])
    assert done.exit_code == 0, done.output
    assert [row["dataset"] for row in json.loads(done.output)] == ["cifar10", "d"]
    done = CliRunner().invoke(app, ["detections", "--dataset", "d", "--format", "csv"])
    assert done.output.splitlines()[1].startswith("neural-cleanse,d,badnets,0,,,,1,1.0,0.025")
    assert "filter_fpr" in CliRunner().invoke(app, ["detections"]).output


def test_the_command_says_what_is_missing(home_dir) -> None:
    from cli.harness_app import app

    for arguments, message in (
        ([], "No detector was measured yet; run `harness eval"),
        (["--detector", "stripe"], "No detector 'stripe'. Nearest: strip"),
    ):
        done = CliRunner().invoke(app, ["detections", *arguments])
        assert message in str(done.exception)
    EvaluationStore(Home.open()).put(_clean("a", 0.0, dataset="cifar10"))
    done = CliRunner().invoke(app, ["detections", "--dataset", "mnist"])
    assert "No detector matches. There are: neural-cleanse on cifar10." in str(done.exception)


def test_seconds_of_models_of_different_sizes_are_not_averaged() -> None:
    quick, slow = _clean("a", 0.0), replace(_clean("b", 0.0), seconds=60.0)
    (found,) = _table(quick, slow)
    assert (found["seconds_low"], found["seconds_high"]) == (2.0, 60.0)
