"""A model of the catalog that the attacker brings along: never the target, never what it learnt."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.analysis.verdicts import unsettled
from harness.attacks.transfer import Transfer
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.quarters import quarters
from harness.experiment import interactions, run
from harness.experiment.attacker_models import check_other, trained_on
from harness.experiment.executors import local
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.experiment.store import EvaluationStore
from harness.games import evasion
from harness.training.artifacts import Artifacts
from harness.types import Access, NotApplicableError, Regime, Risk, ThreatModel
from harness.zoo_models.selftrained import job_of
from zoo.catalog import open_catalog
from zoo.entry import ModelEntry
from zoo.fetch import fetch
from zoo.home import Home
from zoo.recipe import Recipe

OWN = ModelEntry(
    name="own", source="selftrained", purpose="benchmark", dataset="tiny", architecture="mlp-128",
    input_shape=(1, 4, 4), num_classes=3, mean=(0.0,), std=(1.0,), licence=None, backdoored=False,
    artifact=None, recipe=Recipe(epochs=1),
)  # fmt: skip
PUBLISHED = replace(OWN, name="published", source="published", recipe=None)


def test_a_model_was_trained_on_its_quarter_or_on_the_official_training_data(tiny) -> None:
    own = trained_on(OWN, tiny)
    assert torch.equal(own, quarters(tiny, 0, Regime.FROM_SCRATCH).target_train)
    assert torch.equal(own, job_of(OWN, tiny).index)
    assert trained_on(PUBLISHED, tiny).tolist() == list(range(40))
    with pytest.raises(NotApplicableError, match="Nobody knows what examples of tiny"):
        trained_on(PUBLISHED, replace(tiny, n_train=0))


def test_the_target_under_any_name_is_refused(tiny) -> None:
    job = job_of(replace(OWN, name="another name"), tiny)
    with pytest.raises(NotApplicableError, match="own is the target itself"):
        check_other(OWN, tiny, sha256="a", target=None, job=job)
    with pytest.raises(NotApplicableError, match="published is the target itself"):
        check_other(PUBLISHED, tiny, sha256="a", target="a", job=replace(job, recipe=None))
    check_other(PUBLISHED, tiny, sha256="a", target="b", job=replace(job, recipe=None))
    # By another seed, recipe or architecture, or with a defense that trains, it is another model.
    for change in ({"seed": 1}, {"recipe": Recipe(epochs=2)}, {"architecture": "cnn-small"}):
        check_other(OWN, tiny, sha256="a", target=None, job=replace(job, **change))


def test_examples_that_the_source_was_trained_on_are_not_attacked(tiny, scenario_for) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    attack = Transfer(source="other", epsilon=0.1, method="fgsm")
    threat = ThreatModel(access=Access.LABELS)
    table = scenario_for(tiny, model, seed=1, source=model, threat=threat)
    test = table.quarters.target_test
    known = trained_on(OWN, tiny)
    left = [row for row in test.tolist() if row not in set(known.tolist())]
    assert 0 < len(left) < len(test)  # seed 1 has some of seed 0's members among its test data
    found = evasion.play(attack, replace(table, source_rows=known))
    assert found.samples["index"].tolist() == left
    assert found.notes["n"] == len(left)
    assert found.notes["left_out"] == len(test) - len(left)
    whole = evasion.play(attack, table)
    kept = np.isin(whole.samples["index"], left)
    for name in ("label", "clean", "perturbed", "size"):
        assert np.array_equal(whole.samples[name][kept], found.samples[name])
    assert "left_out" not in whole.notes
    with pytest.raises(NotApplicableError, match="trained on all 16 examples"):
        evasion.play(attack, replace(table, source_rows=test))


def test_the_target_as_its_own_source_is_refused_and_others_learnt_some_points(
    tmp_path: Path,
) -> None:
    home = Home.open(tmp_path / "home")
    entry = open_catalog(home).entry("digits-mlp")
    weights = {entry.name: fetch(entry, home).sha256}
    asked = Request(
        models=(entry,), stacks=((), ("label-only",)), risks=(Risk.EVASION,), seeds=3,
        attacks=("transfer",), settings={"transfer.source": entry.name, "steps": "1"},
    )  # fmt: skip
    made = plan(
        asked, {"digits": datasets.load("digits", DataLocation())}, weights,
        is_done=EvaluationStore(home).is_done, is_trained=Artifacts(home).has,
    )  # fmt: skip
    context = run.Context(home, DataLocation(), "cpu", weights, "test")
    list(run.run(made, context, local.pool, workers=1))
    found = {(e.cell.seed, e.cell.defense): e for e in EvaluationStore(home).evaluations()}
    for defense in ("none", "label-only"):
        assert found[0, defense].status == "not applicable"
        assert "digits-mlp is the target itself" in str(found[0, defense].reason)
        assert found[1, defense].evidence["left_out"] > 50  # about a quarter of 449
        assert found[1, defense].evidence["n"] + found[1, defense].evidence["left_out"] == 449
    # Which seed that is follows from its number, so the others are as good as without it.
    (row,) = interactions.load(home)[0]
    assert (row.seeds, row.n_not_applicable, row.n_lost_to_data) == ((1, 2), 1, 0)
    assert row.verdict_note.startswith("of the seeds, 1 turned out not to apply, for reasons that")
    assert unsettled(row) == ""
