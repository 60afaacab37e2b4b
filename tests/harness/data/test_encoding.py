"""Tables become numbers that say what the table says, and sensitive attributes stay out of them."""

import csv
import gzip
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

from harness import listing, registry
from harness.data import datasets, encoding
from harness.data.builtin import TINT_STRENGTH
from harness.data.dataset import DataLocation, Dataset
from harness.data.encoding import Encoded
from harness.data.examples import UNKNOWN, Attribute, Column
from harness.data.quarters import Quarters, quarters
from harness.data.tables import cells, description
from harness.defenses.stack import Stack
from harness.games import attribute as attribute_game
from harness.games.game import ScenarioSpec
from harness.seeds import derive
from harness.types import Access, Aux, NotApplicableError, Regime, ThreatModel
from zoo import nets
from zoo.errors import ZooError

ROW = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, "
    "2174, 0, 40, United-States, <=50K"
)
OTHER = "50, ?, 83311, Masters, 14, Divorced, Sales, Wife, Black, Female, 0, 5, 20, Cuba, >50K"
TOYS = """
train = "train.csv"
test = "test.csv"
label = "price"
classes = ["low", "high"]
numbers = ["size", "age", "noise"]
ignored = ["noise"]
[sensitive.owner]
"""
TOY_ROWS = [
    ("size", "colour", "age", "noise", "owner", "price"),
    (2.0, "red", 7, 1, "Bo", "low"),
    (4.0, "blue", 7, 2, "Al", "high"),
    (3.0, "red", 7, 3, "Cy", "high"),
    # Not learnt from: a larger one of a new colour, and a smaller, older one.
    (5.0, "green", 7, 4, "Bo", "low"),
    (1.0, "blue", 9, 5, "Al", "low"),
    (3.0, "blue", 9, 6, "Cy", "low"),
]


def _write(file: Path, rows: Sequence[Sequence[object]]) -> None:
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows(rows)


def _encoded(folder: Path, said: str, rows: Sequence[Sequence[object]], n_train: int = 0):
    """A table of one file, or with the first rows in one of their own."""
    if n_train:
        _write(folder / "train.csv", rows[: n_train + 1])
        _write(folder / "test.csv", [rows[0], *rows[n_train + 1 :]])
    else:
        _write(folder / "all.csv", rows)
    (folder / "toys.toml").write_text(said)
    toys = description.read(folder / "toys.toml")
    found = cells.read(folder, toys)
    assert found is not None
    return encoding.encode(found, toys)


def _toys(folder: Path, rows: Sequence[Sequence[object]] = TOY_ROWS, said: str = TOYS) -> Encoded:
    return _encoded(folder, said, rows, 3)


def _changed(column: str, *values: object) -> list[Sequence[object]]:
    """The toys with other values in the first rows of a column."""
    at = TOY_ROWS[0].index(column)
    rows = [list(row) for row in TOY_ROWS]
    for row, value in zip(rows[1:], values, strict=False):
        row[at] = value
    return rows


def test_a_table_by_hand(tmp_path) -> None:
    found = _toys(tmp_path)
    # size from 2 to 4, blue, red, age (always 7 in the training rows)
    expected = [[0, 0, 1, 0], [1, 1, 0, 0], [0.5, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1],
                [0.5, 1, 0, 1]]  # fmt: skip
    assert found.x.tolist() == expected
    assert found.x.dtype == torch.float32
    assert found.y.tolist() == [0, 1, 1, 0, 0, 0]
    assert (found.n_train, found.n_fitted) == (3, 3)
    assert found.z["owner"].names == ("Al", "Bo", "Cy")
    assert found.z["owner"].values.tolist() == [1, 0, 2, 1, 0, 2]
    size, colour, age = found.columns
    assert (size.name, size.start, size.stop, size.low, size.high) == ("size", 0, 1, 2, 4)
    assert (colour.name, colour.start, colour.stop) == ("colour", 1, 3)
    assert colour.values == ("blue", "red")
    assert (age.start, age.stop, age.low, age.high) == (3, 4, 7, 7)


def test_what_it_takes_is_learnt_from_the_training_rows_only(tmp_path) -> None:
    changed = _changed("size", 2.0, 4.0, 3.0, 999.0, -999.0)
    one, other = _toys(tmp_path), _toys(tmp_path, changed)
    assert torch.equal(one.x[:3], other.x[:3])
    assert one.columns == other.columns
    assert 0 <= other.x.min() <= other.x.max() <= 1


def test_nobody_sees_what_is_sensitive_ignored_or_the_label(tmp_path) -> None:
    found = _toys(tmp_path).x
    for column, values in (("noise", [0] * 6), ("owner", ["Cy", "Bo", "Al"]), ("price", ["high"])):
        assert torch.equal(_toys(tmp_path, _changed(column, *values)).x, found)


