"""Files as other programs write them are read, or it is said what they are and what to set."""

import gzip
import math
from pathlib import Path

import pandas as pd
import pytest

from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from zoo.errors import ZooError

SAID = 'label = "y"\nclasses = ["n", "y"]\ncategorical = ["job"]\n'
HEAD = "size,job,y\n"
ROWS = "".join(f"{k}.5,{'ab'[k % 3 == 0]},{'ny'[k % 2]}\n" for k in range(12))
TEXT = HEAD + ROWS


def _load(folder: Path, content: str | bytes, said: str = "", file: str = "t.csv") -> Dataset:
    datasets.load.cache_clear()
    (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "t.toml").write_bytes(f'file = "{file}"\n{said}{SAID}'.encode())
    return datasets.load("t", DataLocation(data_dir=folder))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0.0, 1.0], "[0, 1]"),
        ([0.0, 1.0], '["0.0", "1.0"]'),
        ([0, 1], "[0.0, 1.0]"),
        ([False, True], "[false, true]"),
        ([False, True], '["False", "True"]'),
    ],
)
def test_labels_are_the_same_from_csv_and_from_parquet(tmp_path, labels, classes) -> None:
    frame = pd.DataFrame({"size": [3, 1, 4, 1] * 3, "y": labels * 6})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    found = []
    for file in ("t.csv", "t.parquet"):
        datasets.load.cache_clear()
        (tmp_path / "t.toml").write_text(f'file = "{file}"\nlabel = "y"\nclasses = {classes}\n')
        found.append(datasets.load("t", DataLocation(data_dir=tmp_path)))
    assert found[0].fingerprint == found[1].fingerprint
    assert found[0].y.sum() == 6


@pytest.mark.parametrize(
    ("content", "said", "message"),
    [
        (TEXT.replace(",", ";"), 'separator = ";"\n', r't\.csv, line 1: .* separated by ";"'),
        (TEXT.replace(",", "\t"), r'separator = "\t"' + "\n", r't\.csv, line 1: .* by "\\t", not'),
        (TEXT.replace(",", "|"), 'separator = "|"\n', r't\.csv, line 1: .* separated by "\|"'),
        ("sep=;\n" + TEXT.replace(",", ";"), 'separator = ";"\ncomment = "sep="\n',
         r"line 1: 'sep=;' is a note for Excel"),
        (TEXT.encode("utf-16"), 'encoding = "utf-16"\n', "line 1: this is text in UTF-16, not in"),
        (TEXT.encode("utf-16-le"), 'encoding = "utf-16-le"\n', "this is text in UTF-16-LE, not in"),
        (TEXT.encode("utf-16-be"), 'encoding = "utf-16-be"\n', "this is text in UTF-16-BE, not in"),
        (TEXT.replace(",b,", ",é,").encode("latin-1"), 'encoding = "latin-1"\n',
         r"t\.csv, line 2: byte e9 is no UTF-8\. Say its encoding in .*windows-1252"),
        (HEAD.replace(",", ";") + ROWS.replace(",", ";").replace(".", ","),
         'separator = ";"\ndecimal = ","\n', 'Say separator = ";"'),
        (TEXT.replace("a", '5"'), 'quote = ""\n', None),
        (TEXT.replace("a", '"5'), 'quote = ""\n', r"t\.csv, line 3: the quotation marks of the row"),
    ],
)  # fmt: skip
def test_it_is_said_what_a_file_is_and_the_field_to_set(tmp_path, content, said, message) -> None:
    if message is not None:
        with pytest.raises(ZooError, match=message) as problem:
            _load(tmp_path, content)
        assert "\n" not in str(problem.value)
    found, plain = _load(tmp_path, content, said), _load(tmp_path, TEXT)
    assert (found.x.tolist(), found.y.tolist()) == (plain.x.tolist(), plain.y.tolist())


def test_byte_order_marks_say_nothing(tmp_path) -> None:
    plain = _load(tmp_path, TEXT)
    assert _load(tmp_path, TEXT.encode("utf-8-sig")).fingerprint == plain.fingerprint
    datasets.load.cache_clear()
    described = (tmp_path / "t.toml").read_text()
    (tmp_path / "t.toml").write_text(described, encoding="utf-8-sig")
    assert datasets.load("t", DataLocation(data_dir=tmp_path)).fingerprint == plain.fingerprint
    datasets.load.cache_clear()
    (tmp_path / "t.toml").write_text(described, encoding="utf-16")
    with pytest.raises(ZooError, match=r"t\.toml cannot be read: it is text in UTF-16; save it in"):
        datasets.load("t", DataLocation(data_dir=tmp_path))


