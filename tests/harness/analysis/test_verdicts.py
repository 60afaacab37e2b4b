"""What may be said of an effect, given what else was measured of its stack; on rows made by hand."""

from dataclasses import replace

import pytest

from harness.analysis.verdicts import judged, what_would_resolve
from harness.results import Interaction, OtherMeasure
from harness.types import Access, Regime, Risk

MI, EVASION, EXTRACTION = Risk.MEMBERSHIP_INFERENCE, Risk.EVASION, Risk.EXTRACTION


def _row(risk, before, after, *, guards=(EVASION,), half=0.01, attack="a", **other):
    """An effect with the interval ``half`` to either side, as sure as that is."""
    effect = after - before
    sure = abs(effect) > half
    within = abs(effect) + half < 0.02
    given = {
        "model": "m", "dataset": "d", "regime": Regime.FROM_SCRATCH, "defense": "d",
        "defense_params": {}, "guards": guards, "risk": risk, "intended": risk in guards,
        "attack": attack, "attack_params": {}, "threat_model": "weights, none", "metric": "raw",
        "n_seeds": 12, "baseline": before, "defended": after, "baseline_susceptibility": before,
        "defended_susceptibility": after, "effect": effect, "ci_low": effect - half,
        "ci_high": effect + half, "p": 0.001 if sure else 0.5, "q": 0.001 if sure else 0.5,
        "p_equivalence": 0.001 if within else 0.5, "q_equivalence": 0.001 if within else 0.5,
        "verdict": "unresolved", "verdict_note": "", "baseline_utility": 0.9,
        "defended_utility": 0.9, "utility_delta": 0.0, "metrics": {}, "seeds": tuple(range(12)),
        "evidence": {},
    }  # fmt: skip
    return Interaction(**{**given, **other})


def _judged(*rows):
    return {(row.risk, row.attack): row for row in judged(rows)}


def test_a_defense_that_one_attack_goes_through_is_not_effective() -> None:
    """Pgd is the strongest without the defense; with it, square is."""
    rows = _judged(
        _row(EVASION, 0.97, 0.30, attack="pgd"),
        _row(EVASION, 0.95, 0.95, attack="square", access=Access.SCORES),
        _row(MI, 0.2, 0.4, attack="rmia"),
    )
    assert {row.verdict for row in rows.values()} == {"defense not effective"}
    # The row that decides says once what the matter is; the others also what they are themselves.
    decides = "the stack was not shown to lower evasion (square: no effect)"
    assert rows[EVASION, "square"].verdict_note == decides
    assert rows[EVASION, "pgd"].verdict_note == f"{decides}; this effect by itself: decreases"
    side = rows[MI, "rmia"]
    assert (side.guards_held, side.guards_failed) == ((), (EVASION,))
    assert side.verdict_note == (
        "the stack was not shown to lower evasion (square: no effect); this effect by itself: "
        "increases"
    )


def test_a_weak_attack_whose_noise_is_on_top_does_not_decide() -> None:
    """What is left of all attacks is about the same: the one that was strong before counts."""
    rows = _judged(
        _row(EVASION, 0.04, 0.035, attack="weak", half=0.05),
        _row(EVASION, 0.60, 0.01, attack="strong"),
        _row(MI, 0.2, 0.4, attack="rmia"),
    )
    assert rows[MI, "rmia"].verdict == "increases"
    assert rows[MI, "rmia"].guards_held == (EVASION,)


@pytest.mark.parametrize(
    "other",
    [
        {"before": 0.90, "after": 0.88, "half": 0.5},  # so wide that nothing is known of it
        {"before": 1.0, "after": 1.0},
    ],
)
def test_neither_noise_nor_a_proof_elsewhere_lets_an_attack_through(other) -> None:
    rows = _judged(
        _row(EVASION, 0.97, 0.45, attack="pgd", proofs=("proves something",)),
        _row(EVASION, attack="square", **other),
        _row(MI, 0.2, 0.4, attack="rmia"),
    )
    assert rows[MI, "rmia"].verdict == "defense not effective"
    assert "square" in rows[MI, "rmia"].verdict_note


