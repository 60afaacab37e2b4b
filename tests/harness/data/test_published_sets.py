"""Published folders of photographs hold for us what they hold for torchvision."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets as theirs

from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.image_sets.imagenet import imagenet_classes
from harness.data.image_sets.sets import SETS
from zoo.errors import ZooError

CLASSES = ("apple_pie", "baby_back_ribs", "zebra")


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 20), (value, value, value)).save(path, format="PNG")


def read(name: str, folder: Path) -> Dataset:
    datasets.load.cache_clear()
    return datasets.load(name, DataLocation(data_dir=folder))


def write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def food(root: Path) -> None:
    root = root / "food-101"
    ids = [f"{name}/{k}" for k, name in enumerate(CLASSES * 3)]
    for k, one in enumerate(ids):
        picture(root / "images" / f"{one}.jpg", 10 * k)
    train, test = ids[:5], ids[5:]
    write(root / "meta/classes.txt", list(CLASSES))
    for part, some in (("train", train), ("test", test)):
        write(root / f"meta/{part}.txt", some)
        listed = {name: [i for i in some if i.startswith(name)] for name in CLASSES}
        (root / f"meta/{part}.json").write_text(json.dumps(listed))


def flowers(root: Path) -> None:
    root, n = root / "flowers-102", 9
    for k in range(1, n + 1):
        picture(root / f"jpg/image_{k:05}.jpg", 10 * k)
    savemat(root / "imagelabels.mat", {"labels": np.array([[102, 1, 5, 5, 7, 1, 9, 11, 3]])})
    parts = {"trnid": [[4, 1, 9]], "valid": [[2, 3]], "tstid": [[8, 5, 7, 6]]}
    savemat(root / "setid.mat", {key: np.array(value) for key, value in parts.items()})


def pets(root: Path) -> None:
    root = root / "oxford-iiit-pet"
    names = [("Abyssinian_1", 1, 1), ("beagle_5", 5, 2), ("Abyssinian_2", 1, 1), ("pug_3", 37, 2)]
    lines = [f"{name} {breed} {kind} 1" for name, breed, kind in names]
    for k, (name, _, _) in enumerate(names):
        picture(root / f"images/{name}.jpg", 40 * k)
    write(root / "annotations/trainval.txt", lines[:3])
    write(root / "annotations/test.txt", lines[3:])


def textures(root: Path) -> None:
    root = root / "dtd" / "dtd"
    ids = [f"{name}/{name}_{k:04}.jpg" for k in range(3) for name in CLASSES]
    for k, one in enumerate(ids):
        picture(root / "images" / one, 10 * k)
    for part, some in (("train", ids[:4]), ("val", ids[4:6]), ("test", ids[6:])):
        write(root / f"labels/{part}1.txt", some)


def land(root: Path) -> None:
    for k, name in enumerate(CLASSES * 2):
        picture(root / "eurosat/2750" / name / f"{name}_{k}.jpg", 30 * k)


def places(root: Path) -> None:
    write(root / "categories_places365.txt", ["/a/airfield 0", "/b/bus_station/indoor 1"])
    train = ["/a/airfield/00000001.jpg 0", "/b/bus_station/indoor/00000003.jpg 1"]
    test = ["Places365_val_00000001.jpg 1", "Places365_val_00000002.jpg 0"]
    write(root / "places365_train_standard.txt", train)
    write(root / "places365_val.txt", test)
    folders = ["data_256_standard"] * 2 + ["val_256"] * 2
    for k, (folder, line) in enumerate(zip(folders, train + test, strict=True)):
        picture(root / folder / line.split()[0].lstrip("/"), 50 * k)


def _torchvisions(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[object]]:
    """For the training part and the test part what torchvision's own class gives."""
    if name == "oxford-flowers-102":
        monkeypatch.setattr(theirs.Flowers102, "_check_integrity", lambda self: True)
    if name == "places365":
        monkeypatch.setattr("torchvision.datasets.places365.check_integrity", lambda *a, **k: True)
    kinds: dict[str, Callable[[str], object]] = {
        "food-101": lambda part: theirs.Food101(root, part),
        "oxford-flowers-102": lambda part: theirs.Flowers102(root, part),
        "oxford-iiit-pet": lambda part: theirs.OxfordIIITPet(
            root, {"train": "trainval"}.get(part, part)
        ),
        "dtd": lambda part: theirs.DTD(root, part, partition=1),
        "places365": lambda part: theirs.Places365(
            root / "places365", {"train": "train-standard", "test": "val"}[part], small=True
        ),
    }
    if name == "eurosat":
        return [[], list(theirs.EuroSAT(root))]
    return [list(kinds[name](part)) for part in ("train", "test")]  # type: ignore[call-overload]


