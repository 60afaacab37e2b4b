"""Knowledge distillation: the model learns from a teacher's answers more than from the labels.

References:
    Hinton, Vinyals and Dean (2015). Distilling the Knowledge in a Neural Network.
    Liu et al. (2022). ML-Doctor: Holistic Risk Assessment of Inference Attacks Against Machine
    Learning Models. USENIX Security.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.attacks.shared import surrogate
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.learning.fit import fit
from harness.seeds import derive, seeded
from harness.types import Part, Risk
from zoo import nets
from zoo.errors import ZooError
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from harness.learning.fit import InputsOf


@dataclass(frozen=True, kw_only=True)
class KnowledgeDistillation:
    """Train a teacher, then the model on its softened answers.

    The teacher is trained like the model, on the same data, and seen by nobody afterwards. The
    defaults are ML-Doctor's.

    Attributes:
        teacher: Architecture of the teacher, which starts at random; the model's own if not given,
            and then it starts from the same weights as the model.
        temperature: Divides the logits of both before they are compared.
        alpha: Weight of the teacher's answers in the loss, the rest is the labels'.
    """

    name: ClassVar[str] = "knowledge-distillation"
    guards: ClassVar[Risk] = Risk.MEMBERSHIP_INFERENCE
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.LOSS})
    looks_at: ClassVar[str] = "the training examples, on which its teacher is trained"
    reference: ClassVar[str] = "Hinton et al. (2015), https://arxiv.org/abs/1503.02531"

    teacher: str | None = None
    temperature: float = 20.0
    alpha: float = 0.7

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ZooError(
                f"knowledge-distillation wants temperature above 0, found {self.temperature}."
            )
        if not 0 <= self.alpha <= 1:
            raise ZooError(
                f"knowledge-distillation wants alpha from 0 to 1, found {self.alpha}: it is the "
                f"teacher's share of the loss."
            )

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse a teacher that cannot be trained on ``dataset``."""
        surrogate.check(self.teacher, dataset, role="teacher")
        return self

    def fit(
        self,
        model: nn.Module,
        data: Split,
        recipe: Recipe,
        *,
        seed: int,
        inputs: InputsOf | None = None,
    ) -> dict[str, Any]:
        """Train a teacher, then ``model`` in place.

        Args:
            model: On the device of ``data``.
            data: The training data, of both.
            recipe: How to train, both.
            seed: Of all randomness.
            inputs: Another defense's change to the inputs of each step, of both.
        """
        teacher = self._untrained(model, data, seed)
        fit(teacher, data, recipe, seed=derive("teacher", seed), inputs=inputs)
        teacher.requires_grad_(False)

        def loss(model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
            return self.distance(model(batch.x), teacher(batch.x), batch.y)

        fit(model, data, recipe, seed=seed, inputs=inputs, loss=loss)
        return {}

    def distance(self, logits: Tensor, teacher: Tensor, y: Tensor) -> Tensor:
        """The loss of each example (b,).

        Args:
            logits: Of the model, (b, k).
            teacher: Logits of the teacher, (b, k).
            y: Labels (b,).
        """
        softened = F.kl_div(
            (logits / self.temperature).log_softmax(1),
            (teacher / self.temperature).log_softmax(1),
            reduction="none",
            log_target=True,
        ).sum(1)
        # Gradients of softened answers are smaller by the square of the temperature.
        return self.alpha * self.temperature**2 * softened + (1 - self.alpha) * F.cross_entropy(
            logits, y, reduction="none"
        )

    def _untrained(self, model: nn.Module, data: Split, seed: int) -> nn.Module:
        if self.teacher is None:
            return copy.deepcopy(model)
        assert isinstance(model, nets.Scaled), "models are trained with their scaling built in"
        with seeded("teacher", seed):
            shape = tuple(data.x.shape[1:])
            with torch.no_grad():
                classes = copy.deepcopy(model).eval()(data.x[:1]).shape[1]
            net = nets.build(self.teacher, shape, classes)
            mean, std = (stat.flatten().tolist() for stat in (model.mean, model.std))
            return nets.Scaled(net, mean, std, shape).to(data.x.device)
