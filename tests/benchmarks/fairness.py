"""Fairness beside fairlearn and AIF360: the same rows of Adult, the same model, what each finds.

    python tests/benchmarks/fairness.py [--mirror DIR] [--aif360 PYTHON] [--seeds 1] [--redraws 100]
                                        [--parts metrics,weights,defenses] [--defenses NAMES]
                                        [--json FILE]

Adult is looked for as anywhere (`--mirror` or ZOO_MIRROR, ZOO_DATA_DIR). PYTHON is that of an
environment with AIF360 (`pip install aif360`); if none is given, one is made under build/aif360. It
is another environment because AIF360 must not decide which versions of numpy and pandas are here.

Everything is about `adult-aware`, whose features tell sex and race, and `adult-mlp`'s recipe: from
scratch, on the members' quarter, judged on the non-members'. One thread. Seconds are of CPU, for
the work alone.

    metrics   Of one model: this project's numbers, those of fairlearn's functions and those of
              AIF360's ClassificationMetric; and the time that an interval takes.
    weights   Reweighing: the weights of each group and label here and by AIF360.
    defenses  What each defense leaves of the gaps and of the accuracy, here and where a peer has
              the same one. All are judged by the same code.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from fairlearn import metrics as fairlearn_metrics
from fairlearn.metrics import MetricFrame
from fairlearn.postprocessing import ThresholdOptimizer
from fairlearn.preprocessing import CorrelationRemover
from fairlearn.reductions import DemographicParity, EqualizedOdds, ExponentiatedGradient
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score, precision_score
from torch import Tensor, nn

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Attribute, Split
from harness.data.quarters import quarters
from harness.defenses.protocol import Defense
from harness.defenses.reweighing import weights
from harness.defenses.shared.defender import trusted_index
from harness.defenses.stack import Stack
from harness.learning.fit import fit
from harness.metrics.fairness import fairness
from harness.training.job import Job, network
from harness.training.single import defender_data, train_alone
from harness.types import Regime
from zoo.recipe import Recipe

SIDE = Path(__file__).with_name("fairness_side.py")
RECIPE = Recipe(epochs=20, batch_size=128)  # of adult-mlp
SMALLEST = 5  # as group-audit has it
BOUND = 0.01  # as exponentiated-gradient has it
SHOWN = ("clean_accuracy", "demographic_parity_difference", "equalized_odds_difference",
         "worst_group_accuracy")  # fmt: skip

Numbers = dict[str, float]


@dataclass(frozen=True, eq=False)
class Common:
    """One seed's data, and the undefended model with its answers."""

    dataset: Dataset
    train: Split
    test: Split
    job: Job
    model: nn.Module
    seed: int

    @classmethod
    def of(cls, dataset: Dataset, seed: int) -> Common:
        split = quarters(dataset, seed, Regime.FROM_SCRATCH)
        job = Job(
            dataset=dataset.name,
            fingerprint=dataset.fingerprint,
            index=split.target_train,
            architecture="mlp-32",
            input_shape=dataset.input_shape,
            num_classes=2,
            mean=(0.0,),
            std=(1.0,),
            recipe=RECIPE,
            seed=seed,
        )
        train, test = (
            dataset.collected.take(part) for part in (split.target_train, split.target_test)
        )
        return cls(dataset, train, test, job, train_alone(job, train, None).model, seed)

    def answers(self, x: Tensor, model: nn.Module | None = None) -> np.ndarray:
        return scores(model or self.model, x).argmax(1)

    def judged(self, predicted: np.ndarray, attribute: str = "sex") -> dict[str, float | None]:
        z = self.test.attribute(attribute)
        y, groups = self.test.y.numpy(), z.values.numpy()
        found = fairness(predicted, y, groups, z.names, num_classes=2, smallest=SMALLEST)
        return {"clean_accuracy": float((predicted == y).mean()), **found.metrics}

    def defended(self, defense: Defense) -> Callable[[], np.ndarray]:
        """Train with a defense of this project and answer the test rows."""

        def work() -> np.ndarray:
            resolve = getattr(defense, "resolve", lambda _: defense)
            made = [resolve(self.dataset)]
            stack = Stack.of(made)
            job = replace(self.job, stack=tuple(map(registry.describe, made)))
            # What acts on answers alone is put over the model that is there.
            model = train_alone(job, self.train, None).model if stack.is_trained else self.model
            trusted = self.train.take(trusted_index(len(self.train), self.seed))
            guarded = stack.guard(model, defender_data(job, self.train, trusted, None))
            return self.answers(self.test.x, guarded)

        return work


