"""Attribute inference by a classifier that is trained on the attacker's own records.

What differs between the attacks is what they see of a record in the target's answer. The same
classifier without that is the imputation that they have to beat.

References:
    Liu et al. (2022). ML-Doctor: Holistic Risk Assessment of Inference Attacks Against Machine
    Learning Models. USENIX Security.
    Jayaraman and Evans (2022). Are Attribute Inference Attacks Just Imputation? CCS.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from harness.attacks.shared import convergence
from harness.attacks.shared.attacker_data import Knowledge, Records
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.learning.fit import fit
from harness.seeds import derive, generator, seeded
from harness.target import BlackBox
from harness.types import Aux, Risk
from zoo.errors import ZooError
from zoo.nets.sequential import mlp
from zoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class AttributeClassifier(ABC):
    """A perceptron with one hidden layer, from what is seen and known of a record to its attribute.

    Attributes:
        attribute: Name of the attribute; the dataset's first if not given.
        knows: What the attacker knows of each record anyway: all its ``features`` and the label,
            as whoever asks about it does; its true ``label``, or ``nothing``.
        samples: How many of its own records the attacker uses; all if not given.
        hidden: Units of the hidden layer.
        lr: Learning rate of Adam.
        epochs: Passes over the attacker's records.
        batch_size: Records per step. If not given it is 64, or a hundredth of the records where
            that is more.
    """

    name: ClassVar[str]
    risk: ClassVar[Risk] = Risk.ATTRIBUTE_INFERENCE
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW, Aux.PARTIAL)

    attribute: str | None = None
    knows: Knowledge = "features"
    samples: int | None = None
    hidden: int = 64
    lr: float = 1e-3  # Liu et al. 2022, who do not give the width and the batch size
    epochs: int = 50  # Liu et al. 2022
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("samples", "hidden"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ZooError(f"{self.name} wants {name} of at least 1, found {value}.")
        self.recipe(1)

    def recipe(self, records: int) -> Recipe:
        """How the classifier is trained on so many records."""
        batch_size = self.batch_size
        if batch_size is None:  # many records make the steps better, not more
            batch_size = max(64, math.ceil(records / 100))
        return Recipe(optimizer="adam", lr=self.lr, epochs=self.epochs, batch_size=batch_size)

    def resolve(self, dataset: Dataset) -> Self:
        """Write the attribute as the dataset does; its first one if none is given.

        Raises:
            NotApplicableError: The dataset has no attributes.
            ZooError: The dataset does not have this one.
        """
        return replace(self, attribute=dataset.attribute_name(self.attribute))

    @abstractmethod
    def see(self, target: BlackBox, x: Tensor) -> Tensor:
        """What the target gives away of inputs ``x`` (n, ...): numbers (n, width)."""

    def run(self, target: BlackBox, data: Records, *, seed: int) -> Tensor:
        """How likely each record has each value, (points, num_values); each row sums to 1."""
        own, points, z = self._records(data, seed)
        seen = torch.cat([self.see(target, own.x), data.seen])
        parts = [seen, *_known(self.knows, own, points, data)]
        own_scores, scores = self._infer(parts, z, data, seed).tensor_split([len(z)])
        wanted = F.one_hot(z, data.num_values)
        convergence.fits(data, "the classifier of the attribute", own_scores, wanted)
        return scores

    def impute(self, data: Records, *, knows: Knowledge, seed: int) -> Tensor:
        """The same from what is known of each record alone: the attack without the model."""
        own, points, z = self._records(data, seed)
        return self._infer(_known(knows, own, points, data), z, data, seed)[len(z) :]

    def _records(self, data: Records, seed: int) -> tuple[Split, Split, Tensor]:
        """The attacker's records that it uses, those in question, and the former's attribute."""
        order = torch.randperm(len(data.aux), generator=generator("records", seed))
        index = order[: self.samples].to(data.aux_z.device)
        return data.aux.take(index), data.points, data.aux_z[index]

    def _infer(self, parts: list[Tensor], z: Tensor, data: Records, seed: int) -> Tensor:
        """Train on the first ``len(z)`` rows of ``parts`` side by side; infer all rows."""
        n = len(z)
        # What is the same for all of the attacker's records teaches nothing. Without it, a model
        # that gives nothing away leaves the very classifier of the imputation.
        parts = [part[:, (part[:n] != part[0]).any(0)] for part in parts]
        if not any(part.shape[1] for part in parts):
            prior = z.bincount(minlength=data.num_values).double() / n
            return prior.expand(n + len(data.points), -1)
        inputs = torch.cat(parts, dim=1).double()  # of a small float32 the square may be 0
        inputs = ((inputs - inputs[:n].mean(0)) / inputs[:n].std(0)).float()
        with seeded("attribute", seed):
            model = mlp((inputs.shape[1],), data.num_values, hidden=(self.hidden,))
        fit(
            model.to(inputs.device),
            Split(inputs[:n], z),
            self.recipe(n),
            seed=derive("attribute", seed),
        )
        with torch.no_grad():
            return model(inputs).double().softmax(1)


def _known(knows: Knowledge, own: Split, points: Split, data: Records) -> list[Tensor]:
    """What is known of both kinds of records anyway, as columns."""
    if knows == "nothing":
        return []
    labels = F.one_hot(torch.cat([own.y, points.y]), data.num_classes).float()
    if knows == "label":
        return [labels]
    return [labels, torch.cat([own.x, points.x]).flatten(1)]
