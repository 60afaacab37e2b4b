"""Model inversion for tables: for each class, search for rows that the target calls that class.

References:
    Fredrikson, Jha and Ristenpart (2015). Model Inversion Attacks that Exploit Confidence
        Information and Basic Countermeasures. CCS.
    Vero et al. (2023). TabLeak: Tabular Data Leakage in Federated Learning. ICML. (Categories as
        probabilities while searching.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from harness.attacks.protocol import AttackerData
from harness.attacks.shared import perturbation
from harness.data.dataset import Dataset
from harness.data.examples import Column
from harness.data.random_inputs import with_imputed
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Access, Aux, Risk, UnfitError
from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class TabularInversion:
    """Search for rows that could be in the table: one value per category, numbers in their range.

    While searching, a categorical column is a softmax over its values, and a number a sigmoid. In
    the end the likeliest value is taken. Every row starts elsewhere, and moves until the target is
    as sure of its class as the threshold says.

    Attributes:
        samples: Rows of each class.
        threshold: Probability of the class at which a row is left as it is.
        steps: Steps of Adam at most.
        lr: Its learning rate, on the logits.
    """

    name: ClassVar[str] = "tabular-inversion"
    risk: ClassVar[Risk] = Risk.DATA_RECONSTRUCTION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.NONE,)
    reference: ClassVar[str] = "Vero et al. (2023), https://arxiv.org/abs/2210.01785"

    samples: int = 16
    threshold: float = 0.999
    steps: int = 500
    lr: float = 0.05

    def __post_init__(self) -> None:
        perturbation.check_counts(self, "samples", "steps")
        if not self.lr > 0:
            raise ZooError(f"tabular-inversion wants lr above 0, found {self.lr}.")
        if not 0 < self.threshold <= 1:
            raise ZooError(
                f"tabular-inversion wants threshold above 0 and up to 1, found {self.threshold}."
            )

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse images.

        Raises:
            NotApplicableError: The dataset has no columns.
        """
        if not dataset.columns:
            raise UnfitError(
                f"tabular-inversion wants a table, but {dataset.name} has images. Use fredrikson."
            )
        return self

    def run(self, target: BlackBox, data: AttackerData, *, seed: int) -> Tensor:
        """Rows (num_classes, samples, features) in [0, 1]."""
        model = target.model
        y = torch.arange(data.num_classes).repeat_interleave(self.samples).to(target.device)
        start = torch.randn((len(y), *data.input_shape), generator=generator("start", seed))
        logits = start.to(y.device).requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=self.lr)
        for _ in range(self.steps):
            loss = F.cross_entropy(model(soft(logits, data.columns)), y, reduction="none")
            running = loss.detach().neg().exp() < self.threshold
            (slope,) = torch.autograd.grad(loss.sum(), logits)
            before = logits.detach().clone()
            logits.grad = slope
            optimizer.step()
            with torch.no_grad():
                logits.copy_(torch.where(running[:, None], logits, before))
        return hard(logits.detach(), data.columns).unflatten(0, (data.num_classes, self.samples))


def soft(logits: Tensor, columns: Sequence[Column]) -> Tensor:
    """Rows (n, features) of probabilities of categories, and of numbers in [0, 1]."""
    return torch.cat(
        [
            part.softmax(1) if column.values else part.sigmoid()
            for column, part in _parts(logits, columns)
        ],
        dim=1,
    )


def hard(logits: Tensor, columns: Sequence[Column]) -> Tensor:
    """Rows (n, features) as they could be in the table: the likeliest value of each category."""
    found = torch.cat(
        [
            F.one_hot(part.argmax(1), part.shape[1]).to(part) if column.values else part.sigmoid()
            for column, part in _parts(logits, columns)
        ],
        dim=1,
    )
    return with_imputed(found, columns)


def _parts(logits: Tensor, columns: Sequence[Column]) -> list[tuple[Column, Tensor]]:
    return [(column, logits[:, column.start : column.stop]) for column in columns]
