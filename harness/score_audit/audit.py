"""What two files of answers, about the training data and about other data, say of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from harness.attacks.correctness import Correctness
from harness.attacks.loss_threshold import LossThreshold
from harness.attacks.modified_entropy import ModifiedEntropy
from harness.attacks.protocol import AttackedPoints
from harness.data.examples import Split
from harness.metrics.fairness import BINS, calibration_errors, fairness
from harness.metrics.membership import membership, threshold
from harness.metrics.proportions import interval
from harness.score_audit.auc_interval import auc_interval
from harness.score_audit.read import Answers
from harness.target import BlackBox
from harness.types import Access

LEVEL = 0.05
"""1 minus the confidence of all intervals, and of all membership attacks together."""

SMALLEST = 20
"""Fewest examples of a group that a rate may rest on."""

REDRAWS = 1000
"""Of labels, for what a calibrated model would show."""

FEW = 100
"""Members or others below which an audit says little."""

DIGITS = 4
"""Decimals below which probabilities are called rounded."""

OTHER_LABELS = 1e-3
"""p below which members and others have other labels."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One number of an audit.

    Attributes:
        about: ``membership``, ``accuracy``, ``calibration`` or ``fairness``.
        what: Of which attack, data or attribute.
        measure: Its name.
        value: Itself; None where it is not defined.
        low: Lower end of its 95 % interval; None where there is none.
        high: Upper end.
        reference: What it would be if nothing were there: of a model that remembers nothing, is
            calibrated, or treats groups alike; None where that is not a number.
        shown: Whether chance is ruled out, of all membership attacks together at 5 %; None where
            that is no question.
    """

    about: str
    what: str
    measure: str
    value: float | None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    shown: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found, and what to bear in mind.

    Attributes:
        findings: In the order in which they are shown.
        flags: Reasons to doubt some of them.
    """

    findings: tuple[Finding, ...]
    flags: tuple[str, ...]


def audit(members: Answers, others: Answers) -> Audit:
    """Membership, accuracy, calibration and fairness, with intervals.

    Args:
        members: About the data that the model was trained on.
        others: About data of the same kind that it was not; see `harness.score_audit.read`.

    Returns:
        Calibration and fairness are of the others: on what a model was trained on they are better
        than they are.
    """
    found = [*_membership(members, others)]
    if members.y is not None and others.y is not None:
        found += [*_accuracy(members, others), *_calibration(others)]
        for name in others.groups:
            found += _fairness(others, name)
    return Audit(findings=tuple(found), flags=tuple(_flags(members, others)))


class _Recorded(nn.Module):
    """Answers again what a file says, given the numbers of its rows, (n, 1)."""

    def __init__(self, scores: np.ndarray) -> None:
        super().__init__()
        logits = np.log(np.clip(scores, np.finfo(np.float64).tiny, None))
        self.register_buffer("logits", torch.from_numpy(logits))

    def forward(self, rows: Tensor) -> Tensor:
        return self.get_buffer("logits")[rows[:, 0].long()]


def _attacks(answers: Answers) -> dict[str, np.ndarray]:
    """What each attack scores every row, larger for a member."""
    rows = torch.arange(len(answers), dtype=torch.float64)[:, None]
    box = BlackBox(_Recorded(answers.scores), Access.SCORES)
    found = {"confidence": answers.scores.max(1), "entropy": -_entropy(answers.scores)}
    if answers.y is not None:
        points = AttackedPoints(
            points=Split(rows, torch.from_numpy(answers.y)), num_classes=len(answers.classes),
            architecture="unknown", input_shape=(1,),
        )  # fmt: skip
        for attack in (Correctness(), LossThreshold(), ModifiedEntropy()):
            found[attack.name] = attack.run(box, points, seed=0).double().numpy()
    return found


def _entropy(scores: np.ndarray) -> np.ndarray:
    logs = np.log(np.where(scores > 0, scores, 1))
    return -(scores * logs).sum(1)


