"""From evaluations to interactions: what a defense stack does to a risk, and how sure that is.

Evaluations are paired by seed; effects are differences in
susceptibility, so above 0 the stack makes the risk worse. What is estimated is the mean effect on
new examples of the same population and, where models are trained, over new trainings
(`harness.analysis.intervals`).

References:
    Benjamini and Hochberg (1995). Controlling the False Discovery Rate. JRSS B.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from scipy import stats

from harness.analysis import contributions, verdicts
from harness.analysis.contributions import Measure, Samples
from harness.analysis.intervals import Estimate, Values, over_seeds, over_seeds_and_examples
from harness.analysis.verdicts import ALPHA, MARGIN
from harness.metrics.further import Metric
from harness.results import Cell, Evaluation, Interaction, OtherMeasure
from harness.types import Regime, Risk
from zoo.errors import ZooError

SamplesOf = Callable[[str], Samples | None]
"""From a cell's key to its per-example columns; None where there are none."""

AGREEMENT = 1e-9
"""So far may a metric be from the mean of its per-example values, by rounding."""

Pair = tuple[Evaluation, Evaluation]
"""Without the stack and with it, of one seed."""


def estimate(
    pairs: Sequence[Pair],
    name: str | None,
    samples: SamplesOf,
    further: Mapping[str, Metric] = MappingProxyType({}),
) -> Estimate | None:
    """The mean difference of a metric over paired seeds, and what may be said of it.

    The interval is over seeds and examples where every cell has per-example values whose mean is
    its metric, else over seeds alone.

    Args:
        pairs: Those where a side lacks the metric are left out.
        name: Of the metric; None for susceptibility.
        samples: Of any cell.
        further: The metrics of other packages, by name.

    Returns:
        None where no pair has the metric.

    Raises:
        ZooError: Per-example values of a cell are not what its metric was made from.
    """
    known = [
        (pair, (before, after))
        for pair in pairs
        if (before := _value(pair[0], name)) is not None
        and (after := _value(pair[1], name)) is not None
    ]
    if not known:
        return None
    cell = known[0][0][0].cell
    measure = (
        contributions.SUSCEPTIBILITY.get(cell.risk)
        if name is None
        else contributions.of_blocks(further[name])
        if name in further
        else contributions.OTHERS.get(cell.risk, {}).get(name)
    )
    found = [_values(pair, levels, measure, samples) for pair, levels in known] if measure else []
    values = [one for one in found if one is not None]
    if values and len(values) == len(known):
        trained = cell.regime is not Regime.PUBLISHED
        return over_seeds_and_examples(values, alpha=ALPHA, margin=MARGIN, trained=trained)
    return over_seeds([after - before for _, (before, after) in known], alpha=ALPHA, margin=MARGIN)


def _value(evaluation: Evaluation, name: str | None) -> float | None:
    return evaluation.susceptibility if name is None else evaluation.metrics.get(name)


def _values(
    pair: Pair, levels: tuple[float, float], measure: Measure, samples: SamplesOf
) -> Values | None:
    """Per-example differences of a pair; None where a side has no per-example values."""
    sides: list[Values] = []
    for evaluation, level in zip(pair, levels, strict=True):
        columns = samples(evaluation.cell.key)
        if not columns:
            return None
        _check_rows(columns, evaluation)
        try:
            side = measure(columns, evaluation)
        except KeyError:  # a plugin's attack may keep other columns
            return None
        if side is None:
            return None
        _check_values(side, level, evaluation)
        sides.append(side)
    before, after = sides
    return after.minus(before)


def _check_rows(columns: Samples, evaluation: Evaluation) -> None:
    """Refuse columns that are not as many rows as were measured, where that is known."""
    found = sorted({len(column) for column in columns.values()})
    written = evaluation.provenance.get("samples", found[0])
    if found != [written]:
        raise _disagree(evaluation, f"{' and '.join(map(str, found))} rows, {written} were stored")


