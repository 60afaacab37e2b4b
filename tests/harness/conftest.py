"""Small data and models that the harness's tests share."""

import pytest
import torch

from harness import datasets
from harness.datasets import Dataset, Source
from harness.training import Job
from harness.types import Regime
from zoo.recipe import Recipe


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return datasets.load("digits", Source())


@pytest.fixture(scope="session")
def job_for(digits: Dataset):
    """A job on the members' quarter of digits; keyword arguments replace the defaults."""

    def make(architecture: str = "mlp-128", seed: int = 0, **changes) -> Job:
        dataset = changes.pop("data", digits)
        split = datasets.quarters(dataset, seed, Regime.FROM_SCRATCH)
        return Job(
            **{
                "dataset": dataset.name,
                "fingerprint": dataset.fingerprint,
                "index": split.target_train,
                "architecture": architecture,
                "input_shape": dataset.input_shape,
                "num_classes": dataset.num_classes,
                "mean": (0.0,) * dataset.input_shape[0],
                "std": (1.0,) * dataset.input_shape[0],
                "recipe": Recipe(lr=3e-3, epochs=2),
                "seed": seed,
                **changes,
            }
        )

    return make


@pytest.fixture
def tiny() -> Dataset:
    """64 images of 1x4x4 in three classes, from a fixed stream."""
    stream = torch.Generator().manual_seed(0)
    return Dataset(
        name="tiny",
        num_classes=3,
        x=torch.rand(64, 1, 4, 4, generator=stream),
        y=torch.arange(64) % 3,
        n_train=40,
        epsilon={"linf": 0.1, "l2": 0.5},
    )
