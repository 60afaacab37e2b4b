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
from harness.types import Covered, Part, Risk
from zoo.errors import ZooError


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


def customary_sigma(sigma: float | None, dataset: Dataset) -> float:
    """``sigma``, or half the dataset's customary L2 radius if it is None.

    For CIFAR-10 that is 0.25, the least of Cohen et al. (2019). A radius of twice the noise is what
    can be certified where 97.7 % of the noisy inputs get the same answer.
    """
    return dataset.epsilon["l2"] / 2 if sigma is None else sigma


def check_sigma(name: str, sigma: float | None) -> None:
    """Refuse noise that is none.

    Raises:
        ZooError: ``sigma`` is not above 0.
    """
    if sigma is not None and not sigma > 0:
        raise ZooError(f"{name} wants sigma above 0, found {sigma}.")
