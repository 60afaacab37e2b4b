"""What may be said of an effect, given all that was measured of its defense stack. Pure.

An effect on another risk says something about a defense only if the defense does what it is meant
for. That is decided risk by risk, for every risk that the stack is meant for, on the attack that is
strongest against the *defended* model: an attack that the defense stops does not matter where
another one goes through.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy import stats

from harness.results import Evaluation, Interaction, OtherMeasure, Verdict
from harness.types import Access, Regime, Risk

MARGIN = 0.02
"""Effects within plus or minus this are called none: two points of susceptibility."""

ALPHA = 0.05
"""Level of every test and, as 1 - ALPHA, of every interval."""

AIMS = {
    Risk.DISCRIMINATORY_BEHAVIOR: {
        "demographic_parity_difference": (-1, "lowers the difference in demographic parity"),
        "worst_group_accuracy": (1, "raises the accuracy of the worst group"),
    }
}
"""What a defense may be meant for besides the primary metric, and which way that is to go.

Definitions of fairness exclude each other, and a defense is made for one of them."""

FOUND = (
    ("own_claimed", "false_claims", "claims the owner's own model", "independent models"),
    ("flagged", "clean_model_flagged", "flags the poisoned model", "its clean twin"),
)
"""What a defense finds, what it says falsely in the same cell, and both in words.

