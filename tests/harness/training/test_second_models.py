"""The second model of a guard is trained once and is the one the guard would have trained."""

from dataclasses import replace

import pytest
import torch

from harness import registry
from harness.attacks.badnets import BadNets
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.defenses import memguard
from harness.defenses.memguard import MemGuard
from harness.defenses.shared.defender import trusted_index
from harness.defenses.stack import Stack
from harness.experiment import run
from harness.experiment.executors import local
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.experiment.store import EvaluationStore
from harness.training.artifacts import Artifacts
from harness.training.cohort import may_share
from harness.training.single import collected, defender_data, train_alone
from harness.types import Access, Risk
from zoo.entry import ModelEntry
from zoo.home import Home
from zoo.recipe import Recipe

ENTRY = ModelEntry(
    name="own", source="selftrained", purpose="benchmark", dataset="digits",
    architecture="mlp-128", input_shape=(1, 8, 8), num_classes=10, mean=(0.0,), std=(1.0,),
    licence=None, backdoored=False, artifact=None, recipe=Recipe(epochs=1),
)  # fmt: skip
QUICK = {"recipe.epochs": "1", "memguard.steps": "2", "memguard.epochs": "1"}


def _planned(home: Home, *attacks: str, settings=QUICK, risk=Risk.MEMBERSHIP_INFERENCE, **wanted):
    request = Request(
        models=(ENTRY,),
        stacks=wanted.pop("stacks", (("memguard",),)),
        risks=(risk,),
        attacks=attacks,
        settings=settings,
        **wanted,
    )
    return plan(
        request, {"digits": datasets.load("digits", DataLocation())}, {},
        is_done=EvaluationStore(home).is_done, is_trained=Artifacts(home).has,
    )  # fmt: skip


def _seconds(made):
    return [job for job in made.jobs if job.second is not None]


@pytest.mark.parametrize("poison", [None, registry.describe(BadNets())])
def test_the_planned_model_is_the_one_that_the_guard_would_train(job_for, digits, poison) -> None:
    job, defense = job_for(poison=poison), MemGuard(epochs=1)
    data = digits.collected.take(job.index)
    checked = data.take(trusted_index(len(data), job.seed))
    found = collected(job, data)
    defender = defender_data(job, found.data if found else data, checked, None)
    second = replace(job, second=registry.describe(defense))
    assert not may_share(second)
    model = train_alone(second, data, None).model
    ready = Stack((defense,)).seconds({"memguard": model}, defender.seed)

    def refuse(data):
        raise AssertionError("trained inside the guard")

    scores = torch.rand(20, 10, dtype=torch.float64).softmax(1)
    planned = memguard._classifier(defense, replace(defender, seconds=ready, train=refuse))
    assert torch.equal(planned(scores), memguard._classifier(defense, defender)(scores))


def test_cells_of_a_seed_share_the_second_model_of_the_target(tmp_path) -> None:
    home = Home.open(tmp_path)
    attacks = ("correctness", "loss-threshold", "modified-entropy")
    made = _planned(home, *attacks, seeds=2)
    assert len(made.missing) == 2 * 2 * 3
    assert len(_seconds(made)) == 2
    assert len(made.jobs) == 4
    # What is done to the weights changes nothing of a model that is trained without defenses.
    beside = _planned(
        home, *attacks, seeds=2, stacks=(("memguard",), ("memguard", "outlier-removal"))
    )
    assert len(_seconds(beside)) == 2


def test_models_that_a_game_guards_have_second_models_of_their_own(tmp_path) -> None:
    home, quick = Home.open(tmp_path), {**QUICK, "rmia.shadows": "4"}
    both = _planned(home, "rmia", settings=quick, seeds=2)
    # Two targets and the shadows, which all seeds share; those of a naive attacker have no guards.
    assert len(_seconds(both)) == 2 + 4
    for item in both.cells:
        guards = item.cell.stack and item.cell.threat.adaptive
        assert len(item.seconds) == (4 if guards else 0)
    clean = _planned(home, "badnets", risk=Risk.POISONING, seeds=1)
    assert [bool(job.poison) for job in _seconds(clean)] == [True, False]


def test_whoever_has_the_weights_leaves_guards_of_shadows_out(tmp_path) -> None:
    made = _planned(
        Home.open(tmp_path), "mlp-white-box", seeds=1, access=Access.WEIGHTS,
        settings=QUICK,
    )  # fmt: skip
    assert len(_seconds(made)) == 1


def test_a_second_cell_trains_nothing(tmp_path, monkeypatch) -> None:
    home = Home.open(tmp_path)
    context = run.Context(home, DataLocation(), "cpu", {}, "test")

    def go(attack):
        made = _planned(home, attack, seeds=1)
        return [event.kind for event in run.run(made, context, local.pool, workers=1)]

    # Both targets are one: the guard does not change the weights.
    assert sorted(go("loss-threshold")) == ["measured", "measured", "trained", "trained"]

    def refuse(*args, **kwargs):
        raise AssertionError("a model was trained")

    monkeypatch.setattr("harness.learning.fit.fit", refuse)
    assert go("modified-entropy") == ["measured", "measured"]
    assert {e.status for e in EvaluationStore(home).evaluations()} == {"ok"}