@pytest.mark.parametrize(
    ("content", "said", "message"),
    [
        (TEXT.replace("4.5", "4,5"), "", r"line 6: expected 3 cells .*found 4\. A cell with ','"),
        (TEXT.replace("4.5", '"4,5"'), "", r"line 6, column 'size': '4,5' .* say decimal = \",\""),
        (TEXT, 'decimal = ","\n', r"line 2, column 'size': '0\.5' has a point, but .* begin with"),
        (TEXT.replace("4.5", "inf"), "", r"line 6, column 'size': 'inf' is no finite number"),
        (TEXT.replace("4.5", "1e999"), "", r"line 6, column 'size': '1e999' is too large a number"),
        (TEXT.replace("4.5", "1_000"), "", r"line 6, column 'size': '1_000' is no number"),
        (
            TEXT.replace("4.5", "NaN"),
            "",
            r"line 6, column 'size': 'NaN' .* list 'NaN' under missing",
        ),
        (
            TEXT.replace("4.5", "2020-01-02"),
            "",
            r"line 6, column 'size': '2020.* write times as num",
        ),
        (b"PK\x03\x04rest", "", "is an Excel workbook or another zip archive, not text"),
        (b"\x80\x04\x95rest", "", "is a Python pickle, not text .*It was not executed"),
        (TEXT, 'encoding = "hex"\n', "encoding has to be one that Python knows"),
        (TEXT, 'decimal = ";"\n', r"decimal has to be '\.' or ','"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, content, said, message) -> None:
    with pytest.raises(ZooError, match=message) as problem:
        _load(tmp_path, content, said)
    assert "\n" not in str(problem.value)


def test_a_compressed_file_is_told_by_its_content(tmp_path) -> None:
    plain = _load(tmp_path, TEXT)
    assert _load(tmp_path, gzip.compress(TEXT.encode())).fingerprint == plain.fingerprint
    with pytest.raises(ZooError, match=r"t\.csv\.gz cannot be read as gzip: .* take \.gz off"):
        _load(tmp_path, TEXT, file="t.csv.gz")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 2], [3]], r"column 'size' holds .* in each row, which is no cell"),
        ([{"a": 1}, {"a": 2}], r"column 'size' holds STRUCT.* in each row, which is no cell"),
        ([b"\xff\xd8", b"\x00"], r"column 'size' holds BLOB in each row, which is no cell"),
        ([1.0, math.inf], r"t\.parquet, row \d+, column 'size': 'inf' is no finite number"),
    ],
)
def test_what_is_no_cell_of_parquet_is_refused(tmp_path, values, message) -> None:
    frame = pd.DataFrame({"size": values * 6, "n": [3, 1] * 6, "job": "a", "y": ["n ", " y"] * 6})
    frame.to_parquet(tmp_path / "frame")
    content = (tmp_path / "frame").read_bytes()
    with pytest.raises(ZooError, match=message):
        _load(tmp_path, content, file="t.parquet")
    assert len(_load(tmp_path, content, 'ignored = ["size"]\n', file="t.parquet")) == 12


def test_columns_of_parquet_may_differ_in_case(tmp_path) -> None:
    frame = pd.DataFrame({"A": [3, 1] * 6, "a": [0, 5] * 6, "job": "x", "y": ["n", "y"] * 6})
    frame.to_parquet(tmp_path / "frame")
    found = _load(tmp_path, (tmp_path / "frame").read_bytes(), file="t.parquet")
    assert [(c.name, c.low, c.high) for c in found.columns[:2]] == [("A", 1, 3), ("a", 0, 5)]


@pytest.mark.parametrize("file", ["t.csv", "t.parquet"])
def test_whole_numbers_that_no_float_holds_stay_apart_as_labels(tmp_path: Path, file: str) -> None:
    first, second = 2**53, 2**53 + 1
    assert float(first) == float(second)
    frame = pd.DataFrame({"size": range(24), "y": [first, second, second] * 8})
    if file == "t.csv":
        frame.to_csv(tmp_path / file, index=False)
    else:
        frame.to_parquet(tmp_path / file)
    said = f'file = "{file}"\nlabel = "y"\nclasses = [{first}, {second}]\n'
    (tmp_path / "t.toml").write_text(said)
    datasets.load.cache_clear()
    labels = datasets.load(
        "t", DataLocation(data_dir=tmp_path)
    ).y  # its rows are dealt in another order
    assert labels.bincount().tolist() == [8, 16]


def test_a_parquet_file_without_rows_is_refused_in_one_line(tmp_path: Path) -> None:
    frame = pd.DataFrame({"size": pd.Series(dtype=float), "y": pd.Series(dtype=int)})
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.toml").write_text('file = "t.parquet"\nlabel = "y"\nclasses = [0, 1]\n')
    datasets.load.cache_clear()
    with pytest.raises(ZooError, match=r"t\.parquet has no rows\. Get the file again"):
        datasets.load("t", DataLocation(data_dir=tmp_path))
