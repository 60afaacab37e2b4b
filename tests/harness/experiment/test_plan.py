"""A request becomes exactly the cells it asks for, or one line that says why not."""

import ast
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness import games, registry
from harness.data import datasets
from harness.data.dataset import Dataset
from harness.data.examples import Attribute, Column
from harness.data.quarters import quarters
from harness.experiment import request
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.experiment.targets import FINE_TUNING
from harness.games.game import attack_seed
from harness.registry import settings
from harness.results import Cell
from harness.training.job import check_data
from harness.types import Access, Aux, Regime, Risk
from zoo.entry import Artifact, ModelEntry
from zoo.errors import UnknownNameError, ZooError
from zoo.plugins import Plugins
from zoo.recipe import Recipe

SCRATCH = ModelEntry(
    name="own", source="selftrained", purpose="benchmark", dataset="digits",
    architecture="mlp-128", input_shape=(1, 8, 8), num_classes=10, mean=(0.0,), std=(1.0,),
    licence=None, backdoored=False, artifact=None, recipe=Recipe(epochs=1),
)  # fmt: skip
PUBLISHED = replace(
    SCRATCH, name="public", source="published", dataset="tiny", input_shape=(1, 4, 4),
    num_classes=3, recipe=None,
    artifact=Artifact(sha256="s", size=1, mirror_path=None, url=None),
)  # fmt: skip


OF_ATTRIBUTES = (
    Risk.ATTRIBUTE_INFERENCE,
    Risk.DISTRIBUTION_INFERENCE,
    Risk.DISCRIMINATORY_BEHAVIOR,
)
"""Risks that digits, having no sensitive attribute, do not have."""


@pytest.fixture
def make(digits, tiny):
    def run(models=(SCRATCH,), stacks="none", risks="all", *, done=(), trained=(), **other):
        asked = Request(
            models=models,
            stacks=request.stacks([stacks]),
            risks=request.risks([risks]),
            seeds=other.pop("seeds", 2),
            **other,
        )
        return plan(
            asked,
            {"digits": digits, "tiny": tiny, datasets.OOD_DEFAULT: tiny},
            {"public": "s"},
            is_done=lambda key: key in done,
            is_trained=lambda job: job.key in trained,
        )

    return run


def test_the_standard_attacks_on_all_risks_for_every_seed(make) -> None:
    found = make(stacks="none,dpsgd")
    seen = {(i.cell.defense, i.cell.attack.name, i.cell.seed) for i in found.cells}
    attacks = [name for names in registry.STANDARD.values() for name in names]
    assert seen == {(d, a, s) for d in ("none", "dpsgd") for a in attacks for s in (0, 1)}
    naive = [i for i in found.cells if not i.cell.threat.adaptive]
    assert len(found.cells) == len(seen) + len(naive)
    assert all(i.refused for i in found.cells if i.cell.risk in OF_ATTRIBUTES)
    # With and without the defense, clean and poisoned; for each seed a classifier that judges
    # reconstructions and the thief's surrogate without the target; and for all seeds the shadow
    # models.
    shadows = registry.get("attack", "rmia")().shadows
    assert len(found.jobs) == 8 + 2 + 2 + 2 * shadows


def test_everything_that_enters_a_metric_is_in_the_key(make, digits, tiny) -> None:
    """The attacker's data by their contents, and what the dataset says besides its own."""

    def keys(attack, stacks="none", *, other=tiny, data=digits, aux=Aux.OOD):
        asked = Request(
            models=(SCRATCH,), stacks=request.stacks([stacks]),
            risks=(registry.get("attack", attack).risk,), attacks=(attack,), aux=aux, ood=None if aux is not Aux.OOD else datasets.OOD_DEFAULT,
            seeds=1,
            # Not left to follow from the radius, which would be in the key by that way already.
            settings={"randomized-smoothing.sigma": "0.1"} if stacks != "none" else {},
        )  # fmt: skip
        named = {"digits": data, datasets.OOD_DEFAULT: other}
        found = plan(asked, named, {}, is_done=lambda key: False, is_trained=lambda job: False)
        return {item.cell.defense.partition("(")[0]: item.cell.key for item in found.cells}

    edited = replace(tiny, x=1 - tiny.x)
    assert keys("knockoff") != keys("knockoff", other=edited)
    wider = replace(digits, epsilon={**digits.epsilon, "l2": 9.0})
    one, other = (
        keys("fgsm", "randomized-smoothing", data=data, aux=Aux.NONE) for data in (digits, wider)
    )
    assert one["none"] == other["none"], "its radius is a setting, and is L∞"
    assert one["randomized-smoothing"] != other["randomized-smoothing"]


