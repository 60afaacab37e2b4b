"""Settings are chosen with room for noise, on data that no seed has, and never the dose itself."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.datasets import OOD_DEFAULT
from harness.data.quarters import quarters
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.experiment.run import Context, run
from harness.experiment.store import EvaluationStore
from harness.experiment.tuning_plan import Tuner, splits
from harness.experiment.tuning_run import Tunings, tune
from harness.learning.tuning import Tried, candidates, choose, left_out, splits_wanted
from harness.results import STANDARD_BUDGET
from harness.types import Regime, Risk
from zoo.entry import ModelEntry
from zoo.home import Home
from zoo.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=128)
OWN = ModelEntry(
    name="own", source="selftrained", purpose="benchmark", dataset="digits",
    architecture="mlp-32", input_shape=(1, 8, 8), num_classes=10, mean=(0.0,), std=(1.0,),
    licence=None, backdoored=False, artifact=None, recipe=RECIPE,
)  # fmt: skip

FOUR = {"a": (0, 1, 2), "b": (0, 1, 2), "c": (0, 1, 2), "d": (0, 1, 2)}


def test_candidates_begin_with_what_is_there_and_a_larger_budget_adds_to_a_smaller() -> None:
    few, many = candidates(FOUR, 6), candidates(FOUR, STANDARD_BUDGET)
    assert few[0] == {"a": 0, "b": 0, "c": 0, "d": 0}
    assert many[:6] == few
    # Halton's second and third points, of bases 2, 3, 5 and 7: (1/2, 1/3, 1/5, 1/7), (1/4, 2/3, …).
    assert few[1:3] == [{"a": 1, "b": 1, "c": 0, "d": 0}, {"a": 0, "b": 2, "c": 1, "d": 0}]
    for name in FOUR:
        assert min(Counter(one[name] for one in many).values()) >= 2
    everything = candidates(FOUR, 1000)
    assert len({tuple(one.values()) for one in everything}) == len(everything) == 81


def test_nothing_to_tune_is_one_candidate() -> None:
    assert candidates({}, 12) == [{}]


def _tried(*answers: str | None) -> list[Tried]:
    """Each of two splits by ``/``: ``1101/1111``; None for a candidate that failed."""
    return [
        Tried(settings={"n": n}, failed="diverged")
        if text is None
        else Tried(
            settings={"n": n},
            correct=np.array([[int(c) for c in part] for part in text.split("/")], bool),
        )
        for n, text in enumerate(answers)
    ]


def test_the_first_within_one_standard_error_of_the_best_is_chosen() -> None:
    # Behind by one of eight: .125. Over examples the error is sqrt(.125 / 8) = .125, over the two
    # splits (differences 0 and .25) it is .125 too: just within.
    chosen, rows = choose(_tried("1111/1110", "1111/1111"))
    assert chosen == 0
    assert [row["accuracy"] for row in rows] == [0.875, 1.0]
    assert (rows[0]["behind"], rows[0]["se"]) == pytest.approx((0.125, 0.125))
    # Behind by four of eight: .5, with sqrt(2/7 / 8) = .189 over examples and 0 over splits.
    chosen, rows = choose(_tried("1100/1100", "1111/1111", "1111/1111"))
    assert chosen == 1
    assert rows[0]["se"] == pytest.approx(np.sqrt(2 / 7 / 8))
    # The splits disagree by much (1 and 0), so their error counts: .5.
    chosen, rows = choose(_tried("0000/1111", "1111/1111"))
    assert (chosen, rows[0]["se"]) == (0, 0.5)


@pytest.mark.parametrize("splits", [2, 3, 4])
@pytest.mark.parametrize("judged", [17, 45, 50])
def test_one_standard_error_exactly_is_within_it_whatever_rounding_says(
    splits: int, judged: int
) -> None:
    # All of the difference d is in one of n splits: its mean is d / n, and so is its error.
    for wrong in range(1, 12):
        for split in range(splits):
            best = np.ones((splits, judged), bool)
            first = best.copy()
            first[split, :wrong] = False
            chosen, rows = choose(
                [Tried(settings={"n": n}, correct=one) for n, one in enumerate((first, best))]
            )
            assert rows[0]["behind"] == pytest.approx(wrong / judged / splits)
            assert rows[0]["se"] == pytest.approx(wrong / judged / splits)
            assert chosen == 0, (wrong, split)


def test_a_candidate_that_failed_is_recorded_and_never_chosen() -> None:
    chosen, rows = choose(_tried(None, "1000/1000", "1111/1111"))
    assert chosen == 2
    assert rows[0] == {"settings": {"n": 0}, "failed": "diverged"}
    assert choose(_tried(None, None))[0] is None


def test_luck_seldom_changes_anything_and_a_worse_candidate_is_not_kept() -> None:
    """200 tunings of twelve candidates on four splits of 45 examples, answers drawn as coins."""
    rng = np.random.default_rng(0)

    def chosen(*accuracy: float) -> Counter:
        found = Counter()
        for _ in range(200):
            tried = [Tried(settings={}, correct=rng.random((4, 45)) < a) for a in accuracy]
            found[choose(tried)[0]] += 1
        return found

    # Of twelve the largest is 1.6 deviations above the mean, and a difference has an error of 1.4.
    # By accuracy alone the first would be chosen in one of twelve.
    assert chosen(*[0.9] * 12)[0] > 0.4 * 200
    assert chosen(0.7, *[0.9] * 11)[0] == 0


def test_splits_are_an_owners_and_of_no_seed(digits) -> None:
    found = splits(digits, Regime.FROM_SCRATCH)
    assert len(found) == splits_wanted(45) == 4
    for one in found:
        owned = quarters(digits, one.seed, Regime.FROM_SCRATCH).target_train
        assert torch.cat([one.train, one.judged]).sort().values.equal(owned.sort().values)
        assert (len(one.train), len(one.judged)) == (404, 45)
    assert {one.seed for one in found}.isdisjoint(range(10_000))
    assert [splits_wanted(n) for n in (1, 99, 100, 5000)] == [4, 3, 2, 2]


@pytest.fixture
def tuner(digits):
    def make(**fixed) -> Tuner:
        return Tuner(
            entry=OWN, dataset=digits, recipe=Recipe(lr=0.003, epochs=40, batch_size=32), base=None,
            budget=5, fixed={k: frozenset(v) for k, v in fixed.items()}, known=lambda key: None,
        )  # fmt: skip

    return make


def _values(tuner: Tuner, *defenses) -> dict[str, set]:
    found: dict[str, set] = {}
    waiting = replace(tuner, budget=1000).settle(Regime.FROM_SCRATCH, defenses).missing
    for candidate in waiting.candidates if waiting else ():
        for name, value in candidate.settings.items():
            found.setdefault(name, set()).add(value)
    return found


def test_what_is_tuned_is_never_the_dose(tuner) -> None:
    budget = registry.make("defense", "dpsgd", {"dp_epsilon": 8.0})
    assert _values(tuner(), budget) == {
        "dpsgd.lr": {0.003, 0.006, 0.009, 0.015, 0.03},
        "dpsgd.epochs": {40, 80},
        "dpsgd.batch_size": {32, 128},
    }
    # With the noise given, more epochs or larger batches would spend more privacy.
    noise = registry.make("defense", "dpsgd", {"noise_multiplier": 2.0})
    assert _values(tuner(), noise).keys() == {"dpsgd.lr"}
    plain = replace(noise, optimizer="sgd")
    assert _values(tuner(), plain).keys() == {"dpsgd.lr", "dpsgd.max_grad_norm"}
    recipe = {"recipe.lr": {0.001, 0.003, 0.009, 0.03}, "recipe.epochs": {20, 40, 80}}
    robust = registry.make("defense", "trades", {"epsilon": 0.1})
    assert _values(tuner()) == _values(tuner(), robust) == recipe
    # What leaves the steps as they are is trained like the undefended model.
    rounding = registry.make("defense", "rounding", {})
    assert _values(tuner(), rounding) == recipe


def test_what_somebody_decided_is_not_tuned(tuner) -> None:
    private = registry.make("defense", "dpsgd", {"dp_epsilon": 8.0})
    fixed = tuner(dpsgd=["lr", "dp_epsilon"], recipe=["epochs"])
    assert _values(fixed, private).keys() == {"dpsgd.batch_size"}
    assert _values(tuner(recipe=["lr", "epochs"])) == {}


def test_settings_that_a_defense_refuses_are_recorded_and_not_trained(tuner) -> None:
    private = registry.make("defense", "dpsgd", {"dp_epsilon": 0.05})
    waiting = tuner().settle(Regime.FROM_SCRATCH, [private]).missing
    assert waiting is not None
    assert [one.jobs for one in waiting.candidates] == [()] * 5
    assert "cannot reach dp_epsilon=0.05" in (waiting.candidates[0].refused or "")


@pytest.fixture
def make(digits, tiny):
    def run(stacks, *, tuned=None, risks=(Risk.EVASION,), attacks=("fgsm",), **other):
        asked = Request(
            models=(OWN,), stacks=stacks, risks=risks, attacks=attacks, seeds=2,
            **{"tuning": 3, **other},
        )  # fmt: skip
        return plan(
            asked, {"digits": digits, OOD_DEFAULT: tiny}, {}, is_done=lambda key: False,
            is_trained=lambda job: False, tuned=tuned or {}.get,
        )  # fmt: skip

    return run


def _last(made) -> dict:
    """Records by which the last candidate of everything was chosen."""
    return {
        one.key: {
            "tried": [{"settings": dict(c.settings)} for c in one.candidates],
            "chosen": dict(one.candidates[-1].settings),
        }
        for one in made.tunings
    }


def test_a_choice_is_made_once_for_all_seeds_and_both_sides_have_the_same_budget(make) -> None:
    private = {"settings": {"dp_epsilon": "8"}}
    first = make((("dpsgd",), ("dpsgd", "rounding")), **private)
    assert [(one.subject, len(one.candidates)) for one in first.tunings] == [
        ("own with no defense", 3), ("own with dpsgd(dp_epsilon=8.0)", 3),
    ]  # fmt: skip
    assert len(first.tuning_jobs) == 2 * 3 * 4
    made = make((("dpsgd",), ("dpsgd", "rounding")), tuned=_last(first).get, **private)
    assert (made.tunings, made.tuning_jobs) == ((), ())
    defended = [i for i in made.cells if i.cell.defense == "dpsgd(dp_epsilon=8.0, tuned=3)"]
    assert [i.cell.seed for i in defended] == [0, 1]
    chosen = first.tunings[1].candidates[-1].settings
    for item in defended:
        assert item.settled
        assert item.settled.record
        assert dict(item.cell.tuned) == chosen
        params = {f"dpsgd.{k}": v for k, v in item.cell.stack[0].params}
        assert params.items() >= chosen.items()
        assert item.job
        assert dict(item.job.stack[0].params) == dict(item.cell.stack[0].params)
    for item in made.cells:
        assert (item.cell.model, item.cell.budget) == ("own", 3)
        assert item.cell.model_label == "own(tuned=3)"
        if not item.cell.stack:
            best = first.tunings[0].candidates[-1].settings
            assert item.job
            assert item.job.recipe == replace(
                RECIPE, lr=best["recipe.lr"], epochs=best["recipe.epochs"]
            )


def test_tuned_and_untuned_models_are_never_a_pair(make) -> None:
    kinds = [make((("dpsgd",),), tuning=n) for n in (0, 3, 4)]
    keys = [{i.cell.model_key for i in made.cells} for made in kinds]
    assert [len(one) for one in keys] == [1, 1, 1]
    assert len(set.union(*keys)) == 3
    assert kinds[0].tunings == ()


def test_whoever_imitates_the_undefended_model_trains_it_like_its_owner(make) -> None:
    asked = {"risks": (Risk.MEMBERSHIP_INFERENCE,), "attacks": ("rmia",)}
    first = make((("trades",),), **asked)
    known, trades = _last(first), first.tunings[1]
    known[trades.key]["chosen"] = dict(trades.candidates[1].settings)
    made = make((("trades",),), tuned=known.get, **asked)
    recipes = {}
    for item in made.cells:
        kinds = {job.recipe for job in item.others["shadows"]}
        recipes[item.cell.defense, item.cell.threat.adaptive] = kinds
        assert item.job
        if item.cell.threat.adaptive:
            assert kinds == {item.job.recipe}
    assert recipes["trades(tuned=3)", False] == recipes["none", True]
    assert recipes["trades(tuned=3)", False].isdisjoint(recipes["trades(tuned=3)", True])


def test_a_published_model_as_downloaded_has_nothing_to_tune(make, digits, tiny) -> None:
    public = replace(OWN, name="public", recipe=None)
    asked = Request(
        models=(public,), stacks=((),), risks=(Risk.EVASION,), attacks=("fgsm",), seeds=1, tuning=3
    )
    found = [
        plan(one, {"digits": digits}, {"public": "s"}, is_done=lambda k: False,
             is_trained=lambda j: False)
        for one in (asked, replace(asked, tuning=0))
    ]  # fmt: skip
    assert found[0].tunings == ()
    assert [i.cell.key for i in found[0].cells] == [i.cell.key for i in found[1].cells]


@pytest.fixture
def go(tmp_path):
    home = Home.open(tmp_path)
    context = Context(home, DataLocation(), "cpu", {}, "test")

    def alone(workers):
        from harness.experiment.executors import local

        return local.pool(1)

    def work(*, risks=(Risk.EVASION,), attacks=("fgsm",), **other):
        asked = Request(
            models=(OWN,), stacks=(("dpsgd",),), risks=risks, attacks=attacks, seeds=1,
            **{"tuning": 3, **other},
        )  # fmt: skip

        def planned():
            return plan(
                asked, {"digits": datasets.load("digits", DataLocation())}, {},
                is_done=EvaluationStore(home).is_done, is_trained=lambda job: False, tuned=Tunings(home).get,
            )  # fmt: skip

        first = planned()
        told = [e.text for e in tune(first, context, alone, workers=1) if e.kind == "tuned"]
        made = planned()
        list(run(made, context, alone, workers=1))
        return told, made, {e.cell.defense: e for e in EvaluationStore(home).evaluations()}

    return home, work


def test_a_bad_recipe_is_mended_and_the_private_budget_says_that_it_is_without_the_tuning(
    go,
) -> None:
    home, work = go
    told, made, found = work(tuning=4, settings={"noise_multiplier": "0.5"})
    assert told == ["own with no defense", "own with dpsgd(noise_multiplier=0.5)"]
    assert (made.tunings, len(list((home.tunings).glob("*.json")))) == ((), 2)
    plain = found["none"].evidence["tuning"]
    assert len(plain["tried"]) == 4
    # Two epochs at a rate of .001 have learnt little: with ten times the rate it is far better.
    assert plain["chosen"]["recipe.lr"] > RECIPE.lr
    first, best = plain["tried"][0], max(plain["tried"], key=lambda row: row["accuracy"])
    assert first["settings"] == {"recipe.lr": 0.001, "recipe.epochs": 2}
    assert best["accuracy"] > first["accuracy"] + 0.1
    private = found["dpsgd(noise_multiplier=0.5, tuned=4)"].evidence
    assert "dp_epsilon" not in private
    without = private["dp_epsilon_without"]
    assert without["dp_epsilon"] > 0
    assert without["leaves_out"] == list(left_out(private))
    assert "choice among 4 settings" in without["leaves_out"][0]
    again, _, _ = work(tuning=4, settings={"noise_multiplier": "0.5"})
    assert again == []


def test_no_canary_has_a_part_in_the_tuning(make) -> None:
    """The same choice, on the same data, whether canaries are planted later or none are."""
    first, other = (
        make((("dpsgd",),), risks=(Risk.MEMBERSHIP_INFERENCE,), attacks=attacks)
        for attacks in (("canary-audit",), ("correctness",))
    )
    assert [one.key for one in first.tunings] == [one.key for one in other.tunings]
    assert {job.poison for job in first.tuning_jobs} == {None}
    planted = {item.job.poison.name for item in first.cells if item.job and item.job.poison}
    assert planted == {"canary-audit"}


def test_a_tuned_private_training_is_audited_by_what_it_spent(go) -> None:
    _, work = go
    *_, found = work(
        risks=(Risk.MEMBERSHIP_INFERENCE,), attacks=("canary-audit",), tuning=2,
        settings={"noise_multiplier": "1"},
    )  # fmt: skip
    private = found["dpsgd(noise_multiplier=1.0, tuned=2)"]
    without = private.evidence["dp_epsilon_without"]
    assert private.metrics["dp_epsilon"] == without["dp_epsilon"] > 0
    assert private.evidence["audited"] == (
        "dp_epsilon of the training, without the choice of settings"
    )
    assert "dp_epsilon" not in private.evidence
    assert private.metrics["audited_epsilon"] < private.metrics["dp_epsilon"]
    assert found["none"].metrics["dp_epsilon"] is None
    assert "audited" not in found["none"].evidence


def test_a_tuning_in_which_nothing_could_be_trained_says_so_and_changes_nothing(go) -> None:
    _, work = go
    with pytest.warns(UserWarning, match="none of 3 settings could be trained"):
        _, made, _ = work(settings={"recipe.lr": "1e20"})
    assert {(i.cell.defense, i.cell.tuned) for i in made.cells} == {
        ("none", (("recipe.epochs", 2),)), ("dpsgd", ()),
    }  # fmt: skip
