"""A thief who has the weights removes the smallest, so that marks of their owner go with them.

References:
    Han et al. (2015). Learning both Weights and Connections for Efficient Neural Networks. NeurIPS.
    Uchida et al. (2017). Embedding Watermarks into Deep Neural Networks. ICMR.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from torch.nn.utils import prune

from harness.attacks.protocol import AuxiliaryData
from harness.attacks.shared import convergence
from harness.learning.fit import fit
from harness.seeds import derive
from harness.target import BlackBox
from harness.types import Access, Aux, Risk
from zoo.errors import ZooError
from zoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """Set the smallest weights of a stolen model to 0, and train the others further if asked to.

    Magnitudes are compared over all layers together. Biases and normalisation are left alone.

    Attributes:
        share: Of the weights that are removed.
        epochs: Passes over the thief's data afterwards, in which removed weights stay 0; 0 for
            none.
        lr: Learning rate of SGD with momentum .9 in these.
        batch_size: Examples per step.
    """

    name: ClassVar[str] = "pruning"
    risk: ClassVar[Risk] = Risk.EXTRACTION
    access: ClassVar[tuple[Access, ...]] = (Access.WEIGHTS,)
    aux: ClassVar[tuple[Aux, ...]] = (Aux.SHADOW, Aux.PARTIAL)
    reference: ClassVar[str] = "Han et al. (2015), https://arxiv.org/abs/1506.02626"

    share: float = 0.5
    epochs: int = 0
    lr: float = 0.01
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ZooError(f"pruning wants a share of at least 0 and below 1, found {self.share}.")
        if self.epochs < 0:
            raise ZooError(f"pruning wants epochs of at least 0, found {self.epochs}.")
        _ = self._recipe(max(self.epochs, 1))

    def _recipe(self, epochs: int) -> Recipe:
        return Recipe(
            optimizer="sgd", lr=self.lr, momentum=0.9, epochs=epochs, batch_size=self.batch_size
        )

    def run(self, target: BlackBox, data: AuxiliaryData, *, seed: int) -> nn.Module:
        """The altered copy, in eval mode; the target is left as it is."""
        stolen = copy.deepcopy(target.model).requires_grad_(True)
        # Gradients pass through the mask, so removed weights stay removed in training.
        pruned = [
            (module, "weight")
            for module in stolen.modules()
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
        ]
        if not pruned:
            return stolen
        prune.global_unstructured(pruned, prune.L1Unstructured, amount=self.share)
        if self.epochs:
            fit(stolen, data.aux, self._recipe(self.epochs), seed=derive("pruning", seed))
            convergence.classifies(data, "the stolen model", stolen, data.aux.x, data.aux.y)
        for module, name in pruned:
            prune.remove(module, name)
        return stolen.eval()
