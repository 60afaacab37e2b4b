"""Archives of faces are read in the form they are published in, and told apart from what is not."""

import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.image_sets import faces
from harness.data.quarters import quarters
from harness.types import Regime
from zoo.errors import ZooError

# The attributes of CelebA in their order; the published line ends with a space.
CELEBA = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose "
    "Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee "
    "Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard "
    "Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair "
    "Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young "
)
LFW = (
    "person\timagenum\tMale\tAsian\tWhite\tBlack\tBaby\tChild\tYouth\tMiddle Aged\tSenior\t"
    "Black Hair\tIndian\tGray Hair"
)

Row = dict[str, float]


def photograph(path: Path, colour: tuple[int, int, int], size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, quality=95)


def celeba(root: Path, people: list[tuple[set[str], int]], *, photographs: bool = True) -> None:
    """An archive with an image per entry: what the person has, and the part it is in."""
    names = CELEBA.split()
    lines, parts = [str(len(people)), CELEBA], []
    for k, (has, part) in enumerate(people):
        image = f"{k + 1:06}.jpg"
        lines.append(f"{image} " + " ".join(f"{1 if name in has else -1:2}" for name in names))
        parts.append(f"{image} {part}")
        if photographs:
            colour = (250 if "Smiling" in has else 5, 250 if "Male" in has else 5, 5 * (k % 50))
            photograph(root / "celeba/img_align_celeba" / image, colour, (178, 218))
    (root / "celeba").mkdir(exist_ok=True)
    (root / "celeba/list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    (root / "celeba/list_eval_partition.txt").write_text("\n".join(parts) + "\n")


def lfw(root: Path, people: list[tuple[str, int, Row]], *, extra: tuple[str, ...] = ()) -> None:
    """An archive with an image per entry: person, number and scores (others are -1)."""
    names = LFW.split("\t")
    words = "# Attribute values computed by the method of Kumar et al. (2009)"
    lines = [words, f"#\t{LFW}"]
    for k, (person, number, scores) in enumerate(people):
        values = [str(scores.get(name, -1.0)) for name in names[2:]]
        lines.append("\t".join([person, str(number), *values]))
        folder = root / "lfw" / person.replace(" ", "_")
        image = Image.new("RGB", (250, 250), (255, 0, 0))
        image.paste((k % 250, 100, 100), (58, 58, 192, 192))  # the face is in the middle
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{folder.name}_{number:04}.jpg", quality=95)
    for image in extra:
        photograph(root / "lfw" / image, (0, 0, 0), (250, 250))
    (root / "lfw/lfw_attributes.txt").write_text("\n".join(lines) + "\n")


def utkface(root: Path, names: list[str]) -> None:
    for k, name in enumerate(names):
        photograph(root / "utkface" / name, (k % 250, 50, 50), (200, 200))


PEOPLE = [
    ({"Smiling", "Male"}, 0),
    ({"Young", "Blond_Hair"}, 2),
    ({"Smiling", "Young"}, 0),
    ({"Smiling"}, 1),
    ({"Male", "Blond_Hair"}, 2),
    (set[str](), 0),
]


def test_celeba_puts_its_training_part_first_and_leaves_validation_out(tmp_path: Path) -> None:
    celeba(tmp_path, PEOPLE)
    data = datasets.load("celeba", DataLocation(data_dir=tmp_path))
    assert tuple(data.z) == datasets.ATTRIBUTES["celeba"]
    assert (len(data), data.n_train, data.input_shape) == (5, 3, (3, 64, 64))
    # Images 1, 3 and 6, then 2 and 5.
    assert [name[5] for name in data.places["file"]] == ["1", "3", "6", "2", "5"]
    assert data.y.tolist() == [1, 1, 0, 0, 0]
    assert (data.z["sex"].names, data.z["age"].names) == (("female", "male"), ("older", "young"))
    assert data.z["sex"].values.tolist() == [1, 0, 0, 0, 1]
    assert data.z["age"].values.tolist() == [0, 1, 0, 1, 0]
    # Each image is with its own line: red tells who smiles, green who is a man, blue which it is.
    colour = (data.x.mean((2, 3)) * 255).round()
    assert ((colour[:, 0] > 128).long() == data.y).all()
    assert ((colour[:, 1] > 128).long() == data.z["sex"].values).all()
    assert (colour[:, 2] - torch.tensor([0.0, 10, 25, 5, 20])).abs().max() <= 2


def test_celeba_blond_asks_about_hair_on_the_same_images(tmp_path: Path) -> None:
    celeba(tmp_path, PEOPLE)
    blond = datasets.load("celeba-blond", DataLocation(data_dir=tmp_path))
    assert tuple(blond.z) == datasets.ATTRIBUTES["celeba-blond"]
    assert blond.y.tolist() == [0, 0, 0, 1, 1]
    assert list(blond.z) == ["sex"]
    smiling = datasets.load("celeba", DataLocation(data_dir=tmp_path))
    assert torch.equal(blond.x, smiling.x)
    assert blond.fingerprint != smiling.fingerprint


def test_celeba_8_tells_three_attributes_apart(tmp_path: Path) -> None:
    people = [
        ({"Heavy_Makeup", "Smiling"}, 0),
        ({"Mouth_Slightly_Open", "Male"}, 0),
        ({"Heavy_Makeup", "Mouth_Slightly_Open", "Smiling"}, 0),
        (set[str](), 2),
    ]
    celeba(tmp_path, people)
    data = datasets.load("celeba-8", DataLocation(data_dir=tmp_path))
    assert (data.num_classes, data.y.tolist()) == (8, [5, 2, 7, 0])
    assert tuple(data.z) == datasets.ATTRIBUTES["celeba-8"] == ("sex", "age")


def test_all_photographs_are_read_and_a_quarter_has_as_many_as_are_wanted(tmp_path: Path) -> None:
    people = [({"Smiling"} if k % 3 else set[str](), 0 if k < 30 else 2) for k in range(40)]
    celeba(tmp_path, people)
    data = datasets.load("celeba", DataLocation(data_dir=tmp_path))
    assert (len(data), data.most) == (40, 6000)
    assert len(quarters(data, 0, Regime.FROM_SCRATCH).target_train) == 10
    few = quarters(data.limited(3), 0, Regime.FROM_SCRATCH)
    assert len(few.target_train) == 3


def test_lfw_takes_the_sign_and_the_largest_score(tmp_path: Path) -> None:
    lfw(
        tmp_path,
        [
            ("Ana Guevara", 1, {"Male": -2.1, "Asian": 0.3, "White": 0.2, "Youth": 1.5}),
            ("Ana Guevara", 2, {"Male": 0.1, "Indian": 0.1, "Child": -0.2, "Senior": -0.1}),
            ("Bo Li", 12, {"Male": 1.2, "Black": 2.0, "White": 1.9, "Middle Aged": 0.4}),
            ("X", 1, {"Male": -0.1, "White": -0.5, "Black": -0.4, "Baby": 0.0}),
        ],
        extra=("Bo_Li/Bo_Li_0002.jpg",),
    )
    with pytest.warns(
        UserWarning, match=r"not in .*attributes.txt are left out: 1 \(Bo_Li/Bo_Li_0002"
    ):
        data = datasets.load("lfw", DataLocation(data_dir=tmp_path))
    assert tuple(data.z) == datasets.ATTRIBUTES["lfw"]
    assert (data.n_train, data.input_shape) == (0, (3, 64, 64))
    assert data.y.tolist() == [0, 1, 1, 0]
    assert data.z["sex"].values.tolist() == [0, 1, 1, 0]
    race = data.z["race"]
    named = [race.names[value] for value in race.values.tolist()]
    assert named == ["Asian", "Indian", "Black", "Black"]
    assert (data.x[:, 1] - 100 / 255).abs().max() < 0.02


# What is odd about the published archive: a missing race, a space, a missing dot.
ODD = ["24_0_1_20170116220224657 .jpg.chip.jpg", "55_0_0_20170116232725357jpg.chip.jpg"]
WITHOUT_RACE = ["39_1_20170116174525125.jpg.chip.jpg", "61_1_20170109142408075.jpg.chip.jpg"]
NAMES = [
    "1_0_2_20161219140530307.jpg.chip.jpg",
    "100_1_4_20170110183726390.jpg.chip.jpg",
    "26_1_3_20170117175041574.jpg.chip.jpg",
    "34_0_0_20170117175041575.jpg",
    "35_0_1_20170117175041576.JPG",
]


def test_utkface_leaves_out_names_without_a_race_and_says_so(tmp_path: Path) -> None:
    utkface(tmp_path, [*NAMES, *ODD, *WITHOUT_RACE])
    (tmp_path / "utkface/.DS_Store").write_bytes(b"\0")
    with pytest.warns(UserWarning, match=r"race_time are left out: 2 \(39_1_2017.*61_1_2017"):
        data = datasets.load("utkface-sex", DataLocation(data_dir=tmp_path))
    assert tuple(data.z) == datasets.ATTRIBUTES["utkface-sex"]
    # In the order of the names: 100, 1, 24, 26, 34, 35, 55 years ("0" sorts before "_").
    assert data.y.tolist() == [1, 0, 0, 1, 0, 0, 0]
    assert data.num_classes == 2
    assert data.z["race"].names == ("White", "Black", "Asian", "Indian", "Others")
    assert data.z["race"].values.tolist() == [4, 2, 1, 3, 0, 1, 0]
    assert data.z["age"].values.tolist() == [1, 0, 0, 0, 0, 1, 1]


def test_utkface_predicts_four_races_as_ml_doctor_does(tmp_path: Path) -> None:
    utkface(tmp_path, NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = datasets.load("utkface", DataLocation(data_dir=tmp_path))
    assert tuple(data.z) == datasets.ATTRIBUTES["utkface"]
    assert (data.num_classes, data.y.tolist()) == (4, [2, 3, 0, 1])  # 100 years old: Others
    assert list(data.z) == ["sex", "age"]
    assert data.z["sex"].names == ("male", "female")
    assert data.z["sex"].values.tolist() == [0, 1, 0, 0]


def test_a_photograph_is_cut_to_the_square_in_the_middle_and_averaged(tmp_path: Path) -> None:
    # Stripes of one pixel in a green square; what is red lies outside of it.
    pixels = np.zeros((218, 178, 3), dtype=np.uint8)
    pixels[..., 0] = 255
    pixels[20:198] = (0, 255, 0)
    pixels[20:198, ::2] = 0
    celeba(tmp_path, [({"Smiling"}, 0)])
    Image.fromarray(pixels).save(
        tmp_path / "celeba/img_align_celeba/000001.jpg", quality=100, subsampling=0
    )
    found = datasets.load("celeba", DataLocation(data_dir=tmp_path)).x[0] * 255
    assert found.shape == (3, 64, 64)
    assert found[0, 2:-2].max() <= 12  # at the border the filter sees what lies beyond
    assert abs(found[1, 2:-2].mean() - 127.5) < 3
    # Without averaging, every other column would be black or green.
    assert ((found[1, 2:-2, 1:-1] - 127).abs() < 50).all()


def test_of_lfw_half_of_the_square_is_the_face(tmp_path: Path) -> None:
    lfw(tmp_path, [("A", 1, {"Male": 0.5})])
    pixels = np.full((250, 250, 3), (0, 0, 255), dtype=np.uint8)
    pixels[125 - 62 : 125 + 62, 125 - 62 : 125 + 62] = (0, 255, 0)
    Image.fromarray(pixels).save(tmp_path / "lfw/A/A_0001.jpg", quality=100, subsampling=0)
    middle = datasets.load("lfw", DataLocation(data_dir=tmp_path)).x[0] * 255
    assert middle[2, 2:-2, 2:-2].max() <= 12
    assert middle[1, 2:-2, 2:-2].min() >= 240


def test_grey_photographs_become_three_equal_channels(tmp_path: Path) -> None:
    utkface(tmp_path, NAMES[:1])
    Image.new("L", (200, 200), 77).save(tmp_path / "utkface" / NAMES[0])
    found = datasets.load("utkface", DataLocation(data_dir=tmp_path)).x[0] * 255
    assert found.round().unique().tolist() == [77]


def _edited(file: Path, change: Callable[[str], str]) -> None:
    file.write_text(change(file.read_text()))


@pytest.mark.parametrize("name", sorted(faces.READERS))
def test_a_missing_folder_says_what_should_be_in_it(tmp_path: Path, name: str) -> None:
    layout = {"celeba": "list_attr_celeba.txt", "lfw": "lfw_attributes.txt"}.get(
        name.partition("-")[0], r"\[age\]_\[gender\]_\[race\]_\[date&time\]"
    )
    with pytest.raises(
        ZooError, match=rf"{name!r} is not here \(looked in: {tmp_path}\).*{layout}"
    ):
        datasets.load(name, DataLocation(data_dir=tmp_path))
    with pytest.raises(ZooError, match=r"looked in: nowhere"):
        datasets.load(name, DataLocation())


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("list_attr_celeba.txt", lambda t: t.split("\n", 1)[1], "line 1: wanted the number of im"),
        ("list_attr_celeba.txt", lambda t: t.replace("Male", "Man"), "line 2: .* Male among them"),
        ("list_attr_celeba.txt", lambda t: t.replace("000002.jpg", ""), "line 4: wanted an image"),
        ("list_attr_celeba.txt", lambda t: t.replace(" 1", " 0"), "line 3: .* 40 times 1 or -1"),
        (
            "list_attr_celeba.txt",
            lambda t: t.replace("6", "7", 1),
            "has 6 .* says that there are 7",
        ),
        ("list_attr_celeba.txt", lambda t: "", "line 1: .* found 'nothing'"),
        (
            "list_eval_partition.txt",
            lambda t: t.replace("000003.jpg 0", "000003.jpg 3"),
            "line 3: ",
        ),
        (
            "list_eval_partition.txt",
            lambda t: t.replace("000004.jpg 1\n", ""),
            "whether 000004.jpg",
        ),
    ],
)
def test_a_list_of_celeba_of_another_form_is_refused_by_line(
    tmp_path: Path, file: str, change: Callable[[str], str], message: str
) -> None:
    celeba(tmp_path, PEOPLE)
    _edited(tmp_path / "celeba" / file, change)
    with pytest.raises(ZooError, match=rf"{file}.*{message}") as error:
        datasets.load("celeba", DataLocation(data_dir=tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("\t", " "), r"line 1: wanted # person imagenum Male"),
        (lambda t: t.replace("Senior", "Old"), r"line 2: .* Senior among them"),
        (
            lambda t: t.replace("Bo Li\t3", "Bo Li\tthree"),
            r"line 4: wanted a person, a number and 12",
        ),
        (lambda t: t.replace("0.25", "high"), r"line 3: .* found 'Al B"),
    ],
)
def test_attributes_of_lfw_of_another_form_are_refused_by_line(
    tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    lfw(tmp_path, [("Al B", 1, {"Male": 0.25}), ("Bo Li", 3, {"Male": -0.5})])
    _edited(tmp_path / "lfw/lfw_attributes.txt", change)
    with pytest.raises(ZooError, match=message):
        datasets.load("lfw", DataLocation(data_dir=tmp_path))


def test_missing_lists_and_photographs_are_named(tmp_path: Path) -> None:
    celeba(tmp_path, PEOPLE)
    source = DataLocation(data_dir=tmp_path)
    image = tmp_path / "celeba/img_align_celeba/000003.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ZooError,
        match=r"1 of 5 images of .*celeba cannot be read \(000003.jpg: .*truncated.*--unreadable skip",
    ):
        datasets.load("celeba", source)
    image.write_text("<html>Quota exceeded</html>")
    with pytest.raises(ZooError, match=r"000003.jpg: of no format that is known"):
        datasets.load("celeba", source)
    image.unlink()
    with pytest.raises(
        ZooError, match=r"There is no .*000003.jpg, which is listed .*1 of 5 images are missing"
    ):
        datasets.load("celeba", source)
    (tmp_path / "celeba/list_eval_partition.txt").unlink()
    with pytest.raises(ZooError, match=r"No file .*list_eval_partition.txt"):
        datasets.load("celeba", source)
    (tmp_path / "celeba/list_attr_celeba.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ZooError, match=r"list_attr_celeba.txt is no text"):
        datasets.load("celeba", source)


def test_a_folder_without_a_usable_photograph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "utkface").mkdir()
    celeba(tmp_path, [({"Smiling"}, 1)])
    for name in ("utkface", "celeba"):
        with pytest.raises(ZooError, match="has no image that is listed"):
            datasets.load(name, DataLocation(data_dir=tmp_path))


