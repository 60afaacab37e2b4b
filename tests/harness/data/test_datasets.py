"""Datasets keep their contents, and splits keep people apart."""

import hashlib
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.quarters import quarters
from harness.types import Regime
from zoo.errors import ZooError


def _dataset(n: int, n_train: int = 0) -> Dataset:
    return Dataset(
        name="made",
        num_classes=2,
        x=torch.zeros(n, 1, 2, 2),
        y=torch.arange(n) % 2,
        n_train=n_train,
    )


@given(n=st.integers(8, 300), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_quarters_from_scratch_are_disjoint_equal_and_repeatable(n: int, seed: int) -> None:
    data = _dataset(n)
    split = quarters(data, seed, Regime.FROM_SCRATCH)
    parts = [split.target_train, split.target_test, split.shadow_train, split.shadow_test]
    assert [len(part) for part in parts] == [n // 4] * 4
    together = torch.cat(parts)
    assert len(together.unique()) == len(together)
    assert together.min() >= 0
    assert together.max() < n
    again = quarters(data, seed, Regime.FROM_SCRATCH)
    assert torch.equal(again.target_train, split.target_train)


@given(n=st.integers(12, 300), share=st.floats(0.1, 0.6), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_published_model_saw_training_data_and_nothing_else(
    n: int, share: float, seed: int
) -> None:
    n_train = max(1, int(n * share))
    data = _dataset(n, n_train)
    for shadow in (False, True):
        split = quarters(data, seed, Regime.PUBLISHED, shadow=shadow)
        assert sorted(split.target_train.tolist()) == list(range(n_train))
        rest = torch.cat([split.target_test, split.shadow_train, split.shadow_test])
        assert sorted(rest.tolist()) == list(range(n_train, n))
        # All of the test data is judged, or what an attacker with some leaves of it.
        assert len(split.target_test) == ((n - n_train) // 2 if shadow else n - n_train)
        # Under the same weights, another half would be no other measurement.
        again = quarters(data, seed + 1, Regime.PUBLISHED, shadow=shadow)
        assert all(map(torch.equal, vars(split).values(), vars(again).values()))


def test_seeds_give_different_splits(digits: Dataset) -> None:
    one, two = (quarters(digits, seed, Regime.FROM_SCRATCH).target_train for seed in (0, 1))
    assert len(np.intersect1d(one, two)) < 0.5 * len(one)


@given(n=st.integers(12, 300), share=st.floats(0.1, 0.6), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_fine_tuning_sees_only_what_the_published_weights_have_not(
    n: int, share: float, seed: int
) -> None:
    n_train = max(1, int(n * share))
    split = quarters(_dataset(n, n_train), seed, Regime.FINE_TUNED)
    parts = [split.target_train, split.target_test, split.shadow_train, split.shadow_test]
    together = torch.cat(parts)
    assert len(together.unique()) == len(together) == (n - n_train) // 4 * 4
    assert together.min() >= n_train


def test_without_an_official_split_nobody_is_a_member(digits: Dataset) -> None:
    split = quarters(digits, 0, Regime.PUBLISHED, shadow=True)
    assert len(split.target_train) == 0
    assert (len(split.target_test), len(split.shadow_train)) == (898, 449)
    with pytest.raises(ZooError, match="digits has no official split"):
        quarters(digits, 0, Regime.FINE_TUNED)


def test_digits_are_scikit_learns_in_unit_range(digits: Dataset) -> None:
    assert digits.x.shape == (1797, 1, 8, 8)
    assert (digits.x.min(), digits.x.max()) == (0, 1)
    assert digits.y.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize("change", ["pixel", "label", "classes", "split"])
def test_the_fingerprint_sees_every_change(digits: Dataset, change: str) -> None:
    x, y = digits.x.clone(), digits.y.clone()
    changed = replace(digits, x=x, y=y)
    assert changed.fingerprint == digits.fingerprint
    if change == "pixel":
        x[5, 0, 3, 3] += 1 / 16
    elif change == "label":
        y[7] = (y[7] + 1) % 10
    other = replace(
        digits,
        x=x,
        y=y,
        num_classes=11 if change == "classes" else 10,
        n_train=5 if change == "split" else 0,
    )
    assert other.fingerprint != digits.fingerprint


def test_the_photo_patches_are_always_the_same_natural_images() -> None:
    one = datasets.load("photo-patches", DataLocation())
    again = datasets.DATASETS["photo-patches"](DataLocation())
    assert one.x.shape == (2000, 3, 32, 32)
    assert one.fingerprint == again.fingerprint
    assert one.y.bincount().tolist() == [1000, 1000]
    # Neighbouring pixels of a photograph are alike, and colours are not grey.
    assert (one.x[..., 1:] - one.x[..., :-1]).abs().mean() < 0.1
    assert (one.x[:, 0] - one.x[:, 2]).abs().mean() > 0.02


def test_an_unknown_dataset_shows_the_nearest() -> None:
    with pytest.raises(ZooError, match="Nearest: cifar10"):
        datasets.load("cifar-10", DataLocation())


def test_a_missing_dataset_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=rf"'mnist' is not here \(looked in: {tmp_path}\)"):
        datasets.load("mnist", DataLocation(data_dir=tmp_path))


def test_mnist_is_read_in_torchvisions_format(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, labels = {}, {}
    for part, n in (("train", 6), ("t10k", 4)):
        images[part] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels[part] = rng.integers(0, 10, n, dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">iiii", 2051, n, 28, 28) + images[part].tobytes()
        )
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">ii", 2049, n) + labels[part].tobytes()
        )
    data = datasets.load("mnist", DataLocation(data_dir=tmp_path))
    assert (len(data), data.n_train, data.input_shape) == (10, 6, (1, 28, 28))
    both = np.concatenate([images["train"], images["t10k"]])
    assert torch.equal((data.x[:, 0] * 255).round().byte(), torch.from_numpy(both))
    assert data.y.tolist() == [*labels["train"], *labels["t10k"]]


def test_cifar10_is_read_in_torchvisions_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows, lists = [], {"train_list": [], "test_list": []}
    for kind, name in (("train_list", "data_batch_1"), ("test_list", "test_batch")):
        data = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
        content = pickle.dumps({"data": data, "labels": [1, 2, 3]})
        (folder / name).write_bytes(content)
        lists[kind].append([name, hashlib.md5(content).hexdigest()])
        rows.append(data)
    meta = pickle.dumps({"label_names": [str(i) for i in range(10)]})
    (folder / "batches.meta").write_bytes(meta)
    for kind, value in lists.items():
        monkeypatch.setattr(CIFAR10, kind, value)
    monkeypatch.setitem(CIFAR10.meta, "md5", hashlib.md5(meta).hexdigest())
    data = datasets.load("cifar10", DataLocation(data_dir=tmp_path))
    assert (len(data), data.n_train, data.input_shape) == (6, 3, (3, 32, 32))
    stored = (data.x * 255).round().byte().flatten(1).numpy()
    assert np.array_equal(stored, np.concatenate(rows))


def test_cifar100_is_read_in_torchvisions_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR100

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 256, (3, 3072), dtype=np.uint8) for _ in range(2)]
    for name, kind, data, labels in (
        ("train", "train_list", rows[0], [99, 0, 5]), ("test", "test_list", rows[1], [7, 8, 98]),
    ):  # fmt: skip
        content = pickle.dumps({"data": data, "fine_labels": labels, "coarse_labels": [19, 0, 1]})
        (folder / name).write_bytes(content)
        monkeypatch.setattr(CIFAR100, kind, [[name, hashlib.md5(content).hexdigest()]])
    meta = pickle.dumps({"fine_label_names": [str(i) for i in range(100)]})
    (folder / "meta").write_bytes(meta)
    monkeypatch.setitem(CIFAR100.meta, "md5", hashlib.md5(meta).hexdigest())
    data = datasets.load("cifar100", DataLocation(data_dir=tmp_path))
    assert (len(data), data.n_train, data.num_classes) == (6, 3, 100)
    assert data.y.tolist() == [99, 0, 5, 7, 8, 98]
    stored = (data.x * 255).round().byte().flatten(1).numpy()
    assert np.array_equal(stored, np.concatenate(rows))
    coarse = datasets.load("cifar100-coarse", DataLocation(data_dir=tmp_path))
    assert (coarse.num_classes, coarse.y.tolist()) == (20, [19, 0, 1, 19, 0, 1])
    assert torch.equal(coarse.x, data.x)


