"""What each example adds: the mean is the metric, and the spread is that of the metric."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harness.analysis.contributions import BLOCKS, OTHERS, SUSCEPTIBILITY, area, rate_at
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.experiment import run
from harness.experiment.executors import local
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.experiment.store import EvaluationStore
from harness.metrics.attribute import attribute
from harness.metrics.fairness import fairness
from harness.metrics.membership import membership
from harness.metrics.poisoning import poisoning
from harness.metrics.robustness import robustness
from harness.metrics.susceptibility import susceptibility
from harness.training.artifacts import Artifacts
from harness.types import Risk
from zoo.entry import ModelEntry
from zoo.home import Home
from zoo.recipe import Recipe

N = 400


def _evaluation(**metrics):
    return SimpleNamespace(metrics=metrics, cell=SimpleNamespace(attack=SimpleNamespace(params=())))


def _answers(rng, y, right):
    return torch.where(torch.from_numpy(rng.random(N) < right), y, (y + 1) % 3)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_evasion(rng) -> None:
    y = torch.from_numpy(rng.integers(0, 3, N))
    clean, after = _answers(rng, y, 0.9), _answers(rng, y, 0.4)
    metrics = robustness(clean, after, y, linf=torch.zeros(N), l2=torch.zeros(N))
    samples = {"index": np.arange(N), "label": y, "clean": clean, "perturbed": after}
    samples = {name: np.asarray(column) for name, column in samples.items()}
    values = SUSCEPTIBILITY[Risk.EVASION](samples, _evaluation()).value
    assert values.mean() == pytest.approx(susceptibility(Risk.EVASION, metrics))
    assert _spread(values) == pytest.approx(
        _resampled(samples, lambda s: 1 - _robust(s) / _clean(s)), rel=0.2
    )


def _clean(s):
    return (s["clean"] == s["label"]).mean()


def _robust(s):
    return ((s["clean"] == s["label"]) & (s["perturbed"] == s["label"])).mean()


def _spread(values) -> float:
    return float((values.var() / len(values)) ** 0.5)


def _resampled(samples, metric) -> float:
    """The deviation of a metric over a bootstrap of the rows."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(400):
        rows = rng.integers(0, N, N)
        found.append(metric({name: column[rows] for name, column in samples.items()}))
    return float(np.std(found))


@pytest.mark.parametrize("filtered", [False, True])
def test_poisoning(rng, filtered) -> None:
    y = torch.from_numpy(rng.integers(0, 3, N))
    flags = {name: torch.from_numpy(rng.random(N) < p) for name, p in (
        ("applies", 0.7), ("success", 0.8), ("clean_model_success", 0.2),
        ("rejected_clean", 0.1), ("rejected_triggered", 0.4),
        ("clean_model_rejected_triggered", 0.1),
    )}  # fmt: skip
    rejected = {k: flags.pop(k) for k in list(flags) if "rejected" in k}
    found = poisoning(clean=y, triggered=y, y=y, **flags, **(rejected if filtered else {}))
    samples = {"index": np.arange(N), **{k: v.numpy() for k, v in flags.items()}}
    if filtered:
        samples |= {k: v.numpy() for k, v in rejected.items()}
    values = SUSCEPTIBILITY[Risk.POISONING](samples, _evaluation())
    assert values.value.mean() == pytest.approx(susceptibility(Risk.POISONING, found))
    assert values.index.tolist() == np.flatnonzero(samples["applies"]).tolist()


def test_extraction(rng) -> None:
    columns = {k: rng.integers(0, 3, N) for k in ("label", "target", "surrogate", "twin")}
    samples = {"index": np.arange(N), **columns}
    agree = {k: (columns[k] == columns["target"]).mean() for k in ("surrogate", "twin")}
    values = SUSCEPTIBILITY[Risk.EXTRACTION](samples, _evaluation()).value
    assert values.mean() == pytest.approx(agree["surrogate"] - agree["twin"])
    gain = OTHERS[Risk.EXTRACTION]["accuracy_gain"](samples, _evaluation()).value
    right = {k: (columns[k] == columns["label"]).mean() for k in ("surrogate", "twin")}
    assert gain.mean() == pytest.approx(right["surrogate"] - right["twin"])


def test_membership(rng) -> None:
    member, counted = rng.random(N) < 0.5, rng.random(N) < 0.8
    score = (rng.normal(size=N) + member).round(1)  # with ties
    samples = {"index": np.arange(N), "member": member, "counted": counted, "score": score}
    found = membership(score[counted], member[counted])
    values = SUSCEPTIBILITY[Risk.MEMBERSHIP_INFERENCE](samples, _evaluation())
    assert values.value.mean() == pytest.approx(2 * found["auc"] - 1)
    assert len(values.index) == counted.sum()
    others = OTHERS[Risk.MEMBERSHIP_INFERENCE]
    collected = others["collected_auc"](samples, _evaluation()).value
    assert collected.mean() == pytest.approx(membership(score, member)["auc"])
    low = others["tpr_at_1pct_fpr"](samples, _evaluation()).value
    assert low.mean() == pytest.approx(found["tpr_at_1pct_fpr"])


def test_the_spread_of_an_area_is_the_bootstraps(rng) -> None:
    samples = {"member": rng.random(N) < 0.3}
    samples["score"] = (rng.normal(size=N) + samples["member"]).round(1)
    values = area(samples["score"], samples["member"])
    drawn = _resampled(samples, lambda s: area(s["score"], s["member"]).mean())
    assert _spread(values) == pytest.approx(drawn, rel=0.15)


def test_a_rate_that_the_negatives_cannot_reach_has_no_values() -> None:
    member = np.arange(120) < 40
    assert rate_at(np.arange(120.0), member, 0.01) is None
    assert rate_at(np.arange(140.0), np.arange(140) < 40, 0.01) is not None


