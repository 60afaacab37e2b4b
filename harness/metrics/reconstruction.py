"""How much of what a model was trained on a reconstruction shows.

Every number stands beside that of the *mean image*, which is the same for all classes: it is close
to most of what is to be reconstructed, and tells nothing.

References:
    Wang et al. (2004). Image Quality Assessment: From Error Visibility to Structural Similarity.
        IEEE Transactions on Image Processing.
    Zhang et al. (2020). The Secret Revealer. CVPR. (The evaluation classifier.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.data.examples import Split

# torchmetrics is imported where it is used: it takes seconds.

WINDOW = 11
"""Pixels of the customary window of SSIM, whose Gaussian has a standard deviation of 1.5."""

EXACT = 1e-10
"""A mean squared error below which a reconstruction counts as exact: 100 dB."""


def class_means(data: Split, num_classes: int) -> Tensor:
    """The mean example of each class, (num_classes, *shape); NaN for a class without examples."""
    total = torch.zeros(num_classes, *data.x.shape[1:], device=data.x.device)
    total.index_add_(0, data.y, data.x)
    count = data.y.bincount(minlength=num_classes)
    return total / count.view(-1, *(1 for _ in data.x.shape[1:]))


def mse(found: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of each of (m, ...), (m,)."""
    return (found - truth).square().flatten(1).mean(1)


def psnr(found: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each of (m, ...) in [0, 1], (m,) in dB, at most 100."""
    return -10 * mse(found, truth).clamp_min(EXACT).log10()


def ssim(found: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of images (m, channels, height, width) in [0, 1], (m,) up to 1.

    The window is the customary Gaussian of 11x11; where a side is shorter than that, one of half
    the standard deviation, 7x7.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    sigma = 1.5 if min(found.shape[2:]) >= WINDOW else 0.75
    # Without a reduction torchmetrics gives (m,).
    value = structural_similarity_index_measure(
        found, truth, sigma=sigma, data_range=1.0, reduction="none"
    )
    assert isinstance(value, Tensor)
    return value


def correlation(found: Tensor, truth: Tensor) -> Tensor:
    """Pearson correlation over the features of each of (m, ...), (m,); 0 if one is constant."""
    a, b = (each.flatten(1).double() for each in (found, truth))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return torch.nn.functional.cosine_similarity(a, b, dim=1, eps=1e-8).float()


def nearest_distance(found: Tensor, label: Tensor, data: Split) -> Tensor:
    """L2 distance of each of (m, ...) to the nearest example of its class, (m,).

    Args:
        found: Inputs.
        label: (m,) int64, each of which ``data`` has.
        data: Examples.
    """
    # Not by way of a matrix product, which is wrong by 1e-3 where the distance is 0.
    distance = torch.cdist(
        found.flatten(1), data.x.flatten(1), compute_mode="donot_use_mm_for_euclid_dist"
    )
    return distance.masked_fill(label[:, None] != data.y[None], torch.inf).amin(1)


def reconstruction(
    found: Tensor, truth: Tensor, label: Tensor, mean_image: Tensor, data: Split
) -> dict[str, Tensor]:
    """Each reconstruction judged; the metrics are the means of these columns.

    Args:
        found: (m, *shape) in [0, 1].
        truth: (m, *shape), what each is of: the mean of a class, or an example.
        label: (m,) int64, the class of each.
        mean_image: (*shape), the mean of data of all classes.
        data: What the target was trained on.

    Returns:
        Columns (m,) ``mse``, ``ssim`` (for images), ``correlation`` and ``nearest_distance``, to
        the truth or to the nearest training example of the class, and each with ``mean_image_``
        before its name: what the mean image gets. ``centred_correlation`` is the correlation of
        what sets both apart from the mean image, which itself gets 0.
    """
    blank = mean_image.expand_as(found)
    columns = {
        "mse": mse,
        "correlation": correlation,
        "nearest_distance": lambda x, _: nearest_distance(x, label, data),
    }
    if found.dim() == 4:
        columns["ssim"] = ssim
    return {
        **{name: column(found, truth) for name, column in columns.items()},
        **{f"mean_image_{name}": column(blank, truth) for name, column in columns.items()},
        "centred_correlation": correlation(found - blank, truth - blank),
    }
