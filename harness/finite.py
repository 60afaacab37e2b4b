"""Nothing that is not finite is ever a result: the checks that every measurement goes through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.batches import at_once
from zoo.errors import ZooError
from zoo.finite import tensor_not_finite, value_not_finite

LARGEST_LOGIT = 2.0**24
"""Beyond it float32 has no numbers less than 2 apart, so no probabilities follow from logits."""

TRIED = 512
"""Inputs on which a model's answers are looked at before anything is measured on it."""


class NotFiniteError(RuntimeError):
    """Something that a number was to be made from is NaN or infinite; the text says what."""


class DivergedError(NotFiniteError):
    """A training that ended without usable weights."""

    def __init__(self, what: str) -> None:
        super().__init__(f"training diverged: {what}")


def check_training(model: nn.Module, x: Tensor) -> None:
    """Refuse what a training left behind if it is no model.

    Args:
        model: A classifier in eval mode.
        x: (n, ...) of its inputs, of which the first `TRIED` are tried, fewer of large ones.

    Raises:
        DivergedError: A weight is not finite, or a logit is not or is beyond `LARGEST_LOGIT`.
    """
    if what := _unusable(model, x):
        raise DivergedError(what)


def check_model(model: nn.Module, x: Tensor, *, role: str) -> None:
    """The same of a model that is about to be measured, or to measure others.

    Args:
        model: A classifier in eval mode.
        x: (n, ...) of its inputs.
        role: Of the model, for the message: ``target``.

    Raises:
        NotFiniteError: As above.
    """
    if what := _unusable(model, x):
        raise NotFiniteError(f"the {role} is not finite: {what}")


@torch.no_grad()
def _unusable(model: nn.Module, x: Tensor) -> str | None:
    if what := tensor_not_finite(model.state_dict()):
        return what
    device = next((p.device for p in model.parameters()), x.device)
    tried = x[: at_once(x, TRIED)].to(device)
    largest = model(tried).abs().amax() if len(x) else torch.zeros(())
    if not largest <= LARGEST_LOGIT:  # NaN is not
        return f"its logits go to {largest:.3g}"
    return None


def check_answers(logits: Tensor) -> None:
    """Refuse answers (n, classes) of which no probabilities follow.

    Raises:
        ZooError: They are something else, such as a dict, a tuple or a single logit.
        NotFiniteError: Some are NaN or positive infinity, or a row is all negative infinity.
    """
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] < 2:
        what = (
            f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        )
        raise ZooError(
            f"A model has to give logits (n, classes) of at least two classes, found {what}. Wrap "
            f"it: of one logit z give (0, z), of a dict or a tuple the logits in it."
        )
    wrong = logits.softmax(1).isnan().any(1)
    if wrong.any():
        raise NotFiniteError(
            f"the model's answers are not finite for {int(wrong.sum())} of {len(logits)} inputs"
        )


def check_tensor(found: Tensor, what: str) -> Tensor:
    """``found``, which is finite.

    Raises:
        NotFiniteError: It is not.
    """
    if not found.isfinite().all():
        wrong = int((~found.isfinite()).sum())
        raise NotFiniteError(f"{what}: {wrong} of {found.numel()} values are not finite")
    return found


def check_result(
    metrics: Mapping[str, Any], evidence: Mapping[str, Any], samples: Mapping[str, np.ndarray]
) -> None:
    """Refuse a result with NaN or infinity anywhere; what is not defined has to be None.

    Raises:
        NotFiniteError: With the name of the metric, fact or per-example column.
    """
    for kind, record in (("metric", metrics), ("evidence", evidence)):
        if what := value_not_finite(record):
            raise NotFiniteError(f"the {kind} {what} is not finite")
    for name, column in samples.items():
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            wrong = int((~np.isfinite(column)).sum())
            raise NotFiniteError(
                f"the column {name} of samples has {wrong} of {column.size} values that are not "
                f"finite"
            )