def _membership(members: Answers, others: Answers) -> Iterator[Finding]:
    member = np.arange(len(members) + len(others)) < len(members)
    both = [_attacks(one) for one in (members, others)]
    for name in both[0]:
        scores = np.concatenate([one[name] for one in both])
        _, *strict = auc_interval(scores, member, alpha=LEVEL / 2 / len(both[0]))
        auc, low, high = auc_interval(scores, member, alpha=LEVEL)
        yield Finding(
            about="membership", what=name, measure="auc", value=auc, low=low, high=high,
            reference=0.5, shown=not strict[0] <= 0.5 <= strict[1],
        )  # fmt: skip
        measured = membership(scores, member)
        yield Finding(
            about="membership", what=name, measure="balanced_accuracy",
            value=measured["balanced_accuracy"], reference=0.5,
        )  # fmt: skip
        for level in (0.01, 0.001):
            key = f"tpr_at_{100 * level:g}pct_fpr"
            defined = measured[key] is not None
            yield Finding(
                about="membership", what=name, measure=key, value=measured[key],
                low=measured[f"{key}_low"], high=measured[f"{key}_high"],
                reference=level if defined else None,
                shown=_p_of_luck(scores, member, level) < LEVEL / 4 / len(both[0])
                if defined else None,
            )  # fmt: skip


def _p_of_luck(scores: np.ndarray, member: np.ndarray, fpr: float) -> float:
    """How often as many members exceed the threshold of `membership` if all are of one kind.

    That threshold is the k-th largest score of the others; so many of the members exceed it as
    follow a beta-binomial distribution, whatever that of the scores is. Ties make it less.
    """
    from scipy.stats import betabinom

    m, n = int(member.sum()), int((~member).sum())
    k = int(np.searchsorted(np.arange(n + 1) / n, fpr, side="right"))
    exceed = int((scores[member] > threshold(scores, member, fpr)).sum())
    return float(betabinom.sf(exceed - 1, m, k, n - k + 1))


def _accuracy(members: Answers, others: Answers) -> Iterator[Finding]:
    rates = []
    for what, one in (("members", members), ("others", others)):
        right = one.scores.argmax(1) == one.y
        low, high = interval(int(right.sum()), len(right))
        rates.append((right.mean(), low, high))
        yield Finding(about="accuracy", what=what, measure="accuracy", value=float(right.mean()),
                      low=low, high=high)  # fmt: skip
    (a, a_low, a_high), (b, b_low, b_high) = rates
    # Newcombe's interval of a difference, from the intervals of both.
    low = a - b - np.hypot(a - a_low, b_high - b)
    high = a - b + np.hypot(a_high - a, b - b_low)
    yield Finding(
        about="accuracy", what="members - others", measure="generalization_gap", value=float(a - b),
        low=float(low), high=float(high), reference=0.0, shown=bool(low > 0 or high < 0),
    )  # fmt: skip


def _calibration(answers: Answers) -> Iterator[Finding]:
    assert answers.y is not None
    top = answers.scores.max(1)
    right = answers.scores.argmax(1) == answers.y
    draw = np.random.default_rng(0)
    lucky = _redrawn(lambda: _error(top, draw.random(len(top)) < top))
    value = _error(top, right)
    # A calibrated model's error is above 0 too, the more so the fewer examples there are.
    yield Finding(
        about="calibration", what="confidence", measure=f"ece_{BINS}_bins", value=value,
        reference=float(lucky.mean()), shown=bool(value > np.quantile(lucky, 1 - LEVEL)),
    )  # fmt: skip
    excess = top - right
    yield _mean("calibration", "confidence", "overconfidence", excess, 0.0)
    rows = np.arange(len(top))
    tiny = np.finfo(np.float64).tiny
    yield _mean("calibration", "scores", "log_loss",
                -np.log(np.clip(answers.scores[rows, answers.y], tiny, None)))  # fmt: skip
    truth = np.eye(len(answers.classes))[answers.y]
    yield _mean("calibration", "scores", "brier_score", ((answers.scores - truth) ** 2).sum(1))