@pytest.mark.parametrize("changed", [f.name for f in fields(Dataset) if f.init])
def test_nothing_of_a_dataset_is_outside_its_fingerprint_but_what_cells_name(changed, tiny) -> None:
    tiny = replace(tiny, columns=(Column("a", 0, 16),), n_fitted=3)
    other = {
        "name": "other", "num_classes": 4, "x": 1 - tiny.x, "y": (tiny.y + 1) % 3,
        "z": {"odd": Attribute(tiny.y % 2, ("no", "yes"))}, "columns": (Column("b", 0, 16),),
        "n_train": 41, "n_fitted": 4, "epsilon": {"linf": 0.2, "l2": 0.6},
        "places": {"row": np.arange(64)}, "only_test": True, "hashes": ("a",) * len(tiny),
        "classes": ("cat", "dog", "owl"), "most": 5,
    }  # fmt: skip
    same = tiny.fingerprint == replace(tiny, **{changed: other[changed]}).fingerprint
    # Places are words for people, which stand beside the numbers.
    assert same == (changed in ("name", "epsilon", "places"))


def test_games_make_metrics_with_no_constant_but_the_one_that_cells_name() -> None:
    """Attacks and defenses take theirs into their settings, before the key is made."""
    folder = Path(games.__file__).parent
    used = [
        (path.stem, ast.unparse(node))
        for path in sorted(folder.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("dataset.epsilon")
    ]
    assert used == [("evasion", "scenario.dataset.epsilon['l2']")]


def test_all_is_every_attack_on_the_risk(make) -> None:
    found = make(risks="extraction", attacks=("all",), seeds=1)
    known = registry.known("attack")
    assert {i.cell.attack.name for i in found.cells} == {
        name for name, kind in known.items() if kind.risk is Risk.EXTRACTION
    }


NARROWED = [
    ({"risks": "evasion", "attacks": ("all",), "access": Access.LABELS}, {"transfer"}, set()),
    (
        {"risks": "extraction", "attacks": ("all",), "aux": Aux.SHADOW},
        {"distillation"},
        set(),
    ),
    ({"risks": "all", "access": Access.SCORES}, {"group-audit"}, {"pgd"}),
    ({"risks": "all", "aux": Aux.PARTIAL}, {"correctness"}, {"distribution-kl"}),
]


@pytest.mark.parametrize(("asked", "there", "gone"), NARROWED, ids=lambda one: str(one)[:40])
def test_of_all_attacks_those_are_left_that_what_is_granted_suffices_for(
    make, asked, there, gone
) -> None:
    """Nobody named the others."""
    found = {i.cell.attack.name for i in make(seeds=1, **asked).cells}
    assert found >= there
    assert not found & gone


def test_a_named_attack_that_is_not_granted_enough_is_refused(make) -> None:
    with pytest.raises(ZooError, match="'pgd' wants access to weights"):
        make(risks="evasion", attacks=("pgd",), access=Access.LABELS, seeds=1)
    with pytest.raises(ZooError, match="wants access to"):
        make(risks="data-reconstruction", access=Access.LABELS, seeds=1)


def test_what_is_said_of_one_method_holds_for_it_whatever_is_said_of_all(make) -> None:
    asked = {"risks": "evasion", "attacks": ("pgd", "fgsm"), "seeds": 1}
    for keys in (("epsilon", "pgd.epsilon"), ("pgd.epsilon", "epsilon")):
        values = {"epsilon": "0.1", "pgd.epsilon": "0.2"}
        found = make(settings={key: values[key] for key in keys}, **asked)
        assert {i.cell.attack.label for i in found.cells} == {
            "pgd(epsilon=0.2)",
            "fgsm(epsilon=0.1)",
        }
    with pytest.raises(ZooError, match=r"epsilon and pgd.epsilon are both given"):
        make(risks="evasion", attacks=("pgd",), settings={"epsilon": "0.1", "pgd.epsilon": "0.2"})


def test_a_row_without_its_preset_says_which_it_is_of(make) -> None:
    with pytest.raises(ZooError, match="SN-A12 is a row of a preset: give --preset securitynet"):
        make(risks="evasion", attacks=("SN-A12",))
    with pytest.raises(ZooError, match="No attack 'SN-A99'. Nearest: .*SN-A"):
        make(risks="extraction", attacks=("SN-A99",), preset="securitynet")


def test_a_name_beside_all_takes_nothing_away(make) -> None:
    every = {"risks": "extraction", "seeds": 1}
    alone, beside = (
        {(i.cell.attack.name, i.cell.attack.params) for i in make(attacks=names, **every).cells}
        for names in (("all",), ("all", "distillation"))
    )
    assert alone == beside
    assert len(alone) > 1


def test_every_standard_attack_is_known_and_on_its_risk() -> None:
    for risk, names in registry.STANDARD.items():
        for name in names:
            assert registry.get("attack", name).risk is risk


def test_a_risk_of_attributes_is_refused_where_there_are_none(make) -> None:
    found = make(risks="attribute-inference,discriminatory-behavior", seeds=1)
    assert {i.cell.risk for i in found.cells} == {OF_ATTRIBUTES[0], OF_ATTRIBUTES[2]}
    assert {i.refused for i in found.cells} == {
        "digits has no sensitive attributes. Choose a model of a dataset that has some, such as "
        "digits-tinted or adult."
    }
    assert not found.jobs


def test_shadow_models_are_shared_by_seeds_and_know_the_defense_or_not(make) -> None:
    found = make(stacks="dpsgd", risks="membership-inference", attacks=("rmia",))
    shadows = {
        (i.cell.defense, i.cell.threat.adaptive): {job.key for job in i.others["shadows"]}
        for i in found.cells
    }
    # Two seeds; both adversaries of the defense, and one of the undefended model.
    assert len(found.cells) == 6
    assert shadows[("dpsgd", False)] == shadows[("none", True)]
    assert shadows[("dpsgd", True)].isdisjoint(shadows[("none", True)])
    assert len(found.jobs) == 4 + 2 * len(shadows[("dpsgd", True)])
    naive = make(
        stacks="dpsgd", risks="membership-inference", attacks=("rmia",), adversaries=(False,)
    )
    threats = {i.cell.defense: str(i.cell.threat) for i in naive.cells}
    assert threats == {"none": "scores, shadow", "dpsgd": "scores, shadow, naive"}


def test_an_attack_without_shadow_models_has_one_adversary(make) -> None:
    found = make(risks="membership-inference", attacks=("loss-threshold",), seeds=1)
    assert [i.cell.threat.adaptive for i in found.cells] == [True]


def test_nobody_imitates_the_training_of_a_published_model(make) -> None:
    found = make(models=(PUBLISHED,), risks="membership-inference", attacks=("rmia",), seeds=1)
    assert all("Shadow models imitate" in i.refused for i in found.cells)


def test_poison_is_trained_for_and_its_clean_twin_is_the_same_without_it(make) -> None:
    found = make(stacks="dpsgd", risks="poisoning", attacks=("badnets",), seeds=1)
    baseline, defended = found.cells
    assert baseline.job.poison == defended.job.poison == baseline.cell.attack
    other = make(stacks="dpsgd", risks="evasion", attacks=("pgd",), seeds=1)
    for item, unpoisoned in zip((baseline, defended), other.cells, strict=True):
        (twin,) = item.others["clean_twin"]
        assert (twin.poison, twin.stack) == (None, item.job.stack)
        assert twin.key == unpoisoned.job.key
    assert len(found.jobs) == 4


def test_nobody_poisons_what_is_published(make) -> None:
    found = make(models=(PUBLISHED,), risks="poisoning", attacks=("badnets",), seeds=1)
    (item,) = found.cells
    assert dict(item.cell.attack.params)["rate"] == 0
    assert (item.job, item.others) == (None, {})


def test_an_edit_of_a_published_model_stays_published_and_trains_nothing_else(make) -> None:
    found = make(models=(PUBLISHED,), stacks="fine-pruning", risks="evasion", seeds=1)
    assert {i.cell.regime for i in found.cells} == {Regime.PUBLISHED}
    (job,) = found.jobs
    assert (job.recipe, job.base) == (None, "s")


def test_an_inspection_of_another_risk_is_refused_with_the_reason(make) -> None:
    found = make(stacks="strip", risks="evasion", seeds=1)
    reasons = {i.cell.defense: i.refused for i in found.cells}
    assert reasons["none"] is None
    assert "strip only inspects" in reasons["strip"]


def test_owners_get_independent_models_on_data_the_target_never_saw(make, digits) -> None:
    found = make(
        stacks="watermark", risks="extraction", seeds=1, settings={"watermark.independents": "3"}
    )
    defended = next(i for i in found.cells if i.cell.stack)
    split = quarters(digits, 0, Regime.FROM_SCRATCH)
    others = defended.others["independent"]
    assert len({job.key for job in others}) == 3
    for job in others:
        assert job.stack == ()
        assert set(job.index.tolist()).isdisjoint(split.target_train.tolist())


def test_budgets_are_measured_one_by_one(make) -> None:
    found = make(risks="extraction", queries=(10, 20), seeds=1)
    assert [i.cell.threat.queries for i in found.cells] == [10, 20]


def test_a_preset_is_its_rows_and_says_so(make) -> None:
    found = make(risks="evasion", attacks=("fgsm",), preset="securitynet", seeds=1)
    assert [dict(i.cell.attack.params)["epsilon"] for i in found.cells] == [0.01, 0.03, 0.1]
    assert [i.cell.attack.label for i in found.cells] == [
        "fgsm[SN-A12](epsilon=0.01)", "fgsm[SN-A12](epsilon=0.03)", "fgsm[SN-A12](epsilon=0.1)",
    ]  # fmt: skip
    own = make(
        risks="evasion", attacks=("fgsm",), preset="securitynet", seeds=1,
        settings={"epsilon": "0.05"},
    )  # fmt: skip
    (item,) = own.cells
    assert item.cell.attack.label == "fgsm[SN-A12](epsilon=0.05)"
    with pytest.raises(ZooError, match="The preset securitynet has no attack 'pgd'. It has: "):
        make(risks="evasion", attacks=("pgd",), preset="securitynet")
    with pytest.raises(UnknownNameError, match="No preset 'securitinet'. Nearest: securitynet"):
        make(preset="securitinet")


def test_a_defense_brings_its_baseline(make) -> None:
    found = make(stacks="dpsgd", risks="extraction")
    assert [i.cell.defense for i in found.cells] == ["none", "none", "dpsgd", "dpsgd"]


def test_what_is_done_is_not_asked_for_again(make) -> None:
    first = make(risks="extraction")
    key = first.cells[0].cell.key
    again = make(risks="extraction", done={key})
    assert [i.cell.seed for i in again.missing] == [1]
    target, twin = again.jobs
    assert (target.seed, twin.seed) == (1, attack_seed("distillation", 1))
    assert len(again.cells) == 2
    trained = make(risks="extraction", trained={job.key for job in first.jobs})
    assert (len(trained.missing), len(trained.jobs)) == (2, 0)


def test_more_seeds_only_add_cells(make) -> None:
    few = {i.cell.key for i in make(seeds=2).cells}
    many = {i.cell.key for i in make(seeds=3).cells}
    assert few < many


def test_a_published_model_is_attacked_as_downloaded(make) -> None:
    found = make(models=(PUBLISHED,), risks="evasion")
    assert {i.cell.regime for i in found.cells} == {Regime.PUBLISHED}
    assert all(i.job is None for i in found.cells)
    assert found.jobs == ()


def test_a_defended_published_model_is_fine_tuned_and_so_is_its_baseline(make, tiny) -> None:
    found = make(models=(PUBLISHED,), stacks="none,dpsgd", risks="evasion")
    seen = {(str(i.cell.regime), i.cell.defense) for i in found.cells}
    assert seen == {("published", "none"), ("fine-tuned", "none"), ("fine-tuned", "dpsgd")}
    for item in found.cells:
        if item.job:
            assert (item.job.base, item.job.recipe) == ("s", FINE_TUNING)
            split = quarters(tiny, item.cell.seed, Regime.FINE_TUNED)
            assert item.job.index.tolist() == split.target_train.tolist()


def test_threat_models_grant_no_more_than_an_attack_uses(make) -> None:
    access = {i.cell.attack.name: i.cell.threat.access for i in make().cells}
    assert access["correctness"] is Access.LABELS
    assert access["distillation"] is Access.SCORES
    assert access["pgd"] is Access.WEIGHTS
    by_labels = make(risks="extraction", access=Access.LABELS)
    assert {i.cell.threat.access for i in by_labels.cells} == {Access.LABELS}


def test_an_attack_that_needs_more_than_granted_is_refused(make) -> None:
    with pytest.raises(ZooError, match="'pgd' wants access to weights, but scores is granted"):
        make(risks="evasion", attacks=("pgd",), access=Access.SCORES)


def test_a_budget_over_what_the_attacker_holds_is_refused(make) -> None:
    assert make(risks="extraction", queries=(898,)).cells
    with pytest.raises(ZooError, match="budget is 899, but the attacker's shadow data holds 898"):
        make(risks="extraction", queries=(899,))
    with pytest.raises(ZooError, match="partial data holds 224"):
        make(risks="extraction", queries=(225,), aux=Aux.PARTIAL)
    with pytest.raises(ZooError, match="tiny data holds 64"):
        make(risks="extraction", queries=(65,), aux=Aux.OOD, ood="tiny")


def test_a_budget_under_the_number_of_candidates_is_refused(make) -> None:
    with pytest.raises(ZooError, match="membership of 898 candidates"):
        make(risks="membership-inference", queries=(897,))


def test_auxiliary_data_that_an_attack_cannot_use_is_refused(make) -> None:
    with pytest.raises(ZooError, match="uses auxiliary data of kind none, but partial is granted"):
        make(risks="evasion", attacks=("pgd",), aux=Aux.PARTIAL)


def test_no_attack_is_given_data_that_was_not_granted(make) -> None:
    with pytest.raises(ZooError, match="'distillation' uses auxiliary data .* but none is granted"):
        make(risks="extraction", aux=Aux.NONE)
    found = make(risks="evasion,extraction", aux=Aux.PARTIAL)
    assert {(i.cell.attack.name, str(i.cell.threat.aux)) for i in found.cells} == {
        ("fgsm", "none"), ("pgd", "none"), ("distillation", "partial"),
    }  # fmt: skip


def test_of_all_attacks_those_remain_that_the_granted_access_suffices_for(make) -> None:
    found = make(risks="membership-inference", access=Access.LABELS)
    assert {i.cell.attack.name for i in found.cells} == {"correctness"}
    with pytest.raises(ZooError, match="wants access to weights, but scores is granted"):
        make(risks="evasion", access=Access.SCORES)


def test_a_model_whose_members_nobody_knows_can_be_evaded_but_not_audited(make) -> None:
    own = replace(PUBLISHED, name="public", dataset="digits", input_shape=(1, 8, 8), num_classes=10)
    found = make(models=(own,), seeds=1)
    refused = {i.cell.risk for i in found.cells if i.refused}
    assert refused == {*Risk} - {Risk.EVASION, Risk.POISONING, Risk.EXTRACTION}
    audited = [i for i in found.cells if i.cell.risk is Risk.MEMBERSHIP_INFERENCE]
    assert all("no official split that would tell" in (i.refused or "") for i in audited)


def test_fine_tuning_without_unseen_examples_is_not_applicable_and_stops_nothing_else(make) -> None:
    own = replace(PUBLISHED, dataset="digits", input_shape=(1, 8, 8), num_classes=10)
    found = make(models=(own,), stacks="dpsgd,rounding", risks="evasion", attacks=("fgsm",))
    refused = {(i.cell.regime, bool(i.refused)) for i in found.cells}
    assert refused == {(Regime.FINE_TUNED, True), (Regime.PUBLISHED, False)}
    assert not found.jobs


@pytest.mark.parametrize(
    ("attack", "settings", "said"),
    [
        ("boundary", {"queries": "1"}, "at least 10 times each, but 1 queries about each"),
        ("pgd", {"step_size": "0"}, "pgd wants step_size above 0 with an epsilon of 0.1, found 0"),
        ("mlp", {"batch_size": "0"}, "wants batch_size of at least 1, found 0"),
        ("distribution-pin", {"lr": "0"}, "distribution-pin wants lr above 0, found 0"),
        ("distribution-pin", {"weight_decay": "-1"}, "weight_decay of at least 0, found -1"),
    ],
)
def test_settings_that_would_fail_in_the_middle_of_a_run_are_refused(
    make, attack, settings, said
) -> None:
    risk = registry.get("attack", attack).risk
    with pytest.raises(ZooError, match=said):
        make(risks=str(risk), attacks=(attack,), settings=settings, seeds=1)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ("rmia", "only suffices for 898 candidates"),
        ("quantile", "after 898 candidates the query budget of 898 leaves 0"),
        ("mlp", "candidates the query budget of 450 leaves"),
    ],
)
def test_a_budget_that_leaves_nothing_to_learn_from_is_refused(make, attack, said) -> None:
    budget = 450 if attack == "mlp" else 898
    with pytest.raises(ZooError, match=said):
        make(risks="membership-inference", attacks=(attack,), queries=(budget,), seeds=1)