def test_a_missing_number_is_the_median_and_says_so(tmp_path) -> None:
    sizes = [2, "", 10, 4, "", 3, "", 1]
    owners = ["Al", "Bo", "Al", "Bo", "Al", "Bo", "Al", "Bo"]
    rows = [("size", "owner", "price"), *zip(sizes, owners, ["low", "high"] * 4, strict=True)]
    said = TOYS.replace('"age", "noise"', "").replace('ignored = ["noise"]', "")
    found = _encoded(tmp_path, said, rows, 4)
    size, missing = found.columns
    assert (size.low, size.high) == (2, 10)  # and the median of 2, 10 and 4 is 4
    assert found.x[:, 0].tolist() == [0, 0.25, 1, 0.25, 0.25, 0.125, 0.25, 0]
    assert (missing.name, missing.values) == ("size missing", ("no", "yes"))
    assert (size.imputed, missing.imputed) == (0.25, None)
    lacks = [int(value == "") for value in sizes]
    assert found.x[:, missing.start : missing.stop].tolist() == [[1 - m, m] for m in lacks]


def test_nothing_says_what_no_training_row_lacks(tmp_path) -> None:
    found = _toys(tmp_path, _changed("size", 2.0, 4.0, 3.0, ""))
    assert [column.name for column in found.columns] == ["size", "colour", "age"]
    assert found.x[3, 0] == 0.5


def test_a_missing_category_is_a_category(tmp_path) -> None:
    rows = _changed("colour", "red", "NA", "", "blue")
    found = _toys(tmp_path, rows, 'missing = ["NA"]' + TOYS)
    colour = found.columns[1]
    assert colour.values == ("?", "red")
    assert found.x[:4, 1:3].tolist() == [[0, 1], [1, 0], [1, 0], [0, 0]]


NAMES = """
file = "all.csv"
label = "price"
classes = ["low", "high"]
categorical = ["name"]
"""


def _people(n: int) -> list[Sequence[object]]:
    """Each has a name of its own, so that the features tell who was learnt from."""
    return [("name", "price"), *((f"p{i:03}", ("low", "high")[i % 2]) for i in range(n))]


def test_without_an_official_split_half_is_learnt_from_in_an_order_that_means_nothing(
    tmp_path,
) -> None:
    found, again = (_encoded(tmp_path, NAMES, _people(41)) for _ in range(2))
    assert (found.n_train, found.n_fitted) == (0, 20)
    assert found.x[:20].sum(1).tolist() == [1] * 20
    assert not found.x[20:].any()
    known = [int(name[1:]) for name in found.columns[0].values]
    assert known != list(range(20))
    assert 5 < np.mean([i < 20 for i in known]) * 20 < 15
    assert torch.equal(found.x, again.x)
    order = found.x[:20].argmax(1)
    assert order.tolist() != sorted(order.tolist())
    assert found.y[:20].tolist() == [known[i] % 2 for i in order]


def test_a_quarter_is_left_where_the_official_test_rows_are_fewer(tmp_path) -> None:
    said = NAMES.replace('file = "all.csv"', 'train = "train.csv"\ntest = "test.csv"')
    found = _encoded(tmp_path, said, _people(41), 38)
    assert (found.n_train, found.n_fitted) == (38, 30)
    known = {int(name[1:]) for name in found.columns[0].values}
    assert len(known) == 30
    assert known < set(range(38))
    assert known != set(range(30))  # the last training rows are no others than the first
    assert found.y[38:].tolist() == [0, 1, 0]  # the test rows are where they were
    few = _encoded(tmp_path, said, _people(40), 30)
    assert (few.n_train, few.n_fitted) == (30, 30)
    assert few.x[:30].argmax(1).tolist() == list(range(30))


def test_a_label_may_have_many_classes_and_many_words(tmp_path) -> None:
    said = TOYS.replace('["low", "high"]', '[1, ["2", "two"], "three"]')
    rows = _changed("price", "two", 1, "three", 2, "1", " three ")
    assert _toys(tmp_path, rows, said).y.tolist() == [1, 0, 2, 1, 0, 2]


AGES = TOYS.replace("[sensitive.owner]", "[sensitive.age]\n") + "bins = [25, 60]\n"


def _aged(*ages: object) -> list[Sequence[object]]:
    return _changed("age", *ages)


def test_bins_say_which_group_a_number_is_in(tmp_path) -> None:
    found = _toys(tmp_path, _aged(24.9, 25, 60, 3, 59, 99), AGES)
    assert found.z["age"].names == ("below 25", "from 25 to below 60", "from 60")
    assert found.z["age"].values.tolist() == [0, 1, 2, 0, 1, 2]
    assert "age" not in [column.name for column in found.columns]


def test_bins_of_the_same_name_are_one_group(tmp_path) -> None:
    said = AGES + 'names = ["other", "adult", "other"]'
    age = _toys(tmp_path, _aged(24.9, 25, 60, 3, 59, 99), said).z["age"]
    assert (age.names, age.values.tolist()) == (("other", "adult"), [0, 1, 0, 0, 1, 0])


