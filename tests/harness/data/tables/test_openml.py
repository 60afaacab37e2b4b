"""Tables come from openml.org through scikit-learn's client, which is sent to a stand-in here."""

import hashlib
import http.client
import json
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
from servers import Answer, Site, running

from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.tables import cells, description
from zoo.errors import ZooError

SAID = """
label = "y"
classes = ["no", "yes"]
categorical = ["job"]
missing = ["?"]
[sensitive.job]
[openml]
id = 7
columns = { V1 = "age", V2 = "job", Class = "y" }
values.y = { 1 = "no", 2 = "yes" }
"""
ROWS = [(20 + i / 2 if i % 5 else None, ("clerk", "co pilot")[i % 3 == 0], 1 + i % 2)
        for i in range(40)]  # fmt: skip


class _SentElsewhere(urllib.request.HTTPSHandler):
    """Takes requests for openml.org to a server of this machine."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.host = url.removeprefix("http://")

    def https_open(self, req):
        assert req.host.endswith("openml.org")
        req.host = self.host
        return self.do_open(http.client.HTTPConnection, req)


@pytest.fixture
def openml(tmp_path, monkeypatch):
    """A stand-in for openml.org, and an empty store."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    before = urllib.request._opener
    with running(Site()) as site:
        urllib.request.install_opener(urllib.request.build_opener(_SentElsewhere(site.url)))
        yield site
    urllib.request.install_opener(before)


def _serve(site: Site, number: int, columns: dict[str, list[str] | None], rows: list[tuple]):
    """Data as OpenML has them: columns by name, with their values or None for numbers."""
    lines = ["@RELATION made"]
    for name, values in columns.items():
        kind = "NUMERIC" if values is None else "{" + ",".join(f"'{v}'" for v in values) + "}"
        lines.append(f"@ATTRIBUTE '{name}' {kind}")
    lines.append("@DATA")
    for row in rows:
        texts = ["?" if v is None else f"'{v}'" if isinstance(v, str) else f"{v}" for v in row]
        lines.append(",".join(texts))
    arff = "\n".join(lines).encode()
    features = [
        {
            "index": str(k),
            "name": name,
            "data_type": "numeric" if values is None else "nominal",
            "is_target": str(k == len(columns) - 1).lower(),
            "is_ignore": "false",
            "is_row_identifier": "false",
            "number_of_missing_values": str(sum(row[k] is None for row in rows)),
        }
        for k, (name, values) in enumerate(columns.items())
    ]
    file = f"/data/v1/download/{number}/made.arff"
    said = {
        "id": str(number), "name": "made", "version": "1", "description": "made", "format": "ARFF",
        "status": "active", "url": f"https://www.openml.org{file}",
        "md5_checksum": hashlib.md5(arff).hexdigest(),
    }  # fmt: skip
    size = [{"name": "NumberOfInstances", "value": str(len(rows))}]
    api = {
        f"{number}": {"data_set_description": said},
        f"features/{number}": {"data_features": {"feature": features}},
        f"qualities/{number}": {"data_qualities": {"quality": size}},
    }
    for path, content in api.items():
        site.files[f"/api/v1/json/data/{path}"] = json.dumps(content).encode()
    site.files[file] = arff


def _made(site: Site, rows=ROWS) -> None:
    rows = [(age, job, str(label)) for age, job, label in rows]
    _serve(site, 7, {"V1": None, "V2": ["clerk", "co pilot"], "Class": ["1", "2"]}, rows)


def _source(folder, said: str = SAID, name: str = "made") -> DataLocation:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(said)
    return DataLocation(data_dir=folder)


def _file(folder) -> DataLocation:
    lines = [f"{'' if age is None else age},{job},{('no', 'yes')[label - 1]}"
             for age, job, label in ROWS]  # fmt: skip
    source = _source(folder, 'file = "made.csv"\n' + SAID)
    (folder / "made.csv").write_text("\n".join(["age,job,y", *lines]))
    return source


def _load(source: DataLocation, name: str = "made"):
    datasets.load.cache_clear()
    return datasets.load(name, source)


def test_the_copy_on_openml_is_the_same_table(openml, tmp_path) -> None:
    _made(openml)
    here, there = _load(_file(tmp_path / "here")), _load(_source(tmp_path / "there"))
    assert len(openml.asked) > 0
    assert [column.name for column in there.columns] == ["age", "age missing"]
    assert there.fingerprint == here.fingerprint


def test_files_come_before_openml(openml, tmp_path) -> None:
    _made(openml)
    _load(_file(tmp_path / "here"))
    assert not openml.asked


