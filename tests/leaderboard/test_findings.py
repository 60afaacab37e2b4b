"""Interactions joined to their evaluations."""

import math
import random

from harness.results import OtherMeasure
from harness.types import Regime, Risk
from leaderboard.findings import by_regime, export, findings, in_order


def test_a_finding_has_the_command_of_its_own_evaluations(interaction, evaluation):
    measured = [evaluation(seed=seed) for seed in range(3)] + [evaluation(stack=(), seed=9)]

    (found,) = findings([interaction()], measured)

    assert found.command is not None
    assert "--defense dpsgd" in found.command
    assert "--seeds 3" in found.command


def test_a_finding_without_its_evaluations_has_no_command(interaction, evaluation):
    (found,) = findings([interaction()], [evaluation(regime=Regime.FINE_TUNED)])

    assert found.command is None


def test_an_anchor_is_the_same_when_seeds_are_added(interaction):
    (few,) = findings([interaction(n_seeds=3, seeds=(0, 1, 2))], [])
    (many,) = findings([interaction(effect=0.5)], [])

    assert few.anchor == many.anchor


def test_interactions_of_one_condition_have_anchors_of_their_own(interaction):
    found = findings([interaction(effect=0.1), interaction(effect=0.2)], [])

    assert found[0].anchor + "-2" == found[1].anchor


def test_findings_come_by_dataset_regime_model_defense_and_risk(interaction):
    wanted = [
        interaction(dataset="cifar10", model="z", regime=Regime.FINE_TUNED),
        interaction(dataset="cifar10", model="a", regime=Regime.PUBLISHED),
        interaction(risk=Risk.EVASION),
        interaction(risk=Risk.POISONING),
        interaction(risk=Risk.EXTRACTION, attack="a"),
        interaction(risk=Risk.EXTRACTION, attack="b"),
        interaction(defense="z-last", risk=Risk.EVASION),
    ]
    shuffled = wanted.copy()
    random.Random(0).shuffle(shuffled)

    assert [found.record for found in findings(shuffled, [])] == wanted


def test_evaluations_come_by_attacker_with_the_baseline_first(evaluation):
    wanted = [
        evaluation(stack=(), seed=0),
        evaluation(stack=(), seed=10),
        evaluation(seed=2),
        evaluation(risk=Risk.MEMBERSHIP_INFERENCE, stack=()),
    ]

    assert in_order(reversed(wanted)) == wanted


def test_regimes_are_kept_apart(interaction, evaluation):
    found = findings([interaction(), interaction(regime=Regime.FINE_TUNED)], [])

    groups = by_regime(found, [evaluation(regime=Regime.PUBLISHED)])

    assert [(regime, len(f), len(e)) for _, regime, f, e in groups] == [
        (Regime.FROM_SCRATCH, 1, 0),
        (Regime.FINE_TUNED, 1, 0),
        (Regime.PUBLISHED, 0, 1),
    ]


def test_contents_of_one_name_are_kept_apart_and_named(interaction, evaluation):
    edited = "e" * 64
    found = findings([interaction(), interaction(fingerprint=edited)], [])

    groups = by_regime(found, [evaluation(fingerprint=edited), evaluation(dataset="cifar10")])

    assert [(name, len(f), len(e)) for name, _, f, e in groups] == [
        ("cifar10", 0, 1),
        ("digits (contents eeeeeeee)", 1, 1),
        ("digits (contents ffffffff)", 1, 0),
    ]


def test_an_exported_interaction_holds_what_json_can_say(interaction):
    record = export(interaction(evidence={"dp_epsilon": math.inf, "steps": [1, math.nan]}, p=None))

    assert record["evidence"] == {"dp_epsilon": "inf", "steps": [1, "nan"]}
    assert record["p"] is None
    assert record["regime"] == "from-scratch"
    assert record["metrics"]["fidelity"] == [0.9124, 0.9401]


def test_another_measure_is_exported_field_by_field(interaction):
    one = OtherMeasure(
        name="worst_group_accuracy", n_seeds=1, baseline=0.5, defended=0.6, effect=0.1,
        ci_low=None, ci_high=None, p=None,
    )  # fmt: skip

    (record,) = export(interaction(other_measures=(one,)))["other_measures"]

    assert record == {
        "name": "worst_group_accuracy", "n_seeds": 1, "baseline": 0.5, "defended": 0.6,
        "effect": 0.1, "ci_low": None, "ci_high": None, "p": None, "interval": "seeds",
        "direction": None,
    }  # fmt: skip