def test_who_does_not_say_is_in_no_group(tmp_path) -> None:
    age = _toys(tmp_path, _aged(24, "", 61, "", 59, 12), AGES.replace("[25, 60]", "[25]")).z["age"]
    assert (age.names, age.values.tolist()) == (("below 25", "from 25"), [0, -1, 1, -1, 1, 0])
    owner = _toys(tmp_path, _changed("owner", "Al", "", "Bo", "Al", "Bo", "")).z["owner"]
    assert (owner.names, owner.values.tolist()) == (("Al", "Bo"), [0, -1, 1, 0, 1, -1])
    said = TOYS + "groups = { a = ['Al'], b = ['Bo'] }"
    owner = _toys(tmp_path, _changed("owner", "Al", "", "Bo", "Al", "Bo", ""), said).z["owner"]
    assert (owner.names, owner.values.tolist()) == (("a", "b"), [0, -1, 1, 0, 1, -1])


@pytest.mark.parametrize("mark", ["", "NA"])
def test_who_does_not_say_may_have_a_group(tmp_path, mark) -> None:
    said = f'missing = ["NA"]{TOYS}groups = {{ known = ["Al", "Bo"], silent = ["{mark}"] }}'
    owner = _toys(tmp_path, _changed("owner", "Al", "", "Bo", "NA", "Bo", ""), said).z["owner"]
    assert (owner.names, owner.values.tolist()) == (("known", "silent"), [0, 1, 0, 1, 0, 1])


def test_the_features_say_nothing_of_who_does_not_say(tmp_path) -> None:
    rows = _changed("owner", "Al", "", "Bo", "Cy", "Bo", "")
    found = _toys(tmp_path, rows, "sensitive_in_features = true\n" + TOYS)
    owner = next(column for column in found.columns if column.name == "owner")
    assert owner.values == ("Al", "Bo")  # of the training rows; the one of Cy is not
    shown = [[1, 0], [0, 0], [0, 1], [0, 0], [0, 1], [0, 0]]
    assert found.x[:, owner.start : owner.stop].tolist() == shown


def test_a_rare_value_or_a_missing_one_does_not_keep_a_table_from_being_used(
    tmp_path, measure
) -> None:
    rng = np.random.default_rng(0)
    sex = rng.choice(["f", "m"], 400)
    sex[7] = "x"
    sex[rng.permutation(np.delete(np.arange(400), 7))[:40]] = ""
    price = np.where(rng.random(400) < 0.5, "low", "high")
    rows = [("size", "sex", "price"), *zip(rng.random(400), sex, price, strict=True)]
    said = "file = 'all.csv'\nlabel = 'price'\nclasses = ['low', 'high']\n[sensitive.sex]\n"
    encoded = _encoded(tmp_path, said, rows)
    data = Dataset(name="made", num_classes=2, **vars(encoded))
    known = data.z["sex"].values != UNKNOWN
    assert (data.z["sex"].names, int(known.sum())) == (("f", "m", "x"), 360)
    split = quarters(data, 0, Regime.FROM_SCRATCH)
    asked = split.target_test[known[split.target_test]]
    assert 0 < len(asked) < len(split.target_test)
    model = torch.nn.Linear(1, 2)
    for attack in ("group-audit", "attribute-scores"):
        quick = {"epochs": "1"} if attack == "attribute-scores" else {}
        _, outcome = measure(data, model, 0, attack, **quick)
        index = torch.as_tensor(outcome.samples["index"])
        member = outcome.samples.get("member", np.zeros(len(index), bool))
        assert torch.equal(index[~torch.as_tensor(member)].sort().values, asked.sort().values)


def test_values_are_put_together_in_groups(tmp_path) -> None:
    said = TOYS.replace("[sensitive.owner]", "[sensitive.vowel]") + (
        'column = "owner"\ngroups = { no = ["Bo", "Cy"], yes = ["Al"] }'
    )
    vowel = _toys(tmp_path, said=said).z["vowel"]
    assert (vowel.names, vowel.values.tolist()) == (("no", "yes"), [0, 1, 0, 0, 1, 0])


def test_attributes_are_among_the_features_if_the_description_says_so(tmp_path) -> None:
    said = f"sensitive_in_features = true\n{TOYS}\n" + (
        '[sensitive.vowel]\ncolumn = "owner"\ngroups = { no = ["Bo", "Cy"], yes = ["Al"] }'
        "\n[sensitive.age]\nbins = [25]"
    )
    found = _toys(tmp_path, _aged(24, 25, 60, 3, 59, 99), said)
    columns = {column.name: column for column in found.columns}
    # In the table's order, and never as they stand: no age in years.
    assert list(columns) == ["size", "colour", "age", "owner", "vowel"]
    for name, attribute in found.z.items():
        column = columns[name]
        assert column.values == tuple(sorted(attribute.names))
        shown = found.x[:, column.start : column.stop].argmax(1)
        names = [column.values[k] for k in shown.tolist()]
        assert names == [attribute.names[k] for k in attribute.values.tolist()]


