"""Effects, intervals, tests and verdicts on numbers worked by hand or against other libraries."""

import random
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.analysis.compare import compare
from harness.results import Cell, Evaluation, Method
from harness.types import Access, Cause, Regime, Risk, ThreatModel
from zoo.errors import ZooError

MI, EVASION, EXTRACTION = Risk.MEMBERSHIP_INFERENCE, Risk.EVASION, Risk.EXTRACTION
DP = Method("dpsgd", (("noise_multiplier", 1.0),), "dpsgd", MI)


def _evaluation(stack, risk, seed, value, *, model="m", regime=Regime.FROM_SCRATCH, **other):
    cell = Cell(
        model=model,
        model_key=model,
        dataset="d",
        fingerprint="f",
        regime=regime,
        stack=stack,
        risk=risk,
        attack=Method(other.pop("attack", "a")),
        threat=ThreatModel(access=Access.SCORES),
        seed=seed,
    )
    if value is None:
        return Evaluation(cell=cell, **other)
    return Evaluation(
        cell=cell,
        status="ok",
        metrics={"raw": 2 * value},
        primary="raw",
        susceptibility=value,
        utility=other.pop("utility", 0.9),
        **other,
    )


def _both(risk, before, after, **other):
    found = [_evaluation((), risk, s, v, **other) for s, v in enumerate(before)]
    return found + [_evaluation((DP,), risk, s, v, **other) for s, v in enumerate(after)]


RNG = np.random.default_rng(1)
FLAT = (0.5 + 0.001 * RNG.normal(size=12)).tolist()
NOISE = (0.005 * RNG.normal(size=12)).tolist()


def _shifted(by):
    return [v + by + n for v, n in zip(FLAT, NOISE, strict=True)]


def test_the_effect_is_the_mean_of_the_differences_of_the_same_seed() -> None:
    (row,) = compare(_both(EVASION, [0.1, 0.2, 0.6], [0.3, 0.2, 0.9]))
    assert row.effect == pytest.approx(0.5 / 3)
    assert (row.n_seeds, row.seeds) == (3, (0, 1, 2))
    assert (row.baseline, row.defended) == pytest.approx((0.6, 2 * 1.4 / 3))
    assert row.baseline_susceptibility == pytest.approx(0.3)
    assert row.metrics == {"raw": (row.baseline, row.defended)}


def test_only_seeds_with_both_sides_count() -> None:
    evaluations = _both(EVASION, [0.1, 0.2, 0.6], [0.3, 0.2, 0.9])
    (row,) = compare([e for e in evaluations if not (e.cell.stack and e.cell.seed == 0)])
    assert row.seeds == (1, 2)
    assert row.effect == pytest.approx(0.15)


def test_an_identity_has_exactly_no_effect() -> None:
    (row,) = compare(_both(EXTRACTION, FLAT, FLAT))
    assert (row.effect, row.ci_low, row.ci_high, row.p, row.verdict) == (0, 0, 0, 1, "no effect")


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.1, "increases"), (-0.1, "decreases"), (0.003, "no effect")]
)
def test_verdicts(shift, verdict) -> None:
    (row,) = compare(_both(EVASION, FLAT, _shifted(shift)))
    assert row.verdict == verdict


def test_a_large_effect_with_larger_noise_is_unresolved() -> None:
    after = [v + (0.3 if i % 2 else -0.25) for i, v in enumerate(FLAT)]
    (row,) = compare(_both(EVASION, FLAT, after))
    assert row.verdict == "unresolved"
    assert row.ci_low < 0 < row.ci_high


def test_a_single_seed_has_no_interval_and_no_verdict() -> None:
    (single,) = compare(_both(EVASION, [0.1], [0.9]))
    assert (single.effect, single.ci_low, single.p, single.verdict) == (
        pytest.approx(0.8), None, None, "unresolved",
    )  # fmt: skip
    assert "a single seed has no interval" in single.verdict_note


