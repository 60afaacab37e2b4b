"""What a differentially private training may claim, given all that touched the private examples.

References:
    Dwork and Roth (2014). The Algorithmic Foundations of Differential Privacy. Proposition 2.1:
    whatever is made from a private result, and from nothing else, is as private.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor

    from harness.data.dataset import Dataset
    from harness.defenses.stack import Stack
    from harness.results import Evidence

BUDGETS = ("dp_epsilon", "dp_epsilon_rdp", "dp_epsilon_prv")
"""What a private training reports to have spent, by name."""

TRAINING = "dp_epsilon of the training"
"""What an audit doubts where all that touched private examples is in the account."""

GIVEN_SETTINGS = f"{TRAINING}, without the choice of settings"
"""What it doubts where only the choice of settings is not."""


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


def claimed(
    evidence: Mapping[str, Any], leaves_out: tuple[str, ...], settings: tuple[str, ...] = ()
) -> Evidence:
    """The evidence of a training with no more claimed than what holds for the whole model.

    Args:
        evidence: What the defenses reported of the training.
        leaves_out: Of `left_out`.
        settings: How the settings were chosen, in words, if that is left out, too.

    Returns:
        The same if nothing is left out. Else the budgets are not among the claims but at
        ``dp_epsilon_without``, together with what they are without.
    """
    spent = {name: evidence[name] for name in BUDGETS if name in evidence}
    if not spent or not (leaves_out or settings):
        return cast("Evidence", dict(evidence))
    rest = {name: value for name, value in evidence.items() if name not in spent}
    without = {**spent, "leaves_out": [*leaves_out, *settings], "given_settings": not leaves_out}
    return cast("Evidence", {**rest, "dp_epsilon_without": without})


def audited(evidence: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """The budget that an audit of one training may doubt, and what it is in words.

    A training whose settings were chosen by private examples is as private as its account says if
    these settings are taken for given: whoever audits it with examples that had no part in the
    choice doubts a bound that has to hold. Beside anything else that is left out none does.

    Args:
        evidence: Of `claimed`.

    Returns:
        None and None if there is no such budget.
    """
    if evidence.get("dp_epsilon") is not None:
        return evidence["dp_epsilon"], TRAINING
    without = evidence.get("dp_epsilon_without", {})
    if without.get("given_settings") and without.get("dp_epsilon") is not None:
        return without["dp_epsilon"], GIVEN_SETTINGS
    return None, None


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