@pytest.mark.parametrize(
    ("said", "rows", "message"),
    [
        (TOYS.replace(".owner", ".sex"), TOY_ROWS,
         r"train\.csv has no column 'sex' \(wanted by sensitive\.sex in .*toys\.toml\)\. Its "
         "columns: size, colour, age, noise, owner, price"),
        (TOYS, _changed("owner", *["Al"] * 6), "everybody's owner is 'Al', so there are no groups"),
        (AGES, _aged(*[30] * 6), "everybody's age is 'from 25 to below 60'"),
        (TOYS, _changed("owner", "Al", "", *["Al"] * 4), "everybody's owner is 'Al', so there are"),
        (TOYS, _changed("owner", *[""] * 6), "nobody's owner is known. Take it out of sensitive"),
        ("sensitive_in_features = true\n" + TOYS, _changed("owner", "", "", ""),
         "no training row has a value in column 'owner'. List it under ignored, or take it out of"),
        (AGES, _aged(20, 30, 20, 30, 20, 30),
         r"no row has the age 'from 60'\. Take it out of bins or groups"),
        (TOYS + "groups = { x = ['Al', 'Bo'] }", TOY_ROWS,
         r"train\.csv, line 4, column 'owner': 'Cy' is in none of the groups of sensitive\.owner"),
        (TOYS, _changed("size", 2.0, "4,0"),
         r"train\.csv, line 3, column 'size': '4,0' is no number\. Correct the cell"),
        (TOYS, _changed("size", 2.0, 4.0, 3.0, 5.0, "nan"),
         r"test\.csv, line 3, column 'size': 'nan' is no number"),
        (AGES, _aged(24, 25, 60, 3, "old"), r"test\.csv, line 3, column 'age': 'old' is no number"),
        (TOYS, _changed("size", "", "", ""), "no training row has a value in column 'size'"),
        (TOYS, _changed("price", "low", "dear"),
         r"train\.csv, line 3, column 'price': the label is 'dear', but .* knows low, high\."),
        (TOYS, _changed("price", "low", ""), "line 3, column 'price': the label is missing, but"),
        (TOYS, _changed("price", *["low"] * 6), "no row has the label high in column 'price'"),
        (TOYS.replace('"size", ', '"sise", '), TOY_ROWS,
         r"has no column 'sise' \(wanted by numbers in "),
        ('ignored = ["size", "colour", "age", "noise"]\n' + TOYS.replace('ignored = ["noise"]', ""),
         TOY_ROWS, "leaves no column of .* for the features"),
        (TOYS.replace(".owner]", '.colour]\ncolumn = "owner"') + "\n[sensitive.size]\nbins = [3]",
         _changed("size", 1, 4, 1, 1, 4, 4), None),
    ],
)  # fmt: skip
def test_a_table_that_is_not_as_described_is_refused(tmp_path, said, rows, message) -> None:
    if message is None:  # the same name, but only once among the features
        assert [c.name for c in _toys(tmp_path, rows, said).columns] == ["colour", "age"]
        said, message = "sensitive_in_features = true\n" + said, "would be called 'colour'"
    with pytest.raises(ZooError, match=message) as problem:
        _toys(tmp_path, rows, said)
    assert "\n" not in str(problem.value)


def test_many_numbers_need_bins_and_many_words_do_not(tmp_path) -> None:
    said = "file = 'all.csv'\nlabel = 'price'\nclasses = ['low', 'high']\nnumbers = ['size']\n"
    rows = [("size", "age", "price"), *((i, i % 11, ("low", "high")[i % 2]) for i in range(220))]
    message = r"sensitive column 'age' has 11 different numbers\. .*sensitive\.age\.bins = \[5\]"
    with pytest.raises(ZooError, match=message):
        _encoded(tmp_path, said + "[sensitive.age]", rows)
    dates = [rows[0], *((size, f"1990-{int(size) % 51}", price) for size, _, price in rows[1:])]
    message = "sensitive column 'age' has 51 different values, such as '1990-0', and at most 50 can"
    with pytest.raises(ZooError, match=message):
        _encoded(tmp_path, said + "[sensitive.age]", dates)
    words = [rows[0], *((size, f"c{age}", price) for size, age, price in rows[1:])]
    assert len(_encoded(tmp_path, said + "[sensitive.age]", words).z["age"].names) == 11
    few = [rows[0], *((size, int(age) % 10, price) for size, age, price in rows[1:])]
    assert len(_encoded(tmp_path, said + "[sensitive.age]", few).z["age"].names) == 10


def test_a_column_of_names_is_no_category(tmp_path) -> None:
    with pytest.raises(ZooError, match="column 'name' has 1001 different values, too many"):
        _encoded(tmp_path, NAMES, _people(2002))
    assert _encoded(tmp_path, NAMES, _people(2000)).x.shape == (2000, 1000)