def test_q_is_benjamini_hochberg_with_intended_effects_apart() -> None:
    evaluations = _both(MI, FLAT, _shifted(-0.1))
    shifts = {"x": 0.004, "y": 0.02, "z": 0.002}
    for name, shift in shifts.items():
        evaluations += _both(
            EVASION, FLAT, [v + shift * (1 + i % 3 - 1) for i, v in enumerate(FLAT)], attack=name
        )
    rows = compare(evaluations)
    intended = [r for r in rows if r.intended]
    assert [r.q for r in intended] == [r.p for r in intended]
    others = [r for r in rows if not r.intended]
    expected = multipletests([r.p for r in others], method="fdr_bh")[1]
    assert [r.q for r in others] == pytest.approx(list(expected))


def test_q_does_not_depend_on_other_models() -> None:
    one = _both(EVASION, FLAT, _shifted(0.1))
    (alone,) = compare(one)
    rows = compare(one + _both(EVASION, FLAT, FLAT, model="other"))
    assert next(r for r in rows if r.model == "m").q == alone.q


def test_regimes_are_never_compared_with_each_other() -> None:
    evaluations = [
        *(_evaluation((), EVASION, s, 0.1, regime=Regime.PUBLISHED) for s in range(3)),
        *(_evaluation((DP,), EVASION, s, 0.5, regime=Regime.FINE_TUNED) for s in range(3)),
    ]
    (row,) = compare(evaluations)
    assert (row.regime, row.effect, row.verdict_note) == (
        "fine-tuned", None, "no baseline was measured",
    )  # fmt: skip


def test_a_stack_that_does_not_lower_its_own_risk_is_not_effective() -> None:
    rows = compare(_both(MI, FLAT, _shifted(0.0)) + _both(EVASION, FLAT, _shifted(0.1)))
    assert [r.verdict for r in rows] == ["defense not effective"] * 2
    evasion = next(r for r in rows if r.risk is EVASION)
    assert evasion.verdict_note == (
        "the stack was not shown to lower membership-inference (a: no effect); this effect by itself: increases"
    )


def test_an_effective_stack_is_judged_by_the_strongest_attack_on_its_risk() -> None:
    weak = [v - 0.4 for v in FLAT]
    rows = compare(
        _both(MI, FLAT, _shifted(-0.1), attack="strong")
        + _both(MI, weak, weak, attack="weak")
        + _both(EVASION, FLAT, _shifted(0.1))
    )
    assert {r.attack: r.verdict for r in rows} == {
        "strong": "decreases", "weak": "no effect", "a": "increases",
    }  # fmt: skip


def test_without_a_check_of_its_own_risk_that_is_said() -> None:
    (row,) = compare(_both(EVASION, FLAT, _shifted(0.1)))
    assert row.verdict == "increases"
    assert row.verdict_note == "not checked whether the stack lowers membership-inference"


@pytest.mark.parametrize("status", ["failed", "not applicable"])
def test_what_could_not_be_measured_is_shown_with_its_reason(status) -> None:
    evaluations = [_evaluation((), EVASION, 0, 0.5)]
    evaluations.append(_evaluation((DP,), EVASION, 0, None, status=status, reason="layer bn1"))
    (row,) = compare(evaluations)
    assert (row.verdict, row.verdict_note, row.effect, row.baseline) == (
        status,
        "layer bn1",
        None,
        None,
    )


def test_seeds_that_failed_are_counted_and_forbid_a_verdict() -> None:
    evaluations = _both(EVASION, FLAT, _shifted(0.1))
    (row,) = compare(evaluations)
    assert (row.verdict, row.n_failed) == ("increases", 0)
    broken = _evaluation((DP,), EVASION, 3, None, status="failed", reason="diverged")
    (row,) = compare([e for e in evaluations if not (e.cell.stack and e.cell.seed == 3)] + [broken])
    assert (row.n_seeds, row.n_failed, row.verdict) == (11, 1, "unresolved")
    assert row.verdict_note.startswith(
        "of the seeds, 1 failed: the 11 others are no random choice; not checked whether"
    )


