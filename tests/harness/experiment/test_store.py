"""What is stored comes back whole, and the index follows the files."""

import json
import math
import os
import shutil
import warnings
from dataclasses import replace

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.store import EvaluationStore
from harness.results import Cell, Evaluation, Method
from harness.types import Access, Aux, Regime, Risk, ThreatModel
from zoo.home import Home

NAMES = st.text("abc-é\"'", min_size=1, max_size=6)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), NUMBERS, NAMES)
METHODS = st.builds(
    lambda name, params, label, guards: Method(name, tuple(sorted(params.items())), label, guards),
    NAMES,
    st.dictionaries(NAMES, VALUES, max_size=3),
    NAMES,
    st.one_of(st.none(), st.sampled_from(Risk)),
)
CELLS = st.builds(
    Cell,
    model=NAMES,
    model_key=NAMES,
    dataset=NAMES,
    fingerprint=NAMES,
    regime=st.sampled_from(Regime),
    stack=st.lists(METHODS, max_size=2).map(tuple),
    risk=st.sampled_from(Risk),
    attack=METHODS,
    threat=st.builds(
        ThreatModel,
        access=st.sampled_from(Access),
        aux=st.sampled_from(Aux),
        ood=st.one_of(st.none(), NAMES),
        queries=st.one_of(st.none(), st.integers(1, 9)),
        adaptive=st.booleans(),
    ),
    seed=st.integers(0, 99),
    ood_fingerprint=st.one_of(st.none(), NAMES),
    constants=st.dictionaries(NAMES, VALUES, max_size=2).map(lambda d: tuple(sorted(d.items()))),
    recipe=st.permutations([("epochs", 5), ("lr", 0.05), ("optimizer", "sgd")]).map(
        lambda changes: tuple(changes[:2])
    ),
    budget=st.sampled_from([0, 2, 12]),
)
EVALUATIONS = st.builds(
    Evaluation,
    cell=CELLS,
    status=st.sampled_from(["ok", "failed", "not applicable"]),
    reason=st.one_of(st.none(), NAMES),
    metrics=st.dictionaries(NAMES, st.one_of(st.none(), NUMBERS), max_size=3),
    primary=st.one_of(st.none(), NAMES),
    susceptibility=st.one_of(st.none(), NUMBERS),
    utility=st.one_of(st.none(), NUMBERS),
    evidence=st.dictionaries(NAMES, VALUES, max_size=2),
    provenance=st.dictionaries(NAMES, VALUES, max_size=2),
    seconds=st.floats(0, 1e6),
    peak_memory_mb=st.one_of(st.none(), st.floats(0, 1e6)),
)


@given(evaluation=EVALUATIONS)
@settings(max_examples=100, deadline=None)
def test_an_evaluation_survives_its_file(evaluation, tmp_path_factory) -> None:
    store = EvaluationStore(Home.open(tmp_path_factory.mktemp("home")))
    store.put(evaluation)
    found = store.get(evaluation.cell.key)
    assert found == evaluation
    assert found.cell.attack.label == evaluation.cell.attack.label
    assert store.is_done(evaluation.cell.key) == (evaluation.status != "failed")


@given(one=CELLS, two=CELLS)
@settings(max_examples=100, deadline=None)
def test_cells_share_a_key_exactly_if_nothing_differs(one, two) -> None:
    assert (one.key == two.key) == (one == two)
    assert Cell.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_words_for_people_do_not_change_the_key() -> None:
    one = _cell()
    other = Cell.from_dict({**one.to_dict(), "attack": {**one.to_dict()["attack"], "label": "x"}})
    assert other.key == one.key


def _as_of_format_1(store: EvaluationStore, seed: int, **changes) -> str:
    """Store a cell as the first version did, which knew fewer facts; its key."""
    evaluation = replace(_evaluation(seed), **changes)
    store.put(evaluation)
    folder = store.home.cells / evaluation.cell.key
    spec = json.loads((folder / "spec.json").read_text())
    del spec["constants"], spec["ood_fingerprint"], spec["threat"]["adaptive"]
    (folder / "spec.json").write_text(json.dumps({**spec, "format": 1}))
    key = f"old-{seed}"
    folder.rename(store.home.cells / key)
    return key


def test_old_cells_are_kept_counted_and_measured_again(store) -> None:
    keys = [_as_of_format_1(store, seed) for seed in range(3)]
    _as_of_format_1(store, 3, status="failed", metrics={})  # has no numbers to be old
    assert store.evaluations() == []
    assert [cell.seed for cell in store.outdated()] == [0, 1, 2]
    assert not any(store.is_done(key) or store.is_done(_cell(k).key) for k, key in enumerate(keys))
    store.put(_evaluation(1, value=0.25))
    assert [e.susceptibility for e in store.evaluations()] == [0.25]
    assert store.outdated() == [_cell(0), _cell(2)]
    assert all((store.home.cells / key / "result.json").exists() for key in keys)
    assert store.sync() == 0, "what is old is indexed once"


