"""An index beside the data is left out, with a word, and never becomes a feature."""

import warnings
from pathlib import Path

import pandas as pd
import pytest

from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from zoo.errors import ZooError

SAID = 'label = "y"\nclasses = ["n", "y"]\n'
SIZES = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
FRAME = pd.DataFrame({"size": SIZES, "y": ["n", "y"] * 6})
SHIFTED = FRAME.set_axis([7 * k for k in range(12)])


def _load(folder: Path, file: str, said: str = SAID) -> Dataset:
    datasets.load.cache_clear()
    (folder / "t.toml").write_text(f'file = "{file}"\n{said}')
    return datasets.load("t", DataLocation(data_dir=folder))


def _names(data: Dataset) -> list[str]:
    return [column.name for column in data.columns]


@pytest.mark.parametrize(
    ("frame", "column"),
    [
        (SHIFTED, "__index_level_0__"),
        (SHIFTED.rename_axis("loan"), "loan"),
        (SHIFTED.reset_index(names="Unnamed: 0"), "Unnamed: 0"),
    ],
)
def test_a_stored_index_is_left_out_of_parquet(tmp_path, frame, column) -> None:
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.warns(UserWarning, match=rf"\('{column}'\) is an index, not data, and is left out"):
        assert _names(_load(tmp_path, "t.parquet")) == ["size"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = _load(tmp_path, "t.parquet", f'numbers = ["size", "{column}"]\n{SAID}')
    assert sorted(_names(named)) == sorted(["size", column])


@pytest.mark.parametrize("again", [False, True])
def test_the_first_column_of_to_csv_is_left_out(tmp_path, again) -> None:
    SHIFTED.to_csv(tmp_path / "t.csv")
    if again:  # as it is called when it was read for data
        pd.read_csv(tmp_path / "t.csv").to_csv(tmp_path / "t.csv", index=False)
    with pytest.warns(UserWarning, match=r"column 1 .* is an index, not data, and is left out"):
        assert _names(_load(tmp_path, "t.csv")) == ["size"]


def test_a_frame_without_an_index_is_read_without_a_word(tmp_path) -> None:
    FRAME.to_parquet(tmp_path / "t.parquet")
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [_load(tmp_path, file) for file in ("t.parquet", "t.csv")]
    assert found[0].fingerprint == found[1].fingerprint


def test_a_later_column_without_a_name_is_refused_unless_it_is_empty(tmp_path) -> None:
    text = FRAME.assign(end="").to_csv(index=False).replace("end", "")
    (tmp_path / "t.csv").write_text(text)
    with pytest.warns(UserWarning, match=r"column 3 \(without a name, and empty\)"):
        assert _names(_load(tmp_path, "t.csv")) == ["size"]
    (tmp_path / "t.csv").write_text(text.replace(",n,", ",n,1"))
    with pytest.raises(ZooError, match="column 3 has no name. Name it in the first line"):
        _load(tmp_path, "t.csv")


def test_a_column_that_counts_the_rows_is_told(tmp_path) -> None:
    FRAME.assign(id=range(1, 13)).to_csv(tmp_path / "t.csv", index=False)
    with pytest.warns(UserWarning, match="'id' counts the rows, and is a feature. List it under"):
        assert _names(_load(tmp_path, "t.csv")) == ["size", "id"]