def test_seeds_without_a_susceptibility_are_counted_and_forbid_a_verdict() -> None:
    evaluations = _both(EVASION, FLAT, _shifted(0.1))
    evaluations = [
        replace(e, susceptibility=None) if e.cell.stack and e.cell.seed < 2 else e
        for e in evaluations
    ]
    (row,) = compare(evaluations)
    assert (row.n_seeds, row.n_failed, row.n_undefined) == (10, 0, 2)
    assert row.verdict == "unresolved"
    assert row.verdict_note.startswith("of the seeds, 2 have no susceptibility")


def test_seeds_that_turn_out_not_to_apply_are_counted_and_forbid_a_verdict() -> None:
    """Which seeds those are depends on the data: the others are no random choice of seeds."""
    evaluations = _both(EVASION, FLAT, _shifted(0.1))
    lost = [
        _evaluation((DP,), EVASION, seed, None, status="not applicable", reason="one class left")
        for seed in range(5)
    ]
    kept = [e for e in evaluations if not (e.cell.stack and e.cell.seed < 5)]
    (row,) = compare(kept + lost)
    assert (row.n_seeds, row.n_not_applicable, row.verdict) == (7, 5, "unresolved")
    assert row.verdict_note.startswith("of the seeds, 5 turned out not to apply: the 7 others")


def _with_lost(*causes):
    """Twelve seeds that show an effect, of which each cause takes one of the defended side."""
    lost = [
        _evaluation((DP,), EVASION, seed, None, status="failed", reason="why", cause=cause)
        for seed, cause in enumerate(causes)
    ]
    kept = _both(EVASION, FLAT, _shifted(0.1))
    return [e for e in kept if not (e.cell.stack and e.cell.seed < len(causes))] + lost


@pytest.mark.parametrize(
    ("causes", "verdict"),
    [
        ((Cause.MACHINE, Cause.SETTING), "increases"),
        ((Cause.DATA,), "unresolved"),
        ((None,), "unresolved"),  # nobody knows: of an earlier version, or of a plugin
        ((Cause.MACHINE, Cause.DATA), "unresolved"),
    ],
)
def test_what_seeds_were_lost_to_decides_whether_the_others_give_a_verdict(causes, verdict) -> None:
    (row,) = compare(_with_lost(*causes))
    assert (row.n_seeds, row.n_failed, row.verdict) == (12 - len(causes), len(causes), verdict)
    assert row.n_lost_to_data == (verdict == "unresolved")
    whole = compare(_both(EVASION, FLAT, _shifted(0.1)))[0]
    assert row.effect == pytest.approx(whole.effect, abs=0.005)
    assert row.verdict_note.startswith(f"of the seeds, {len(causes)} failed")


def _measured(seed, stack, answers, **other):
    """An evaluation of evasion and its per-example columns."""
    columns = {
        "index": np.arange(len(answers)), "label": np.zeros(len(answers), int),
        "clean": np.zeros(len(answers), int), "perturbed": np.asarray(answers),
    }  # fmt: skip
    found = _evaluation(stack, EVASION, seed, float(np.mean(answers)))
    return replace(found, **other), columns


def _compared(changed):
    """One row about cells of 40 examples, after ``changed`` was done to the columns of one."""
    rng, found, samples = np.random.default_rng(0), [], {}
    for seed in range(4):
        for stack in ((), (DP,)):
            answers = (rng.random(40) < 0.5).astype(int)
            one, columns = _measured(seed, stack, answers, provenance={"samples": 40})
            found.append(one)
            samples[one.cell.key] = changed(columns) if stack and seed == 2 else columns
    (row,) = compare(found, samples.get)
    return row