def test_an_attack_that_failed_leaves_it_open_whether_the_defense_holds() -> None:
    broken = replace(
        _row(EVASION, 0.9, 0.9, attack="square"), effect=None, ci_low=None, ci_high=None,
        verdict="failed", verdict_note="diverged",
    )  # fmt: skip
    rows = _judged(
        _row(EVASION, 0.97, 0.3, attack="pgd"), broken, _row(MI, 0.2, 0.4, attack="rmia")
    )
    assert rows[EVASION, "square"].verdict == "failed"
    assert rows[MI, "rmia"].verdict == "defense not effective"
    assert "square failed, so it is not known" in rows[MI, "rmia"].verdict_note


@pytest.mark.parametrize("order", [1, -1])
def test_an_attacker_that_knows_the_defense_decides_before_one_that_does_not(order) -> None:
    rows = [
        _row(EVASION, 0.5, 0.3, attack="a", adaptive=False),
        _row(EVASION, 0.3, 0.3, attack="b", adaptive=True),
        _row(MI, 0.2, 0.4, attack="rmia"),
    ]
    assert _judged(*rows[::order])[MI, "rmia"].verdict == "defense not effective"


def test_each_risk_that_a_stack_is_meant_for_is_judged_by_itself() -> None:
    """Evasion falls, membership inference rises: the stack is no good against the latter."""
    both = (EVASION, MI)
    rows = _judged(
        _row(EVASION, 0.9, 0.3, guards=both, attack="pgd"),
        _row(MI, 0.1, 0.24, guards=both, attack="rmia"),
        _row(EXTRACTION, 0.1, 0.3, guards=both, attack="distillation"),
    )
    assert rows[EVASION, "pgd"].verdict == "decreases"
    assert rows[MI, "rmia"].verdict == "defense not effective"
    side = rows[EXTRACTION, "distillation"]
    assert side.verdict == "defense not effective"
    assert (side.guards_held, side.guards_failed) == ((EVASION,), (MI,))
    assert "the stack lowers evasion (pgd)" in side.verdict_note
    assert "not shown to lower membership-inference (rmia: increases)" in side.verdict_note


def test_a_risk_that_was_not_measured_is_named() -> None:
    rows = _judged(
        _row(EVASION, 0.9, 0.3, guards=(EVASION, MI)),
        _row(EXTRACTION, 0.1, 0.3, guards=(EVASION, MI)),
    )
    side = rows[EXTRACTION, "a"]
    assert side.verdict == "increases"
    assert side.verdict_note.endswith("not checked whether the stack lowers membership-inference")


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ({"n_failed": 2, "n_lost_to_data": 2}, "of the seeds, 2 failed: the 12 others are no"),
        (
            {"n_not_applicable": 5, "n_lost_to_data": 1},
            "of the seeds, 5 turned out not to apply: the 12 others are no",
        ),
        ({"n_undefined": 1, "n_failed": 1}, "1 failed, 1 have no susceptibility"),
        ({"ci_low": None, "ci_high": None}, "a single seed has no interval"),
    ],
)
def test_what_no_verdict_can_be_given_on_stays_unresolved_whatever_the_defense_does(
    lost, words
) -> None:
    rows = _judged(_row(EVASION, 0.5, 0.5), replace(_row(MI, 0.2, 0.6), **lost))
    assert rows[MI, "a"].verdict == "unresolved"
    assert words in rows[MI, "a"].verdict_note