class Network(ClassifierMixin, BaseEstimator):
    """The same network and recipe for whoever wants an estimator of scikit-learn."""

    def __init__(self, common: Common) -> None:
        self.common = common

    def fit(self, X, y, sample_weight=None) -> Network:  # noqa: N803
        x = torch.as_tensor(np.asarray(X), dtype=torch.float32)
        weight = None if sample_weight is None else torch.tensor(np.array(sample_weight))
        data = Split(x, torch.tensor(np.array(y)).long(), weight=weight)
        job = replace(self.common.job, input_shape=(x.shape[1],))
        model, _ = network(job, None)
        self.model_ = fit(model, data, RECIPE, seed=defender_data(job, data, data, None).seed)
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X) -> np.ndarray:  # noqa: N803
        return scores(self.model_, torch.as_tensor(np.asarray(X), dtype=torch.float32))

    def predict(self, X) -> np.ndarray:  # noqa: N803
        return self.predict_proba(X).argmax(1)


def scores(model: nn.Module, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([model(part).double().softmax(1) for part in x.split(4096)]).numpy()


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What comes of it, and the CPU seconds of this process and its children."""
    begin = os.times()
    found = work()
    end = os.times()
    return found, sum(end[:4]) - sum(begin[:4])


def by_aif360(common: Common, attribute: Attribute, python: Path) -> dict[str, Any]:
    """What AIF360 finds; groups of ``attribute`` are those of the test rows, then the others."""
    n = len(common.train)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(
            folder / "data.npz",
            y=common.test.y,
            predicted=common.answers(common.test.x),
            z=attribute.values[n:],
            y_train=common.train.y,
            predicted_train=common.answers(common.train.x),
            z_train=attribute.values[:n],
            seed=common.seed,
        )
        done = subprocess.run(
            [python, SIDE, folder],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if done.returncode:
            sys.exit(f"AIF360 failed:\n{done.stderr[-2000:]}")
        answer = json.loads((folder / "answer.json").read_text())
        made = folder / "answer.npz"
        if made.exists():
            answer["equalized"] = np.load(made)["equalized"]
    return answer


def both(common: Common, attribute: str) -> Attribute:
    """An attribute of the training rows and, behind them, of the test rows."""
    of = [data.attribute(attribute) for data in (common.train, common.test)]
    return Attribute(torch.cat([z.values for z in of]), of[0].names)


def metrics(common: Common, attribute: str, python: Path, redraws: int) -> list[dict[str, Any]]:
    """One row per metric with all three numbers."""
    predicted = common.answers(common.test.x)
    y, z = common.test.y.numpy(), common.test.attribute(attribute).values.numpy()
    ours, seconds = timed(lambda: common.judged(predicted, attribute))
    theirs, their_seconds = timed(lambda: by_fairlearn(y, predicted, z))
    answer = by_aif360(common, both(common, attribute), python)
    rates = {name: np.array(values) for name, values in answer["metrics"]["rates"].items()}
    aif360 = {
        "demographic_parity_difference": float(np.ptp(rates["selection_rate"])),
        "demographic_parity_ratio": rates["selection_rate"].min() / rates["selection_rate"].max(),
        "equalized_odds_difference": max(np.ptp(rates["tpr"]), np.ptp(rates["fpr"])),
        "equal_opportunity_difference": float(np.ptp(rates["tpr"])),
        "predictive_parity_difference": float(np.ptp(rates["ppv"])),
        "accuracy_difference": float(np.ptp(rates["accuracy"])),
        "worst_group_accuracy": float(rates["accuracy"].min()),
    }
    named = answer["metrics"].get("differences", {})
    for name, its in (
        ("demographic_parity_difference", "statistical_parity_difference"),
        ("equal_opportunity_difference", "equal_opportunity_difference"),
        ("equalized_odds_difference", "equalized_odds_difference"),
    ):
        if its in named:  # for two groups it has names of its own, and signs
            aif360[name] = abs(named[its])
    print(f"\nMetrics by {attribute}, {len(y):,} test rows of seed {common.seed}")
    print(f"{'':32} {'Zoo':>10} {'fairlearn':>10} {'AIF360':>10}  largest distance")
    rows = []
    for name, value in aif360.items():
        found = [ours[name], theirs[name], value]
        distance = float(np.ptp(np.array(found, dtype=float)))
        rows.append({"attribute": attribute, "metric": name, "values": found})
        print(f"{name:32} " + " ".join(f"{v:10.6f}" for v in found) + f"  {distance:.1e}")
    drawn, draw_seconds = timed(lambda: intervals(y, predicted, z, redraws))
    low, high = (ours[f"equalized_odds_difference_{end}"] for end in ("low", "high"))
    print(
        f"CPU seconds: Zoo {seconds:.2f} with intervals and chance; fairlearn "
        f"{their_seconds:.2f} and AIF360 {answer['metrics_seconds']:.2f} without; fairlearn "
        f"{draw_seconds:.1f} with intervals of {redraws} redraws (this project's are of 1,000).\n"
        f"equalized_odds_difference, 95 %: Zoo [{low:.3f}, {high:.3f}], fairlearn "
        f"[{drawn[0]:.3f}, {drawn[1]:.3f}] (quantiles of the redrawn difference)"
    )
    return rows


def by_fairlearn(y: np.ndarray, predicted: np.ndarray, z: np.ndarray) -> Numbers:
    """The same metrics by fairlearn's own functions."""
    frame = MetricFrame(
        metrics={
            "accuracy": accuracy_score,
            "ppv": precision_score,
        },
        y_true=y,
        y_pred=predicted,
        sensitive_features=z,
    )
    direct = (
        "demographic_parity_difference",
        "demographic_parity_ratio",
        "equalized_odds_difference",
        "equal_opportunity_difference",
    )
    return {
        **{
            name: getattr(fairlearn_metrics, name)(y, predicted, sensitive_features=z)
            for name in direct
        },
        "predictive_parity_difference": _at(frame.difference(), "ppv"),
        "accuracy_difference": _at(frame.difference(), "accuracy"),
        "worst_group_accuracy": _at(frame.group_min(), "accuracy"),
    }


def _at(found: Any, name: str) -> float:
    """One of several numbers of fairlearn's."""
    return float(found[name])


def intervals(
    y: np.ndarray, predicted: np.ndarray, z: np.ndarray, redraws: int
) -> tuple[float, float]:
    """fairlearn's bootstrap interval of the difference in equalized odds: of its larger part."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a group without positives in a redraw
        frame = MetricFrame(
            metrics={
                "tpr": fairlearn_metrics.true_positive_rate,
                "fpr": fairlearn_metrics.false_positive_rate,
                "accuracy": accuracy_score,
                "selection_rate": fairlearn_metrics.selection_rate,
            },
            y_true=y,
            y_pred=predicted,
            sensitive_features=z,
            n_boot=redraws,
            ci_quantiles=[0.025, 0.975],
            random_state=0,
        )
        larger = max(("tpr", "fpr"), key=partial(_at, frame.difference()))
        low, high = frame.difference_ci()
    return _at(low, larger), _at(high, larger)


def compared_weights(common: Common, python: Path) -> list[dict[str, Any]]:
    """Reweighing's weights by sex, and by whether somebody is white."""
    race = both(common, "race")
    white = Attribute((race.values == race.names.index("White")).long(), ("other", "White"))
    rows = []
    print(f"\nWeights of reweighing, {len(common.train):,} training rows of seed {common.seed}")
    print(f"{'':32} {'Zoo':>10} {'AIF360':>10}")
    y = common.train.y
    for of in (both(common, "sex"), white):
        given = (of.values[: len(y)], y, torch.ones(len(y)), (2, 2))
        table, seconds = timed(partial(weights, *given))
        answer = by_aif360(common, of, python)
        for group, name in enumerate(of.names):
            for label in (0, 1):
                found = [float(table[group, label]), answer["weights"][group][label]]
                rows.append({"group": name, "label": label, "values": found})
                print(f"{name + f', label {label}':32} {found[0]:10.6f} {found[1]:10.6f}")
        print(f"CPU seconds: Zoo {seconds:.3f}, AIF360 {answer['weights_seconds']:.3f}")
    return rows


def fairlearns(common: Common) -> dict[str, Callable[[], np.ndarray]]:
    """Test answers after each mitigation of fairlearn's, on the same network."""
    x, y, sex = (common.train.x.numpy(), common.train.y.numpy(),
                 common.train.attribute("sex").values.numpy())  # fmt: skip
    x_test, sex_test = common.test.x.numpy(), common.test.attribute("sex").values.numpy()
    column = next(c for c in common.train.columns if c.name == "sex")
    stated = list(range(column.start, column.stop))

    def thresholds(constraint: Any) -> Callable[[], np.ndarray]:
        def work() -> np.ndarray:
            estimator = Network(common)
            estimator.model_, estimator.classes_ = common.model, np.array([0, 1])
            method = ThresholdOptimizer(
                estimator=estimator,
                constraints=constraint,
                objective="accuracy_score",
                prefit=True,
                predict_method="predict_proba",
            ).fit(x, y, sensitive_features=sex)
            return method.predict(x_test, sensitive_features=sex_test, random_state=common.seed)

        return work

    def remover() -> np.ndarray:
        # One of the two columns of sex: the other is what is left of 1.
        method = CorrelationRemover(sensitive_feature_ids=stated[:1]).fit(x)
        return Network(common).fit(method.transform(x), y).predict(method.transform(x_test))

    def gradient(constraint: Any) -> Callable[[], np.ndarray]:
        def work() -> np.ndarray:
            method = ExponentiatedGradient(Network(common), constraint, eps=BOUND, max_iter=10)
            method.fit(x, y, sensitive_features=sex)
            return np.asarray(method.predict(x_test, random_state=common.seed))

        return work

    return {
        "threshold-optimizer, demographic-parity": thresholds("demographic_parity"),
        "threshold-optimizer, equalized-odds": thresholds("equalized_odds"),
        "correlation-remover": remover,
        "exponentiated-gradient, demographic-parity": gradient(
            DemographicParity(difference_bound=BOUND)
        ),
        "exponentiated-gradient, equalized-odds": gradient(EqualizedOdds(difference_bound=BOUND)),
    }


OURS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "reweighing": ("reweighing", {}),
    "group-dro": ("group-dro", {}),
    "dfr": ("dfr", {}),
    "adversarial-debiasing, demographic-parity": (
        "adversarial-debiasing", {"constraint": "demographic-parity"}
    ),
    "adversarial-debiasing, equalized-odds": (
        "adversarial-debiasing", {"constraint": "equalized-odds"}
    ),
    "threshold-optimizer, demographic-parity": (
        "threshold-optimizer", {"constraint": "demographic-parity"}
    ),
    "threshold-optimizer, equalized-odds": (
        "threshold-optimizer", {"constraint": "equalized-odds"}
    ),
    "correlation-remover": ("correlation-remover", {}),
    "exponentiated-gradient, demographic-parity": (
        "exponentiated-gradient", {"constraint": "demographic-parity"}
    ),
    "exponentiated-gradient, equalized-odds": (
        "exponentiated-gradient", {"constraint": "equalized-odds"}
    ),
}  # fmt: skip
"""This project's defenses by what the table calls them."""