def test_per_example_values_that_agree_give_an_interval_over_examples_too() -> None:
    assert _compared(lambda columns: columns).interval == "seeds and examples"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda c: {**c, "perturbed": 1 - c["perturbed"]}, "their mean is 0.[0-9]+, the result"),
        (lambda c: {n: np.tile(v, 2) for n, v in c.items()}, "80 rows, 40 were stored"),
        (lambda c: {**c, "clean": c["clean"][:10]}, "10 and 40 rows, 40 were stored"),
        (lambda c: {**c, "index": c["index"] // 2}, "an example is there more than once"),
    ],
)
def test_per_example_values_of_another_result_are_an_error_that_names_the_cell(
    changed, words
) -> None:
    with pytest.raises(ZooError, match=words) as error:
        _compared(changed)
    assert "a on m with dpsgd, seed 2, are not those of its result" in str(error.value)
    assert "delete the folder" in str(error.value)


def test_models_of_one_name_but_another_recipe_are_kept_apart() -> None:
    one = _both(EVASION, FLAT, _shifted(0.1))
    other = [
        replace(e, cell=replace(e.cell, model_key="other")) for e in _both(EVASION, FLAT, FLAT)
    ]
    rows = compare(one + other)
    assert [(r.model, r.model_key, r.verdict) for r in rows] == [
        ("m", "m", "increases"), ("m", "other", "no effect"),
    ]  # fmt: skip
    assert rows[0].q == compare(one)[0].q


def test_a_dataset_that_was_edited_is_another_dataset() -> None:
    """Effects before and after are rows of their own, corrected in families of their own."""
    rows = compare(
        _both(EVASION, FLAT, _shifted(0.1))
        + [
            replace(e, cell=replace(e.cell, fingerprint="edited"))
            for e in _both(EVASION, FLAT, _shifted(-0.1))
        ]
    )
    assert [(r.fingerprint, r.dataset, (r.effect or 0) > 0) for r in rows] == [
        ("edited", "d", False),
        ("f", "d", True),
    ]
    assert all(r.q == r.p for r in rows)


def test_equivalence_is_corrected_for_how_often_it_was_tried() -> None:
    evaluations = _both(EVASION, FLAT, _shifted(0.012), attack="b0")
    (alone,) = compare(evaluations)
    wide = [v + (0.3 if i % 2 else -0.3) for i, v in enumerate(FLAT)]
    for i in range(20):
        evaluations += _both(EVASION, FLAT, wide, attack=f"x{i}")
    row = next(r for r in compare(evaluations) if r.attack == "b0")
    assert row.p_equivalence == alone.p_equivalence == alone.q_equivalence
    assert row.q_equivalence == pytest.approx(min(1, 21 * row.p_equivalence))


def test_the_utility_stands_beside_every_effect() -> None:
    evaluations = [_evaluation((), EVASION, s, 0.5, utility=0.95) for s in range(3)]
    evaluations += [_evaluation((DP,), EVASION, s, 0.5, utility=0.7) for s in range(3)]
    (row,) = compare(evaluations)
    assert row.utility_delta == pytest.approx(-0.25)


def test_the_order_of_the_evaluations_does_not_matter() -> None:
    evaluations = _both(MI, FLAT, _shifted(-0.1)) + _both(EVASION, FLAT, _shifted(0.1))
    shuffled = evaluations[:]
    random.Random(0).shuffle(shuffled)
    assert compare(shuffled) == compare(evaluations)


