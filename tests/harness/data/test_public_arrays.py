"""Public sets of small images that come as arrays."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data import datasets, public
from harness.data.dataset import DataLocation, Dataset
from harness.data.lazy_images import LazyImages
from zoo.errors import ZooError

DRAW = np.random.default_rng(0)


def read(name: str, folder: Path) -> Dataset:
    datasets.load.cache_clear()
    return datasets.load(name, DataLocation(data_dir=folder))


def stored(data: Dataset) -> np.ndarray:
    """The bytes of the images, (n, height, width, channels)."""
    return (data.x * 255).round().byte().numpy().transpose(0, 2, 3, 1)


def medmnist(file: Path, shape: tuple[int, ...], classes: int) -> dict[str, np.ndarray]:
    arrays = {}
    for part, n in (("train", 2 * classes), ("val", 3), ("test", classes)):
        arrays[f"{part}_images"] = DRAW.integers(0, 256, (n, *shape), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n, dtype=np.uint8) % classes)[:, None]
    np.savez(file, **arrays)
    return arrays


@pytest.mark.parametrize("name", public.MEDMNIST)
def test_every_medmnist_is_read_as_published(tmp_path: Path, name: str) -> None:
    classes = public.MEDMNIST[name]
    colours = name in ("pathmnist", "dermamnist", "retinamnist", "bloodmnist")
    volume = name.endswith("3d")
    shape = (28, 28, 28) if volume else (28, 28, 3) if colours else (28, 28)
    arrays = medmnist(tmp_path / f"{name}.npz", shape, classes)
    data = read(name, tmp_path)
    assert (len(data), data.n_train, data.num_classes) == (3 * classes, 2 * classes, classes)
    assert data.y.tolist() == [*arrays["train_labels"][:, 0], *arrays["test_labels"][:, 0]]
    both = np.concatenate([arrays["train_images"], arrays["test_images"]])
    if volume:  # a slice is a channel
        assert data.input_shape == (28, 28, 28)
        assert np.array_equal((data.x * 255).round().byte().numpy(), both)
    else:
        assert np.array_equal(stored(data).reshape(both.shape), both)


def test_a_medmnist_without_an_array_or_with_other_labels_is_refused(tmp_path: Path) -> None:
    arrays = medmnist(tmp_path / "bloodmnist.npz", (28, 28, 3), 9)
    with pytest.raises(ZooError, match="has labels of 0 to 8; those of bloodmnist are 0 to 7"):
        read("bloodmnist", tmp_path)
    del arrays["test_images"]
    np.savez(tmp_path / "bloodmnist.npz", **arrays)
    with pytest.raises(ZooError, match="has no array 'test_images', only train_images, train_l"):
        read("bloodmnist", tmp_path)
    arrays = medmnist(tmp_path / "bloodmnist.npz", (28, 28, 3), 8)
    np.savez(tmp_path / "bloodmnist.npz", **{**arrays, "test_labels": arrays["test_labels"][:-1]})
    with pytest.raises(ZooError, match="has 8 images and 7 labels"):
        read("bloodmnist", tmp_path)
    (tmp_path / "bloodmnist.npz").write_bytes(b"")
    with pytest.raises(ZooError, match="cannot be read as bloodmnist"):
        read("bloodmnist", tmp_path)
    (tmp_path / "bloodmnist.npz").write_bytes(b"<html>")
    with pytest.raises(ZooError, match="cannot be read as bloodmnist"):
        read("bloodmnist", tmp_path)


def test_stl10_turns_its_columns_into_rows(tmp_path: Path) -> None:
    from torchvision.datasets import STL10

    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for part, labels in (("train", [1, 10, 3]), ("test", [2, 9])):
        DRAW.integers(0, 256, 27648 * len(labels), dtype=np.uint8).tofile(folder / f"{part}_X.bin")
        np.array(labels, dtype=np.uint8).tofile(folder / f"{part}_y.bin")
    data = read("stl-10", tmp_path)
    assert (data.y.tolist(), data.n_train, data.input_shape) == ([0, 9, 2, 1, 8], 3, (3, 96, 96))
    reader = STL10.__new__(STL10)  # its own reading, without the checksums
    reader.root = str(tmp_path)
    loader = reader._STL10__loadfile  # type: ignore[attr-defined]
    images = np.concatenate(
        [loader(f"{part}_X.bin", f"{part}_y.bin")[0] for part in ("train", "test")]
    )
    assert np.array_equal(stored(data).transpose(0, 3, 1, 2), images)
    (folder / "test_y.bin").write_bytes(b"\x01")
    with pytest.raises(ZooError, match=r"found 55,296 bytes for 1 labels"):
        read("stl-10", tmp_path)


@pytest.mark.parametrize(("split", "classes"), [("balanced", 47), ("letters", 26)])
def test_emnist_is_read_as_torchvision_reads_it(tmp_path: Path, split: str, classes: int) -> None:
    raw = tmp_path / "EMNIST/raw"
    raw.mkdir(parents=True)
    first = split == "letters"
    for part, n in (("train", 4), ("test", 2)):
        pixels = DRAW.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = np.array([classes - 1, 0, 3, 1][:n], dtype=np.uint8) + first
        name = f"emnist-{split}-{part}"
        (raw / f"{name}-images-idx3-ubyte").write_bytes(
            struct.pack(">iiii", 2051, n, 28, 28) + pixels.tobytes()
        )
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">ii", 2049, n) + labels.tobytes()
        )
    data = read(f"emnist-{split}", tmp_path)
    assert (data.num_classes, data.n_train) == (classes, 4)
    assert data.y.tolist() == [classes - 1, 0, 3, 1, classes - 1, 0]


def test_images_that_are_large_as_numbers_stay_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medmnist(tmp_path / "pathmnist.npz", (28, 28, 3), 9)
    small = read("pathmnist", tmp_path)
    monkeypatch.setattr(public, "LARGE", 1000)
    large = read("pathmnist", tmp_path)
    assert isinstance(large.x, LazyImages)
    assert not isinstance(small.x, LazyImages)
    assert large.photographs is None
    assert large.fingerprint == small.fingerprint
    assert torch.equal(large.content, small.content)
    rows = torch.tensor([5, 2, 26])
    assert torch.equal(large.x[rows] + 0, small.x[rows])