def test_an_attack_on_another_risk_is_refused(make) -> None:
    with pytest.raises(ZooError, match="'pgd' is on evasion, which is not among"):
        make(risks="extraction", attacks=("pgd",))


def test_a_risk_without_attacks_is_refused(make) -> None:
    with pytest.raises(
        ZooError, match=r"preset ml-doctor has no attack on evasion. It has attacks on: att"
    ):
        make(risks="evasion", preset="ml-doctor")
    found = make(risks="all", preset="ml-doctor", seeds=1)
    assert Risk.EVASION not in {i.cell.risk for i in found.cells}


def test_what_fits_some_models_is_not_applicable_to_the_others(make, tiny) -> None:
    """64 images leave an attacker 32, digits 898."""
    asked = {"risks": "extraction", "queries": (100,), "seeds": 1}
    small = replace(SCRATCH, name="small", dataset="tiny", input_shape=(1, 4, 4), num_classes=3)
    found = make(models=(SCRATCH, small), **asked)
    refused = {i.cell.model: i.refused for i in found.cells}
    assert refused["own"] is None
    assert "budget is 100, but" in refused["small"]
    with pytest.raises(ZooError, match="budget is 100, but"):
        make(models=(small,), **asked)


def test_a_row_of_a_preset_is_selected_by_its_name_and_loses_it_when_changed(make) -> None:
    asked = {"risks": "extraction", "preset": "securitynet", "seeds": 1}
    found = make(attacks=("SN-A01",), **asked)
    assert {i.cell.attack.label for i in found.cells} == {"distillation[SN-A01]"}
    cell = found.cells[0].cell
    again = Cell.from_dict(cell.to_dict())
    assert (again.attack.row, again.key) == ("SN-A01", cell.key)
    (kept,) = make(attacks=("SN-A01",), access=Access.SCORES, **asked).cells
    assert kept.cell.attack.label == "distillation[SN-A01]"
    (changed,) = make(attacks=("SN-A01",), aux=Aux.SHADOW, **asked).cells
    assert changed.cell.attack.label.startswith("distillation(")
    assert changed.cell.attack.row == ""
    assert "resnet18-stem3" in changed.cell.attack.label
    with pytest.raises(ZooError, match="Nearest: distillation"):
        make(attacks=("distilation",), **asked)


