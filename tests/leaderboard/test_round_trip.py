"""The command beside a row asks for that row's cell, whatever kind of cell it is."""

import shlex
from dataclasses import replace

import pytest
import typer.main

from cli.harness_app import app
from cli.options import asked
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.experiment import request
from harness.experiment.options import Options, swept
from harness.experiment.plan import plan
from leaderboard.command import command
from zoo.catalog import open_catalog
from zoo.home import Home

pytestmark = pytest.mark.whole

PUBLISHED = "verified-intelligence/marabou-small-cifar10"

REQUESTS = [
    {"model": "digits-cnn", "defense": "none,dpsgd,strip", "risk": "all", "tuning": "none"},
    {"model": "digits-mlp", "defense": "none", "risk": "all", "attack": "all", "tuning": "none"},
    {"model": "digits-mlp", "defense": "dpsgd", "risk": "all", "preset": "ml-doctor"},
    {"model": "digits-mlp", "defense": "none", "risk": "all", "preset": "securitynet"},
    {"model": "digits-mlp", "defense": "dpsgd", "risk": "membership-inference",
     "set": {"recipe.epochs": 5, "recipe.lr": 0.01}, "tuning": 5},
    {"model": "digits-mlp", "defense": "none", "risk": "evasion", "attack": "transfer",
     "set": {"source": "digits-cnn"}},
    {"model": "digits-mlp", "defense": "none", "risk": "extraction", "aux": "partial:0.7"},
    {"model": "digits-tinted-cnn", "defense": "group-dro", "risk": "attribute-inference"},
]  # fmt: skip
NEEDS_MIRROR = [
    {"model": PUBLISHED, "defense": "none,strip,dpsgd", "risk": "all", "tuning": "none"},
    {"model": PUBLISHED, "defense": "label-only", "risk": "evasion", "regime": "fine-tuned"},
    {"model": "adult-mlp", "defense": "none,reweighing", "risk": "all", "tuning": "none"},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return Home.open(tmp_path_factory.mktemp("home"))


def _planned(options: Options, home: Home, source: DataLocation):
    found = request.of(options, home, source)
    catalog = open_catalog(home)
    names = {entry.dataset for entry in found.models} | {found.ood or datasets.OOD_DEFAULT}
    others = [catalog.entry(name) for name in request.sources(found)]
    bases = {
        e.name: f"{e.name:x<64}"
        for e in (*found.models, *others)
        if e.recipe is None or e in others
    }
    loaded = {name: datasets.load(name, source) for name in names}
    return plan(found, loaded, bases, is_done=lambda key: False, is_trained=lambda job: False).cells


def _goes_round(asked_for: dict, home: Home, source: DataLocation) -> None:
    evaluate = typer.main.get_command(app).commands["eval"]
    cells = [i.cell for i in _planned(Options.of({**asked_for, "seeds": 1}), home, source)]
    assert cells
    for cell in cells:
        words = shlex.split(command([cell]))
        given = evaluate.make_context("eval", words[2:], resilient_parsing=False).params
        rest = {k: v for k, v in given.items() if k not in ("request", "save", "format")}
        again = {i.cell.key for i in _planned(asked(None, rest), home, source)}
        assert cell.key in again, command([cell])


@pytest.mark.parametrize("asked_for", REQUESTS, ids=str)
def test_a_cell_is_asked_for_by_its_command(asked_for, home) -> None:
    _goes_round(asked_for, home, DataLocation())


@pytest.mark.mirror
@pytest.mark.parametrize("asked_for", NEEDS_MIRROR, ids=str)
def test_so_is_one_of_published_models_and_tables(asked_for, home, mirror) -> None:
    _goes_round(asked_for, home, DataLocation(mirror=mirror))


def test_a_setting_of_none_is_written_where_that_is_not_what_it_is_by_itself(home) -> None:
    (cell,) = (
        item.cell
        for item in _planned(
            Options.of({"model": "digits-mlp", "risk": "evasion", "attack": "pgd", "seeds": 1}),
            home,
            DataLocation(),
        )
    )
    params = tuple((k, None if k == "steps" else v) for k, v in cell.attack.params)
    words = command([replace(cell, attack=replace(cell.attack, params=params))])
    assert "--set pgd.steps=None" in words


def test_a_value_with_commas_is_one_value(home) -> None:
    (item,) = _planned(
        Options.of({"model": "digits-mlp", "risk": "extraction", "seeds": 1}), home, DataLocation()
    )
    name = "tabular-transformer/1,9,1"
    params = tuple((k, name if k == "surrogate" else v) for k, v in item.cell.attack.params)
    words = command([replace(item.cell, attack=replace(item.cell.attack, params=params))])
    (text,) = (word for word in shlex.split(words) if word.startswith("distillation.surrogate="))
    assert swept([text]) == {"distillation.surrogate": (name,)}
