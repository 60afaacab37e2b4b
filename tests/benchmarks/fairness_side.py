"""What AIF360 finds on the arrays of `fairness.py`, in the environment that it is installed in.

`fairness.py` starts it: PYTHON tests/benchmarks/fairness_side.py FOLDER. It reads FOLDER/data.npz
and writes FOLDER/answer.json and, for answers after its post-processing, FOLDER/answer.npz.
"""

import argparse
import json
import logging
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

logging.disable(logging.WARNING)  # it says which of its methods lack their packages

from aif360.algorithms.postprocessing import EqOddsPostprocessing  # noqa: E402
from aif360.algorithms.preprocessing import Reweighing  # noqa: E402
from aif360.datasets import BinaryLabelDataset  # noqa: E402
from aif360.metrics import ClassificationMetric  # noqa: E402


def table(y: np.ndarray, z: np.ndarray) -> BinaryLabelDataset:
    return BinaryLabelDataset(
        df=pd.DataFrame({"z": z.astype(float), "y": y.astype(float)}),
        label_names=["y"],
        protected_attribute_names=["z"],
        favorable_label=1.0,
        unfavorable_label=0.0,
    )


def against(value: int, others: list[int]) -> dict[str, Any]:
    """One group as the privileged one, the others together as the unprivileged."""
    return {
        "privileged_groups": [{"z": float(value)}],
        "unprivileged_groups": [{"z": float(other)} for other in others if other != value],
    }


def metrics(y: np.ndarray, predicted: np.ndarray, z: np.ndarray) -> dict[str, Any]:
    truth, answers = table(y, z), table(predicted, z)
    values = sorted(set(z.tolist()))
    rates: dict[str, list[float]] = {}
    for value in values:
        metric = ClassificationMetric(truth, answers, **against(value, values))
        for name, rate in {
            "selection_rate": metric.selection_rate,
            "tpr": metric.true_positive_rate,
            "fpr": metric.false_positive_rate,
            "ppv": metric.positive_predictive_value,
            "accuracy": metric.accuracy,
        }.items():
            rates.setdefault(name, []).append(float(rate(privileged=True)))
    found: dict[str, Any] = {"rates": rates}
    if len(values) == 2:
        metric = ClassificationMetric(truth, answers, **against(values[1], values))
        found["differences"] = {
            "statistical_parity_difference": metric.statistical_parity_difference(),
            "disparate_impact": metric.disparate_impact(),
            "equal_opportunity_difference": metric.equal_opportunity_difference(),
            "equalized_odds_difference": metric.equalized_odds_difference(),
            "average_odds_difference": metric.average_odds_difference(),
        }
    return found


def weights(y: np.ndarray, z: np.ndarray) -> list[list[float]]:
    """Of each of two groups and each label."""
    made = Reweighing(**against(1, [0, 1])).fit_transform(table(y, z)).instance_weights
    return [[float(made[(z == group) & (y == label)][0]) for label in (0, 1)] for group in (0, 1)]


def equalized(arrays: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """Test answers after `EqOddsPostprocessing`, which was fitted on the training answers."""
    z, z_test = arrays["z_train"], arrays["z"]
    method = EqOddsPostprocessing(**against(1, [0, 1]), seed=seed)
    method.fit(table(arrays["y_train"], z), table(arrays["predicted_train"], z))
    return method.predict(table(arrays["predicted"], z_test)).labels[:, 0].astype(np.int64)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = os.times()
    found = work()
    end = os.times()
    return found, sum(end[:2]) - sum(begin[:2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    arrays = dict(np.load(folder / "data.npz"))
    binary = arrays["z"].max() == 1
    answer: dict[str, Any] = {"versions": {n: version(n) for n in ("aif360", "numpy", "pandas")}}
    answer["metrics"], answer["metrics_seconds"] = timed(
        lambda: metrics(arrays["y"], arrays["predicted"], arrays["z"])
    )
    if binary:
        answer["weights"], answer["weights_seconds"] = timed(
            lambda: weights(arrays["y_train"], arrays["z_train"])
        )
        made, answer["equalized_seconds"] = timed(lambda: equalized(arrays, int(arrays["seed"])))
        np.savez(folder / "answer.npz", equalized=made)
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
