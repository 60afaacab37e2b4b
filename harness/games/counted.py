"""Scores of candidates, some of which the defenses left out of the training data."""

from __future__ import annotations

import numpy as np

from harness.games.game import Outcome
from harness.metrics.membership import auc, membership, unattainable
from harness.metrics.roc_picture import log_roc
from harness.types import NotApplicableError


def judged(
    scores: np.ndarray, member: np.ndarray, counted: np.ndarray, matched: bool | None
) -> Outcome:
    """Metrics over the candidates that count, and ``collected_auc`` over all of them.

    Args:
        scores: (n,), larger means more likely a member.
        member: (n,) bool, whose example was collected as training data.
        counted: (n,) bool: of the members, what was trained on; of the others, what would have
            been, had it been collected.
        matched: Whether that could be said of the others; None where it is all of them.

    Raises:
        NotApplicableError: No candidate on one side counts.
    """
    for side, name in ((member, "members"), (~member, "non-members")):
        if not (counted & side).any():
            raise NotApplicableError(
                f"The defenses leave out all {int(side.sum())} {name} in question, so there is "
                f"nothing to tell apart. Let them leave out less."
            )
    return Outcome(
        metrics={
            **membership(scores[counted], member[counted]),
            "collected_auc": auc(scores, member),
        },
        samples={"member": member, "score": scores, "counted": counted},
        notes={
            "not_attainable": unattainable(member[counted]),
            **({} if matched is None else {"members_matched": matched}),
        },
        images={"roc": log_roc(scores[counted], member[counted])},
    )