@pytest.mark.parametrize(
    ("changes", "renewed"),
    [
        ({"budget": 12, "model_key": "other", "tuned": (("dpsgd.lr", 0.01),)}, True),
        ({"stack": (Method("dpsgd", (("lr", 0.1), ("noise", 1.0)), "dpsgd(lr=0.1)"),)}, False),
        ({"stack": (Method("dpsgd", (("lr", None), ("noise", 2.0)), "dpsgd(noise=2)"),)}, False),
        ({"attack": Method("a", (("epsilon", 0.1),), "a(epsilon=0.1)")}, True),
        ({"attack": Method("a", (("epsilon", 0.2),), "a")}, False),
        ({"recipe": (("epochs", 3),)}, False),
        ({"seed": 1}, False),
    ],
)
def test_a_cell_is_old_until_the_same_was_asked_for_again(store, changes, renewed) -> None:
    """Whatever people call it, and whatever tuning chose."""
    dpsgd = Method("dpsgd", (("lr", None), ("noise", 1.0)), "dpsgd")
    attack = Method("a", (("epsilon", 0.1),), "a")
    cell = replace(_cell(), stack=(dpsgd,), attack=attack)
    _as_of_format_1(store, 0, cell=cell)
    if "tuned" in changes:
        changes = {**changes, "stack": (replace(dpsgd, params=(("lr", 0.01), ("noise", 1.0))),)}
    store.put(replace(_evaluation(0), cell=replace(cell, **changes)))
    assert store.outdated() == ([] if renewed else [cell])


def test_one_seed_of_a_published_model_stands_for_all_old_ones(store) -> None:
    cells = [replace(_cell(seed), regime=Regime.PUBLISHED) for seed in range(3)]
    for seed, cell in enumerate(cells):
        _as_of_format_1(store, seed, cell=cell)
    assert len(store.outdated()) == 3
    store.put(replace(_evaluation(0), cell=cells[0]))
    assert store.outdated() == []


def _cell(seed: int = 0) -> Cell:
    return Cell(
        model="m", model_key="k", dataset="d", fingerprint="f", regime=Regime.FROM_SCRATCH,
        stack=(), risk=Risk.EVASION, attack=Method("pgd", (("steps", 3),), "pgd"),
        threat=ThreatModel(access=Access.WEIGHTS), seed=seed,
    )  # fmt: skip


def _evaluation(seed: int = 0, value: float = 0.5) -> Evaluation:
    return Evaluation(
        cell=_cell(seed), status="ok", metrics={"robust_accuracy": value}, primary="robust_accuracy",
        susceptibility=value, utility=0.9, seconds=1.0,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path) -> EvaluationStore:
    return EvaluationStore(Home.open(tmp_path / "home"))


def test_samples_are_kept_as_columns_that_anything_can_read(store) -> None:
    columns = {"index": np.arange(4), "score": np.array([0.1, 0.2, math.pi, -1.0])}
    store.put(_evaluation(), columns)
    path = store.home.cells / _cell().key / "samples.parquet"
    found = duckdb.sql(f"SELECT * FROM '{path}'").fetchnumpy()
    assert np.array_equal(found["index"], columns["index"])
    assert np.array_equal(found["score"], columns["score"])


def test_the_index_follows_the_files(store) -> None:
    for seed in range(3):
        store.put(_evaluation(seed))
    assert store.sync() == 3
    assert store.sync() == 0
    assert store.evaluations() == sorted(
        (_evaluation(s) for s in range(3)), key=lambda e: e.cell.key
    )
    store.put(_evaluation(1, value=0.25))
    assert store.sync() == 1
    assert {e.susceptibility for e in store.evaluations()} == {0.5, 0.25}
    shutil.rmtree(store.home.cells / _cell(2).key)
    assert store.sync() == 1
    assert len(store.evaluations()) == 2


def test_the_index_is_rebuilt_from_the_files_alone(store) -> None:
    store.put(_evaluation())
    store.sync()
    store.home.database.unlink()
    assert store.evaluations() == [_evaluation()]


def test_a_cell_that_was_being_written_when_its_writer_died_is_not_seen(store, monkeypatch) -> None:
    def die(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", die)
    with pytest.raises(KeyboardInterrupt):
        store.put(_evaluation())
    monkeypatch.undo()
    assert store.get(_cell().key) is None
    assert list(store.home.cells.iterdir()) == []
    (store.home.cells / ".half").mkdir()
    assert store.evaluations() == []


def test_what_a_killed_writer_left_is_removed_by_the_next_one(store) -> None:
    remains = store.home.cells / f".{_cell().key}.abcdefgh"
    remains.mkdir(parents=True)
    (remains / "spec.json").write_text("{")
    other = store.home.cells / f".{_cell(1).key}.abcdefgh"
    other.mkdir()
    store.put(_evaluation())
    assert not remains.exists()
    assert other.exists(), "another cell's writer may still be alive"


@pytest.mark.parametrize("damage", ["truncated", "unknown field", "other format"])
def test_a_damaged_cell_is_left_out_and_measured_again(store, damage) -> None:
    store.put(_evaluation(0))
    store.put(_evaluation(1))
    folder = store.home.cells / _cell(0).key
    if damage == "truncated":
        (folder / "result.json").write_text('{"status": "o')
    else:
        spec = json.loads((folder / "spec.json").read_text())
        spec["format" if damage == "other format" else "novelty"] = 99
        (folder / "spec.json").write_text(json.dumps(spec))
    expected = (
        warnings.catch_warnings()
        if damage == "other format"
        else pytest.warns(UserWarning, match="damaged")
    )
    with expected:
        assert store.evaluations() == [_evaluation(1)]
        assert not store.is_done(_cell(0).key)
    store.put(_evaluation(0))
    assert store.is_done(_cell(0).key)
    assert len(store.evaluations()) == 2


def test_a_thousand_cells_are_indexed_with_few_statements(store) -> None:
    for seed in range(450):
        store.put(_evaluation(seed))
    assert store.sync() == 450
    assert len(store.evaluations()) == 450


def test_the_database_can_be_asked_in_sql(store) -> None:
    from zoo.catalog import open_catalog

    store.put(_evaluation())
    store.sync()
    _, rows = open_catalog(store.home).sql(
        "SELECT model, risk, seed, metrics->>'robust_accuracy' FROM evaluations"
    )
    assert rows == [("m", "evasion", 0, "0.5")]
