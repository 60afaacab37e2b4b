"""What thieves have in common: asking the target, and a network to learn from the answers."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.attacks.protocol import AttackerData
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.seeds import generator, seeded
from harness.target import BlackBox
from harness.types import Access
from zoo import nets
from zoo.errors import ZooError


def check(architecture: str | None, dataset: Dataset, *, role: str = "surrogate") -> None:
    """Refuse a surrogate, or whatever ``role`` names, that cannot be trained on ``dataset``.

    Raises:
        ZooError: There is no such architecture, or its input or its classes do not fit.
    """
    if architecture is not None:  # the target's own always fits
        _check(architecture, dataset.input_shape, dataset.num_classes, role)


@lru_cache
def _check(architecture: str, input_shape: tuple[int, ...], num_classes: int, role: str) -> None:
    # Without memory or arithmetic, so that a plan can afford it, and as in training, where some
    # networks give more than their logits.
    with torch.device("meta"), seeded("surrogate"):
        net = nets.skeleton(architecture, input_shape, num_classes)
        shape = "x".join(map(str, input_shape))
        try:
            answers = net(torch.zeros(2, *input_shape))
        except Exception as problem:  # libraries refuse an input in any way
            raise ZooError(
                f"The {role} {architecture} cannot take inputs of {shape}: {problem}. Choose "
                f"another architecture."
            ) from problem
    if not isinstance(answers, Tensor) or answers.shape != (2, num_classes):
        raise ZooError(
            f"The {role} wants one logit for each of {num_classes} classes, but {architecture} "
            f"gives something else in training. Choose another architecture."
        )


def build(architecture: str | None, data: AttackerData, seed: int) -> nn.Module:
    """A fresh surrogate on the CPU, of the target's architecture if none is given."""
    with seeded("surrogate", seed):
        return nets.build(architecture or data.architecture, data.input_shape, data.num_classes)


def choice(n: int, budget: int | None, seed: int) -> Tensor:
    """Which of ``n`` inputs are asked about: a random ``budget`` of them in their order, or all.

    In their order, so that who asks about all of them learns from the same batches as who learns
    from their labels.
    """
    order = torch.randperm(n, generator=generator("queries", seed))
    return order[:budget].sort().values


def ask(target: BlackBox, x: Tensor) -> Tensor:
    """The best answers that are granted: scores (n, num_classes), or labels (n,) int64."""
    return target.scores(x) if target.access.grants(Access.SCORES) else target.labels(x)


def probabilities(answers: Tensor, num_classes: int) -> Tensor:
    """Answers as probabilities (n, num_classes): a label is certain."""
    return F.one_hot(answers, num_classes).float() if answers.dim() == 1 else answers


def squared_error(model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
    """Mean squared difference of the probabilities, for each example (b,)."""
    scores = model(batch.x).softmax(1)
    return (scores - probabilities(batch.y, scores.shape[1])).square().mean(1)