def test_seeds_that_were_lost_by_chance_are_counted_and_do_not_forbid_a_verdict() -> None:
    rows = _judged(
        _row(EVASION, 0.5, 0.1),
        replace(_row(MI, 0.2, 0.6), n_failed=2, n_not_applicable=1, n_seeds=9),
    )
    assert rows[MI, "a"].verdict == "increases"
    assert rows[MI, "a"].verdict_note == (
        "of the seeds, 2 failed, 1 turned out not to apply, for reasons that do not depend on the "
        "data: the 9 others are still a random choice; the stack lowers evasion (a)"
    )


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (30, "about 30 seeds would resolve an effect of this size, 18 more"),
        (None, "more seeds cannot resolve an effect of this size, more test examples can"),
        (9, "resolved by itself, but not among so many comparisons"),
    ],
)
def test_what_is_unresolved_says_what_would_resolve_it(needed, words) -> None:
    (found,) = judged([_row(MI, 0.2, 0.23, half=0.05, guards=(), seeds_needed=needed)])
    assert (found.verdict, what_would_resolve(found)) == ("unresolved", words)


@pytest.mark.parametrize(
    "changes",
    [
        {"defended": 0.6, "effect": 0.4, "q": 0.001},  # it is resolved
        {"n_failed": 1, "n_lost_to_data": 1},  # no number of seeds brings those back
        {"effect": None},
        {"nothing_to_lower": True},
    ],
)
def test_where_more_seeds_do_not_help_none_are_asked_for(changes) -> None:
    row = _row(MI, 0.2, 0.23, half=0.05, guards=(), seeds_needed=30)
    assert what_would_resolve(row)
    assert what_would_resolve(replace(row, **changes)) == ""


def test_a_defense_that_is_not_shown_to_work_says_what_would_show_it() -> None:
    (found,) = judged([_row(MI, 0.2, 0.18, half=0.05, guards=(MI,), seeds_needed=30)])
    assert found.verdict == "defense not effective"
    assert "18 more" in what_would_resolve(found)


def test_where_the_poison_is_none_a_detector_has_only_false_alarms() -> None:
    risk = Risk.POISONING
    rows = _judged(
        _row(
            risk, 0.1, 0.1, half=0.0, guards=(risk,), nothing_to_lower=True,
            false_alarms="1.2% of clean inputs were rejected",
        ),
        _row(MI, 0.2, 0.4, guards=(risk,)),
    )  # fmt: skip
    assert rows[risk, "a"].verdict == "not applicable"
    assert rows[risk, "a"].verdict_note == (
        "nobody poisoned this model, so there is nothing to lower; false alarms: 1.2% of clean "
        "inputs were rejected"
    )
    # Nor does it say that the defense is no good.
    assert rows[MI, "a"].verdict == "increases"
    assert "not checked whether the stack lowers poisoning" in rows[MI, "a"].verdict_note


def _read_twice(effect_over_all: float) -> Interaction:
    """Of an AUC, which is half of what susceptibility is."""
    other = OtherMeasure(
        name="collected_auc", n_seeds=12, baseline=0.6, defended=0.6 + effect_over_all / 2,
        effect=effect_over_all / 2, ci_low=effect_over_all / 2 - 0.005,
        ci_high=effect_over_all / 2 + 0.005, p=0.001,
    )  # fmt: skip
    return _row(
        MI, 0.2, 0.3, guards=(Risk.POISONING,), other_measures=(other,), members_matched=False
    )


@pytest.mark.parametrize(
    ("over_all", "verdict"), [(0.1, "increases"), (-0.3, "unresolved"), (0.0, "unresolved")]
)
def test_two_readings_of_who_is_a_member_have_to_agree(over_all, verdict) -> None:
    from harness.analysis.verdicts import disagreement

    row = _read_twice(over_all)
    row = replace(row, disagreement=disagreement(row))
    (found,) = judged([row])
    assert found.verdict == verdict
    assert ("cannot say which non-members" in found.verdict_note) == (verdict == "unresolved")
    # Where the defense applied its rule to both sides, one reading is enough.
    assert disagreement(replace(row, members_matched=True)) == ""
