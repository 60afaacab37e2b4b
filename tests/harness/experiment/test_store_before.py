"""A store that the last version with flat files wrote is read, compared and not measured again.

``store_before`` holds its cells, its choice of settings and what `harness compare` said of them,
made on digits-mlp by five requests, those of `REQUESTS`; there are no weights and no pictures.
"""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.data.dataset import DataLocation
from harness.experiment import plan as planning
from harness.experiment import request as requests
from harness.experiment.interactions import load, matching
from harness.experiment.options import Options
from harness.experiment.store import EvaluationStore
from harness.experiment.tuning_run import Tunings
from harness.results import Cell
from leaderboard.command import command
from zoo.errors import ZooError
from zoo.home import Home

BEFORE = Path(__file__).parent / "store_before"
RENAMED = {"also": "other_measures"}
"""Fields that had another name."""

SINCE = {"seeds_needed"}
"""What `compare` has reckoned otherwise since: more seeds cannot show what few examples do not."""
STACKS = ["none", "dpsgd", "rounding"]
NOISE = {"noise_multiplier": "1.0"}
REQUESTS = [
    {"risk": ["evasion"], "attack": ["fgsm"], "defense": STACKS, "set": NOISE, "seeds": 2},
    {
        "risk": ["membership-inference"], "attack": ["loss-threshold", "rmia"], "defense": STACKS,
        "set": {**NOISE, "rmia.shadows": "2"}, "seeds": 2,
    },
    {"risk": ["extraction"], "attack": ["distillation"], "defense": STACKS, "set": NOISE,
     "seeds": 2},
    {"risk": ["membership-inference"], "attack": ["loss-threshold"], "defense": ["none"],
     "set": {"recipe.epochs": "5"}, "seeds": 1},
    {"risk": ["membership-inference"], "attack": ["loss-threshold"], "defense": ["none"],
     "tuning": "2", "seeds": 1},
]  # fmt: skip


@pytest.fixture
def home(tmp_path) -> Home:
    shutil.copytree(BEFORE, tmp_path / "home")
    return Home.open(tmp_path / "home")


def test_every_cell_is_read_under_its_key(home) -> None:
    keys = {folder.name for folder in home.cells.iterdir()}
    store = EvaluationStore(home)
    assert {e.cell.key for e in store.evaluations()} == keys
    assert len(keys) == 32
    assert store.outdated() == []
    labels = {(e.cell.model_label, e.cell.recipe, e.cell.budget) for e in store.evaluations()}
    assert {e.cell.model for e in store.evaluations()} == {"digits-mlp"}
    assert labels == {
        ("digits-mlp", (), 0),
        ("digits-mlp(epochs=5)", (("epochs", 5),), 0),
        ("digits-mlp(tuned=2)", (), 2),
    }


def test_what_was_compared_compares_as_before(home) -> None:
    rows, _ = load(home)
    recorded = json.loads((BEFORE / "compare.json").read_text())
    found = json.loads(json.dumps([asdict(row) for row in rows], default=str))
    assert len(found) == len(recorded) == 10
    for one, other in zip(found, recorded, strict=True):
        renamed = {RENAMED.get(k, k): v for k, v in other.items() if k not in SINCE}
        for name, value in renamed.items():
            assert _is_near(one[name], value), (other["attack"], name, one[name], value)
    assert matching(rows, {"model": ["digits-mlp"], "attack": ["rmia", "other"]})
    row = replace(rows[0], attack="square[SN-A12](epsilon=0.01)", attack_name="square",
                  attack_row="SN-A12")  # fmt: skip
    for name in ("SN-A12", "square[SN-A12]", "square", "square[SN-A12](epsilon=0.01)"):
        assert matching([*rows, row], {"attack": [name]}) == [row]
    with pytest.raises(ZooError, match="No interaction matches"):
        matching(rows, {"attack": [""]})


def _is_near(found: object, wanted: object) -> bool:
    """Whether two JSON values are equal but for rounding."""
    if isinstance(wanted, dict):
        return found.keys() >= wanted.keys() and all(_is_near(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_is_near, found, wanted))
    return found == (pytest.approx(wanted) if isinstance(wanted, float) else wanted)


@pytest.mark.parametrize("asked", REQUESTS, ids=lambda r: r["attack"][0] + str(r.get("tuning", "")))
def test_nothing_that_was_measured_is_measured_again(home, asked) -> None:
    source = DataLocation()
    options = Options(**{"model": ["digits-mlp"], "tuning": "none", **asked})
    request = requests.of(options, home, source)
    loaded = requests.load(request, home, source, None, fetching=False)
    made = planning.plan(
        request, loaded.datasets, loaded.bases,
        is_done=EvaluationStore(home).is_done, is_trained=lambda job: False, tuned=Tunings(home).get,
    )  # fmt: skip
    assert made.cells
    assert (made.missing, made.jobs, made.tunings) == ((), (), ())


OLD = {
    "model": "m(optimizer=sgd, lr=0.05, epochs=5, tuned)", "model_key": "k", "dataset": "d",
    "fingerprint": "f", "regime": "from-scratch", "risk": "evasion", "seed": 3,
    "attack": {
        "name": "transfer", "label": "transfer(source=a/b)", "guards": None,
        "params": {"source": "a/b@0123456789ab", "steps": 3},
    },
    "stack": [{
        "name": "dpsgd", "params": {"lr": 0.1}, "label": "dpsgd(lr=0.1)",
        "guards": "membership-inference",
    }],
    "threat": {"access": "scores", "adaptive": True, "aux": "none", "ood": None, "queries": None},
    "constants": {}, "ood_fingerprint": None,
}  # fmt: skip


def test_what_stood_in_texts_has_fields_and_the_key_it_had() -> None:
    """The keys are those of the version that wrote texts."""
    cell = Cell.from_dict(OLD)
    assert cell.key == "81efec970b18237c61294e8ce6b33972e4d119b0cd465f8b856141382c39c1b9"
    assert cell.model == "m"
    assert cell.recipe == (("optimizer", "sgd"), ("lr", 0.05), ("epochs", 5))
    assert cell.budget == 12
    assert dict(cell.attack.params)["source"] == "a/b"
    assert cell.source_weights == "0123456789ab"
    assert Cell.from_dict(json.loads(json.dumps(cell.to_dict(), sort_keys=True))) == cell
    words = command([cell]).split()
    assert words[words.index("--model") + 1] == "m"
    assert words[words.index("--tuning") + 1] == "standard"
    assert {"recipe.optimizer=sgd", "recipe.lr=0.05", "recipe.epochs=5"} < set(words)
    assert "transfer.source=a/b" in words


def test_a_small_number_of_a_recipe_is_read_as_it_was_written() -> None:
    pgd = {"name": "pgd", "label": "pgd", "guards": None, "params": {"steps": 3}}
    cell = Cell.from_dict({**OLD, "model": "m(weight_decay=1e-05, tuned=20)", "attack": pgd})
    assert cell.key == "f645bc5b9890221213d3e9f3445347c7585c60a93a5897c459217b2b29d87240"
    assert (cell.recipe, cell.budget) == ((("weight_decay", 1e-05),), 20)