def test_it_is_downloaded_once(openml, tmp_path) -> None:
    _made(openml)
    found = _load(_source(tmp_path / "there"))
    asked = len(openml.asked)
    openml.files.clear()
    assert _load(_source(tmp_path / "there")).fingerprint == found.fingerprint
    assert len(openml.asked) == asked
    assert list((tmp_path / "home" / "openml").rglob("*.arff.gz"))


def test_the_training_rows_come_first(openml, tmp_path) -> None:
    _made(openml)
    found = _load(_source(tmp_path / "there", SAID + "train = [10, 30]\n"))
    assert (found.n_train, found.n_fitted) == (20, 20)
    order = [*range(10, 40), *range(10)]
    assert found.y.tolist() == [ROWS[i][2] - 1 for i in order]
    low, high = found.columns[0].low, found.columns[0].high
    assert (low, high) == (25.5, 34.5)
    median = np.median([age for age, _, _ in ROWS[10:30] if age is not None])
    ages = np.clip([ROWS[i][0] or median for i in order], low, high)
    assert np.allclose(found.x[:, 0] * (high - low) + low, ages, atol=1e-4)
    # What is wrong is where OpenML has it.
    made = cells.Cells(parts=(cells.part("it", "row", ["a"], [("x",)] * 40, range(1, 41), _Nothing),),
                       n_train=20, order=np.array(order))  # fmt: skip
    assert made.place(0, "a") == "it, row 11, column 'a'"


class _Nothing:
    named: dict[str, str] = {}  # noqa: RUF012
    missing = columns = ()
    path = ""


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (SAID + "train = [10, 41]\n", "OpenML 7 has 40 rows, but .* says that those up to 41 are"),
        (SAID.replace('V1 = "age"', 'V3 = "age"').replace('["job"]', '["job", "age"]'),
         r"OpenML 7 has no column 'age' \(wanted by categorical in .*columns: V1, job, y"),
        (SAID.replace("1 = ", "3 = "), r"OpenML 7, row \d+, column 'y': the label is '1', but"),
    ],
)  # fmt: skip
def test_other_data_are_not_taken_for_it(openml, tmp_path, said, message) -> None:
    _made(openml)
    with pytest.raises(ZooError, match=message):
        _load(_source(tmp_path / "there", said))


def test_a_damaged_download_is_refused_and_not_kept(openml, tmp_path, monkeypatch) -> None:
    _made(openml)
    file = next(path for path in openml.files if path.endswith(".arff"))
    openml.always[file] = Answer(change=lambda content: content.replace(b"clerk", b"clark"))
    with pytest.raises(ZooError, match=r"'made' is not here: .* no such table \(The md5 checksum"):
        _load(_source(tmp_path / "there"))
    del openml.always[file]
    assert len(_load(_source(tmp_path / "there"))) == 40


@contextmanager
def _no_network():
    class Cut(urllib.request.HTTPSHandler):
        def https_open(self, req):
            raise urllib.error.URLError("Name or service not known")

    urllib.request.install_opener(urllib.request.build_opener(Cut()))
    yield


def test_without_a_network_one_is_told_what_to_do(openml, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with _no_network(), pytest.raises(ZooError) as problem:
        _load(DataLocation(data_dir=tmp_path), "adult")
    assert str(problem.value) == (
        f"Dataset 'adult' is not here: adult/adult.data or adult/adult.test is not in {tmp_path}, "
        f"and it cannot be had from openml.org (<urlopen error Name or service not known>). Put "
        f"the files there, or give --data-dir or --mirror, or set ZOO_DATA_DIR or ZOO_MIRROR."
    )


@pytest.mark.mirror
@pytest.mark.parametrize("name", ["german", "bank"])
def test_openmls_words_are_those_of_the_file(openml, tmp_path, mirror, name) -> None:
    said = description.read(description.builtin()[name])
    assert said.openml is not None
    found = cells.read(mirror / "tabular", said)
    assert found is not None
    theirs_of = {ours: theirs for theirs, ours in said.openml.columns.items()}
    columns, rows = {}, []
    for ours in found.names:
        values = list(found.column(ours))
        if said.is_number(ours):
            columns[theirs_of.get(ours, ours)], values = None, [float(v) for v in values]
        else:
            words = {mine: its for its, mine in said.openml.values.get(ours, {}).items()}
            values = [words.get(v, v) for v in values]
            columns[theirs_of.get(ours, ours)] = sorted(set(values))
        rows.append(values)
    _serve(openml, said.openml.id, columns, list(zip(*rows, strict=True)))
    there = _load(DataLocation(data_dir=tmp_path), name)
    assert there.fingerprint == _load(DataLocation(mirror=mirror), name).fingerprint
    if name == "german":  # no code is left as it is
        assert not any("A" in str(values) for values in columns.values() if values)