def _check_values(side: Values, level: float, evaluation: Evaluation) -> None:
    """Refuse values whose mean is not what was measured, or that count an example twice."""
    if len(side.index) != len(side.value) or len(np.unique(side.index)) < len(side.index):
        raise _disagree(evaluation, "an example is there more than once")
    mean = float(side.value.mean())
    if not abs(mean - level) <= AGREEMENT:  # NaN is not
        raise _disagree(evaluation, f"their mean is {mean:.6g}, the result says {level:.6g}")


def _disagree(evaluation: Evaluation, what: str) -> ZooError:
    cell = evaluation.cell
    return ZooError(
        f"The per-example values of {cell.attack} on {cell.model_label} with {cell.defense}, seed "
        f"{cell.seed}, are not those of its result: {what}. A file in the store's folder "
        f"cells/{cell.key} was changed: delete the folder and measure the cell again."
    )


def _no_samples(key: str) -> None:
    return None


def compare(
    evaluations: Iterable[Evaluation],
    samples: SamplesOf = _no_samples,
    further: Iterable[Metric] = (),
) -> list[Interaction]:
    """Every stack against the undefended model of its regime, risk by risk.

    Multiple testing is corrected within families that are fixed beforehand and do not depend on
    what is displayed: all unintended effects on one model, dataset and regime are one family; all
    intended ones are another.

    Args:
        evaluations: Of any models, datasets and regimes.
        samples: Their per-example columns; without them, intervals are over seeds alone.
        further: The metrics of other packages whose values the evaluations have; they stand beside
            the primary one and enter no verdict.

    Returns:
        In a fixed order, whatever order the evaluations came in.
    """
    baselines: dict[str, dict[int, Evaluation]] = defaultdict(dict)
    groups: dict[tuple[str, str, tuple[str, ...]], list[Evaluation]] = defaultdict(list)
    for evaluation in evaluations:
        cell = evaluation.cell
        stack = tuple(str(method.name) + repr(method.params) for method in cell.stack)
        if not stack:
            seeds = baselines[_undefended(cell)]
            if cell.threat.adaptive or cell.seed not in seeds:
                seeds[cell.seed] = evaluation
            continue
        if cell.tuned:
            stack += (repr(cell.tuned),)
        groups[_undefended(cell), str(cell.threat), stack].append(evaluation)
    metrics: dict[Risk, dict[str, Metric]] = defaultdict(dict)
    for metric in further:
        metrics[metric.risk][metric.name] = metric
    rows = [
        _interaction(list(baselines[undefended].values()), defended, samples, metrics)
        for (undefended, _, _), defended in sorted(groups.items())
    ]
    rows = _with_q(rows)
    rows = verdicts.judged(rows)
    return sorted(
        rows,
        key=lambda r: (
            r.dataset, r.fingerprint, r.regime, r.model, r.model_key, r.defense,
            list(Risk).index(r.risk), r.attack, r.threat_model, repr(r.attack_params),
            r.source_weights or "", repr(r.defense_params),
        ),
    )  # fmt: skip


def _undefended(cell: Cell) -> str:
    """The key that a defended cell shares with its baseline, whatever the seed.

    Whether the attacker's own models have the stack makes no difference where there is none.
    """
    threat = replace(cell.threat, adaptive=True)
    return replace(cell, stack=(), seed=0, tuned=(), threat=threat).key


