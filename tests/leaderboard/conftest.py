"""Records as the harness writes them, small enough to work every number by hand."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from harness.results import Cell, Evaluation, Interaction, Method
from harness.types import Access, Aux, Regime, Risk, ThreatModel

DPSGD = Method("dpsgd", (("max_grad_norm", 1.0), ("noise_multiplier", 1.1)), "dpsgd")
DISTILLATION = Method("distillation", (("epochs", 30), ("queries", 400)), "distillation")
SCORES = ThreatModel(access=Access.SCORES, aux=Aux.SHADOW)

INTERACTION = Interaction(
    model="digits-cnn",
    dataset="digits",
    regime=Regime.FROM_SCRATCH,
    defense="dpsgd",
    defense_params={"dpsgd": dict(DPSGD.params)},
    guards=(Risk.MEMBERSHIP_INFERENCE,),
    risk=Risk.EXTRACTION,
    intended=False,
    attack="distillation",
    attack_params=dict(DISTILLATION.params),
    threat_model=str(SCORES),
    metric="fidelity",
    n_seeds=12,
    baseline=0.9124,
    defended=0.9401,
    baseline_susceptibility=0.9026,
    defended_susceptibility=0.9336,
    effect=0.031,
    ci_low=0.0121,
    ci_high=0.0493,
    p=0.0005,
    q=0.004,
    p_equivalence=0.81,
    verdict="increases",
    verdict_note="",
    baseline_utility=0.9722,
    defended_utility=0.9412,
    utility_delta=-0.031,
    metrics={"fidelity": (0.9124, 0.9401), "surrogate_accuracy": (0.9, None)},
    seeds=tuple(range(12)),
    evidence={"dp_epsilon": 3.25, "dp_delta": 1e-5, "accountant": "rdp"},
    fingerprint="f" * 64,
)

EVALUATION = Evaluation(
    cell=Cell(
        model="digits-cnn",
        model_key="k" * 64,
        dataset="digits",
        fingerprint="f" * 64,
        regime=Regime.FROM_SCRATCH,
        stack=(DPSGD,),
        risk=Risk.EXTRACTION,
        attack=DISTILLATION,
        threat=SCORES,
        seed=0,
    ),
    status="ok",
    metrics={"fidelity": 0.9401, "surrogate_accuracy": None},
    primary="fidelity",
    susceptibility=0.9336,
    utility=0.9412,
    evidence={"dp_epsilon": 3.25},
    provenance={
        "weights": "ab" * 32,
        "device": "cpu",
        "dtype": "float32",
        "versions": {"torch": "2.15.0"},
    },
    seconds=1.25,
    peak_memory_mb=512.0,
)


@pytest.fixture
def interaction() -> Callable[..., Interaction]:
    """An interaction, with the given fields changed."""

    def make(**changes: Any) -> Interaction:
        return replace(INTERACTION, **changes)

    return make


@pytest.fixture
def evaluation() -> Callable[..., Evaluation]:
    """An evaluation, with the given fields of it or of its cell changed."""

    of_cell = {field.name for field in fields(Cell)}

    def make(**changes: Any) -> Evaluation:
        cell = replace(EVALUATION.cell, **{k: v for k, v in changes.items() if k in of_cell})
        rest = {k: v for k, v in changes.items() if k not in of_cell}
        return replace(EVALUATION, cell=cell, **rest)

    return make