def _adult(folder: Path, train: str, test: str) -> DataLocation:
    (folder / "adult").mkdir()
    (folder / "adult" / "adult.data").write_text(train)
    (folder / "adult" / "adult.test").write_text(test)
    return DataLocation(data_dir=folder)


def test_adult_is_read_as_it_is_written(tmp_path) -> None:
    source = _adult(tmp_path, f"{ROW}\n{OTHER}\n\n", f"|1x3 Cross validator\n{OTHER}.\n{ROW}.\n\n")
    data = datasets.load("adult", source)
    assert (len(data), data.n_train, data.num_classes) == (4, 2, 2)
    assert data.y.tolist() == [0, 1, 1, 0]  # the test part ends in a full stop
    assert data.z["sex"].names == ("Female", "Male")
    assert data.z["sex"].values.tolist() == [1, 0, 0, 1]
    assert data.z["race"].values.tolist() == [1, 0, 0, 1]
    assert torch.equal(data.x[0], data.x[3])
    columns = {column.name: column for column in data.columns}
    assert list(columns) == [
        "age", "workclass", "education-num", "marital-status", "occupation", "relationship",
        "capital-gain", "capital-loss", "hours-per-week", "native-country",
    ]  # fmt: skip
    assert columns["workclass"].values == ("?", "State-gov")  # missing is a value
    assert data.input_shape == (data.columns[-1].stop,)
    assert data.stated == ()


def test_adult_may_be_told_who_is_who(tmp_path) -> None:
    source = _adult(tmp_path, f"{ROW}\n{OTHER}", f"{OTHER}.\n{ROW}.")
    plain, aware = (datasets.load(name, source) for name in ("adult", "adult-aware"))
    assert aware.stated == ("sex", "race")
    assert torch.equal(aware.y, plain.y)
    for name, attribute in plain.z.items():
        assert torch.equal(aware.z[name].values, attribute.values)
    told = [c for c in aware.columns if c.name in aware.z]
    assert [c.name for c in told] == ["race", "sex"]
    kept = torch.ones(aware.x.shape[1], dtype=torch.bool)
    for column in told:
        kept[column.start : column.stop] = False
        shown = aware.x[:, column.start : column.stop].argmax(1)
        assert torch.equal(shown, aware.z[column.name].values)
    assert torch.equal(aware.x[:, kept], plain.x)
    assert aware.fingerprint != plain.fingerprint


def test_a_compressed_table_is_the_same_table(tmp_path) -> None:
    for name in ("plain", "packed"):
        (tmp_path / name).mkdir()
    plain = _adult(tmp_path / "plain", ROW + "\n" + OTHER, ROW + ".\n" + OTHER + ".")
    folder = tmp_path / "packed" / "adult"
    folder.mkdir()
    for part, text in (("data", ROW + "\n" + OTHER), ("test", ROW + ".\n" + OTHER + ".")):
        (folder / f"adult.{part}.gz").write_bytes(gzip.compress(text.encode()))
    found = [
        datasets.DATASETS["adult"](source)
        for source in (plain, DataLocation(data_dir=tmp_path / "packed"))
    ]
    assert found[0].fingerprint == found[1].fingerprint


def _own(folder: Path, name: str = "toys") -> DataLocation:
    _write(folder / "train.csv", TOY_ROWS[:4])
    _write(folder / "test.csv", [TOY_ROWS[0], *TOY_ROWS[4:]])
    (folder / f"{name}.toml").write_text(TOYS)
    return DataLocation(data_dir=folder)


def test_a_description_in_the_data_folder_is_a_dataset(tmp_path) -> None:
    source = _own(tmp_path)
    data = datasets.load("toys", source)
    assert (data.name, data.num_classes, data.n_train, data.n_fitted) == ("toys", 2, 3, 3)
    assert data.epsilon == {"linf": 0.1, "l2": 0.5}
    assert "toys" in datasets.names(source)
    assert "toys" not in datasets.names()
    with pytest.raises(ZooError, match=r"No dataset 'toy'\. Nearest: toys"):
        datasets.load("toy", source)


def test_a_description_does_not_take_another_datasets_name(tmp_path) -> None:
    with pytest.raises(ZooError, match=r"dataset 'digits' besides that of .*digits\.toml\. Rename"):
        datasets.load("digits", _own(tmp_path, "digits"))


def test_files_that_are_not_there_are_named(tmp_path) -> None:
    source = _own(tmp_path)
    (tmp_path / "test.csv").unlink()
    message = rf"'toys' is not here: train\.csv or test\.csv is not in {tmp_path}\. Put the files"
    with pytest.raises(ZooError, match=message):
        datasets.load("toys", source)