WRITERS = {
    "food-101": food, "oxford-flowers-102": flowers, "oxford-iiit-pet": pets, "dtd": textures, "eurosat": land,
    "places365": lambda root: places(root / "places365"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_images_labels_and_parts_are_torchvisions(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[name](tmp_path)
    data = read(name, tmp_path)
    values = (data.x.mean((1, 2, 3)) * 255).round().int().tolist()
    ours = list(zip(values, data.y.tolist(), strict=True))
    for part, found in zip(
        (ours[: data.n_train], ours[data.n_train :]),
        _torchvisions(name, tmp_path, monkeypatch),
        strict=True,
    ):
        wanted = [(np.asarray(image).mean().round(), label) for image, label in found]
        assert sorted(part) == sorted(wanted)
    assert data.photographs is not None


@pytest.mark.parametrize("name", sorted({*WRITERS, "tiny-imagenet"}))
def test_a_photograph_that_is_listed_and_not_there_is_named(tmp_path: Path, name: str) -> None:
    {**WRITERS, "tiny-imagenet": tiny}[name](tmp_path)
    lost = sorted(path for path in tmp_path.rglob("*") if path.suffix in (".jpg", ".JPEG"))[-1]
    lost.unlink()
    if name == "eurosat":  # nothing lists its images
        assert len(read(name, tmp_path)) == 5
        return
    with pytest.raises(ZooError, match=rf"no .*{lost.name}, which is listed .*1 of \d+ images"):
        read(name, tmp_path)


@pytest.mark.parametrize("name", sorted(SETS))
def test_what_is_not_there_says_what_is_looked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(ZooError, match=rf"{name!r} is not here \(looked in: .*a folder with"):
        read(name, tmp_path)
    folder = SETS[name].folders[0]
    (tmp_path / f"{folder.replace('/', '-')}").mkdir()
    with pytest.raises(ZooError) as error:  # an empty folder is another matter
        read(name, tmp_path)
    assert "\n" not in str(error.value)


def test_an_archive_beside_it_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "food-101.tar.gz").write_bytes(b"")
    with pytest.raises(ZooError, match=r"is packed. Unpack .*food-101.tar.gz where it is"):
        read("food-101", tmp_path)


def test_places_in_the_easy_form(tmp_path: Path) -> None:
    for k, part in enumerate(("train", "val")):
        for j, name in enumerate(CLASSES):
            picture(tmp_path / "places365_standard" / part / name / f"{k}{j}.jpg", 60 * k + 20 * j)
    data = read("places365", tmp_path)
    assert (data.n_train, data.y.tolist()) == (3, [0, 1, 2, 0, 1, 2])
    shutil.rmtree(tmp_path / "places365_standard" / "train")
    data = read("places365", tmp_path)
    assert (data.n_train, data.only_test, len(data)) == (0, True, 3)


def tiny(root: Path) -> None:
    root, names = root / "tiny-imagenet-200", ["n03", "n01", "n02"]
    write(root / "wnids.txt", names)
    for k, name in enumerate(names * 2):
        picture(root / "train" / name / "images" / f"{name}_{k}.JPEG", 20 * k)
    rows = [(f"val_{k}.JPEG", names[k % 3]) for k in range(4)]
    for k, (file, _) in enumerate(rows):
        picture(root / "val/images" / file, 40 * k)
    write(root / "val/val_annotations.txt", [f"{f}\t{name}\t0\t0\t62\t62" for f, name in rows])


def test_tiny_imagenet_has_its_validation_part_for_judging(tmp_path: Path) -> None:
    tiny(tmp_path)
    data = read("tiny-imagenet", tmp_path)
    assert (data.n_train, data.num_classes, data.input_shape) == (6, 3, (3, 64, 64))
    assert data.y.tolist() == [0, 0, 1, 1, 2, 2, 2, 0, 1, 2]
    values = (data.x.mean((1, 2, 3)) * 255).round().int().tolist()
    assert values[6:] == [0, 40, 80, 120]
    # The training images as those see them who read folders.
    root = tmp_path / "tiny-imagenet-200" / "train"
    assert [y for _, y in theirs.ImageFolder(root)] == data.y.tolist()[:6]


def test_robustbenchs_photographs_are_those_of_its_list(tmp_path: Path) -> None:
    classes = imagenet_classes()
    for k, name in enumerate(classes):
        picture(tmp_path / "imagenet-1k/val" / name / f"ILSVRC2012_val_{k + 1:08}.JPEG", k % 256)
    listed = [7, 3, 500]
    write(
        tmp_path / "imagenet-1k/imagenet_test_image_ids.txt",
        [f"val/{classes[k]}/ILSVRC2012_val_{k + 1:08}.JPEG" for k in listed],
    )
    data = read("imagenet-1k-robustbench", tmp_path)
    assert (data.y.tolist(), data.num_classes, data.only_test) == (listed, 1000, True)
    write(tmp_path / "imagenet-1k/imagenet_test_image_ids.txt", ["val/x/ILSVRC2012_val_0.JPEG"])
    with pytest.raises(ZooError, match="line 1: wanted a validation image that is here"):
        read("imagenet-1k-robustbench", tmp_path)


BAD = {"truncated": lambda b: b[: len(b) // 2], "no image": lambda b: b"<html>", "empty": lambda b: b""}  # fmt: skip


@pytest.mark.parametrize("change", BAD.values(), ids=list(BAD))
def test_images_that_cannot_be_read_are_refused_or_left_out_never_silently(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    land(tmp_path)
    for number in (1, 4):
        path = tmp_path / f"eurosat/2750/{CLASSES[1]}/{CLASSES[1]}_{number}.jpg"
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(
        ZooError, match=r"2 of 6 images of .* cannot be read \(.*_1.jpg: .*_4.jpg: "
    ):
        read("eurosat", tmp_path)
    datasets.load.cache_clear()
    skipping = DataLocation(data_dir=tmp_path, unreadable="skip")
    for _ in "12":  # also when the hashes of the others are known
        with pytest.warns(UserWarning, match=r"2 of 6 images .* are left out"):
            data = datasets.load("eurosat", skipping)
        assert data.y.tolist() == [0, 0, 2, 2]
        assert torch.isfinite(data.x.mean())
        datasets.load.cache_clear()


def test_if_none_can_be_read_none_is_left_out(tmp_path: Path) -> None:
    land(tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.write_bytes(b"")
    datasets.load.cache_clear()
    with pytest.raises(ZooError, match="6 of 6 images"):
        datasets.load("eurosat", DataLocation(data_dir=tmp_path, unreadable="skip"))


def test_another_way_with_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="unreadable images"):
        DataLocation.resolve(tmp_path, None, unreadable="ignore")
