"""Published sets of photographs are read as they are published."""

import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import nn

from harness.data import datasets, label_spaces
from harness.data.dataset import DataLocation, Dataset
from harness.data.file_hashes import ChangedError
from harness.data.image_sets.imagenet import imagenet_classes
from harness.data.quarters import quarters
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.types import Regime, Risk
from zoo.entry import Artifact, ModelEntry, Preparation
from zoo.errors import ZooError
from zoo.nets import Chosen

CLASSES = imagenet_classes()
LABELS = [3, 999, 0, 3, 500]
"""Of five validation images."""


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (value, value, value)).save(path, format="JPEG", quality=95)


def read(name: str, folder: Path) -> Dataset:
    datasets.load.cache_clear()
    return datasets.load(name, DataLocation(data_dir=folder))


def one_of_each(folder: Path) -> None:
    for k, name in enumerate(CLASSES):
        picture(folder / name / f"{name}_{k}.JPEG", k % 256)


def development_kit(root: Path) -> None:
    """As published: numbers of its own for the classes, in no order, and groups of them."""
    numbers = np.random.default_rng(0).permutation(1000) + 1  # of each class
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
    rows = [(int(numbers[k]), name, 0) for k, name in enumerate(CLASSES)]
    rows.append((1001, "n00001740", 2))
    data = root / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    savemat(data / "meta.mat", {"synsets": np.array(rows, dtype=kind)})
    text = "".join(f"{numbers[label]}\n" for label in LABELS)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(text)


def flat(folder: Path) -> None:
    for k in range(len(LABELS)):
        picture(folder / f"ILSVRC2012_val_{k + 1:08}.JPEG", 40 * k)


def _as_folder(root: Path) -> None:
    flat(root / "val")
    development_kit(root)


