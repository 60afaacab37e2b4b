"""Cells are what the file says, and what is wrong with a file is named with its place."""

import gzip

import duckdb
import numpy as np
import pandas as pd
import pytest

from harness.data import encoding
from harness.data.tables import cells, description
from zoo.errors import ZooError

SAID = 'file = "t.csv"\nlabel = "y"\nclasses = ["n", "y"]\ncategorical = ["b"]\n'


def _read(folder, text: str | bytes, said: str = SAID, file: str = "t.csv"):
    (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "t.toml").write_text(said.replace("t.csv", file))
    found = cells.read(folder, description.read(folder / "t.toml"))
    assert found is not None
    return found


def _rows(found) -> list[tuple]:
    return list(zip(*(found.column(name) for name in found.names), strict=True))


def test_cells_are_what_the_file_says(tmp_path) -> None:
    found = _read(tmp_path, '\ufeffa,b,y\r\n1, "x, ""z""",n\r\n\r\n,  two words,y\r\n')
    assert found.names == ("a", "b", "y")
    assert _rows(found) == [("1", 'x, "z"', "n"), (None, "two words", "y")]
    assert found.place(1, "a") == f"{tmp_path / 't.csv'}, line 4, column 'a'"


def test_separators_comments_and_marks_of_what_is_missing_are_the_descriptions(tmp_path) -> None:
    said = SAID + 'separator = " "\ncomment = "#"\nmissing = ["-", 9]\n'
    said = 'header = false\ncolumns = ["a", "b", "y"]\n' + said
    found = _read(tmp_path, "# no row\n1  x y\n9 - n\n# none\n2 9. n", said)
    assert _rows(found) == [("1", "x", "y"), (None, None, "n"), ("2", "9.", "n")]
    assert found.place(2, "b").endswith("line 5, column 'b'")


def test_a_row_over_several_lines_is_where_it_ends(tmp_path) -> None:
    found = _read(tmp_path, 'a,b,y\n1,"x\nz",n\n2,w,y\n')
    assert found.place(1, "a").endswith("line 4, column 'a'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv has no rows"),
        ("a,b,y\n", r"t\.csv has no rows\. Get the file again, or correct .*t\.toml"),
        ("a,b,y\n1,x,n\n1,x\n", r"t\.csv, line 3: expected 3 cells \(a to y\), found 2\."),
        ("a,b,y\n1,x,n,more\n", r"t\.csv, line 2: expected 3 cells \(a to y\), found 4\."),
        ("a,b,b\n1,x,n\n", r"t\.csv has two columns 'b'\. Rename"),
        (
            "a;b;y\n1;x;n\n",
            r't\.csv, line 1: cells are separated by ";", not by ","\. Say separator = ";" in .*toml\.',
        ),
        ("<!DOCTYPE html>\n<html>\n", r"t\.csv is a web page, not text with a row on each line\."),
        (
            'a,b,y\n1,"x,n\n',
            r"t\.csv, line 2: the quotation marks of the row that begins here do not",
        ),
        (
            "a,b,y\n1,é,n".encode("latin-1"),
            r"t\.csv, line 2: byte e9 is no UTF-8\. Say its encoding",
        ),
    ],
)
def test_what_is_no_such_table_is_not_read_as_one(tmp_path, text, message) -> None:
    with pytest.raises(ZooError, match=message) as problem:
        _read(tmp_path, text)
    assert "\n" not in str(problem.value)


def test_a_broken_archive_is_not_read_either(tmp_path) -> None:
    packed = gzip.compress(b"a,b,y\n" + b"1,x,n\n" * 99)
    assert len(_read(tmp_path, packed, file="t.csv.gz")) == 99
    for broken in (packed[:30], b"no archive", packed[:20] + b"\0" * 9 + packed[29:]):
        with pytest.raises(ZooError, match=r"t\.csv\.gz cannot be read .* Get the file again"):
            _read(tmp_path, broken, file="t.csv.gz")


def test_both_parts_have_the_same_columns_in_any_order(tmp_path) -> None:
    (tmp_path / "u.csv").write_text("y,b,a\nn,x,3\n")
    said = SAID.replace('file = "t.csv"', 'train = "t.csv"\ntest = "u.csv"')
    found = _read(tmp_path, "a,b,y\n1,x,n\n2,z,y\n", said)
    assert (found.n_train, _rows(found)[2]) == (2, ("3", "x", "n"))
    assert found.place(2, "a") == f"{tmp_path / 'u.csv'}, line 2, column 'a'"
    (tmp_path / "u.csv").write_text("y,b\nn,x\n")
    with pytest.raises(ZooError, match=r"u\.csv has no column 'a', which .*t\.csv has"):
        _read(tmp_path, "a,b,y\n1,x,n\n2,z,y\n", said)


FRAME = pd.DataFrame(
    {
        "a": [1.5, np.nan, 3.0, 4.0] * 3,
        "count": [2, 4, 6, 8] * 3,
        "b": ["x", None, "z", "x "] * 3,
        "s": [True, False] * 6,
        "y": ["n", "y"] * 6,
    }
)
FRAME_SAID = SAID + "\n[sensitive.s]\n"


def _as_parquet(folder, frame: pd.DataFrame) -> None:
    with duckdb.connect() as database:
        database.register("frame", frame)
        database.execute(f"COPY frame TO '{folder / 't.parquet'}' (FORMAT parquet)")


def test_parquet_is_the_same_table_as_csv(tmp_path) -> None:
    _as_parquet(tmp_path, FRAME)
    found = _read(tmp_path, (tmp_path / "t.parquet").read_bytes(), FRAME_SAID, "t.parquet")
    assert _rows(found)[:3] == [
        ("1.5", "2", "x", "true", "n"),
        (None, "4", None, "false", "y"),
        ("3", "6", "z", "true", "n"),
    ]
    text = FRAME.assign(s=FRAME.s.map({True: "true", False: "false"})).to_csv(index=False)
    other = _read(tmp_path, text.replace(".0,", ","), FRAME_SAID)
    assert _rows(other) == _rows(found)


def test_parquet_counts_rows_and_names_columns(tmp_path) -> None:
    _as_parquet(tmp_path, FRAME.assign(count=FRAME["count"].astype(str).replace("8", "eight")))
    found = _read(tmp_path, (tmp_path / "t.parquet").read_bytes(), FRAME_SAID, "t.parquet")
    said = description.read(tmp_path / "t.toml")
    with pytest.raises(ZooError, match=r"t\.parquet, row (4|8|12), column 'count': 'eight' is no"):
        encoding.encode(found, said)
    with pytest.raises(ZooError, match=r"t\.parquet cannot be read as Parquet: .* get the file"):
        _read(tmp_path, b"no such thing", FRAME_SAID, "t.parquet")