def test_a_sweep_is_every_choice_of_one_value_for_each_setting(make) -> None:
    found = make(
        risks="evasion", attacks=("pgd", "fgsm"), seeds=1,
        settings={"epsilon": ("0.01", "0.03"), "pgd.steps": ("5", "10"), "recipe.epochs": "2"},
    )  # fmt: skip
    labels = {(i.cell.attack.name, i.cell.attack.label) for i in found.cells}
    assert {label for name, label in labels if name == "fgsm"} == {
        "fgsm(epsilon=0.01)", "fgsm(epsilon=0.03)",
    }  # fmt: skip
    assert len(labels) == len(found.cells) == 2 + 4
    assert len(found.jobs) == 1


def test_a_bare_attribute_is_meant_for_every_method(digits, tiny) -> None:
    odd = Attribute(torch.arange(64) % 2, ("even", "odd"))
    tinted = replace(tiny, z={"tint": odd, "ink": odd})
    asked = Request(
        models=(replace(PUBLISHED, recipe=Recipe(epochs=1), source="selftrained"),),
        stacks=(("reweighing",), ("group-dro",)),
        risks=(Risk.DISCRIMINATORY_BEHAVIOR, Risk.ATTRIBUTE_INFERENCE),
        seeds=1,
        settings={"attribute": "ink", "group-dro.attribute": "tint+ink"},
    )
    found = plan(
        asked, {"tiny": tinted}, {}, is_done=lambda key: False, is_trained=lambda job: False
    )
    of = {
        m.name: dict(m.params)["attribute"]
        for i in found.cells
        for m in (*i.cell.stack, i.cell.attack)
    }
    assert of.pop("group-dro") == "tint+ink"
    assert of.keys() >= {"reweighing", "group-audit", "attribute-scores"}
    assert set(of.values()) == {"ink"}