def _as_archives(root: Path) -> None:
    flat(root / "unpacked")
    development_kit(root)
    with tarfile.open(root / "ILSVRC2012_img_val.tar", "w") as tar:
        for path in sorted((root / "unpacked").iterdir(), reverse=True):
            tar.add(path, path.name)
    with tarfile.open(root / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        tar.add(root / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    for folder in ("unpacked", "ILSVRC2012_devkit_t12"):
        for path in sorted((root / folder).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (root / folder).rmdir()


@pytest.mark.parametrize("write", [_as_folder, _as_archives])
def test_imagenets_validation_images_get_their_labels_from_the_kit(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path / "imagenet-1k")
    data = read("imagenet-1k", tmp_path)
    assert data.y.tolist() == LABELS
    assert (data.num_classes, data.n_train, len(data)) == (1000, 0, 5)
    values = (data.prepared(Preparation(size=(20, 20), resize=20)).x * 255).mean((1, 2, 3))
    assert torch.allclose(values, 40.0 * torch.arange(5), atol=2)


def test_both_forms_are_the_same_data(tmp_path: Path) -> None:
    for name, write in (("a", _as_folder), ("b", _as_archives)):
        write(tmp_path / name / "imagenet-1k")
    one, other = (read("imagenet-1k", tmp_path / name) for name in "ab")
    assert one.fingerprint == other.fingerprint


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One validation image of each class, and two training images of one of them."""
    folder = tmp_path_factory.mktemp("imagenet")
    one_of_each(folder / "imagenet-1k" / "val")
    return folder


def test_a_folder_for_each_class(folders: Path) -> None:
    data = read("imagenet-1k", folders)
    assert data.y.tolist() == list(range(1000))
    assert data.input_shape == (3, 224, 224)
    assert data.prepared(Preparation(size=(32, 48), resize=40)).input_shape == (3, 32, 48)
    assert str(data.places["file"][3]).endswith(f"{CLASSES[3]}/{CLASSES[3]}_3.JPEG")


def test_training_images_are_the_members(tmp_path: Path) -> None:
    root = tmp_path / "imagenet-1k"
    _as_folder(root)
    one_of_each(root / "train")
    data = read("imagenet-1k", tmp_path)
    assert (data.n_train, len(data)) == (1000, 1005)
    split = quarters(data.limited(3), 0, Regime.PUBLISHED)
    assert {k: len(v) for k, v in vars(split).items()} == {
        "target_train": 3, "target_test": 3, "shadow_train": 0, "shadow_test": 0, "checked": 0,
    }  # fmt: skip
    assert max(split.target_train) < 1000 <= min(split.target_test)


def test_without_training_images_nobody_is_known_to_be_a_member(folders: Path) -> None:
    data = read("imagenet-1k", folders)
    split = quarters(data, 0, Regime.PUBLISHED)
    assert (len(split.target_train), len(split.target_test)) == (0, 900)
    # A tenth is what the owner compares with, and nobody is judged on.
    assert len(split.checked) == 100
    assert not set(split.checked.tolist()) & set(split.target_test.tolist())
    few = quarters(data.limited(3), 0, Regime.PUBLISHED)
    assert (len(few.target_test), len(few.checked)) == (3, 100)
    assert quarters(data, 5, Regime.PUBLISHED).checked.tolist() == split.checked.tolist()
    # All of them are test images, so that a model can be fine-tuned on some.
    split = quarters(data, 0, Regime.FINE_TUNED)
    assert [len(part) for part in vars(split).values()] == [250, 250, 250, 250, 0]


def test_models_of_any_input_share_one_split(folders: Path) -> None:
    data = read("imagenet-1k", folders)
    other = data.prepared(Preparation(size=(32, 32), resize=40))
    assert data.fingerprint != other.fingerprint
    assert data.content_fingerprint == other.content_fingerprint
    few, many = (quarters(d, 0, Regime.PUBLISHED).target_test.tolist()
                 for d in (other.limited(10), data.limited(20)))  # fmt: skip
    assert few == many[:10]
    assert data.limited(10).fingerprint != data.limited(20).fingerprint


def test_the_same_photographs_prepared_otherwise_are_the_same_object_the_second_time(
    folders: Path,
) -> None:
    data, how = read("imagenet-1k", folders), Preparation(size=(32, 32), resize=40)
    assert data.prepared(how) is data.prepared(how)
    assert data.prepared(None) is data
    assert data.prepared(data.preparation) is data
    assert data.prepared(how).limited(9) is data.prepared(how).limited(9)
    assert data.limited(None) is data
    assert data.limited(9).preparation == data.preparation


@pytest.mark.parametrize("name", label_spaces.OF_DATASETS)
def test_models_of_more_classes_are_judged_on_those_that_the_photographs_show(
    folders: Path, name: str
) -> None:
    data = read(name, folders)
    assert 990 <= data.num_classes == len(data.classes) == len(data) <= 999
    assert data.n_train == 0
    for number in label_spaces.OF_DATASETS[name]:
        index = label_spaces.logits(_knows(name, number), data)
        assert index is not None
        meant = [label_spaces.classes(number)[k] for k in index.tolist()]
        assert meant == list(data.classes)
        assert len(label_spaces.classes(number)) == number
    shown = [Path(str(file)).parent.name for file in data.places["file"]]
    assert shown == list(data.classes)


WRONG = {
    "a folder too many": (lambda val: (val / "dogs").mkdir(), "a folder 'dogs' that is of none"),
    "a class without a folder": (
        lambda val: (
            [p.unlink() for p in (val / CLASSES[7]).iterdir()] and (val / CLASSES[7]).rmdir()
        ),
        f"no folder '{CLASSES[7]}': 1 of 1000 classes are missing",
    ),
    "a class without an image": (
        lambda val: [p.rename(p.with_suffix(".txt")) for p in (val / CLASSES[7]).iterdir()],
        f"{CLASSES[7]} has no image",
    ),
}


@pytest.mark.parametrize(("spoil", "said"), WRONG.values(), ids=list(WRONG))
def test_folders_that_are_not_those_of_imagenet_are_refused(tmp_path: Path, spoil, said) -> None:
    one_of_each(tmp_path / "imagenet-1k" / "val")
    spoil(tmp_path / "imagenet-1k" / "val")
    with pytest.raises(ZooError, match=said):
        read("imagenet-1k", tmp_path)


def test_what_is_not_there_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"'imagenet-1k' is not here .*imagenet-1k/val/n01440764"):
        read("imagenet-1k", tmp_path)
    (tmp_path / "imagenet-1k").mkdir()
    with pytest.raises(ZooError, match="has no folder val and no ILSVRC2012_img_val.tar"):
        read("imagenet-1k", tmp_path)
    flat(tmp_path / "imagenet-1k" / "val")
    with pytest.raises(ZooError, match="Put the development kit"):
        read("imagenet-1k", tmp_path)


def test_a_file_that_was_changed_secretly_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "imagenet-1k"
    _as_folder(root)
    source = DataLocation(data_dir=tmp_path)
    datasets.load.cache_clear()
    before = datasets.load("imagenet-1k", source).fingerprint
    assert datasets.verify(source) == [root]
    file = root / "val" / "ILSVRC2012_val_00000002.JPEG"
    data, times = bytearray(file.read_bytes()), file.stat()
    data[-5] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    datasets.load.cache_clear()
    assert datasets.load("imagenet-1k", source).fingerprint == before
    with pytest.raises(ChangedError, match=r"1 files of .*val/ILSVRC2012_val_00000002.JPEG"):
        datasets.verify(source)


def _knows(name: str, number: int) -> ModelEntry:
    """A published model of a larger ImageNet."""
    return ModelEntry(
        name="a/b", source="timm", purpose="benchmark", dataset=name, architecture="mlp-32",
        input_shape=(3, 8, 8), num_classes=number, mean=(0.0,) * 3, std=(1.0,) * 3, licence=None,
        backdoored=False, artifact=Artifact(sha256="0" * 64), recipe=None,
    )  # fmt: skip


def test_a_model_of_more_classes_is_measured_as_published_and_never_trained(folders: Path) -> None:
    data = {"imagenet-22k": read("imagenet-22k", folders)}
    asked = Request(
        models=(_knows("imagenet-22k", 21841),), stacks=((),), risks=(Risk.EVASION,),
        attacks=("fgsm",), seeds=1,
    )  # fmt: skip
    for fine_tuned, refused in ((False, None), (True, "has 21,841 classes, of which")):
        made = plan(
            replace(asked, fine_tuned=fine_tuned), data, {"a/b": "0" * 64},
            is_done=lambda key: False, is_trained=lambda job: False,
        )  # fmt: skip
        (item,) = made.cells
        assert (item.refused or "").startswith("" if refused is None else "a/b")
        assert (item.refused is None) == (refused is None)
        assert refused is None or refused in str(item.refused)
        assert item.cell.examples == 1000


def test_of_its_logits_those_count_that_are_of_the_classes_shown(folders: Path) -> None:
    data = read("imagenet-12k", folders)
    index = label_spaces.logits(_knows("imagenet-12k", 11821), data)
    assert index is not None
    model = Chosen(nn.Identity(), index)
    everything = torch.zeros(2, 11821)
    wanted = label_spaces.classes(11821).index(data.classes[5])
    everything[:, wanted] = 1
    assert model(everything).argmax(1).tolist() == [5, 5]
    assert not model.state_dict(), "it has no weights of its own"


def birds(root: Path, test: int = 2) -> None:
    lines = [
        (1, "002.Laysan/a.jpg", 2, 0),
        (2, "001.Black/b.jpg", 1, 1),
        (3, "200.Yellow/c.jpg", 200, 1),
    ]
    for number, file, _, _ in lines:
        picture(root / "images" / file, 50 * number)
    (root / "images.txt").write_text("".join(f"{n} {file}\n" for n, file, _, _ in lines))
    (root / "image_class_labels.txt").write_text("".join(f"{n} {c}\n" for n, _, c, _ in lines))
    (root / "train_test_split.txt").write_text("".join(f"{n} {t}\n" for n, _, _, t in lines))


@pytest.mark.parametrize("folder", ["CUB_200_2011", "cub-200-2011", "cub-200-2011/CUB_200_2011"])
def test_birds_with_their_official_split(tmp_path: Path, folder: str) -> None:
    birds(tmp_path / folder)
    data = read("cub-200-2011", tmp_path)
    assert (data.y.tolist(), data.n_train, data.num_classes) == ([0, 199, 1], 2, 200)
    assert [str(file) for file in data.places["file"]] == [
        "images/001.Black/b.jpg", "images/200.Yellow/c.jpg", "images/002.Laysan/a.jpg",
    ]  # fmt: skip


def test_lists_of_birds_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    birds(tmp_path / "CUB_200_2011")
    (tmp_path / "CUB_200_2011" / "train_test_split.txt").write_text("1 0\n2 1\n")
    with pytest.raises(ZooError, match=r"train_test_split.txt says nothing of image 3"):
        read("cub-200-2011", tmp_path)
    (tmp_path / "CUB_200_2011" / "train_test_split.txt").write_text("1 0\n2 1\n3\n")
    with pytest.raises(ZooError, match="line 3: wanted a number and a word, found '3'"):
        read("cub-200-2011", tmp_path)
