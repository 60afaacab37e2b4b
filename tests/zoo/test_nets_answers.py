"""Logits in what a network answers."""

from types import SimpleNamespace

import pytest
import torch

from zoo.errors import ZooError
from zoo.nets import logits_of

LOGITS = torch.tensor([[1.0, 2.0]])
OTHER = torch.zeros(1, 7)


@pytest.mark.parametrize(
    "answer",
    [
        LOGITS,
        (LOGITS, OTHER),
        [LOGITS, OTHER],
        {"aux": OTHER, "logits": LOGITS},
        SimpleNamespace(hidden=OTHER, logits=LOGITS),
        ({"logits": LOGITS}, OTHER),
    ],
)
def test_they_are_found(answer: object) -> None:
    assert logits_of(answer) is LOGITS


@pytest.mark.parametrize("answer", [None, (), {"scores": LOGITS}, 3.0])
def test_what_has_none_is_refused_with_what_it_is(answer: object) -> None:
    with pytest.raises(ZooError, match=type(answer).__name__):
        logits_of(answer)