What filters reject is no success of the attack: the effect itself says what they are good for."""

CLOSE = 0.05
"""Attacks further apart than this are not equally strong, however wide an interval is."""


def aims_met(risk: Risk, other_measures: Sequence[OtherMeasure]) -> tuple[str, ...]:
    """Which of `AIMS` the defended side is shown to meet, in words.

    Corrected by Bonferroni over them and the primary metric: each is a chance to be called
    effective.
    """
    aims = AIMS.get(risk, {})
    met: list[str] = []
    for one in other_measures:
        sign, words = aims.get(one.name, (0, ""))
        if one.p is not None and sign * one.effect > 0 and one.p * (len(aims) + 1) <= ALPHA:
            met.append(words)
    return tuple(met)


def proofs(defended: Sequence[Evaluation]) -> tuple[str, ...]:
    """What the defended side finds more often than it is wrong in the same cells, in words.

    A proof of ownership leaves the copy as good as it is, and an inspection leaves the model alone:
    they are judged by what they find, and only against what they find where nothing is. Under no
    difference each cell is as likely to favour the one as the other, which an exact binomial test
    of the cells that favour either counts (McNemar's exact test, where both are yes or no). A
    verification that claims more than `ALPHA` of the independent models proves nothing by claiming
    the owner's. Corrected by Bonferroni over `FOUND`.

    Args:
        defended: Measured, one for each seed.
    """
    found: list[str] = []
    for name, false, words, others in FOUND:
        pairs = _pairs(defended, name, false)
        more = sum(hit > alarm for hit, alarm in pairs)
        fewer = sum(hit < alarm for hit, alarm in pairs)
        if not more:
            continue
        p = stats.binomtest(more, more + fewer, 0.5, alternative="greater").pvalue
        alarms = sum(alarm for _, alarm in pairs) / len(pairs)
        if p * len(FOUND) <= ALPHA and not (name == "own_claimed" and alarms > ALPHA):
            hits = sum(hit for hit, _ in pairs) / len(pairs)
            share = f"{hits:.0%} of the time over {len(pairs)} seeds, {others} {alarms:.1%}"
            found.append(f"{words} {share}")
    listed = [e for e in defended if is_listed_backdoored(e) and e.metrics.get("flagged") == 1]
    if listed:
        found.append("flags the model, which the catalog lists as backdoored")
    return tuple(found)


def _pairs(evaluations: Sequence[Evaluation], name: str, false: str) -> list[tuple[float, float]]:
    """Both metrics of each evaluation that has both."""
    both = [(e.metrics.get(name), e.metrics.get(false)) for e in evaluations]
    return [(hit, alarm) for hit, alarm in both if hit is not None and alarm is not None]


def is_listed_backdoored(evaluation: Evaluation) -> bool:
    """Whether it is of a published model as downloaded that the catalog lists as backdoored."""
    published = evaluation.cell.regime is Regime.PUBLISHED
    return published and bool(evaluation.provenance.get("backdoored"))


def nothing_planted(evaluation: Evaluation) -> bool:
    """Whether a defense against poisoning had nothing to lower here: nobody poisoned the model."""
    rate = dict(evaluation.cell.attack.params).get("rate")
    return (
        evaluation.cell.risk is Risk.POISONING and not rate and not is_listed_backdoored(evaluation)
    )


def false_alarms(defended: Sequence[Evaluation]) -> str:
    """How often detectors were wrong on models that nobody poisoned, in words; empty if unknown."""
    words: list[str] = []
    flags = [e.metrics["flagged"] for e in defended if e.metrics.get("flagged") is not None]
    if flags:
        words.append(f"the model was flagged in {sum(map(bool, flags))} of {len(flags)} seeds")
    rejected = [e.metrics.get("filter_fpr") for e in defended]
    known = [share for share in rejected if share is not None]
    if known:
        words.append(f"{sum(known) / len(known):.1%} of clean inputs were rejected")
    return " and ".join(words)


def flags(sides: Sequence[Sequence[Evaluation]]) -> tuple[str, ...]:
    """Reasons to doubt the measurements of the baseline and of the defended side, in words.

    Args:
        sides: The measured evaluations of the baseline, and of the defended side.
    """
    found: list[str] = []
    for name, side in zip(("baseline", "defended"), sides, strict=True):
        found += [f"{name}: {text}" for text in doubts(side)]
    return tuple(found)


def doubts(evaluations: Sequence[Evaluation]) -> list[str]:
    """Each different reason to doubt some measurements, as first given, and at how many seeds."""
    found: Counter[str] = Counter()
    first: dict[str, str] = {}
    for evaluation in evaluations:
        texts: dict[str, str] = {}
        for text in evaluation.evidence.get("flags", ()):
            texts.setdefault(_kind(text), text)
        found.update(texts.keys())
        first = {**texts, **first}
    return [f"{first[kind]} ({n} of {len(evaluations)} seeds)" for kind, n in found.items()]


def _kind(text: str) -> str:
    """A reason for doubt without its numbers, which differ from seed to seed."""
    return re.sub(r"\d+(\.\d+)?", "#", text)


def without_numbers(
    baseline: Sequence[Evaluation], defended: Sequence[Evaluation]
) -> tuple[Verdict, str]:
    """What to say where no pair was measured."""
    for side, evaluations in (("", defended), ("baseline: ", baseline)):
        for evaluation in sorted(evaluations, key=lambda e: e.cell.seed):
            if evaluation.status != "ok":
                return evaluation.status, side + (evaluation.reason or "")
    if not baseline:
        return "unresolved", "no baseline was measured"
    return "unresolved", "no seed has both sides, or susceptibility is not defined"


@dataclass(frozen=True)
class _Guard:
    """Whether a stack does what it is meant for against one risk, and why in words.

    Attributes:
        holds: Whether it does.
        words: Why.
        decided_by: The row that says so; None if it is that a row is not there.
    """

    holds: bool
    words: str
    decided_by: Interaction | None = None


def judged(rows: Sequence[Interaction]) -> list[Interaction]:
    """Every row with its verdict.

    Each risk that a stack is meant for, and that was measured, is judged by itself. A row about
    such a risk depends on that one alone; a row about any other risk says something about the
    defense only if all of them hold.
    """
    rows = [replace(r, verdict=_verdict(r)) if r.effect is not None else r for r in rows]
    guards: dict[tuple[object, ...], dict[Risk, _Guard]] = defaultdict(dict)
    own: dict[tuple[object, ...], list[Interaction]] = defaultdict(list)
    for row in rows:
        if row.intended and row.effect is not None and not row.nothing_to_lower:
            own[*_stack(row), row.risk].append(row)
    for row in rows:
        if row.intended and row.effect is None and row.verdict == "failed":
            words = f"{row.attack} failed, so it is not known whether the stack lowers {row.risk}"
            guards[_stack(row)][row.risk] = _Guard(False, words)
    for (*stack, risk), measured in own.items():
        guards[tuple(stack)].setdefault(Risk(str(risk)), _guard(measured))
    return [_with_guards(row, guards[_stack(row)]) for row in rows]


def _with_guards(row: Interaction, guards: dict[Risk, _Guard]) -> Interaction:
    """The row with what its stack does against the risks that it is meant for."""
    if row.effect is None:
        return row
    notes = [words for words in (unsettled(row), lost_by_chance(row)) if words]
    if row.nothing_to_lower:
        alarms = f"; false alarms: {row.false_alarms}" if row.false_alarms else ""
        note = f"nobody poisoned this model, so there is nothing to lower{alarms}"
        verdict = "not applicable" if row.intended and row.false_alarms else row.verdict
        return replace(row, verdict=verdict, verdict_note="; ".join([*notes, note]))
    relevant = {risk: g for risk, g in guards.items() if not row.intended or risk is row.risk}
    held = tuple(risk for risk in row.guards if risk in relevant and relevant[risk].holds)
    failed = tuple(risk for risk in row.guards if risk in relevant and not relevant[risk].holds)
    missing = [risk for risk in row.guards if risk not in guards and not row.intended]
    notes += [relevant[risk].words for risk in (*held, *failed)]
    if missing:
        notes.append(f"not checked whether the stack lowers {' and '.join(missing)}")
    verdict = row.verdict
    if failed and not unsettled(row):
        verdict = "defense not effective"
        # The row that decides has been told of.
        if all(row is not relevant[risk].decided_by for risk in failed):
            notes.append(f"this effect by itself: {row.verdict}")
    return replace(
        row,
        verdict=verdict,
        verdict_note="; ".join(notes),
        guards_held=held,
        guards_failed=failed,
    )


def unsettled(row: Interaction) -> str:
    """Why no verdict can be given whatever the numbers are, in words; empty if one can."""
    if row.n_lost_to_data or row.n_undefined:
        return f"{_lost(row)}: the {row.n_seeds} others are no random choice"
    if row.effect is not None and row.ci_low is None:
        return "a single seed has no interval"
    return row.disagreement


def lost_by_chance(row: Interaction) -> str:
    """Which seeds were lost without an influence of the data, in words; empty if none were."""
    lost = row.n_failed or row.n_not_applicable
    if not lost or row.n_lost_to_data or row.n_undefined:
        return ""
    return (
        f"{_lost(row)}, for reasons that do not depend on the data: the {row.n_seeds} others are "
        f"still a random choice"
    )


def _lost(row: Interaction) -> str:
    """How many seeds came to nothing, and how."""
    lost = (
        (row.n_failed, "failed"),
        (row.n_not_applicable, "turned out not to apply"),
        (row.n_undefined, "have no susceptibility, as with a target of one answer"),
    )
    return f"of the seeds, {', '.join(f'{count} {words}' for count, words in lost if count)}"


def what_would_resolve(row: Interaction) -> str:
    """What would tell an effect that is not resolved by itself, in words; empty if it is."""
    if row.effect is None or row.nothing_to_lower or unsettled(row):
        return ""
    if _verdict(row) != "unresolved":
        return ""
    if row.seeds_needed is None:
        return "more seeds cannot resolve an effect of this size, more test examples can"
    if row.seeds_needed <= row.n_seeds:
        return "resolved by itself, but not among so many comparisons"
    more = row.seeds_needed - row.n_seeds
    return f"about {row.seeds_needed} seeds would resolve an effect of this size, {more} more"


def disagreement(row: Interaction) -> str:
    """Why two readings of the same cells exclude a verdict, in words; empty if they agree.

    Where a defense drops training examples and cannot say which of the others it would have
    dropped, members and non-members differ whatever the model has memorised. Then the reading over
    all collected examples has to say the same as that over those that were trained on.
    """
    other = next((one for one in row.other_measures if one.name == "collected_auc"), None)
    if row.members_matched or other is None or row.effect is None:
        return ""
    # Susceptibility is twice the distance of the AUC from one half.
    low, high = (None if end is None else 2 * end for end in (other.ci_low, other.ci_high))
    mine, its = _sign(row.ci_low, row.ci_high), _sign(low, high)
    if mine == its:
        return ""
    words = {1: "up", -1: "down", 0: "no change", None: "nothing certain"}
    return (
        f"the defense dropped members and cannot say which non-members it would have dropped; "
        f"over those trained on the risk shows {words[mine]}, over all collected {words[its]}"
    )


def _sign(low: float | None, high: float | None) -> int | None:
    """Which way an interval points: 1, -1, 0 if it lies within the margin, else None."""
    if low is None or high is None:
        return None
    if low > -MARGIN and high < MARGIN:
        return 0
    return 1 if low > 0 else -1 if high < 0 else None


def _guard(measured: Sequence[Interaction]) -> _Guard:
    """Whether the rows about one risk show that the stack does what it is meant for."""
    risk = measured[0].risk
    strongest = strongest_attack(measured)
    if done := (*strongest.aims_met, *strongest.proofs):
        return _Guard(True, f"the stack {' and '.join(done)}", strongest)
    if strongest.verdict == "decreases":
        return _Guard(True, f"the stack lowers {risk} ({strongest.attack})", strongest)
    words = f"the stack was not shown to lower {risk} ({strongest.attack}: {strongest.verdict})"
    return _Guard(False, words, strongest)


def strongest_attack(measured: Sequence[Interaction]) -> Interaction:
    """The row of the attack that gets most of the defended model, whatever it was granted.

    A wider attacker can do what a narrower one does, so all of them are in the running. Attacks
    that the measurement cannot tell from the strongest (within the margin, or half the width of
    its interval up to `CLOSE`) count as equally strong: of those, an attacker that knows the
    defense comes before one that does not, then the one that gets most without the defense, then
    the one with more access. What is left is broken by name.
    """

    def level(row: Interaction) -> float:
        return row.defended_susceptibility or 0.0

    best = max(measured, key=level)
    width = 0.0
    if best.ci_low is not None and best.ci_high is not None:
        width = (best.ci_high - best.ci_low) / 2
    tied = min(max(MARGIN, width), CLOSE)
    near = [row for row in measured if level(row) >= level(best) - tied]
    return min(
        near,
        key=lambda row: (
            not row.adaptive,
            -(row.baseline_susceptibility or 0.0),
            -list(Access).index(row.access),
            row.attack,
            row.threat_model,
        ),
    )


def _stack(row: Interaction) -> tuple[object, ...]:
    return *model_of(row), row.defense, repr(row.defense_params)


def model_of(row: Interaction) -> tuple[object, ...]:
    """Equal for rows about one model as it came to its weights on one dataset."""
    return row.model, row.model_key, row.dataset, row.fingerprint, row.regime


def _verdict(row: Interaction) -> Verdict:
    if unsettled(row):
        return "unresolved"
    if row.q_equivalence is not None and row.q_equivalence < ALPHA:
        return "no effect"
    if row.q is not None and row.effect is not None and row.q <= ALPHA:
        return "increases" if row.effect > 0 else "decreases"
    return "unresolved"
