"""What needs examples of two kinds is not defined with one."""

from __future__ import annotations

import numpy as np

from harness.types import NotApplicableError


def check_two(kinds: np.ndarray, what: str, of: str) -> None:
    """Refuse to measure what tells kinds apart where there is only one.

    Libraries give 0, 1 or NaN instead, each of which looks like a result.

    Args:
        kinds: (n,) of each example.
        what: Is measured: ``"an AUC"``.
        of: What the kinds are: ``"members and non-members"``.

    Raises:
        NotApplicableError: There are fewer than two.
    """
    if len(np.unique(kinds)) < 2:
        found = f"all {len(kinds)} of one kind" if len(kinds) else "none"
        raise NotApplicableError(
            f"{what} wants {of}, found {found}: it is not defined. Take examples of both kinds."
        )