@pytest.mark.parametrize(
    ("found", "alarms", "verdict"),
    [
        (("own_claimed", 12), ("false_claims", 0), "increases"),
        (("own_claimed", 0), ("false_claims", 0), "defense not effective"),
        # Who claims every model proves nothing by claiming the own one, and who claims half of the
        # others hardly more.
        (("own_claimed", 12), ("false_claims", 12), "defense not effective"),
        (("own_claimed", 12), ("false_claims", 6), "defense not effective"),
        (("flagged", 12), ("clean_model_flagged", 0), "increases"),
        (("flagged", 12), ("clean_model_flagged", 4), "increases"),
        # A detector that flags clean models as often finds nothing.
        (("flagged", 12), ("clean_model_flagged", 12), "defense not effective"),
        (("flagged", 3), ("clean_model_flagged", 0), "defense not effective"),
        (("flagged", 12), (None, 0), "defense not effective"),
        # What a filter rejects is no success of the attack, which is what it is judged by.
        (("filter_tpr", 12), ("filter_fpr", 0), "defense not effective"),
    ],
)
def test_a_proof_or_a_detection_is_judged_against_its_own_false_alarms(
    found, alarms, verdict
) -> None:
    """Each is what so many of twelve seeds say; four flagged twins leave eight seeds, p 1/256."""
    risk = EXTRACTION if "claim" in found[0] else Risk.POISONING
    defense = Method("guard", (), "guard", risk)
    attack = Method("badnets", (("rate", 0.1),))
    evaluations = []
    for seed in range(12):
        for stack in ((), (defense,)):
            own = _evaluation(stack, risk, seed, FLAT[seed])
            own = replace(own, cell=replace(own.cell, attack=attack))
            if stack:
                told = {name: float(seed < n) for name, n in (found, alarms) if name}
                own = replace(own, metrics={**own.metrics, **told})
            evaluations.append(own)
            evaluations.append(_evaluation(stack, EVASION, seed, _shifted(0.2 * len(stack))[seed]))
    rows = {row.risk: row for row in compare(evaluations)}
    assert rows[EVASION].verdict == verdict
    assert bool(rows[risk].proofs) == (verdict == "increases")


@pytest.mark.parametrize("backdoored", [False, True])
def test_a_flag_on_a_published_model_is_a_finding_unless_the_catalog_lists_a_backdoor(
    backdoored,
) -> None:
    detector = Method("neural-cleanse", (), "neural-cleanse", Risk.POISONING)
    attack = Method("badnets", (("rate", 0.0),))
    evaluations = []
    for seed in range(3):
        for stack in ((), (detector,)):
            one = _evaluation(
                stack, Risk.POISONING, seed, 0.5, regime=Regime.PUBLISHED,
                provenance={"backdoored": backdoored},
            )  # fmt: skip
            told = {"flagged": 1.0, "clean_model_flagged": None} if stack else {}
            metrics = {**one.metrics, **told}
            evaluations.append(replace(one, metrics=metrics, cell=replace(one.cell, attack=attack)))
    (row,) = compare(evaluations)
    if backdoored:
        assert row.proofs == ("flags the model, which the catalog lists as backdoored",)
        assert row.guards_held == (Risk.POISONING,)
    else:
        assert (row.proofs, row.verdict) == ((), "not applicable")
        assert row.verdict_note == (
            "nobody poisoned this model, so there is nothing to lower; false alarms: the model was "
            "flagged in 3 of 3 seeds"
        )


@pytest.mark.parametrize(
    ("metric", "change", "words"),
    [
        ("demographic_parity_difference", -0.1, "lowers the difference in demographic parity"),
        ("worst_group_accuracy", 0.1, "raises the accuracy of the worst group"),
        ("demographic_parity_difference", 0.1, None),
        ("worst_group_accuracy", -0.1, None),
        ("accuracy_difference", -0.1, None),
        ("demographic_parity_difference", 0.0, None),
    ],
)
def test_a_defense_may_be_made_for_another_definition_of_fairness(metric, change, words) -> None:
    """Equalized odds stay as they are, or get worse."""
    risk = Risk.DISCRIMINATORY_BEHAVIOR
    fair = Method("reweighing", (), "reweighing", risk)
    found = []
    for seed in range(12):
        for stack in ((), (fair,)):
            own = _evaluation(stack, risk, seed, _shifted(0.1 * len(stack))[seed])
            value = 0.5 + NOISE[seed] * (1 - 2 * len(stack)) + change * len(stack)
            found.append(replace(own, metrics={**own.metrics, metric: value}))
            found.append(_evaluation(stack, EVASION, seed, _shifted(0.2 * len(stack))[seed]))
    rows = {row.risk: row for row in compare(found)}
    assert rows[risk].aims_met == ((words,) if words else ())
    expected = "increases" if words else "defense not effective"
    assert (rows[risk].verdict, rows[EVASION].verdict) == (expected, expected)
    if words:
        assert rows[EVASION].verdict_note == f"the stack {words}"