def defenses(commons: list[Common], python: Path, names: list[str]) -> list[dict[str, Any]]:
    """One row per defense of these names and who has it, as means over the seeds."""
    runs: dict[tuple[str, str], list[tuple[np.ndarray, float, Common]]] = {}
    for common in commons:
        undefended = common.answers(common.test.x)
        runs.setdefault(("none", "Zoo"), []).append((undefended, 0.0, common))
        peers = fairlearns(common)
        for what, (name, settings) in OURS.items():
            if name not in names:
                continue
            made = registry.make("defense", name, settings)
            runs.setdefault((what, "Zoo"), []).append((*timed(common.defended(made)), common))
            if what in peers:
                done = (*timed(peers[what]), common)
                runs.setdefault((what, "fairlearn"), []).append(done)
        answer = by_aif360(common, both(common, "sex"), python)
        done = (answer["equalized"], answer["equalized_seconds"], common)
        runs.setdefault(("answers made equal, equalized-odds", "AIF360"), []).append(done)
    print(f"\nDefenses by sex, test rows, means over {len(commons)} seeds")
    print(f"{'':44} {'':9} {'accuracy':>8} {'parity':>7} {'odds':>7} {'worst':>7} {'seconds':>8}")
    rows = []
    for (what, whose), found in runs.items():
        judged = [common.judged(predicted) for predicted, _, common in found]
        values = [mean(numbers[name] or 0.0 for numbers in judged) for name in SHOWN]
        seconds = mean(s for _, s, _ in found)
        rows.append(
            {
                "defense": what,
                "by": whose,
                "seconds": seconds,
                **dict(zip(SHOWN, values, strict=True)),
            }
        )
        shown = " ".join(f"{value:7.3f}" for value in values)
        print(f"{what:44} {whose:9}  {shown} {seconds:8.1f}", flush=True)
    return rows


