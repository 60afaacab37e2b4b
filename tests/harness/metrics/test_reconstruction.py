"""Numbers of reconstructions against hand-worked ones and separately written formulas."""

import numpy as np
import pytest
import torch

from harness.data.examples import Split
from harness.metrics.reconstruction import (
    class_means,
    correlation,
    mse,
    nearest_distance,
    psnr,
    reconstruction,
    ssim,
)


def test_class_means_by_hand() -> None:
    data = Split(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, 0.0]]), torch.tensor([0, 2, 2]))
    means = class_means(data, 3)
    assert torch.equal(means[[0, 2]], torch.tensor([[0.0, 1.0], [0.75, 0.0]]))
    assert means[1].isnan().all()


def test_errors_by_hand() -> None:
    truth = torch.full((2, 1, 4, 4), 0.5)
    found = truth + torch.tensor([0.1, 0.0]).view(2, 1, 1, 1)
    assert mse(found, truth) == pytest.approx(torch.tensor([0.01, 0.0]))
    assert psnr(found, truth) == pytest.approx(torch.tensor([20.0, 100.0]), abs=1e-4)


def _ssim(a: np.ndarray, b: np.ndarray, sigma: float) -> float:
    """Of one channel, after Wang et al. (2004), equations 13 to 16, with scipy's Gaussian."""
    from scipy.ndimage import gaussian_filter

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, sigma, mode="mirror", truncate=3.5)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float((above / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


@pytest.mark.parametrize(("shape", "sigma"), [((1, 8, 8), 0.75), ((3, 28, 20), 1.5)])
def test_similarity_of_images_is_that_of_images(shape, sigma) -> None:
    stream = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, *shape, generator=stream)
    a, b = a / 2, 0.35 * a + 0.15 * b  # the range is that of pixels, not of these images
    expected = [
        np.mean([_ssim(one, other, sigma) for one, other in zip(x, y, strict=True)])
        for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True)
    ]
    assert ssim(a, b).numpy() == pytest.approx(np.array(expected), abs=1e-4)
    assert ssim(a, a).numpy() == pytest.approx(np.ones(3))
    # An image on its side is the same image on its side, which it would not be if rows were
    # channels.
    assert ssim(a.mT, b.mT).numpy() == pytest.approx(ssim(a, b).numpy(), abs=1e-5)


def test_correlation_is_pearsons() -> None:
    stream = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 4, 3, 5, generator=stream)
    expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)]
    assert correlation(a, b).numpy() == pytest.approx(np.array(expected), abs=1e-6)
    assert correlation(a, -2 * a + 1).numpy() == pytest.approx(-np.ones(4))
    assert torch.equal(correlation(torch.full_like(a, 0.3), a), torch.zeros(4))


def test_the_nearest_example_is_of_the_same_class() -> None:
    data = Split(torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.3, 0.4]]), torch.tensor([0, 0, 1]))
    found = torch.tensor([[0.3, 0.4], [0.3, 0.4]])
    distance = nearest_distance(found, torch.tensor([0, 1]), data)
    assert distance == pytest.approx(torch.tensor([0.5, 0.0]))
    copies = torch.rand(30, 784, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(30, dtype=torch.int64)
    assert not nearest_distance(copies, label, Split(copies, label)).any()


def test_the_mean_image_gains_nothing_and_the_truth_everything() -> None:
    stream = torch.Generator().manual_seed(0)
    data = Split(torch.rand(20, 1, 8, 8, generator=stream), torch.arange(20) % 2)
    label, mean_image = torch.tensor([0, 1]), data.x.mean(0)
    truth = class_means(data, 2)
    blank = reconstruction(mean_image.expand_as(truth), truth, label, mean_image, data)
    exact = reconstruction(truth, truth, label, mean_image, data)
    for name in ("mse", "ssim", "correlation", "nearest_distance"):
        assert torch.equal(blank[name], blank[f"mean_image_{name}"])
        assert torch.equal(exact[f"mean_image_{name}"], blank[name])
    assert torch.equal(blank["centred_correlation"], torch.zeros(2))
    assert exact["centred_correlation"] == pytest.approx(torch.ones(2))
    assert torch.equal(exact["mse"], torch.zeros(2))


def test_a_row_of_a_table_has_no_similarity_of_images() -> None:
    data = Split(torch.rand(6, 5), torch.arange(6) % 2)
    columns = reconstruction(data.x[:2], data.x[:2], data.y[:2], data.x.mean(0), data)
    assert "ssim" not in columns
    assert columns["mean_image_mse"].shape == (2,)