def test_a_defense_for_another_risk_meets_no_aim_of_fairness() -> None:
    risk = Risk.DISCRIMINATORY_BEHAVIOR
    found = [
        replace(e, metrics={**e.metrics, "demographic_parity_difference": 1.0 - len(e.cell.stack)})
        for e in _both(risk, FLAT, FLAT)
    ]
    assert [row.aims_met for row in compare(found)] == [()]


def _fair(values, *, metric="demographic_parity_difference", guards=None):
    """Evaluations of pairs of a raw metric, of which None is not measured; odds stay as they are."""
    risk = Risk.DISCRIMINATORY_BEHAVIOR
    defense = Method("fair", (), "fair", guards or risk)
    return [
        replace(e, metrics={**e.metrics, metric: value})
        for seed, pair in enumerate(values)
        for stack, value in zip(((), (defense,)), pair, strict=True)
        for e in [_evaluation(stack, risk, seed, FLAT[seed])]
    ]


@pytest.mark.parametrize("guards", [Risk.DISCRIMINATORY_BEHAVIOR, MI])
def test_another_measure_has_an_effect_of_its_own_whoever_moves_it(guards) -> None:
    pairs = [(0.5, 0.3), (0.6, 0.5), (0.4, None), (0.7, 0.4), (None, 0.4), (0.5, 0.55)]
    (row,) = compare(_fair(pairs, guards=guards))
    (one,) = row.other_measures
    d = np.array([-0.2, -0.1, -0.3, 0.05])
    half = stats.t.ppf(0.975, 3) * d.std(ddof=1) / 2
    assert (one.name, one.n_seeds) == ("demographic_parity_difference", 4)
    assert (one.baseline, one.defended) == pytest.approx((0.575, 0.4375))
    assert (one.effect, one.ci_low, one.ci_high) == pytest.approx(
        (d.mean(), d.mean() - half, d.mean() + half)
    )
    assert one.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    assert one.interval == "seeds"
    assert (row.n_seeds, row.effect, row.aims_met) == (6, 0, ())


def test_another_measure_of_one_pair_has_no_interval_and_of_none_is_left_out() -> None:
    (row,) = compare(_fair([(0.5, 0.3), (None, 0.2)]))
    (one,) = row.other_measures
    assert (one.n_seeds, one.ci_low, one.ci_high, one.p) == (1, None, None, None)
    assert one.effect == pytest.approx(-0.2)
    (row,) = compare(_fair([(None, 0.3), (0.2, None)]))
    assert row.other_measures == ()
    assert compare(_both(EVASION, FLAT, FLAT))[0].other_measures == ()


@pytest.mark.parametrize(("noise", "met"), [(0.08, True), (0.09, False)])
def test_aims_are_corrected_for_how_many_there_are_with_the_primary(noise, met) -> None:
    """With the larger noise, p is below .05 / 2 and above .05 / 3."""
    changes = [-0.1 + noise * (1 - 2 * (i % 2)) for i in range(8)]
    (row,) = compare(_fair([(0.5, 0.5 + change) for change in changes]))
    assert row.other_measures[0].p == pytest.approx(stats.ttest_1samp(changes, 0).pvalue)
    assert row.other_measures[0].p < 0.05 / 2 or not met
    assert (row.other_measures[0].p < 0.05 / 3) == met
    assert bool(row.aims_met) == met
