"""Tables become numbers that say what the table says, and sensitive attributes stay out of them."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

from harness import datasets, tabular
from harness.datasets import TINT_STRENGTH, Dataset, Quarters, Source, quarters
from harness.tabular import ADULT, Description
from harness.types import Attribute, NotApplicableError, Regime
from zoo.errors import ZooError

ROW = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, "
    "2174, 0, 40, United-States, <=50K"
)
OTHER = "50, ?, 83311, Masters, 14, Divorced, Sales, Wife, Black, Female, 0, 5, 20, Cuba, >50K"
TOYS = Description(
    columns=("size", "colour", "age", "noise", "owner", "price"),
    numbers=("size", "age", "noise"),
    label="price",
    labels=("low", "high"),
    sensitive=("owner",),
    ignored=("noise",),
)


def _toys() -> pd.DataFrame:
    rows = [
        (2.0, "red", 7, 1, "Bo", "low"),
        (4.0, "blue", 7, 2, "Al", "high"),
        (3.0, "red", 7, 3, "Cy", "high"),
        (5.0, "green", 7, 4, "Bo", "low"),  # beyond the first three: larger, and a new colour
        (1.0, "blue", 9, 5, "Al", "low"),
    ]
    return pd.DataFrame(rows, columns=list(TOYS.columns))


def _write(folder: Path, train: str, test: str) -> Source:
    (folder / "adult").mkdir()
    (folder / "adult" / "adult.data").write_text(train)
    (folder / "adult" / "adult.test").write_text(test)
    return Source(data_dir=folder)


def test_a_table_by_hand() -> None:
    found = tabular.encode(_toys(), TOYS, 3)
    # size from 2 to 4, blue, red, age (always 7 in the training rows)
    expected = [[0, 0, 1, 0], [1, 1, 0, 0], [0.5, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1]]
    assert found.x.tolist() == expected
    assert found.x.dtype == torch.float32
    assert found.y.tolist() == [0, 1, 1, 0, 0]
    assert found.z["owner"].names == ("Al", "Bo", "Cy")
    assert found.z["owner"].values.tolist() == [1, 0, 2, 1, 0]
    size, colour, age = found.columns
    assert (size.name, size.start, size.stop, size.low, size.high) == ("size", 0, 1, 2, 4)
    assert (colour.name, colour.start, colour.stop) == ("colour", 1, 3)
    assert colour.values == ("blue", "red")
    assert (age.start, age.stop, age.low, age.high) == (3, 4, 7, 7)


def test_what_it_takes_is_learnt_from_the_training_rows_only() -> None:
    rows = _toys()
    changed = rows.assign(size=[2.0, 4.0, 3.0, 999.0, -999.0])
    one, other = tabular.encode(rows, TOYS, 3), tabular.encode(changed, TOYS, 3)
    assert torch.equal(one.x[:3], other.x[:3])
    assert one.columns == other.columns
    assert 0 <= other.x.min() <= other.x.max() <= 1


def test_nobody_sees_what_is_sensitive_ignored_or_the_label() -> None:
    rows = _toys()
    hidden = rows.assign(noise=0, owner="Al", price="low")
    assert torch.equal(tabular.encode(rows, TOYS, 3).x, tabular.encode(hidden, TOYS, 3).x)


def test_adult_is_read_as_it_is_written(tmp_path) -> None:
    source = _write(tmp_path, f"{ROW}\n{OTHER}\n\n", f"|1x3 Cross validator\n{OTHER}.\n{ROW}.\n\n")
    data = datasets.DATASETS["adult"](source)
    assert (len(data), data.n_train, data.num_classes) == (4, 2, 2)
    assert data.y.tolist() == [0, 1, 1, 0]  # the test part ends in a full stop
    assert data.z["sex"].names == ("Female", "Male")
    assert data.z["sex"].values.tolist() == [1, 0, 0, 1]
    assert data.z["race"].values.tolist() == [1, 0, 0, 1]
    assert torch.equal(data.x[0], data.x[3])
    columns = {column.name: column for column in data.columns}
    assert set(columns) == {*ADULT.columns} - {"fnlwgt", "education", "race", "sex", "income"}
    assert columns["workclass"].values == ("?", "State-gov")  # missing is a value
    assert data.input_shape == (data.columns[-1].stop,)


def test_a_compressed_table_is_the_same_table(tmp_path) -> None:
    for name in ("plain", "packed"):
        (tmp_path / name).mkdir()
    plain = _write(tmp_path / "plain", ROW + "\n" + OTHER, OTHER + ".")
    folder = tmp_path / "packed" / "adult"
    folder.mkdir()
    for part, text in (("data", ROW + "\n" + OTHER), ("test", OTHER + ".")):
        (folder / f"adult.{part}.gz").write_bytes(gzip.compress(text.encode()))
    found = [
        datasets.DATASETS["adult"](source)
        for source in (plain, Source(data_dir=tmp_path / "packed"))
    ]
    assert found[0].fingerprint == found[1].fingerprint


@pytest.mark.parametrize(
    "train",
    [
        "",
        "<!DOCTYPE html>\n<html><body>404, not found</body></html>\n",
        "<!DOCTYPE html>\n<html>\n<body>\n",
        ROW.rpartition(",")[0],
        ROW + ", more",
        ROW.replace("39", "old") + "\n" + ROW,
        ROW.replace("39", "") + "\n" + ROW,
        ROW.replace("<=50K", "poor"),
    ],
    ids=["empty", "page", "long page", "short", "long", "word", "nothing", "label"],
)
def test_what_is_no_such_table_is_not_read_as_one(tmp_path, train) -> None:
    with pytest.raises(ZooError, match=r"adult\.data is not the table .* Get the file again"):
        datasets.DATASETS["adult"](_write(tmp_path, train, ROW + "."))


def test_a_broken_archive_is_not_read_either(tmp_path) -> None:
    (tmp_path / "adult").mkdir()
    (tmp_path / "adult" / "adult.data.gz").write_bytes(gzip.compress(ROW.encode() * 99)[:60])
    (tmp_path / "adult" / "adult.test").write_text(ROW)
    with pytest.raises(ZooError, match=r"adult\.data\.gz is not the table"):
        datasets.DATASETS["adult"](Source(data_dir=tmp_path))


def test_half_of_adult_is_not_adult(tmp_path) -> None:
    source = _write(tmp_path, ROW, ROW)
    (tmp_path / "adult" / "adult.test").unlink()
    with pytest.raises(ZooError, match="'adult' is not here"):
        datasets.DATASETS["adult"](source)


@pytest.mark.mirror
def test_adult_is_scikit_learns_encoding_of_the_same_rows(mirror) -> None:
    data = datasets.load("adult", Source(mirror=mirror))
    assert (len(data), data.n_train) == (48_842, 32_561)
    assert data.y[:32_561].sum() == 7_841  # as adult.names has it, 24 % of the training rows
    assert data.z["sex"].values.bincount().tolist() == [16_192, 32_650]
    assert (data.x.min(), data.x.max()) == (0, 1)
    rows, n_train = tabular.read_adult(mirror / "tabular" / "adult") or (None, 0)
    assert rows is not None
    for column in data.columns:
        values = rows[[column.name]]
        scaler = (
            OneHotEncoder(sparse_output=False, handle_unknown="ignore")
            if column.values
            else MinMaxScaler(clip=True)
        )
        expected = scaler.fit(values[:n_train]).transform(values)
        found = data.x[:, column.start : column.stop].numpy()
        assert np.allclose(found, expected, atol=1e-6), column.name
        if column.values:
            assert column.values == tuple(scaler.categories_[0])
        else:
            low, high = column.low, column.high
            assert np.allclose(
                (found[:n_train] * (high - low) + low).round(), values[:n_train], atol=0
            )
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
    data, plain = (datasets.load(name, Source()) for name in ("digits-tinted", "digits"))
    tint = data.z["tint"].values
    assert data.x.shape == (1797, 3, 8, 8)
    assert torch.equal(data.y, plain.y)
    agrees = (tint == data.y % 2).double().mean().item()
    assert agrees == pytest.approx(TINT_STRENGTH, abs=0.03)
    # The brightest channel is the digit itself; which one it is, is the tint.
    assert torch.equal(data.x.amax(1, keepdim=True), plain.x)
    red, blue = data.x[:, 0].sum((1, 2)), data.x[:, 2].sum((1, 2))
    assert torch.equal(red > blue, tint == data.z["tint"].names.index("warm"))
    assert datasets.DATASETS["digits-tinted"](Source()).fingerprint == data.fingerprint


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


@pytest.mark.parametrize("regime", list(Regime))
def test_a_table_is_shared_out_like_images(regime) -> None:
    made = Dataset(
        name="made", num_classes=2, x=torch.rand(100, 5), y=torch.arange(100) % 2, n_train=60
    )
    split = quarters(made, 0, regime)
    held = torch.cat(list(vars(split).values()))
    assert len(held.unique()) == len(held)
    assert made.all.take(split.target_test).x.shape[1:] == made.input_shape == (5,)