@pytest.mark.mirror
@pytest.mark.parametrize(
    ("name", "n", "n_fitted", "features", "ones", "groups"),
    [
        ("adult", 48_842, 32_561, 84, 11_687, {"sex": [16_192, 32_650]}),
        # As german.doc has it: 700 good ones. 190 people are up to 25 years old.
        ("german", 1_000, 500, 56, 700, {"sex": [310, 690], "age": [190, 810]}),
        ("bank", 4_521, 2_260, 47, 521, {"age": [241, 4_280], "marital": [528, 2_797, 1_196]}),
    ],
)
def test_a_table_is_scikit_learns_encoding_of_the_same_rows(
    mirror, name, n, n_fitted, features, ones, groups
) -> None:
    data = datasets.load(name, DataLocation(mirror=mirror))
    assert (len(data), data.n_fitted, data.input_shape) == (n, n_fitted, (features,))
    assert data.n_train == (32_561 if n > 10_000 else 0)
    assert data.y.sum() == ones
    for attribute, counts in groups.items():
        assert data.z[attribute].values.bincount().tolist() == counts
    assert (data.x.min(), data.x.max()) == (0, 1)
    said = description.read(description.builtin()[name])
    rows = cells.read(mirror / "tabular", said)
    assert rows is not None
    rows, _ = encoding._arranged(rows)
    for column in data.columns:
        values = rows.column(column.name)[:, None]
        if column.values:
            values[values == None] = "?"  # noqa: E711
            scaler = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
        else:
            values, scaler = values.astype(float), MinMaxScaler(clip=True)
        expected = scaler.fit(values[:n_fitted]).transform(values)
        found = data.x[:, column.start : column.stop].numpy()
        assert np.allclose(found, expected, atol=1e-6), column.name
        if column.values:
            assert column.values == tuple(scaler.categories_[0])
    assert [c.start for c in data.columns[1:]] == [c.stop for c in data.columns[:-1]]


def test_attributes_are_had_by_name(tiny) -> None:
    one = Attribute(torch.zeros(64, dtype=torch.long), ("a",))
    two = Attribute(torch.ones(64, dtype=torch.long), ("a", "b"))
    data = replace(tiny, z={"one": one, "two": two})
    assert data.attribute() is one
    assert data.attribute("two") is two
    with pytest.raises(ZooError, match="No sensitive attribute of tiny 'tow'. Nearest: two") as bad:
        data.attribute("tow")
    assert not isinstance(bad.value, NotApplicableError)
    with pytest.raises(NotApplicableError, match=r"tiny has no sensitive attributes"):
        tiny.attribute("one")


def test_an_attribute_is_named_once_and_in_one_order(tiny) -> None:
    values = torch.arange(64)
    z = {
        "sex": Attribute(values % 2, ("f", "m")),
        "race": Attribute(values // 2 % 3, ("a", "b", "c")),
    }
    data = replace(tiny, z=z)
    for name in ("sex+race", "race+sex"):
        assert data.attribute_name(name) == "sex+race"
        assert data.attribute(name).names[:3] == ("f, a", "f, b", "f, c")
        assert torch.equal(data.attribute(name).values, values % 2 * 3 + values // 2 % 3)
        told = {"attribute": name}
        methods = [registry.make("defense", one, told) for one in ("reweighing", "group-dro")]
        for one in ("group-audit", "attribute-scores", "distribution-loss"):
            methods.append(registry.make("attack", one, told))
        assert [one.resolve(data).attribute for one in methods] == ["sex+race"] * 5
    assert data.attribute_name() == "sex"
    for said in (data.attribute, data.attribute_name):
        with pytest.raises(ZooError, match=r"sex\+race\+sex names .* twice.* once: sex\+race\."):
            said("sex+race+sex")


def test_the_fingerprint_sees_every_change_of_an_attribute(tiny) -> None:
    values = torch.arange(64) % 2
    attribute = Attribute(values, ("a", "b"))
    data = replace(tiny, z={"one": attribute})
    changed = [
        replace(data, z={}),
        replace(data, z={"two": attribute}),
        replace(data, z={"one": attribute, "two": attribute}),
        replace(data, z={"one": Attribute(values, ("b", "a"))}),
        replace(data, z={"one": Attribute(1 - values, ("a", "b"))}),
    ]
    again = replace(data, z={"one": Attribute(values.clone(), ("a", "b"))})
    assert again.fingerprint == data.fingerprint
    assert len({data.fingerprint, *(other.fingerprint for other in changed)}) == 6


def test_the_tint_goes_with_the_label_as_often_as_it_says() -> None:
    data, plain = (datasets.load(name, DataLocation()) for name in ("digits-tinted", "digits"))
    tint = data.z["tint"].values
    assert data.x.shape == (1797, 3, 8, 8)
    assert torch.equal(data.y, plain.y)
    agrees = (tint == data.y % 2).double().mean().item()
    assert agrees == pytest.approx(TINT_STRENGTH, abs=0.03)
    # The brightest channel is the digit itself; which one it is, is the tint.
    assert torch.equal(data.x.amax(1, keepdim=True), plain.x)
    red, blue = data.x[:, 0].sum((1, 2)), data.x[:, 2].sum((1, 2))
    assert torch.equal(red > blue, tint == data.z["tint"].names.index("warm"))
    assert datasets.DATASETS["digits-tinted"](DataLocation()).fingerprint == data.fingerprint


def _quarters(**parts: list[int]) -> Quarters:
    given = {
        "target_train": [0, 1], "target_test": [2, 3], "shadow_train": [4], "shadow_test": [5],
        **parts,
    }  # fmt: skip
    return Quarters(**{name: torch.tensor(index) for name, index in given.items()})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"target_test": [1, 2]}, "but target_train and target_test share examples"),
        ({"shadow_test": [4]}, "but shadow_train and shadow_test share examples"),
        (
            {"target_test": [0, 4]},
            "but target_train and target_test, target_test and shadow_train share examples",
        ),
        ({"target_train": [0, 0]}, "repeats examples"),
    ],
)
def test_members_that_are_non_members_too_are_refused(parts, message) -> None:
    with pytest.raises(ZooError, match=message):
        _quarters(**parts)
    _quarters()


