"""A user's own images, in folders or listed in a table, and own tasks on CelebA."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.quarters import quarters
from harness.types import Regime
from zoo.errors import ZooError


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 20), (value, value, value)).save(path)


def read(folder: Path, text: str, name: str = "mine") -> Dataset:
    (folder / f"{name}.toml").write_text(text)
    datasets.load.cache_clear()
    return datasets.load(name, DataLocation(data_dir=folder))


def classes(folder: Path, names: tuple[str, ...], n: int = 2, first: int = 0) -> None:
    for k, name in enumerate(names):
        for j in range(n):
            picture(folder / name / f"{j}.png", first + 50 * k + j)


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    classes(tmp_path / "pics", ("dog", "cat"))
    data = read(tmp_path, 'images = "pics"\nresize = 32\n')
    assert (data.num_classes, data.y.tolist(), data.n_train) == (2, [0, 0, 1, 1], 0)
    assert data.input_shape == (3, 32, 32)
    assert (data.x.mean((1, 2, 3)) * 255).round().tolist() == [50, 51, 0, 1]
    assert data.name == "mine"
    assert "mine" in datasets.names(DataLocation(data_dir=tmp_path))
    assert datasets.where("mine", DataLocation(data_dir=tmp_path)).found == tmp_path / "pics"


def test_classes_say_their_order(tmp_path: Path) -> None:
    classes(tmp_path / "pics", ("dog", "cat"))
    data = read(tmp_path, 'images = "pics"\nclasses = ["dog", "cat"]\nepsilon = {linf = 0.1}\n')
    assert data.y.tolist() == [0, 0, 1, 1]
    assert (data.x.mean((1, 2, 3)) * 255).round().tolist() == [0, 1, 50, 51]
    assert data.epsilon == {"linf": 0.1, "l2": 3.0}
    assert data.input_shape == (3, 224, 224)


def test_folders_train_and_test_are_an_official_split(tmp_path: Path) -> None:
    classes(tmp_path / "pics/train", ("cat", "dog"), 4)
    classes(tmp_path / "pics/test", ("cat", "dog"), 2, first=10)
    data = read(tmp_path, 'images = "pics"\n')
    assert (data.n_train, data.y.tolist()) == (8, [0] * 4 + [1] * 4 + [0, 0, 1, 1])
    split = quarters(data, 0, Regime.PUBLISHED)
    assert max(split.target_train) < 8 <= min(split.target_test)


TABLE = """images = "pics"
file = "about.csv"
image = "path"
label = "finding"
classes = ["none", ["pneumonia", "other"]]
resize = 16

