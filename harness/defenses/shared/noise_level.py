"""How much Gaussian noise a defense puts on inputs: for training with it and for voting over it."""

from __future__ import annotations

from harness.data.dataset import Dataset
from zoo.errors import ZooError


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