def test_bare_settings_find_their_method(make) -> None:
    found = make(
        stacks="dpsgd", risks="evasion", attacks=("pgd",),
        settings={"noise_multiplier": "2", "steps": "3"},
    )  # fmt: skip
    defended = [i.cell for i in found.cells if i.cell.stack]
    assert {c.defense for c in defended} == {"dpsgd(noise_multiplier=2.0)"}
    assert dict(defended[0].attack.params)["steps"] == 3


def test_a_setting_of_two_kinds_of_method_has_to_say_which(make) -> None:
    with pytest.raises(
        ZooError, match=r"field of dpsgd, distillation. Write which: dpsgd.epochs=3"
    ):
        make(stacks="dpsgd", risks="extraction", settings={"epochs": "3"})
    found = make(stacks="dpsgd", risks="extraction", settings={"dpsgd.epochs": "3"})
    assert dict(found.cells[-1].cell.stack[0].params)["epochs"] == 3
    assert dict(found.cells[-1].cell.attack.params)["epochs"] == 40


def test_a_setting_shared_by_attacks_goes_to_all_of_them(make) -> None:
    found = make(risks="evasion", settings={"epsilon": "0.2"})
    assert {(i.cell.attack.name, dict(i.cell.attack.params)["epsilon"]) for i in found.cells} == {
        ("fgsm", 0.2), ("pgd", 0.2),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("recipe.lr=nan", "recipe.lr wants float, found 'nan'"),
        ("recipe.lr=-1", "recipe wants lr above 0, found -1.0"),
        ("recipe.epochs=0", "recipe wants epochs of at least 1, found 0"),
        ("recipe.batch_size=0", "recipe wants batch_size of at least 1"),
        ("pgd.epsilon=inf", "pgd.epsilon wants float or none, found 'inf'"),
        ("fgsm.batch_size=0", "fgsm wants batch_size of at least 1"),
        ("dpsgd.batch_size=0", "recipe wants batch_size of at least 1"),
        ("noise_multiplier=1e-200", "noise_multiplier of at least 0.01"),
        ("distillation.epochs=0", "recipe wants epochs of at least 1"),
        ("surrogate=cnn-smal", "No architecture 'cnn-smal'. Nearest: cnn-small"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_before_any_work(make, setting, message) -> None:
    with pytest.raises(ZooError, match=message):
        make(stacks="dpsgd", risks="all", settings=settings([setting]))


@pytest.mark.parametrize("key", ["stepz", "pgd.stepz", "recipe.epoch"])
def test_an_unknown_setting_shows_the_nearest(make, key) -> None:
    with pytest.raises(UnknownNameError, match="No setting .* Nearest: "):
        make(risks="evasion", settings={key: "1"})


def test_a_changed_recipe_is_another_model_and_says_so(make) -> None:
    plain = make(risks="evasion", attacks=("pgd",))
    changed = make(risks="evasion", attacks=("pgd",), settings={"recipe.epochs": "5"})
    assert {(i.cell.model, i.cell.recipe) for i in changed.cells} == {("own", (("epochs", 5),))}
    assert {i.cell.model_label for i in changed.cells} == {"own(epochs=5)"}
    assert {i.cell.model_key for i in changed.cells}.isdisjoint(
        {i.cell.model_key for i in plain.cells}
    )
    same = make(risks="evasion", attacks=("pgd",), settings={"recipe.epochs": "1"})
    assert {i.cell.key for i in same.cells} == {i.cell.key for i in plain.cells}


def test_everything_that_matters_is_in_the_cells_key(make) -> None:
    variants = [
        make(risks="extraction"),
        make(risks="extraction", access=Access.LABELS),
        make(risks="extraction", aux=Aux.PARTIAL),
        make(risks="extraction", queries=(100,)),
        make(risks="extraction", settings={"distillation.epochs": "2"}),
        make(risks="extraction", stacks="dpsgd"),
        make(models=(replace(SCRATCH, architecture="cnn-small"),), risks="extraction"),
        make(models=(replace(SCRATCH, recipe=Recipe(epochs=2)),), risks="extraction"),
    ]
    last = [v.cells[-1].cell.key for v in variants]
    assert len(set(last)) == len(last)


def _installed(monkeypatch: pytest.MonkeyPatch, defense: type) -> None:
    """As if another package had added this defense."""
    monkeypatch.setattr(
        registry, "_plugins",
        lambda kind: Plugins({defense.name: defense} if kind == "defense" else {}, {}, ()),
    )  # fmt: skip


def test_a_stack_that_cannot_be_is_planned_as_refused(make, monkeypatch) -> None:
    from dataclasses import dataclass
    from typing import ClassVar

    from harness.defenses.dpsgd import DPSGD

    @dataclass(frozen=True, kw_only=True)
    class Rival(DPSGD):
        name: ClassVar[str] = "rival"

    _installed(monkeypatch, Rival)
    found = make(stacks="dpsgd+rival", risks="evasion", attacks=("pgd",))
    refused = [i.refused for i in found.cells]
    assert refused[:2] == [None, None]
    assert set(refused[2:]) == {"dpsgd and rival both change the gradients of a training step."}
    assert {job.stack for job in found.jobs} == {()}


def test_output_defenses_share_the_undefended_training(make, monkeypatch) -> None:
    from dataclasses import dataclass
    from typing import ClassVar

    from harness.types import Part

    @dataclass(frozen=True, kw_only=True)
    class Quiet:
        name: ClassVar[str] = "quiet"
        guards: ClassVar[Risk] = Risk.EXTRACTION
        acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})

    _installed(monkeypatch, Quiet)
    found = make(stacks="none,quiet", risks="evasion", attacks=("pgd",))
    assert (len(found.cells), len(found.jobs)) == (4, 2)
    public = make(models=(PUBLISHED,), stacks="quiet", risks="evasion", attacks=("pgd",))
    assert {i.cell.regime for i in public.cells} == {Regime.PUBLISHED}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: request.stacks(["dpgsd"]), "No defense 'dpgsd'. Nearest: dpsgd"),
        (lambda: request.risks(["evasoin"]), "No risk 'evasoin'. Nearest: evasion"),
        (lambda: request.auxiliary("shaddow"), "No auxiliary data 'shaddow'. Nearest: shadow"),
        (lambda: request.auxiliary("shadow:x"), "No auxiliary data 'shadow:x'"),
        (lambda: request.auxiliary("partial:7"), "share between 0 and 1, found '7'"),
        (lambda: settings(["epsilon"]), "wants field=value, found 'epsilon'"),
        (lambda: request.stacks([","]), "defense names no stack"),
        (lambda: request.risks([""]), "risk names no risk"),
    ],
)
def test_wrong_words_are_refused(call, message) -> None:
    with pytest.raises(ZooError, match=message):
        call()