def _interaction(
    baseline: list[Evaluation],
    defended: list[Evaluation],
    samples: SamplesOf,
    further: Mapping[Risk, Mapping[str, Metric]],
) -> Interaction:
    cell = defended[0].cell
    before = {e.cell.seed: e for e in baseline if e.susceptibility is not None}
    after = {e.cell.seed: e for e in defended if e.susceptibility is not None}
    seeds = tuple(sorted(before.keys() & after.keys()))
    pairs = [(before[seed], after[seed]) for seed in seeds]
    found = estimate(pairs, None, samples)
    verdict, note = ("unresolved", "") if pairs else verdicts.without_numbers(baseline, defended)
    sides = [[e for e in side if e.status == "ok"] for side in (baseline, defended)]
    measured = [{e.cell.seed for e in side} for side in sides]
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
    other_measures = _other_measures(cell.risk, pairs, samples, further.get(cell.risk, {}))
    row = Interaction(
        model=cell.model_label,
        model_name=cell.model,
        attack_name=cell.attack.name,
        attack_row=cell.attack.row,
        source_weights=cell.source_weights,
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
        ci_low=found.low if found else None,
        ci_high=found.high if found else None,
        p=found.p if found else None,
        q=None,
        p_equivalence=found.p_equivalence if found else None,
        interval=found.basis if found else "seeds",
        seeds_needed=found.seeds_needed if found else None,
        verdict=verdict,
        verdict_note=note,
        baseline_utility=_mean([b for b, _ in utility]),
        defended_utility=_mean([a for _, a in utility]),
        utility_delta=_mean([a - b for b, a in utility if a is not None and b is not None]),
        metrics=metrics,
        seeds=seeds,
        evidence=pairs[0][1].evidence if pairs else {},
        model_key=cell.model_key,
        fingerprint=cell.fingerprint,
        n_failed=_seeds_that(("failed",), baseline, defended),
        other_measures=other_measures,
        aims_met=verdicts.aims_met(cell.risk, other_measures) if cell.risk in meant else (),
        access=cell.threat.access,
        adaptive=cell.threat.adaptive,
        n_not_applicable=_seeds_that(("not applicable",), baseline, defended),
        n_undefined=len((measured[0] & measured[1]) - set(seeds)),
        n_lost_to_data=len({e.cell.seed for e in (*baseline, *defended) if e.is_lost_to_data}),
        flags=verdicts.flags(sides),
        proofs=verdicts.proofs(sides[1]) if cell.risk in meant else (),
        nothing_to_lower=cell.risk in meant and verdicts.nothing_planted((sides[1] or defended)[0]),
        false_alarms=verdicts.false_alarms(sides[1]),
        members_matched=all(e.evidence.get("members_matched", True) for e in sides[1]),
    )
    return replace(row, disagreement=verdicts.disagreement(row))


def _seeds_that(ended: Sequence[str], *sides: Sequence[Evaluation]) -> int:
    """How many seeds ended like this on any side."""
    return len({e.cell.seed for side in sides for e in side if e.status in ended})


def _other_measures(
    risk: Risk, pairs: Sequence[Pair], samples: SamplesOf, further: Mapping[str, Metric]
) -> tuple[OtherMeasure, ...]:
    """The effects on the other measures of a risk that were measured."""
    found: list[OtherMeasure] = []
    ours = contributions.OTHERS.get(risk, {})
    further = {name: metric for name, metric in further.items() if name not in ours}
    for name in (*ours, *further):
        effect = estimate(pairs, name, samples, further)
        known = [(b.metrics.get(name), a.metrics.get(name)) for b, a in pairs]
        both = [(b, a) for b, a in known if b is not None and a is not None]
        if effect is None or _says_nothing_new(name, pairs):
            continue
        before, after = np.array(both).T
        found.append(
            OtherMeasure(
                name=name,
                n_seeds=len(both),
                baseline=float(before.mean()),
                defended=float(after.mean()),
                effect=effect.effect,
                ci_low=effect.low,
                ci_high=effect.high,
                p=effect.p,
                interval=effect.basis,
                direction=further[name].direction if name in further else None,
            )
        )
    return tuple(found)


def _says_nothing_new(name: str, pairs: Sequence[Pair]) -> bool:
    """Whether a second reading is of the same examples as the first, at every seed."""
    of = {"collected_auc": "auc"}.get(name)
    return of is not None and all(
        e.metrics.get(name) == e.metrics.get(of) for p in pairs for e in p
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are there; None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _with_q(rows: list[Interaction]) -> list[Interaction]:
    """Both p-values corrected within the family, each by itself."""
    families: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        if row.p is not None:
            families[*verdicts.model_of(row), row.intended].append(position)
    for members in families.values():
        # Whoever has the one has the other.
        p = [(row.p, row.p_equivalence) for row in map(rows.__getitem__, members)]
        different, equivalent = np.array(p, float).T
        q = stats.false_discovery_control(different, method="bh")
        same = stats.false_discovery_control(equivalent, method="bh")
        for i, one, other in zip(members, q, same, strict=True):
            rows[i] = replace(rows[i], q=float(one), q_equivalence=float(other))
    return rows