def test_attributes_of_members_and_of_others(rng) -> None:
    z, member = rng.integers(0, 3, N), rng.random(N) < 0.5
    given = {name: rng.dirichlet(np.ones(3), N) for name in ("score", "imputation")}
    given["score"][np.arange(N), z] += 0.3
    samples = {"index": np.arange(N), "z": z, "member": member}
    for name, table in given.items():
        samples |= {f"{name}_{v}": table[:, v] for v in range(3)}
    found = {
        side: attribute(*(given[k][rows] for k in ("score", "imputation", "imputation")), z[rows])
        for side, rows in ((True, member), (False, ~member))
    }
    advantage = {k: 2 * (m["auc"] - m["imputation_auc"]) for k, m in found.items()}
    values = SUSCEPTIBILITY[Risk.ATTRIBUTE_INFERENCE](samples, _evaluation())
    assert values.value.mean() == pytest.approx(advantage[False])
    others = OTHERS[Risk.ATTRIBUTE_INFERENCE]
    assert others["member_advantage"](samples, _evaluation()).value.mean() == pytest.approx(
        advantage[True]
    )
    both = others["memorised_advantage"](samples, _evaluation()).value
    assert both.mean() == pytest.approx(advantage[True] - advantage[False])


@pytest.mark.parametrize("classes", [2, 4])
def test_groups(rng, classes) -> None:
    y, group = rng.integers(0, classes, N), rng.integers(0, 2, N)
    wrong = rng.random(N) < 0.1 + 0.2 * group
    predicted = np.where(wrong, (y + 1) % classes, y)
    found = fairness(predicted, y, group, ("a", "b"), num_classes=classes, smallest=1).metrics
    samples = {"index": rng.permutation(N), "label": y, "group": group, "predicted": predicted}
    evaluation = _evaluation(**found)
    values = SUSCEPTIBILITY[Risk.DISCRIMINATORY_BEHAVIOR](samples, evaluation)
    assert values.value.mean() == pytest.approx(susceptibility(Risk.DISCRIMINATORY_BEHAVIOR, found))
    assert values.index.tolist() == list(range(BLOCKS))
    for name, measure in OTHERS[Risk.DISCRIMINATORY_BEHAVIOR].items():
        assert measure(samples, evaluation).value.mean() == pytest.approx(found[name])


def test_nothing_is_taken_from_columns_that_are_not_there() -> None:
    samples = {"index": np.arange(3), "label": np.zeros(3), "target": np.zeros(3)}
    assert (
        SUSCEPTIBILITY[Risk.EXTRACTION](samples | {"surrogate": np.zeros(3)}, _evaluation()) is None
    )


TINTED = ModelEntry(
    name="own", source="selftrained", purpose="benchmark", dataset="digits-tinted",
    architecture="mlp-128", input_shape=(3, 8, 8), num_classes=10, mean=(0.5,) * 3,
    std=(0.25,) * 3, licence=None, backdoored=False, artifact=None,
    recipe=Recipe(lr=3e-3, epochs=3),
)  # fmt: skip

ATTACKS = (
    "fgsm", "badnets", "label-flipping", "distillation", "correctness", "loss-threshold",
    "attribute-scores", "gradient-inversion", "group-audit",
)  # fmt: skip


def test_what_every_game_stores_adds_up_to_what_it_measured(tmp_path: Path) -> None:
    """Of real cells, undefended and where examples are removed and inputs rejected."""
    home = Home.open(tmp_path / "home")
    asked = Request(
        models=(TINTED,), stacks=((), ("outlier-removal", "strip")), seeds=1, attacks=ATTACKS,
        risks=tuple(risk for risk in Risk if risk is not Risk.DISTRIBUTION_INFERENCE),
        settings={
            "strip.overlays": "10", "distillation.epochs": "3", "attribute-scores.epochs": "3",
            # Whoever sees the inputs, sees their colour, and the model tells nothing more.
            "attribute-scores.knows": "nothing",
            "gradient-inversion.steps": "3",
        },
    )  # fmt: skip
    data = {"digits-tinted": datasets.load("digits-tinted", DataLocation())}
    done = {"is_done": EvaluationStore(home).is_done, "is_trained": Artifacts(home).has}
    made = plan(asked, data, {}, **done)
    list(run.run(made, run.Context(home, DataLocation(), "cpu", {}, "test"), local.pool, workers=1))
    walked, largest = set(), {}
    with EvaluationStore(home).reading_samples() as samples:
        for evaluation in EvaluationStore(home).evaluations():
            cell, columns = evaluation.cell, samples(evaluation.cell.key)
            assert evaluation.status == "ok", evaluation.reason
            assert {len(c) for c in columns.values()} == {evaluation.provenance["samples"]}
            found = SUSCEPTIBILITY[cell.risk](columns, evaluation)
            assert found is not None
            assert len(np.unique(found.index)) == len(found.index) == len(found.value)
            assert found.value.mean() == pytest.approx(evaluation.susceptibility, abs=1e-9)
            largest[cell.risk] = max(largest.get(cell.risk, 0), abs(evaluation.susceptibility))
            for name, measure in OTHERS.get(cell.risk, {}).items():
                other = measure(columns, evaluation)
                assert other is not None, name
                assert other.value.mean() == pytest.approx(evaluation.metrics[name], abs=1e-9)
            walked.add((cell.attack.name, cell.defense))
    assert {name for name, _ in walked} == set(ATTACKS)
    assert len(walked) == 2 * len(ATTACKS)
    assert min(largest.values()) > 1e-3, "nothing adds up to nothing in any case"
