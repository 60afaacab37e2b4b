"""Every attack on a risk with a control that has to succeed and one that has to fail.

    python tests/benchmarks/attacks.py evasion --model digits-cnn --seeds 12
    python tests/benchmarks/attacks.py poisoning --model digits-cnn --seeds 12
    python tests/benchmarks/attacks.py extraction --model digits-cnn --seeds 12
    python tests/benchmarks/attacks.py membership-inference --model digits-cnn --seeds 12
    python tests/benchmarks/attacks.py attribute-inference --model adult-mlp --seeds 12
    python tests/benchmarks/attacks.py discriminatory-behavior --model digits-tinted-cnn --seeds 12

Further options go to `harness eval`: --adversary adaptive.

Each attack runs in a process of its own, so that the peak memory is its own. Seconds are wall time
of one cell, without training the target.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from harness import registry
from harness.experiment.store import EvaluationStore
from harness.results import Evaluation
from harness.types import Risk
from zoo.home import Home

HARNESS = Path(sys.executable).with_name("harness")

# What makes an attack succeed or fail for sure, as options of `harness eval`.
SUCCEEDS = {
    Risk.EVASION: ["--set", "epsilon=0.5"],
    Risk.POISONING: ["--set", "rate=0.3"],
    Risk.EXTRACTION: [],
    Risk.MEMBERSHIP_INFERENCE: ["--model", "digits-noisy-mlp"],  # knows wrong labels by heart
    Risk.ATTRIBUTE_INFERENCE: ["--set", "knows=features"],
    Risk.DATA_RECONSTRUCTION: [],
    Risk.DISTRIBUTION_INFERENCE: ["--set", "ratio0=0.02", "--set", "ratio1=0.98"],
    # After one epoch a model of digits-tinted knows little more than the colour.
    Risk.DISCRIMINATORY_BEHAVIOR: ["--set", "recipe.epochs=1"],
}
UNTRAINED = ["--set", "recipe.epochs=1", "--set", "recipe.lr=1e-9"]
FAILS = {
    Risk.EVASION: ["--set", "epsilon=0"],
    Risk.POISONING: ["--set", "rate=0"],
    Risk.EXTRACTION: ["--queries", "10"],
    Risk.MEMBERSHIP_INFERENCE: UNTRAINED,
    Risk.ATTRIBUTE_INFERENCE: UNTRAINED,
    Risk.DATA_RECONSTRUCTION: UNTRAINED,
    Risk.DISTRIBUTION_INFERENCE: UNTRAINED,
    # It ends up with one answer for everybody; an untrained network may well tell colours apart.
    Risk.DISCRIMINATORY_BEHAVIOR: ["--set", "recipe.epochs=5", "--set", "recipe.lr=1"],
}
BESIDE = {
    Risk.MEMBERSHIP_INFERENCE: ("tpr_at_1pct_fpr", "tpr_at_0.1pct_fpr", "audited_epsilon"),
    Risk.ATTRIBUTE_INFERENCE: ("imputation_auc", "features_imputation_auc"),
    Risk.DATA_RECONSTRUCTION: ("mse", "mean_image_mse", "ssim", "evaluation_accuracy"),
    Risk.DISTRIBUTION_INFERENCE: ("auc", "n_leaked"),
    Risk.DISCRIMINATORY_BEHAVIOR: ("equalized_odds_chance", "worst_group_accuracy"),
}
"""Metrics that are shown beside the primary one."""


WORDS = {"attack": "measured", "succeeds": "must_succeed", "fails": "must_fail"}


def evaluate(
    model: str, risk: Risk, attack: str, seeds: int, options: Sequence[str]
) -> list[Evaluation] | str:
    """The evaluations of one attack, or why there are none."""
    if "--model" not in options:
        options = ["--model", model, *options]
    words = ["--risk", str(risk), "--attack", attack, "--seeds", str(seeds)]
    before = set(_keys())
    done = subprocess.run(
        [HARNESS, "eval", *words, *options, "--workers", "1", "--format", "json"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:60]
    store = EvaluationStore(Home.open())
    found = [store.get(key) for key in _keys() if key not in before]
    return [e for e in found if e is not None and e.cell.attack.name == attack]


def _keys() -> list[str]:
    folder = Home.open().cells
    return [p.name for p in folder.iterdir() if p.name[0] != "."] if folder.exists() else []


def _metrics(measured: Sequence[Evaluation], risk: Risk) -> dict[str, float]:
    """Means of what stands beside the primary metric, and its deviation over the seeds."""
    values = {
        name: [v for e in measured if (v := e.metrics.get(name)) is not None]
        for name in BESIDE.get(risk, ())
    }
    primary = [e.metrics[e.primary] or 0.0 for e in measured if e.primary]
    found = {"sd": round(stdev(primary), 3)} if len(primary) > 1 else {}
    return found | {name: round(mean(known), 3) for name, known in values.items() if known}


def _mean(found: list[Evaluation] | str) -> str:
    if isinstance(found, str):
        return found
    values = [e.metrics[e.primary] for e in found if e.status == "ok" and e.primary]
    known = [value for value in values if value is not None]
    return f"{mean(known):.3f}" if known else next((e.reason or "-" for e in found), "no cell")[:60]


def main() -> None:
    """Print one row per attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("risk", type=Risk)
    parser.add_argument("--model", default="digits-cnn")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--control-seeds", type=int, default=1)
    parser.add_argument("--attack", help="names with commas between; all if not given")
    # Whatever else is given are options of `harness eval`.
    given, options = parser.parse_known_args()
    names = given.attack.split(",") if given.attack else [
        name for name, kind in registry.known("attack").items() if kind.risk is given.risk
    ]  # fmt: skip
    for name in names:
        runs = {
            word: evaluate(
                given.model,
                given.risk,
                name,
                given.control_seeds if more else given.seeds,
                [*options, *more],
            )
            for word, more in (
                ("attack", []), ("succeeds", SUCCEEDS[given.risk]), ("fails", FAILS[given.risk]),
            )
            if more or word == "attack"
        }  # fmt: skip
        measured = [e for e in runs["attack"] if isinstance(e, Evaluation) and e.status == "ok"]
        row = {
            "model": given.model,
            "attack": name,
            "seeds": len(measured),
            "metric": measured[0].primary if measured else None,
            **{WORDS[word]: _mean(found) for word, found in runs.items()},
            **_metrics(measured, given.risk),
            "accuracy": round(mean([e.utility or 0 for e in measured]), 3) if measured else None,
            "seconds": round(mean([e.seconds for e in measured]), 2) if measured else None,
            "peak_mb": round(max([e.peak_memory_mb or 0 for e in measured])) if measured else None,
            "flags": sorted({flag for e in measured for flag in e.evidence.get("flags", ())}),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