def test_words_become_a_request() -> None:
    assert request.stacks(["none,dpsgd", "dpsgd"]) == ((), ("dpsgd",))
    assert request.risks(["all", "evasion"]) == request.risks(["all"])
    assert request.risks(["extraction", "evasion"]) == (Risk.EVASION, Risk.EXTRACTION)
    assert request.auxiliary("ood") == (Aux.OOD, "photo-patches", None)
    assert request.auxiliary("ood:mnist") == (Aux.OOD, "mnist", None)
    assert request.auxiliary("partial:0.7") == (Aux.PARTIAL, None, 0.7)
    assert settings(["a=1", "b.c = x=y"]) == {"a": "1", "b.c": "x=y"}


def test_adversaries_are_read_from_texts() -> None:
    assert request.adversaries(["adaptive,naive"]) == (True, False)
    assert request.adversaries(["naive"]) == (False,)
    for text in ("", "both"):
        with pytest.raises(UnknownNameError, match="adversary"):
            request.adversaries([text])


def test_data_that_are_not_what_a_model_was_added_for_are_refused(make, tiny) -> None:
    rows = replace(SCRATCH, name="me/loans-mlp", dataset="tiny", input_shape=(6,), num_classes=3)
    table = replace(tiny, name="loans", x=torch.rand(64, 7))
    said = (
        "me/loans-mlp was added for 6 features and 3 classes, but loans has 7 and 3 now. Add it "
        "again under another name with zoo add --train, or get the data that it was added for."
    )
    for entry, data in ((rows, table), (replace(rows, recipe=None), table)):
        with pytest.raises(ZooError) as caught:
            check_data(entry, data)
        assert str(caught.value) == said
    check_data(replace(rows, input_shape=(7,)), table)
    with pytest.raises(ZooError, match="features and 2 classes, but tiny has 1x4x4 and 3 now"):
        make(models=(replace(rows, input_shape=(1, 4, 4), num_classes=2),))
    # Images are scaled, and what is published may have other classes.
    check_data(replace(PUBLISHED, input_shape=(1, 32, 32), num_classes=1000), tiny)