def test_svhn_is_read_in_torchvisions_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    rng = np.random.default_rng(0)
    rows, split_list = [], {}
    for split, n, digits in (
        ("train", 4, [10, 1, 2, 9]), ("test", 2, [3, 10]), ("extra", 3, [7, 10, 1]),
    ):  # fmt: skip
        pixels = rng.integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": pixels, "y": np.array(digits, dtype=np.uint8)[:, None]})
        split_list[split] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
        rows.append(pixels.transpose(3, 2, 0, 1))
    monkeypatch.setattr(SVHN, "split_list", split_list)
    data = datasets.load("svhn", DataLocation(data_dir=tmp_path))
    assert (len(data), data.n_train, data.input_shape) == (6, 4, (3, 32, 32))
    assert data.y.tolist() == [0, 1, 2, 9, 3, 0], "the files call the digit 0 a 10"
    assert np.array_equal((data.x * 255).round().byte().numpy(), np.concatenate(rows[:2]))
    more = datasets.load("svhn-extra", DataLocation(data_dir=tmp_path))
    assert (more.n_train, more.y.tolist()) == (7, [0, 1, 2, 9, 7, 0, 1, 3, 0])


def test_an_altered_cifar10_file_is_not_unpickled(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    marker = tmp_path / "executed"

    class Harmful:
        def __reduce__(self):
            return (Path.touch, (marker,))

    for name in ("data_batch_1", "data_batch_2", "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(
        ZooError,
        match=r"cannot be read as cifar10 \(a file is missing, or is not the published one\)",
    ):
        datasets.load("cifar10", DataLocation(data_dir=tmp_path))
    assert not marker.exists()


@pytest.mark.mirror
@pytest.mark.parametrize(
    ("name", "n", "n_train", "shape", "classes"),
    [
        ("cifar10", 11_000, 10_000, (3, 32, 32), 10),
        ("fashion-mnist", 20_000, 10_000, (1, 28, 28), 10),
        ("gtsrb", 3_678, 1_290, (3, 35, 35), 43),
    ],
)
def test_the_mirrors_datasets_are_read_whole(
    mirror: Path, name: str, n: int, n_train: int, shape: tuple[int, ...], classes: int
) -> None:
    data = datasets.load(name, DataLocation(mirror=mirror))
    assert (len(data), data.n_train, data.input_shape) == (n, n_train, shape)
    assert (data.x.min(), data.x.max()) == (0, 1)
    assert data.y.unique().tolist() == list(range(classes))
