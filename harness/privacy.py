"""What a differentially private training may claim, given all that touched the private examples.

References:
    Dwork and Roth (2014). The Algorithmic Foundations of Differential Privacy. Proposition 2.1:
    whatever is made from a private result, and from nothing else, is as private.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from harness.datasets import Dataset
    from harness.stack import Stack

BUDGETS = ("dp_epsilon", "dp_epsilon_rdp", "dp_epsilon_prv")
"""What a private training reports to have spent, by name."""


def left_out(stack: Stack, dataset: Dataset, members: Tensor) -> tuple[str, ...]:
    """What looks at private examples and is in nobody's account, in words.

    Args:
        stack: All defenses of the model.
        dataset: Its data.
        members: (n,) int64, the private examples.
    """
    learnt_from = bool((members < dataset.n_fitted).any())
    encoding = (
        f"the encoding of {dataset.name} (the range and the values of each column, which are "
        f"learnt from rows that are members)"
    )
    return (*stack.not_covered, *([encoding] if learnt_from else []))


def claimed(evidence: Mapping[str, Any], leaves_out: tuple[str, ...]) -> dict[str, Any]:
    """The evidence of a training with no more claimed than what holds for the whole model.

    Args:
        evidence: What the defenses reported of the training.
        leaves_out: Of `left_out`.

    Returns:
        The same if nothing is left out. Else the budgets are not among the claims but at
        ``dp_epsilon_without``, together with what they are without.
    """
    spent = {name: evidence[name] for name in BUDGETS if name in evidence}
    if not spent or not leaves_out:
        return dict(evidence)
    rest = {name: value for name, value in evidence.items() if name not in spent}
    return {**rest, "dp_epsilon_without": {**spent, "leaves_out": list(leaves_out)}}


def stated(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be shown of a budget, by name: never without what it leaves out.

    Args:
        evidence: Of an evaluation.

    Returns:
        ``dp_epsilon``, ``dp_delta`` and, if something is left out, ``without`` in words; empty if
        nothing was trained privately.
    """
    without = evidence.get("dp_epsilon_without", {})
    shown = {name: evidence[name] for name in ("dp_epsilon", "dp_delta") if name in evidence}
    if without:
        spent = {"dp_epsilon": without["dp_epsilon"]}
        return {**spent, **shown, "without": "; ".join(without["leaves_out"])}
    return shown if "dp_epsilon" in shown else {}
