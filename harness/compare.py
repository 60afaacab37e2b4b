"""From evaluations to interactions: what a defense stack does to a risk, and how sure that is.

Everything but `load` is pure. Evaluations are paired by seed; effects are differences in
susceptibility, so above 0 the stack makes the risk worse.

References:
    Efron (1987). Better Bootstrap Confidence Intervals. JASA.
    Benjamini and Hochberg (1995). Controlling the False Discovery Rate. JRSS B.
    Schuirmann (1987). A Comparison of the Two One-Sided Tests Procedure. J. Pharmacokin. Biopharm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from harness.results import Cell, Evaluation, Interaction, OtherMeasure, Verdict
from harness.store import Store
from harness.types import Risk
from zoo.home import Home

MARGIN = 0.02
"""Effects within plus or minus this are called none: two points of susceptibility."""

ALPHA = 0.05
"""Level of every test and, as 1 - ALPHA, of every interval."""

BCA_FROM = 30
"""Pairs from which the interval is a BCa bootstrap. With 12 normal differences it covers the truth
in .87 to .91 of cases where Student's covers .95 (tests/benchmarks/coverage.py)."""

EXACT_UP_TO = 14
"""With more seeds, signs are flipped at random instead of in all 2^n ways."""

MIN_SEEDS = 2
"""Fewer pairs have no variance, and so no interval and no verdict."""

AIMS = {
    Risk.DISCRIMINATORY_BEHAVIOR: {
        "demographic_parity_difference": (-1, "lowers the difference in demographic parity"),
        "worst_group_accuracy": (1, "raises the accuracy of the worst group"),
    }
}
"""What a defense may be meant for besides the primary metric, and which way that is to go.

Definitions of fairness exclude each other, and a defense is made for one of them."""


@dataclass(frozen=True)
class Paired:
    """What paired differences say about their mean; None where there are too few of them."""

    effect: float
    ci_low: float | None
    ci_high: float | None
    p: float | None
    p_equivalence: float | None


def paired(baseline: Sequence[float], defended: Sequence[float]) -> Paired:
    """Mean difference with its interval, sign-flip test and equivalence test.

    Args:
        baseline: (n,) values without the stack.
        defended: (n,) values with it, in the same order of seeds.

    Returns:
        ``effect`` is the mean of defended - baseline. With one pair there is nothing more.
    """
    before, after = np.asarray(baseline, float), np.asarray(defended, float)
    difference = after - before
    effect = float(difference.mean())
    if len(difference) < MIN_SEEDS:
        return Paired(effect, None, None, None, None)
    if np.ptp(difference) == 0:
        # Without spread there is nothing to resample: the difference is what it is.
        low = high = effect
        p_equivalence = 0.0 if abs(effect) < MARGIN else 1.0
    else:
        low, high = interval(difference)
        p_equivalence = float(ttost_paired(after, before, -MARGIN, MARGIN)[0])
    return Paired(effect, low, high, sign_flip(difference), p_equivalence)