def _error(top: np.ndarray, right: np.ndarray) -> float:
    everyone = np.zeros(len(top), dtype=np.int64)
    return float(calibration_errors(top[:, None], right[:, None], everyone, 1)[0][0, 0])


def _redrawn(once: Callable[[], float]) -> np.ndarray:
    return np.array([once() for _ in range(REDRAWS)])


def _mean(
    about: str, what: str, measure: str, values: np.ndarray, reference: float | None = None
) -> Finding:
    from scipy.stats import t

    middle, n = float(values.mean()), len(values)
    half = float(t.ppf(1 - LEVEL / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    low, high = middle - half, middle + half
    shown = None if reference is None else not low <= reference <= high
    return Finding(about=about, what=what, measure=measure, value=middle, low=low, high=high,
                   reference=reference, shown=shown)  # fmt: skip


FAIRNESS = (
    "demographic_parity_difference", "equalized_odds_difference", "equal_opportunity_difference",
    "predictive_parity_difference", "accuracy_difference", "worst_group_accuracy",
)  # fmt: skip


def _fairness(answers: Answers, name: str) -> Iterator[Finding]:
    assert answers.y is not None
    names, group = np.unique(answers.groups[name].astype(str), return_inverse=True)
    found = fairness(
        answers.scores.argmax(1), answers.y, group, list(names),
        num_classes=len(answers.classes), smallest=SMALLEST, scores=answers.scores,
    ).metrics  # fmt: skip
    for measure in FAIRNESS:
        yield Finding(
            about="fairness", what=name, measure=measure, value=found[measure],
            low=found[f"{measure}_low"], high=found[f"{measure}_high"],
            reference=found["equalized_odds_chance"]
            if measure == "equalized_odds_difference" else None,
        )  # fmt: skip
    for one in names:
        yield Finding(
            about="fairness", what=f"{name} {one}", measure="accuracy",
            value=found[f"accuracy[{one}]"], low=found[f"accuracy[{one}]_low"],
            high=found[f"accuracy[{one}]_high"],
        )  # fmt: skip


def _flags(members: Answers, others: Answers) -> Iterator[str]:
    for what, one in (("members", members), ("others", others)):
        if len(one) < FEW:
            yield f"only {len(one)} {what}: a leak has to be large to be seen"
        repeated = len(one) - len(np.unique(one.scores, axis=0))
        if repeated > len(one) / 2:
            yield (
                f"{repeated:,} of {len(one):,} rows of {one.source} have the answers of another "
                f"row: are rows repeated, or scores rounded?"
            )
        elif one.digits < DIGITS:
            yield f"{one.source} has {one.digits} decimals: what is rounded away cannot leak here"
    rows = {row.tobytes() for row in members.scores}
    shared = sum(row.tobytes() in rows for row in others.scores)
    if shared > 0.01 * len(others) and members.digits >= DIGITS:
        yield (
            f"{shared:,} rows of {others.source} are also in {members.source}: are these members?"
        )
    if members.y is None or others.y is None:
        yield "without labels nothing is said of accuracy, calibration and fairness"
    elif (p := _p_same_labels(members.y, others.y)) < OTHER_LABELS:
        yield (
            f"members and others have other labels (p = {p:.1g}): what tells them apart may be "
            f"that, and not what the model remembers. Take others with the same share of each"
        )


def _p_same_labels(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import chi2_contingency

    classes = max(one.max(), other.max()) + 1
    table = np.array([np.bincount(y, minlength=classes) for y in (one, other)])
    table = table[:, table.any(0)]
    return float(chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0


def rows(found: Audit) -> tuple[list[str], list[Sequence[object]]]:
    """The findings as a table: its header and its rows."""
    header = ["about", "what", "measure", "value", "low", "high", "reference", "shown"]
    return header, [[getattr(one, name) for name in header] for one in found.findings]