def _table(n: int, n_train: int = 0, n_fitted: int = 0) -> Dataset:
    return Dataset(
        name="made", num_classes=2, x=torch.rand(n, 5), y=torch.arange(n) % 2, n_train=n_train,
        n_fitted=n_fitted,
    )  # fmt: skip


@given(n=st.integers(8, 300), share=st.floats(0.01, 0.75), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_nobody_is_judged_on_rows_that_the_encoding_was_learnt_from(n, share, seed) -> None:
    n_fitted = int(n * share)
    data = _table(n, n_fitted=n_fitted)
    split = quarters(data, seed, Regime.FROM_SCRATCH)
    assert [len(part) for part in vars(split).values()] == [*[n // 4] * 4, 0]
    assert not len(split.target_test) or split.target_test.min() >= n_fitted
    assert torch.cat(list(vars(split).values())).max() < n


@pytest.mark.parametrize("n_fitted", [500, 1000, 1500])
def test_all_other_quarters_are_alike(n_fitted) -> None:
    counts = np.zeros(3)
    for seed in range(20):
        split = quarters(_table(2000, n_fitted=n_fitted), seed, Regime.FROM_SCRATCH)
        others = (split.target_train, split.shadow_train, split.shadow_test)
        counts += [int((part < n_fitted).sum()) for part in others]
        later = split.target_test - n_fitted
        # Any later row may be drawn, not only the first or the last ones.
        assert abs(later.double().mean() - (2000 - n_fitted) / 2) < 6 * 2000 / np.sqrt(12 * 500)
    share = n_fitted / 1500
    assert np.abs(counts / 10_000 - share).max() < 4 * np.sqrt(share / 10_000) * (share < 1) + 1e-9


def test_images_are_shared_out_as_they_were(tiny) -> None:
    split = quarters(tiny, 3, Regime.FROM_SCRATCH)
    rng = np.random.default_rng(derive("split", tiny.fingerprint, Regime.FROM_SCRATCH, 3))
    assert torch.cat(list(vars(split).values())).tolist() == rng.permutation(64).tolist()


def test_of_a_published_model_without_a_split_the_test_rows_are_later_ones_too() -> None:
    split = quarters(_table(101, n_fitted=50), 0, Regime.PUBLISHED)
    assert (len(split.target_train), len(split.target_test)) == (0, 51)
    assert split.target_test.min() >= 50


def test_the_fingerprint_sees_what_the_features_mean(tmp_path) -> None:
    data = datasets.load("toys", _own(tmp_path))
    size, colour, age = data.columns
    changed = [
        replace(data, columns=()),
        replace(data, columns=(replace(size, name="width"), colour, age)),
        replace(data, columns=(replace(size, high=4.5), colour, age)),
        replace(data, columns=(size, replace(colour, values=("blue", "pink")), age)),
        replace(data, n_fitted=2),
        replace(data, columns=(replace(size, imputed=0.5), colour, age)),
    ]
    assert replace(data).fingerprint == data.fingerprint
    assert len({data.fingerprint, *(other.fingerprint for other in changed)}) == 7


@pytest.mark.parametrize(
    ("asked", "told"), [("sex", "sex"), ("race", None), ("race+sex", "sex"), ("sex+race", "sex")]
)
def test_what_the_features_say_is_not_inferred(asked, told) -> None:
    values = Attribute(torch.arange(80) % 2, ("a", "b"))
    data = replace(
        _table(80),
        z={"sex": values, "race": values},
        columns=(Column("sex", 0, 2), Column("k", 2, 5)),
    )
    setting = ScenarioSpec(
        dataset=data, quarters=quarters(data, 0, Regime.FROM_SCRATCH), ood_size=0,
        threat=ThreatModel(access=Access.SCORES, aux=Aux.SHADOW), stack=Stack(()),
        regime=Regime.FROM_SCRATCH, seed=0,
    )  # fmt: skip
    attack = registry.make("attack", "attribute-scores", {"attribute": asked})
    if told is None:
        attribute_game.check(attack, setting)
        return
    with pytest.raises(NotApplicableError, match=f"The features of made say {told}, so there is"):
        attribute_game.check(attack, setting)


@pytest.mark.parametrize("regime", list(Regime))
def test_a_table_is_shared_out_like_images(regime) -> None:
    made = _table(100, n_train=60, n_fitted=60)
    split = quarters(made, 0, regime)
    held = torch.cat(list(vars(split).values()))
    assert len(held.unique()) == len(held)
    assert made.all.take(split.target_test).x.shape[1:] == made.input_shape == (5,)


@pytest.mark.parametrize("told", [True, False])
def test_a_result_says_whether_the_model_is_told_the_attributes(measure, told) -> None:
    sex = Attribute(torch.arange(80) // 2 % 2, ("a", "b"))
    columns = (Column("sex" if told else "k", 0, 2), Column("l", 2, 5))
    data = replace(_table(80), z={"sex": sex}, columns=columns)
    found, _ = measure(data, torch.nn.Linear(5, 2), 0, "correctness")
    assert found.provenance["attributes_in_features"] == (["sex"] if told else [])


def test_the_long_list_says_who_is_told_what(tmp_path) -> None:
    source = _own(tmp_path)
    (tmp_path / "broken.toml").write_text("lable = 3")
    header, rows = listing.long_rows("datasets", source)
    found = {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}
    assert sorted(found) == datasets.names(source)
    told = {name: row["among the features"] for name, row in found.items()}
    assert (told["adult"], told["adult-aware"], told["toys"], told["digits"]) == (
        "no", "yes", "no", None,
    )  # fmt: skip
    assert found["german"]["sensitive attributes"] == "sex, age"
    assert "Nearest: label" in found["broken"]["what it is"]
    images = {name: found[name]["sensitive attributes"] for name in datasets.ATTRIBUTES}
    assert images["digits-tinted"] == ", ".join(datasets.load("digits-tinted", source).z) == "tint"
    assert images["lfw"] == "sex, race"
    assert found["digits"]["sensitive attributes"] is None


def test_only_descriptions_are_listed_and_none_in_place_of_a_builtin(tmp_path) -> None:
    before = listing.long_rows("datasets", DataLocation())
    source = DataLocation(data_dir=tmp_path)
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["x"]\n[project]\nname = "x"\n[tool.x]\nlabel = "y"\n'
    )
    (tmp_path / "ruff.toml").write_text("line-length = 100\n[lint]\nselect = ['E']\n")
    for name in ("digits", "german"):
        (tmp_path / f"{name}.toml").write_text(TOYS)
    assert listing.long_rows("datasets", source) == before
    for name, text in (("open", "label = [\n"), ("short", "like = 'adult'\n"), ("bytes", None)):
        if text is None:
            (tmp_path / f"{name}.toml").write_bytes(b"\xff\xfe")
        else:
            (tmp_path / f"{name}.toml").write_text(text)
    rows = {row[0]: row for row in listing.long_rows("datasets", source)[1]}
    assert rows.keys() == {row[0] for row in before[1]} | {"open", "short", "bytes"}
    assert "open.toml cannot be read" in rows["open"][-1]
    assert "bytes.toml cannot be read" in rows["bytes"][-1]
    assert rows["short"][1] == "sex, race"


@pytest.mark.parametrize("n_train", [0, 30])
def test_samples_say_which_row_of_the_users_file_each_example_is(
    tmp_path: Path, measure, n_train
) -> None:
    """Rows are shuffled, or the training file comes first; a data frame finds them again."""
    rng = np.random.default_rng(0)
    size = rng.random(80).round(3)
    rows = [("size", "grade"), *((s, "high" if s > 0.5 else "low") for s in size)]
    said = 'label = "grade"\nclasses = ["low", "high"]\nnumbers = ["size"]\n'
    names = 'train = "train.csv"\ntest = "test.csv"\n' if n_train else 'file = "all.csv"\n'
    _encoded(tmp_path, names + said, rows, n_train)
    if not n_train:  # lines that data frames do not count
        text = (tmp_path / "all.csv").read_text().splitlines()
        (tmp_path / "all.csv").write_text("\n".join([*text[:3], "", *text[3:]]) + "\n")
    data = datasets.load("toys", DataLocation(data_dir=tmp_path))
    model = nets.build("mlp-32", data.input_shape, 2).eval()
    _, outcome = measure(data, model, 0, "fgsm")
    found = pd.DataFrame(dict(outcome.samples))
    files = found["file"] if n_train else ["all.csv"] * len(found)
    frames = {name: pd.read_csv(tmp_path / name) for name in set(files)}
    for name, row, index, label in zip(
        files, found["row"], found["index"], found["label"], strict=True
    ):
        line = frames[name].iloc[row]
        assert line["grade"] == ["low", "high"][label]
        column = data.columns[0]
        told = data.x[index, 0].item() * (column.high - column.low) + column.low
        assert told == pytest.approx(np.clip(line["size"], column.low, column.high), abs=1e-5)
