"""What a network answers, where that is more than a tensor of logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from zoo.errors import ZooError


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