[sensitive.sex]
"""
ROWS = "path,finding,sex,doctor\na/1.png,none,f,x\nb.png,pneumonia,m,y\na/2.png,other,f,x\n"


def listed(folder: Path, rows: str = ROWS) -> None:
    for k, file in enumerate(("a/1.png", "b.png", "a/2.png", "unlisted.png")):
        picture(folder / "pics" / file, 40 * k)
    (folder / "about.csv").write_text(rows)


def test_a_table_says_what_is_in_each_image_and_of_whom(tmp_path: Path) -> None:
    listed(tmp_path)
    data = read(tmp_path, TABLE)
    assert data.y.tolist() == [0, 1, 1]
    assert data.z["sex"].names == ("f", "m")
    assert data.z["sex"].values.tolist() == [0, 1, 0]
    assert (data.x.mean((1, 2, 3)) * 255).round().tolist() == [0, 40, 80]
    assert data.places["file"].tolist() == ["a/1.png", "b.png", "a/2.png"]
    assert not data.columns


def test_a_table_for_each_part(tmp_path: Path) -> None:
    listed(tmp_path)
    lines = ROWS.splitlines()
    (tmp_path / "train.csv").write_text("\n".join(lines[:3]))
    (tmp_path / "test.csv").write_text("\n".join([lines[0], lines[3]]))
    both = TABLE.replace('file = "about.csv"', 'train = "train.csv"\ntest = "test.csv"')
    data = read(tmp_path, both)
    assert (data.n_train, data.y.tolist()) == (2, [0, 1, 1])


WRONG_ROWS = {
    "twice, spelled otherwise": (ROWS + "./b.png,none,m,x\n", "'b.png' is also in .*line 3"),
    "not there": (ROWS + "c.png,none,m,x\n", r"no .*c.png, which is listed .*1 of 4 images"),
    "twice": (ROWS + "b.png,none,m,x\n", r"line 5, column 'path': 'b.png' is also in .*line 3"),
    "elsewhere": (ROWS + "../b.png,none,m,x\n", "leads out of"),
    "absolute": (ROWS + "/etc/passwd,none,m,x\n", "leads out of"),
    "no path": (ROWS + ",none,m,x\n", "line 5, column 'path': there is no path"),
    "another label": (ROWS + "unlisted.png,tumour,m,x\n", "the label is 'tumour'"),
    "no such column": (ROWS.replace("path", "file", 1), r"no column 'path' \(wanted by image"),
}


@pytest.mark.parametrize(("rows", "said"), WRONG_ROWS.values(), ids=list(WRONG_ROWS))
def test_tables_of_other_images_are_refused(tmp_path: Path, rows: str, said: str) -> None:
    listed(tmp_path, rows)
    with pytest.raises(ZooError, match=said) as error:
        read(tmp_path, TABLE)
    assert "\n" not in str(error.value)


WRONG = {
    "classes of several folders": (
        'images = "pics"\nclasses = [["cat", "dog"], "cow"]\n', "cat and dog cannot make one class"
    ),
    "no folder": ('images = "pixels"\n', r"No folder .*pixels \(wanted by images in .*mine.toml"),
    "a column without a table": ('images = "pics"\nimage = "path"\n', "has image, but no table"),
    "a label without a table": ('images = "pics"\nlabel = "y"\n', "has label, but no table"),
    "a table without a column": (
        'images = "pics"\nfile = "about.csv"\nlabel = "y"\nclasses = ["a", "b"]\n', "Give image"
    ),
    "resize without images": (
        'file = "about.csv"\nlabel = "y"\nclasses = ["a", "b"]\nresize = 3\n', "but no images"
    ),
    "no size": ('images = "pics"\nresize = 0\n', "resize has to be 1 to 4096 pixels, found 0"),
    "features": ('images = "pics"\nnumbers = ["age"]\n', "whose features are pixels"),
    "a word": ('images = "pics"\nrezise = 3\n', "'rezise'. Nearest: resize"),
    "a class too many": ('images = "pics"\nclasses = ["cat", "cow"]\n', "folder 'dog' that is of"),
    "a class that is not there": (
        'images = "pics"\nclasses = ["cat", "dog", "cow"]\n', "no folder 'cow': 1 of 3 classes"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=list(WRONG))
def test_wrong_descriptions_of_images_are_refused(tmp_path: Path, text: str, said: str) -> None:
    classes(tmp_path / "pics", ("cat", "dog"))
    (tmp_path / "about.csv").write_text("y,age\na,3\n")
    with pytest.raises(ZooError, match=said) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["empty", "one class", "a class without images"])
def test_folders_without_enough_in_them_are_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "pics").mkdir()
    said = "no folders of classes"
    if kind == "one class":
        classes(tmp_path / "pics", ("cat",))
        said = r"has the folder 'cat' only.*images = \"pics/cat\""
    if kind == "a class without images":
        classes(tmp_path / "pics", ("cat",))
        (tmp_path / "pics/dog").mkdir()
        said = "dog has no image"
    with pytest.raises(ZooError, match=said):
        read(tmp_path, 'images = "pics"\n')


TASK = 'like = "celeba"\nlabel = ["Bald", "Smiling"]\nsensitive = ["Male"]\nresize = 32\n'


def faces(folder: Path) -> None:
    from harness.data.image_sets.celeba import ATTRIBUTES

    has = [{"Smiling"}, {"Bald", "Male"}, {"Bald", "Smiling"}, set[str]()]
    lines = [str(len(has)), " ".join(ATTRIBUTES)]
    for k, some in enumerate(has):
        picture(folder / "celeba/img_align_celeba" / f"{k}.jpg", 60 * k)
        lines.append(f"{k}.jpg " + " ".join("1" if a in some else "-1" for a in ATTRIBUTES))
    (folder / "celeba/list_attr_celeba.txt").write_text("\n".join(lines))
    parts = "0.jpg 0\n1.jpg 0\n2.jpg 2\n3.jpg 2\n"
    (folder / "celeba/list_eval_partition.txt").write_text(parts)


def test_any_attributes_of_celeba_are_a_task(tmp_path: Path) -> None:
    faces(tmp_path)
    data = read(tmp_path, TASK)
    assert (data.num_classes, data.y.tolist(), data.n_train) == (4, [1, 2, 3, 0], 2)
    assert data.z["Male"].names == ("not Male", "Male")
    assert data.z["Male"].values.tolist() == [0, 1, 0, 0]
    assert data.input_shape == (3, 32, 32)
    assert torch.equal((data.x.mean((1, 2, 3)) * 255).round(), 60.0 * torch.arange(4))
    assert datasets.where("mine", DataLocation(data_dir=tmp_path)).is_here
    one = read(tmp_path, 'like = "celeba"\nlabel = "Bald"\n', "bald")
    assert (one.num_classes, one.y.tolist(), dict(one.z)) == (2, [0, 1, 1, 0], {})


def test_a_task_is_listed_with_its_sensitive_attributes(tmp_path: Path) -> None:
    from harness.listing import long_rows

    faces(tmp_path)
    (tmp_path / "mine.toml").write_text(TASK)
    _, rows = long_rows("datasets", DataLocation(data_dir=tmp_path))
    (row,) = [row for row in rows if row[0] == "mine"]
    assert (row[1], row[3]) == ("Male", "a task on CelebA")


def test_ones_own_images_are_verified_too(tmp_path: Path) -> None:
    classes(tmp_path / "pics", ("cat", "dog"))
    read(tmp_path, 'images = "pics"\n')
    assert datasets.verify(DataLocation(data_dir=tmp_path)) == [tmp_path / "pics"]


WRONG_TASKS = {
    "no label": (TASK.replace('label = ["Bald", "Smiling"]\n', ""), "Give label"),
    "a typo": (TASK.replace("Bald", "Bold"), "'Bold'. Nearest: Bald"),
    "both": (TASK.replace('"Male"', '"Bald"'), "Bald is both label and sensitive"),
    "size": (TASK.replace("32", "1000"), "8 to 178 pixels"),
    "another field": (TASK + "classes = [1]\n", "'classes'"),
    "kind": (TASK.replace('["Male"]', "3"), "the name of an attribute"),
}


@pytest.mark.parametrize(("text", "said"), WRONG_TASKS.values(), ids=list(WRONG_TASKS))
def test_wrong_tasks_are_refused(tmp_path: Path, text: str, said: str) -> None:
    faces(tmp_path)
    with pytest.raises(ZooError, match=said) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)
    assert "mine.toml" in str(error.value) or "attribute of CelebA" in str(error.value)
