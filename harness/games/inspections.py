"""Inspections of models, each made once where several cells ask for the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import nn

from harness.batches import parts
from harness.defenses.protocol import InspectsModels
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.inspection import Inspection


def inspected(defense: InspectsModels, model: nn.Module, defender: DefenderData) -> Inspection:
    """The verdict of ``defense`` on ``model``, which is in eval mode with frozen parameters.

    The attacks of one seed share their clean twin, and inspecting a model can take longer than
    training it: cells that follow one another get the verdict that the first of them paid for.
    """
    sha = hashlib.sha256(f"{defender.num_classes} {defender.seed}".encode())
    for tensor in _facts(model, defender):
        sha.update(str(tuple(tensor.shape)).encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return _inspection(_Question(defense, sha.hexdigest(), model, defender))


@torch.no_grad()
def _facts(model: nn.Module, defender: DefenderData) -> Iterator[torch.Tensor]:
    """What an inspection depends on: weights, trusted examples, and what the one says of those."""
    yield from model.state_dict().values()
    yield defender.trusted.x
    yield defender.trusted.y
    for part in parts(defender.trusted.x):
        yield model(part)


@dataclass(frozen=True)
class _Question:
    defense: InspectsModels
    digest: str
    model: nn.Module = field(compare=False)
    defender: DefenderData = field(compare=False)


@lru_cache(maxsize=4)
def _inspection(question: _Question) -> Inspection:
    return question.defense.inspect(question.model, question.defender)
