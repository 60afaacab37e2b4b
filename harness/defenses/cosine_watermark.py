"""A watermark in what the model says of real images, so that a copy of its scores carries it along.

Jia et al. (2021) entangle a trigger with the task, because a thief's queries never hit an unrelated
trigger set. On small networks their trigger does not get into a copy either. What a thief who
trains on the scores cannot avoid is the scores themselves: here the training labels of each image
give some probability to the wrong classes, as a secret function of the image says (a cosine of a
random projection, one for each class, as Charette et al. add it to the answers). The model learns
it together with the task, on the same inputs and with the same features, and its answers stay the
same. A thief who is shown labels only does not get it.

To a model that was made without it, the owner's function is one of many. Its correlation with the
scores on fresh images is compared with that of other functions from the same draw: the p-value is
the rank, and it is exact whatever the model.

References:
    Jia et al. (2021). Entangled Watermarks as a Defense against Model Extraction. USENIX Security.
    Charette et al. (2022). Cosine Model Watermarking Against Ensemble Distillation. AAAI.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from harness.data.examples import Split
from harness.defenses.shared.ownership import Owner
from harness.learning.features import evaluating
from harness.learning.fit import fit
from harness.metrics.ownership import Verification
from harness.seeds import generator
from harness.target import BlackBox
from harness.types import Part, Risk, UnfitError
from zoo.errors import ZooError
from zoo.recipe import Recipe

if TYPE_CHECKING:
    from harness.data.dataset import Dataset
    from harness.learning.fit import InputsOf

SHARPNESS = 2.0
"""Of the distribution over the wrong classes: it is proportional to exp(SHARPNESS * cosine)."""


@dataclass(frozen=True, kw_only=True)
class CosineWatermark:
    """Teach the model a secret preference among the wrong classes, and look for it in the scores.

    Needs at least three classes: with two there is only one wrong one.

    Attributes:
        weight: Probability that the wrong classes get together in a training label.
        frequency: Standard deviation of a projection's weights, times the square root of the
            number of pixels: larger is harder to learn and less like what models do anyway.
        images: How many unseen images a suspect is asked about, at most.
        decoys: Other functions that the owner's is compared with; the p-value is at least
            1 / (decoys + 1).
        independents: How many independent models the false claims are counted on.
    """

    name: ClassVar[str] = "cosine-watermark"
    guards: ClassVar[Risk] = Risk.EXTRACTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.LOSS, Part.GRADIENTS, Part.EVIDENCE})
    looks_at: ClassVar[str] = "the training examples, on which it trains with a loop of its own"
    reference: ClassVar[str] = "Charette et al. (2022), https://arxiv.org/abs/2203.02777"

    weight: float = 0.3
    frequency: float = 6.0
    images: int = 500
    decoys: int = 999
    independents: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.weight < 0.5:
            raise ZooError(
                f"cosine-watermark wants weight in (0, 0.5), found {self.weight}: with more, "
                f"the wrong classes could win."
            )
        if not 0 < self.frequency < math.inf:
            raise ZooError(f"cosine-watermark wants frequency above 0, found {self.frequency}.")
        for name in ("images", "decoys", "independents"):
            if getattr(self, name) < 1:
                raise ZooError(
                    f"cosine-watermark wants {name} of at least 1, found {getattr(self, name)}."
                )

    def resolve(self, dataset: Dataset) -> Self:
        """Refuse a dataset with too few classes.

        Raises:
            NotApplicableError: There are fewer than three.
        """
        _need_classes(dataset.num_classes)
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
        """Train ``model`` in place on labels that carry the watermark.

        Raises:
            NotApplicableError: There are fewer than three classes.
        """
        with torch.no_grad(), evaluating(model):
            num_classes = model(data.x[:1]).shape[1]
        key = self._key(data.x, num_classes, generator("watermark key", seed))

        def loss(model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
            x, y = batch.x, batch.y
            wrong = (SHARPNESS * key(x)).exp().scatter(1, y[:, None], 0.0)
            right = F.one_hot(y, num_classes) * (1 - self.weight)
            targets = right + self.weight * wrong / wrong.sum(1, keepdim=True)
            return F.cross_entropy(model(x), targets, reduction="none")

        fit(model, data, recipe, seed=seed, inputs=inputs, loss=loss)
        return {"watermark_weight": self.weight}

    def verifier(self, owner: Owner) -> Callable[[BlackBox], Verification]:
        """Ranks the owner's function among decoys; ``statistic`` is its correlation."""
        x, y = owner.unseen.x[: self.images], owner.unseen.y[: self.images]
        classes, seed = owner.defender.num_classes, owner.defender.seed
        decoys = generator("watermark decoys", seed)
        streams = [generator("watermark key", seed), *[decoys] * self.decoys]
        keys = torch.stack([_preference(self._key(x, classes, s)(x), y) for s in streams])

        def verify(suspect: BlackBox) -> Verification:
            found = keys @ _preference(suspect.scores(x).clamp_min(1e-6).log(), y)
            return Verification(
                p_value=float((found[1:] >= found[0]).sum() + 1) / (self.decoys + 1),
                statistic=float(found[0]),
            )

        return verify

    def _key(
        self, like: Tensor, num_classes: int, stream: torch.Generator
    ) -> Callable[[Tensor], Tensor]:
        """A secret function of images (n, ...), in [-1, 1] for each class (n, num_classes)."""
        _need_classes(num_classes)
        pixels = like[0].numel()
        weights = torch.randn((pixels, num_classes), generator=stream)
        weights = (weights * self.frequency / math.sqrt(pixels)).to(like.device)
        phases = (torch.rand(num_classes, generator=stream) * 2 * math.pi).to(like.device)
        return lambda x: (x.flatten(1) @ weights + phases).cos()


def _need_classes(num_classes: int) -> None:
    if num_classes < 3:
        raise UnfitError(
            f"cosine-watermark hides in the probabilities of the wrong classes, so it wants "
            f"at least 3 classes, found {num_classes}."
        )


def _preference(values: Tensor, y: Tensor) -> Tensor:
    """What ``values`` (n, classes) say of the wrong classes of each image, as a unit vector.

    Neither how confident the model is of an image counts, nor that some classes look alike: each
    image's values have mean 0 over the wrong classes, then each pair of classes over the images.
    """
    right = F.one_hot(y, values.shape[1]).bool()
    values = values.masked_fill(right, 0.0)
    values = values - values.sum(1, keepdim=True) / (values.shape[1] - 1)
    counts = right.sum(0).clamp_min(1)
    means = (right.to(values.dtype).T @ values) / counts[:, None]
    flat = (values - means[y]).masked_fill(right, 0.0).flatten()
    return flat / flat.norm().clamp_min(1e-12)