def interval(difference: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean: Student's t, and from 30 pairs on a BCa bootstrap."""
    if len(difference) < BCA_FROM:
        found = stats.ttest_1samp(difference, 0).confidence_interval(1 - ALPHA)
    else:
        found = stats.bootstrap(
            (difference,),
            np.mean,
            method="BCa",
            confidence_level=1 - ALPHA,
            n_resamples=9999,
            rng=np.random.default_rng(0),
        ).confidence_interval
    return float(found.low), float(found.high)


def sign_flip(difference: np.ndarray) -> float:
    """Two-sided p of a mean this far from 0, if every sign were a coin's; exact up to 14 pairs."""
    n = len(difference)
    result = stats.permutation_test(
        (difference, np.zeros(n)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**n if n <= EXACT_UP_TO else 99_999,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def compare(evaluations: Iterable[Evaluation]) -> list[Interaction]:
    """Every stack against the undefended model of its regime, risk by risk.

    Multiple testing is corrected within families that are fixed beforehand and do not depend on
    what is displayed: all unintended effects on one model, dataset and regime are one family; all
    intended ones are another.

    Args:
        evaluations: Of any models, datasets and regimes.

    Returns:
        In a fixed order, whatever order the evaluations came in.
    """
    groups: dict[str, dict[tuple[str, ...], list[Evaluation]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for evaluation in evaluations:
        cell = evaluation.cell
        stack = tuple(str(method.name) + repr(method.params) for method in cell.stack)
        if stack and cell.tuned:
            stack += (repr(cell.tuned),)
        groups[_without_stack(cell)][stack].append(evaluation)
    rows = [
        _interaction(stacks.get((), []), defended)
        for _, stacks in sorted(groups.items())
        for stack, defended in sorted(stacks.items())
        if stack
    ]
    rows = _with_q(rows)
    rows = _judged(rows)
    return sorted(
        rows,
        key=lambda r: (
            r.dataset, r.regime, r.model, r.model_key, r.defense, list(Risk).index(r.risk),
            r.attack, r.threat_model, repr(r.attack_params), repr(r.defense_params),
        ),
    )  # fmt: skip


def _without_stack(cell: Cell) -> str:
    """The key that a defended cell shares with its baseline, whatever the seed."""
    return replace(cell, stack=(), seed=0, tuned=()).key


def _interaction(baseline: list[Evaluation], defended: list[Evaluation]) -> Interaction:
    cell = defended[0].cell
    before = {e.cell.seed: e for e in baseline if e.susceptibility is not None}
    after = {e.cell.seed: e for e in defended if e.susceptibility is not None}
    seeds = tuple(sorted(before.keys() & after.keys()))
    pairs = [(before[seed], after[seed]) for seed in seeds]
    found = None
    if pairs:
        found = paired(
            [b.susceptibility for b, _ in pairs if b.susceptibility is not None],
            [a.susceptibility for _, a in pairs if a.susceptibility is not None],
        )
    verdict, note = _without_numbers(baseline, defended) if not pairs else ("unresolved", "")
    measured = [{e.cell.seed for e in side if e.status == "ok"} for side in (baseline, defended)]
    undefined = len((measured[0] & measured[1]) - set(seeds))
    if pairs and undefined:
        note = f"{undefined} seeds have no susceptibility, as with a target of one answer; "
    meant = {method.guards for method in cell.stack}
    primary = pairs[0][1].primary if pairs else None
    metrics = {
        name: (
            _mean([b.metrics.get(name) for b, _ in pairs]),
            _mean([a.metrics.get(name) for _, a in pairs]),
        )
        for name in sorted({name for _, a in pairs for name in a.metrics})
    }
    raw = metrics[primary] if primary else (None, None)
    utility = [(b.utility, a.utility) for b, a in pairs]
    also = _also(cell.risk, pairs)
    return Interaction(
        model=cell.model,
        dataset=cell.dataset,
        regime=cell.regime,
        defense=cell.defense,
        defense_params={method.name: dict(method.params) for method in cell.stack},
        guards=tuple(risk for risk in Risk if risk in meant),
        risk=cell.risk,
        intended=cell.risk in meant,
        attack=str(cell.attack),
        attack_params=dict(cell.attack.params),
        threat_model=str(cell.threat),
        metric=primary,
        n_seeds=len(pairs),
        baseline=raw[0],
        defended=raw[1],
        baseline_susceptibility=_mean([b.susceptibility for b, _ in pairs]),
        defended_susceptibility=_mean([a.susceptibility for _, a in pairs]),
        effect=found.effect if found else None,
        ci_low=found.ci_low if found else None,
        ci_high=found.ci_high if found else None,
        p=found.p if found else None,
        q=None,
        p_equivalence=found.p_equivalence if found else None,
        verdict=verdict,
        verdict_note=note,
        baseline_utility=_mean([b for b, _ in utility]),
        defended_utility=_mean([a for _, a in utility]),
        utility_delta=_mean([a - b for b, a in utility if a is not None and b is not None]),
        metrics=metrics,
        seeds=seeds,
        evidence=pairs[0][1].evidence if pairs else {},
        model_key=cell.model_key,
        n_failed=len({e.cell.seed for e in (*baseline, *defended) if e.status == "failed"}),
        also=also,
        aims_met=_aims_met(cell.risk, also) if cell.risk in meant else (),
    )


def _also(risk: Risk, pairs: Sequence[tuple[Evaluation, Evaluation]]) -> tuple[OtherMeasure, ...]:
    """The effects on those of `AIMS` that were measured, defense meant for it or not."""
    found = []
    for name in AIMS.get(risk, {}):
        both = [(b.metrics.get(name), a.metrics.get(name)) for b, a in pairs]
        known = [(b, a) for b, a in both if b is not None and a is not None]
        if not known:
            continue
        before, after = np.array(known).T
        effect = paired(before, after)
        found.append(
            OtherMeasure(
                name=name,
                n_seeds=len(known),
                baseline=float(before.mean()),
                defended=float(after.mean()),
                effect=effect.effect,
                ci_low=effect.ci_low,
                ci_high=effect.ci_high,
                p=effect.p,
            )
        )
    return tuple(found)


def _aims_met(risk: Risk, also: Sequence[OtherMeasure]) -> tuple[str, ...]:
    """Which of `AIMS` the defended side is shown to meet, in words.

    Corrected by Bonferroni over them and the primary metric: each is a chance to be called
    effective.
    """
    aims = AIMS.get(risk, {})
    met = []
    for one in also:
        sign, words = aims[one.name]
        if one.p is not None and sign * one.effect > 0 and one.p * (len(aims) + 1) <= ALPHA:
            met.append(words)
    return tuple(met)


def _without_numbers(baseline: list[Evaluation], defended: list[Evaluation]) -> tuple[Verdict, str]:
    """What to say where no pair was measured."""
    for side, evaluations in (("", defended), ("baseline: ", baseline)):
        for evaluation in sorted(evaluations, key=lambda e: e.cell.seed):
            if evaluation.status != "ok":
                return evaluation.status, side + (evaluation.reason or "")
    if not baseline:
        return "unresolved", "no baseline was measured"
    return "unresolved", "no seed has both sides, or susceptibility is not defined"


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are there; None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _with_q(rows: list[Interaction]) -> list[Interaction]:
    """Both p-values corrected within the family, each by itself."""
    families: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        if row.p is not None:
            families[*_model(row), row.intended].append(position)
    for members in families.values():
        q = stats.false_discovery_control([rows[i].p for i in members], method="bh")
        same = stats.false_discovery_control([rows[i].p_equivalence for i in members], method="bh")
        for i, one, other in zip(members, q, same, strict=True):
            rows[i] = replace(rows[i], q=float(one), q_equivalence=float(other))
    return rows


def _model(row: Interaction) -> tuple[object, ...]:
    return row.model, row.model_key, row.dataset, row.regime


def _judged(rows: list[Interaction]) -> list[Interaction]:
    """Every row with its verdict.

    A stack that was measured on its own risk and not shown to lower it, to meet another of `AIMS`,
    or to prove or find what it is meant to, is not effective, and then says nothing about side
    effects. Its own risk is judged by the attack that is strongest against the undefended model.
    """
    rows = [replace(r, verdict=_verdict(r)) if r.effect is not None else r for r in rows]
    own: dict[tuple[object, ...], list[Interaction]] = defaultdict(list)
    for row in rows:
        if row.intended and row.effect is not None:
            own[_stack_key(row)].append(row)
    judged = []
    for row in rows:
        if row.n_failed and row.effect is not None:
            note = f"{row.n_failed} seeds failed, so the {row.n_seeds} others say nothing for sure"
            judged.append(replace(row, verdict_note=row.verdict_note + note))
            continue
        measured = own.get(_stack_key(row), [])
        if row.effect is None or not row.guards:
            judged.append(row)
        elif not measured:
            note = f"not checked whether the stack lowers {' and '.join(row.guards)}"
            judged.append(replace(row, verdict_note=row.verdict_note + note))
        else:
            strongest = max(measured, key=lambda r: r.baseline_susceptibility or 0.0)
            if proof := _proof(measured):
                judged.append(replace(row, verdict_note=row.verdict_note + proof))
            elif strongest.verdict == "decreases":
                note = f"the stack lowers {strongest.risk} ({strongest.attack})"
                judged.append(replace(row, verdict_note=row.verdict_note + note))
            else:
                note = (
                    f"the stack was not shown to lower {strongest.risk} ({strongest.attack}: "
                    f"{strongest.verdict}); this effect by itself: {row.verdict}"
                )
                note = row.verdict_note + note
                judged.append(replace(row, verdict="defense not effective", verdict_note=note))
    return judged


def _proof(measured: list[Interaction]) -> str | None:
    """What a stack does that lowers no susceptibility, if it does it more often than by chance.

    A proof of ownership leaves the copy as good as it is, an inspection leaves the model alone, and
    a defense may be made for another definition of fairness than the one that is primary.
    """
    for row in measured:
        if row.aims_met:
            return f"the stack {' and '.join(row.aims_met)}"
    for metric, words in (
        ("own_claimed", "claims the owner's own model"),
        ("flagged", "flags the poisoned model"),
    ):
        for row in measured:
            _, share = row.metrics.get(metric, (None, None))
            if share is None:
                continue
            hits = round(share * row.n_seeds)
            chance = stats.binomtest(hits, row.n_seeds, ALPHA, alternative="greater")
            if chance.pvalue <= ALPHA:
                return f"the stack {words} in {hits} of {row.n_seeds} seeds"
    return None


def _stack_key(row: Interaction) -> tuple[object, ...]:
    return *_model(row), row.defense, repr(row.defense_params)


def _verdict(row: Interaction) -> Verdict:
    if row.n_failed:
        return "unresolved"  # seeds that fail are not a random choice of seeds
    if row.q_equivalence is not None and row.q_equivalence < ALPHA:
        return "no effect"
    if row.q is not None and row.effect is not None and row.q <= ALPHA:
        return "increases" if row.effect > 0 else "decreases"
    return "unresolved"


def load(home: Home) -> tuple[list[Interaction], list[Evaluation]]:
    """Every interaction and every evaluation of a store."""
    evaluations = Store(home).evaluations()
    return compare(evaluations), evaluations
