"""scikit-learn 30079: what tells two kinds apart is not defined with one, and never 0, 1 or NaN."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from harness.metrics import attribute, distribution, membership
from harness.types import NotApplicableError

SCORES = np.linspace(0, 1, 6)
ROWS = np.stack([SCORES, 1 - SCORES], axis=1)
Metric = Callable[[np.ndarray], object]

OF_MEMBERS: dict[str, Metric] = {
    "auc": lambda kind: membership.auc(SCORES, kind),
    "tpr_at_fpr": lambda kind: membership.tpr_at_fpr(SCORES, kind, 0.5),
    "membership": lambda kind: membership.membership(SCORES, kind),
}
OTHERS: dict[str, Metric] = {
    "attribute.auc": lambda kind: attribute.auc(ROWS, kind),
    "attribute.balanced_accuracy": lambda kind: attribute.balanced_accuracy(ROWS, kind),
    "attribute": lambda kind: attribute.attribute(ROWS, ROWS, ROWS, kind),
    "distinguishing_accuracy": lambda kind: distribution.distinguishing_accuracy(SCORES, kind),
    "distribution": lambda kind: distribution.distribution(SCORES, kind, ratio0=0.2, ratio1=0.8),
}
CASES = [(n, f, bool) for n, f in OF_MEMBERS.items()] + [(n, f, int) for n, f in OTHERS.items()]


@pytest.mark.parametrize(("name", "metric", "kind"), CASES)
@pytest.mark.parametrize("value", [0, 1])
def test_one_kind_alone_is_refused_in_words(name, metric, kind, value) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            NotApplicableError, match=r"wants .*, found all 6 of one kind: it is not"
        ):
            metric(np.full(6, value, dtype=kind))


@pytest.mark.parametrize(("name", "metric", "kind"), CASES)
def test_two_kinds_are_measured(name, metric, kind) -> None:
    assert metric((np.arange(6) % 2).astype(kind)) is not None


def test_a_threshold_needs_non_members() -> None:
    with pytest.raises(NotApplicableError, match="wants non-members, found none"):
        membership.threshold(SCORES, np.ones(6, dtype=bool), 0.1)
    assert membership.threshold(SCORES, np.zeros(6, dtype=bool), 0.0) == 1.0


@pytest.mark.parametrize("members", [0, 1, 5, 6])
def test_a_balanced_accuracy_needs_two_of_each_kind(members) -> None:
    """One to choose the threshold by, one to be judged."""
    assert membership.balanced_accuracy(SCORES, np.arange(6) < members) is None
    assert membership.balanced_accuracy(SCORES, np.arange(6) < 2) is not None


def test_one_member_has_a_rank_and_no_balanced_accuracy() -> None:
    found = membership.membership(SCORES, np.arange(6) == 5)
    assert (found["auc"], found["balanced_accuracy"]) == (1.0, None)