def environment() -> Path:
    """The Python of an environment with AIF360, made if there is none."""
    folder = Path(__file__).parents[2] / "build" / "aif360"
    python, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        print(f"Installing AIF360 to {folder}, once.")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "aif360"], check=True)
        done.touch()
    return python


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mirror", type=Path)
    parser.add_argument("--aif360", type=Path, metavar="PYTHON")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--redraws", type=int, default=100)
    parser.add_argument("--parts", default="metrics,weights,defenses")
    known = sorted({name for name, _ in OURS.values()})
    parser.add_argument("--defenses", default=",".join(known), metavar="NAMES")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    parts = given.parts.split(",")
    if unknown := set(parts) - {"metrics", "weights", "defenses"}:
        parser.error(f"no part {sorted(unknown)[0]}; choose among metrics,weights,defenses")
    torch.set_num_threads(1)
    python = given.aif360 or environment()
    dataset = datasets.load("adult-aware", DataLocation.resolve(mirror=given.mirror))
    commons = [Common.of(dataset, seed) for seed in range(given.seeds)]
    record: dict[str, Any] = {
        name: version(name) for name in ("torch", "numpy", "pandas", "fairlearn")
    }
    if "metrics" in parts:
        record["metrics"] = [
            row
            for attribute in ("sex", "race")
            for row in metrics(commons[0], attribute, python, given.redraws)
        ]
    if "weights" in parts:
        record["weights"] = compared_weights(commons[0], python)
    if "defenses" in parts:
        record["defenses"] = defenses(commons, python, given.defenses.split(","))
    if given.json:
        given.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
