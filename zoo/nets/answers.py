"""What a network answers, where that is more than a tensor of logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError

PROBABILITIES, ONE_LOGIT, ONE_PROBABILITY = "probabilities", "one-logit", "one-probability"
LOGITS = "logits"
KINDS = (LOGITS, PROBABILITIES, ONE_LOGIT, ONE_PROBABILITY)
"""What the numbers in an answer are; the last two are of the second of two classes."""


def logits_of(answer: Any) -> Tensor:
    """The logits in a network's answer: itself, its field ``logits``, or the first of several.

    Args:
        answer: A tensor; a mapping or an object with ``logits``, as Hugging Face's networks give;
            or a tuple or list, as networks with auxiliary classifiers give, whose first are the
            logits.

    Raises:
        ZooError: There is nothing of these.
    """
    if isinstance(answer, Tensor):
        return answer
    if isinstance(answer, Mapping) and "logits" in answer:
        return logits_of(answer["logits"])
    found = getattr(answer, "logits", None)
    if found is not None:
        return logits_of(found)
    if isinstance(answer, tuple | list) and answer:
        return logits_of(answer[0])
    raise ZooError(
        f"A network has to answer with a tensor of logits, with something that has `logits`, or "
        f"with a tuple that begins with them, but it answered with {type(answer).__name__}. "
        "Give it a forward that returns one of these."
    )


def as_logits(answer: Any, kind: str = LOGITS) -> Tensor:
    """Logits (n, num_classes) that give the same probabilities as a network's answer.

    Args:
        answer: As of `logits_of`; (n, num_classes), or (n,) or (n, 1) if it is one number.
        kind: One of `KINDS`.
    """
    found = logits_of(answer)
    if kind == LOGITS:
        return found
    if kind == PROBABILITIES:
        return _log(found)
    one = found.reshape(len(found))
    if kind == ONE_LOGIT:
        return torch.stack([torch.zeros_like(one), one], dim=1)
    return torch.stack([_log(1 - one), _log(one)], dim=1)


def _log(probabilities: Tensor) -> Tensor:
    """Finite also where a probability was rounded to 0, so that it can be differentiated."""
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def kind_of(answer: Any, num_classes: int) -> str | None:
    """What the numbers in an answer seem to be.

    Args:
        answer: Of a network to many inputs, in evaluation mode.
        num_classes: How many classes there are.

    Returns:
        One of `KINDS`; None for one number that is always in [0, 1], which both a logit and a
        probability may be.

    Raises:
        ZooError: They are another number than the classes, or not finite.
    """
    found = logits_of(answer)
    if not found.is_floating_point() or found.dim() not in (1, 2):
        raise ZooError(
            f"The network answers with {str(found.dtype).removeprefix('torch.')} of shape "
            f"{tuple(found.shape)}. Wanted: a real number for each of {num_classes} classes."
        )
    width = 1 if found.dim() == 1 else found.shape[1]
    if width != num_classes and not (width == 1 and num_classes == 2):
        raise ZooError(
            f"The network gives {width:,} number{'s' * (width > 1)} for each input, and the "
            f"dataset has {num_classes:,} classes. Name the dataset that it was trained on."
        )
    if not bool(found.isfinite().all()):
        raise ZooError(
            "The network answers with NaN or infinity to inputs in [0, 1]. Say how its input is "
            "scaled with --mean and --std, or give other weights."
        )
    shares = bool((found >= 0).all()) and bool((found <= 1).all())
    if width == 1:
        return None if shares else ONE_LOGIT
    summed = bool(((found.sum(1) - 1).abs() < 1e-3).all())
    return PROBABILITIES if shares and summed else LOGITS
