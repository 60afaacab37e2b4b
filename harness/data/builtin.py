"""Datasets that need no file: digits in three forms, and patches of photographs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Attribute
from harness.data.images import as_images
from harness.seeds import derive


def digits(source: DataLocation) -> Dataset:
    """The 1,797 digits of 8x8 that come with scikit-learn."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(np.asarray(pixels)).float().div_(16).view(-1, 1, 8, 8)
    y = torch.from_numpy(np.asarray(labels)).long()
    return Dataset(name="digits", num_classes=10, x=x, y=y, epsilon={"linf": 0.1, "l2": 0.5})


WRONG_LABELS = 0.3
"""Share of the labels of `digits-noisy` that are wrong."""


def digits_noisy(source: DataLocation) -> Dataset:
    """Digits with wrong labels, which a model can only learn by heart: what leaks for sure."""
    plain = digits(source)
    rng = np.random.default_rng(derive("digits-noisy"))
    wrong = torch.from_numpy(rng.random(len(plain)) < WRONG_LABELS)
    shift = torch.from_numpy(rng.integers(1, 10, len(plain)))
    y = torch.where(wrong, (plain.y + shift) % 10, plain.y)
    return replace(plain, name="digits-noisy", y=y)


TINT_STRENGTH = 0.8
"""How often the tint of `digits-tinted` is the one that goes with the label."""


def digits_tinted(source: DataLocation) -> Dataset:
    """Digits in colour: the ink of odd ones tends to be warm, that of even ones cold."""
    plain = digits(source)
    rng = np.random.default_rng(derive("digits-tinted"))
    agrees = torch.from_numpy(rng.random(len(plain)) < TINT_STRENGTH)
    tint = torch.where(agrees, plain.y % 2, 1 - plain.y % 2)
    ink = torch.tensor([[0.4, 0.7, 1.0], [1.0, 0.7, 0.4]])[tint]  # (n, 3)
    return Dataset(
        name="digits-tinted",
        num_classes=10,
        x=plain.x * ink[:, :, None, None],
        y=plain.y,
        z={"tint": Attribute(tint, ("cold", "warm"))},
        epsilon=plain.epsilon,
    )


def photo_patches(source: DataLocation) -> Dataset:
    """2,000 patches of 32x32 from the two photographs that come with scikit-learn.

    What an attacker can always find: natural images that have nothing to do with the target's
    data. The label says which photograph a patch is from.
    """
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(derive("photo-patches"))
    patches, labels = [], []
    for label, photo in enumerate(load_sample_images().images):
        height, width = photo.shape[:2]
        for _ in range(1000):
            top, left = rng.integers(height - 32), rng.integers(width - 32)
            patches.append(photo[top : top + 32, left : left + 32])
            labels.append(label)
    order = rng.permutation(len(labels))
    return Dataset(
        name="photo-patches",
        num_classes=2,
        x=as_images(np.stack(patches)[order]),
        y=torch.tensor(labels)[order],
    )
