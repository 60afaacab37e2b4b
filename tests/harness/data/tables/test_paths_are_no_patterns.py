"""The file that is named is the file that is read, whatever its name is."""

import json
from pathlib import Path

import duckdb
import pytest

from harness.data import datasets
from harness.data.dataset import DataLocation
from zoo.errors import ZooError

SAID = 'file = {file}\nlabel = "y"\nclasses = ["n", "y"]\n'

# Each name with another that it would match, if it were a pattern.
NAMES = {
    "loans[1].parquet": "loans1.parquet",
    "data*x.parquet": "data-old-x.parquet",
    "q?.parquet": "q1.parquet",
    "[!a].parquet": "b.parquet",
    "**.parquet": "all.parquet",
    "{a,b}.parquet": "a.parquet",
    "模型 é 'q\".parquet": "m.parquet",
    "~.parquet": "home.parquet",
    "x\\y.parquet": "xy.parquet",
}


def _parquet(path: Path, size: int) -> None:
    """A table whose rows all have one size, so that it tells which file was read."""
    plain = path.with_name("plain")
    with duckdb.connect() as database:
        rows = f"SELECT {size} AS size, CASE WHEN i % 2 = 0 THEN 'n' ELSE 'y' END AS y"
        database.execute(
            f"COPY ({rows} FROM range(12) AS t(i)) TO ? (FORMAT parquet)", [str(plain)]
        )
    plain.rename(path)


def _sizes(folder: Path, file: str) -> set[float]:
    datasets.load.cache_clear()
    (folder / "t.toml").write_text(
        SAID.format(file=json.dumps(file, ensure_ascii=False)), encoding="utf-8"
    )
    (column,) = datasets.load("t", DataLocation(data_dir=folder)).columns
    return {column.low, column.high}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_read_and_not_those_that_its_name_matches(tmp_path: Path, name: str) -> None:
    _parquet(tmp_path / name, 1)
    _parquet(tmp_path / NAMES[name], 2)
    assert _sizes(tmp_path, name) == {1}
    (tmp_path / name).unlink()
    with pytest.raises(ZooError, match="'t' is not here"):
        _sizes(tmp_path, name)


def test_nor_is_the_folder_a_pattern(tmp_path: Path) -> None:
    for folder, size in (("d[1]* 模型", 1), ("d1 模型", 2), ("d1x 模型", 2)):
        (tmp_path / folder).mkdir()
        _parquet(tmp_path / folder / "t.parquet", size)
    assert _sizes(tmp_path / "d[1]* 模型", "t.parquet") == {1}


def test_a_folder_is_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "sex=f[1]"
    folder.mkdir()
    _parquet(folder / "t.parquet", 1)
    assert _sizes(folder, "t.parquet") == {1}


def test_what_no_pattern_can_say_is_refused(tmp_path: Path) -> None:
    _parquet(tmp_path / "a\\b*.parquet", 1)
    with pytest.raises(ZooError, match=r"has a backslash and one of \*, \? and \[\. Rename it"):
        _sizes(tmp_path, "a\\b*.parquet")
