"""Noise augmentation: every step trains on inputs with fresh Gaussian noise.

By itself it smooths the model a little; with randomized smoothing over it, it is how the smoothed
model comes to know noisy inputs.

References:
    Zantedeschi, Nicolae and Rawat (2017). Efficient Defenses Against Adversarial Attacks. AISec.
    Cohen, Rosenfeld and Kolter (2019). Certified Adversarial Robustness via Randomized Smoothing.
    ICML.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from harness.attacks.shared import tabular_perturbation
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.defenses.shared.noise_level import check_sigma, customary_sigma
from harness.types import Covered, Part, Risk


@dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """Train on inputs with Gaussian noise, not clipped to the pixel range (Cohen et al. 2019).

    Of a table, the numbers get noise and the categories stay.

    Attributes:
        sigma: Standard deviation in units of the pixel range; half the dataset's customary L2
            radius if not given, as for randomized smoothing.
    """

    name: ClassVar[str] = "gaussian-noise"
    guards: ClassVar[Risk] = Risk.EVASION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.INPUTS})
    looks_at: ClassVar[Covered] = Covered.PER_EXAMPLE
    reference: ClassVar[str] = "Zantedeschi et al. (2017), https://arxiv.org/abs/1707.06728"

    sigma: float | None = None

    def __post_init__(self) -> None:
        check_sigma(self.name, self.sigma)

    def resolve(self, dataset: Dataset) -> Self:
        """Fill in the noise that goes with the dataset.

        Raises:
            NotApplicableError: The dataset has nothing that noise could be added to.
        """
        tabular_perturbation.check(self.name, dataset)
        return replace(self, sigma=customary_sigma(self.sigma, dataset))

    def inputs(self, model: nn.Module, batch: Split, stream: torch.Generator) -> Tensor:
        """Noisy inputs in place of ``batch.x``, same shape."""
        x = batch.x
        assert self.sigma is not None, "resolve() first"
        noise = torch.randn(x.shape, generator=stream).to(x.device)
        return x + self.sigma * noise * tabular_perturbation.movable(x, batch.columns)