def _archive(root: Path, name: str) -> Dataset:
    """A few hundred photographs in which the colour tells the attribute and a corner the label."""
    draw = random.Random(0)
    n = 240
    if name.startswith("celeba"):
        label = "Blond_Hair" if name == "celeba-blond" else "Smiling"
        people = []
        for k in range(n):
            has = {word for word in (label, "Male", "Young") if draw.random() < 0.5}
            people.append((has, 0 if k < 180 else 2))
        celeba(root, people)
    elif name == "lfw":
        words = ("Male", "Asian", "White", "Black", "Indian", "Youth", "Senior")
        lfw(root, [(f"P {k}", 1, {w: draw.gauss(0, 1) for w in words}) for k in range(n)])
    else:
        utkface(
            root,
            [f"{draw.randint(1, 99)}_{draw.randint(0, 1)}_{draw.randint(0, 4)}_{10**16 + k}.jpg"
             for k in range(n)],
        )  # fmt: skip
    return datasets.load(name, DataLocation(data_dir=root))


@pytest.mark.parametrize("name", sorted(faces.READERS))
def test_a_game_about_an_attribute_runs_from_the_files_on(
    tmp_path: Path, name: str, measure, job_for
) -> None:
    from harness.training.single import train_alone
    from zoo.recipe import Recipe

    data = _archive(tmp_path, name)
    split = quarters(data, 0, Regime.FROM_SCRATCH)
    job = job_for("mlp-32", data=data, recipe=Recipe(epochs=1))
    model = train_alone(job, data.collected.take(split.target_train), None).model
    for attribute in data.z:
        found, _ = measure(
            data, model, 0, "attribute-scores", attribute=attribute, knows="nothing", epochs=2
        )
        assert found.status == "ok", found.reason
        assert 0 <= found.metrics["auc"] <= 1
