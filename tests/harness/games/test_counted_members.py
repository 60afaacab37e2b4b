"""Members are what a model was trained on, and the others are treated alike."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from harness import registry
from harness.attacks.canary_audit import CanaryAudit
from harness.attacks.label_flipping import LabelFlipping
from harness.attacks.loss_threshold import LossThreshold
from harness.data.quarters import quarters
from harness.defenses import early_stopping
from harness.defenses.activation_clustering import ActivationClustering
from harness.defenses.dataset_inference import DatasetInference
from harness.defenses.early_stopping import EarlyStopping
from harness.defenses.fine_pruning import FinePruning
from harness.defenses.outlier_removal import OutlierRemoval
from harness.defenses.protocol import Cleaned
from harness.defenses.radioactive_data import RadioactiveData
from harness.defenses.shared.defender import trusted_index
from harness.defenses.spectral_signatures import SpectralSignatures
from harness.defenses.stack import Stack
from harness.defenses.watermark import Watermark
from harness.games import extraction, membership, shadows
from harness.games.counted import judged
from harness.games.game import remaining
from harness.learning.fit import fit
from harness.metrics.membership import auc
from harness.metrics.ownership import Verification
from harness.seeds import derive, generator
from harness.training import single
from harness.training.artifacts import Artifacts
from harness.training.job import Trained
from harness.training.single import train_alone, would_leave_out
from harness.types import Access, Aux, Cause, NotApplicableError, Part, Regime, Risk, ThreatModel
from zoo.home import Home
from zoo.recipe import Recipe

SHORT = Recipe(lr=3e-3, epochs=1)
SEEDS = range(4)
REMOVAL = OutlierRemoval(share=0.3, space="inputs")


@pytest.fixture(scope="module")
def noisy(digits):
    """Digits of which three in ten have a wrong label: what cleaners take away."""
    flip = torch.rand(len(digits), generator=generator("label noise")) < 0.3
    return replace(digits, name="noisy", y=torch.where(flip, (digits.y + 1) % 10, digits.y))


@pytest.fixture(scope="module")
def strangers(noisy, job_for):
    """For each seed a model that saw neither members nor non-members."""
    found = []
    for seed in SEEDS:
        held = quarters(noisy, seed, Regime.FROM_SCRATCH).shadow_train
        recipe = Recipe(lr=3e-3, epochs=10)
        job = job_for(data=noisy, seed=seed, index=held, recipe=recipe)
        found.append(train_alone(job, noisy.collected.take(held), None).model)
    return found


def _made(data, job):
    return train_alone(job, data.collected.take(job.index), None)


@pytest.mark.parametrize(
    ("defenses", "naive"),
    [
        ((REMOVAL,), 0.58),
        ((OutlierRemoval(share=0.3, space="inputs", validation="trusted"),), 0.54),
        ((REMOVAL, SpectralSignatures()), 0.58),
        ((REMOVAL, EarlyStopping(held_out=0.2)), 0.56),
    ],
    ids=lambda value: str(Stack.of(value)) if isinstance(value, tuple) else None,
)
def test_a_model_that_remembers_nothing_gives_nobody_away(
    defenses, naive, noisy, strangers, job_for, measure
) -> None:
    """Yet those that a cleaner keeps look like members beside all others."""
    matched, kept_only, shares = [], [], []
    for seed, model in zip(SEEDS, strangers, strict=True):
        stack = tuple(map(registry.describe, Stack.of(defenses).defenses))
        left_out = _made(noisy, job_for(data=noisy, seed=seed, recipe=SHORT, stack=stack)).left_out
        found, outcome = measure(
            noisy, Trained(model, {}, left_out), seed, "loss-threshold", stack=defenses
        )
        member, counted, scores = (outcome.samples[k] for k in ("member", "counted", "score"))
        assert found.evidence["members_matched"] is True
        assert found.metrics["auc"] == roc_auc_score(member[counted], scores[counted])
        assert found.metrics["collected_auc"] == roc_auc_score(member, scores)
        matched.append(found.metrics["auc"])
        rest = counted | ~member
        kept_only.append(roc_auc_score(member[rest], scores[rest]))
        shares.append((counted[member].mean(), counted[~member].mean()))
    # A quarter's AUC is off by .02, and the four share examples.
    assert np.mean(matched) == pytest.approx(0.5, abs=0.04)
    assert np.mean(kept_only) > naive
    inside, outside = np.mean(shares, 0)
    assert inside == pytest.approx(outside, abs=0.02)
    assert inside < 0.75


class Forgetful(OutlierRemoval):
    """Refuses whatever it was not made for."""

    given: ClassVar[list] = []

    def clean(self, data, defender):
        if self.given:
            raise NotApplicableError("These I do not know.")
        self.given.append(data)
        return super().clean(data, defender)


def test_who_cannot_judge_the_others_leaves_them_as_they_are(
    noisy, strangers, scenario_for
) -> None:
    left_out = torch.arange(0, 449, 3)
    table = scenario_for(noisy, strangers[0], left_out=left_out)
    outcome = membership.play(LossThreshold(), table)
    assert outcome.notes["members_matched"] is False
    member, counted = outcome.samples["member"], outcome.samples["counted"]
    assert counted[~member].all()
    gone = table.quarters.target_train[left_out]
    assert np.array_equal(counted, ~np.isin(outcome.samples["index"], gone))


def test_defenses_that_refuse_the_others_cannot_say(noisy, job_for, monkeypatch) -> None:
    monkeypatch.setattr(Forgetful, "given", [])
    monkeypatch.setattr(registry, "defenses", lambda stack: [Forgetful(space="inputs")])
    job = job_for(data=noisy, recipe=SHORT, stack=(registry.describe(REMOVAL),))
    assert _made(noisy, job).left_out is not None
    assert would_leave_out(job, None, noisy.collected.take(job.index)) is None


def test_where_nobody_leaves_anything_out_everybody_counts(noisy, strangers, measure) -> None:
    for stack in ((), (RadioactiveData(),), (Watermark(),)):
        found, outcome = measure(noisy, strangers[0], 0, "loss-threshold", stack=stack)
        assert outcome.samples["counted"].all()
        assert found.metrics["auc"] == found.metrics["collected_auc"]
        assert "members_matched" not in found.evidence


def test_a_clustering_that_found_nothing_among_the_members_is_asked_about_the_others(
    noisy, strangers, scenario_for
) -> None:
    """It takes a whole cluster or none: over many seeds as often from either side."""
    asked = []

    def judge(data, trusted):
        asked.append(data)
        return torch.arange(len(data)) < 100

    table = scenario_for(
        noisy, strangers[0], left_out=torch.tensor([], dtype=torch.int64), would_leave_out=judge
    )
    outcome = membership.play(LossThreshold(), table)
    assert outcome.notes["members_matched"] is True
    assert len(asked) == 1
    assert torch.equal(asked[0].x, noisy.x[table.quarters.target_test])
    gone = table.quarters.target_test[:100]
    assert np.array_equal(~outcome.samples["counted"], np.isin(outcome.samples["index"], gone))


def test_equal_examples_count_alike(noisy, strangers, scenario_for) -> None:
    table = scenario_for(
        noisy, strangers[0], left_out=torch.tensor([1]),
        would_leave_out=lambda data, trusted: torch.zeros(len(data), dtype=torch.bool),
    )  # fmt: skip
    assert (~membership.play(LossThreshold(), table).samples["counted"]).sum() == 1
    rows = table.quarters.target_train[:2]
    x, y = noisy.x.clone(), noisy.y.clone()
    x[rows[1]], y[rows[1]] = x[rows[0]], y[rows[0]]
    twins = replace(table, dataset=replace(noisy, x=x, y=y))
    assert membership.play(LossThreshold(), twins).samples["counted"].all()


def test_whoever_knows_some_members_knows_of_those_that_count(
    noisy, strangers, scenario_for
) -> None:
    seen = []

    @dataclass(frozen=True)
    class Spy(LossThreshold):
        def run(self, target, data, *, seed):
            seen.append(data)
            return super().run(target, data, seed=seed)

    table = scenario_for(
        noisy, strangers[0], threat=ThreatModel(access=Access.SCORES, aux=Aux.PARTIAL),
        left_out=torch.arange(0, 449, 2),
        would_leave_out=lambda data, trusted: torch.arange(len(data)) % 3 == 0,
    )  # fmt: skip
    membership.play(Spy(), table)
    (data,) = seen
    known = [table.quarters.target_train[:224][1::2], table.quarters.target_test[:224]]
    known[1] = known[1][torch.arange(224) % 3 != 0]
    assert torch.equal(data.aux.x, noisy.x[torch.cat(known)])
    assert torch.equal(data.aux_member, torch.arange(len(data.aux)) < len(known[0]))


def test_nobody_left_to_tell_apart_is_no_result() -> None:
    scores, member = np.arange(6.0), np.arange(6) < 3
    with pytest.raises(NotApplicableError, match="leave out all 3 members in question") as error:
        judged(scores, member, ~member, True)
    assert error.value.cause is Cause.DATA
    with pytest.raises(NotApplicableError, match="leave out all 3 non-members in question"):
        judged(scores, member, member, True)
    assert auc(scores, member) == 0


# What is recorded is what the training loop was given.


@pytest.mark.parametrize(
    "defenses",
    [
        (REMOVAL,),
        (SpectralSignatures(),),
        (ActivationClustering(criterion="size", largest=0.5),),
        (REMOVAL, SpectralSignatures()),
        (REMOVAL, EarlyStopping()),
        (REMOVAL, Watermark(), EarlyStopping()),
        (RadioactiveData(), REMOVAL),
    ],
    ids=lambda value: str(Stack.of(value)),
)
def test_what_was_not_in_the_last_training_is_left_out(
    defenses, noisy, job_for, monkeypatch
) -> None:
    trained_on = []
    for module in (single, early_stopping):
        real = module.fit
        monkeypatch.setattr(
            module, "fit",
            lambda model, data, *a, _real=real, **k: (
                trained_on.append(data) or _real(model, data, *a, **k)
            ),
        )  # fmt: skip
    job = job_for(data=noisy, recipe=SHORT, stack=tuple(map(registry.describe, defenses)))
    given = noisy.collected.take(job.index)
    found = _made(noisy, job).left_out
    used = trained_on[-1].x.flatten(1)
    # Marks move a pixel by a fifth at most; different digits are further apart.
    distance = torch.cdist(given.x.flatten(1), used, p=torch.inf).amin(1)
    assert found.tolist() == (distance > 0.2 + 1e-4).nonzero().flatten().tolist()
    assert len(found) > 20
    again = would_leave_out(job, None, given)
    assert again.nonzero().flatten().tolist() == found.tolist()


def test_poison_that_was_found_is_left_out(noisy, job_for) -> None:
    job = job_for(
        data=noisy, recipe=SHORT, poison=registry.describe(LabelFlipping(rate=0.3)),
        stack=(registry.describe(REMOVAL),),
    )  # fmt: skip
    found = _made(noisy, job)
    assert len(found.left_out) == found.evidence["removed"] == round(0.3 * 449)


def test_what_a_repair_is_fitted_to_was_trained_on(noisy, job_for) -> None:
    """The checked examples, though a cleaner had removed some of them."""
    stacks = ((REMOVAL,), (REMOVAL, FinePruning(steps=1)))
    alone, repaired = (
        _made(
            noisy,
            job_for(
                "cnn-small", data=noisy, recipe=SHORT, stack=tuple(map(registry.describe, stack))
            ),
        ).left_out
        for stack in stacks
    )
    trusted = trusted_index(449, 0)
    assert torch.isin(alone, trusted).any()
    assert repaired.tolist() == alone[~torch.isin(alone, trusted)].tolist()


@dataclass(frozen=True)
class Silent:
    """Leaves out examples and tells nobody."""

    name: ClassVar[str] = "silent"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA})
    reference: ClassVar[str] = ""

    def clean(self, data, defender):
        return Cleaned(data=data.take(torch.arange(len(data) - 1)))


def test_who_leaves_out_examples_has_to_say_which(defender, tiny) -> None:
    with pytest.raises(RuntimeError, match="silent has to say which examples it leaves out: of 64"):
        Stack.of([Silent()]).clean(tiny.all, defender)


def test_it_is_stored_with_the_model(tmp_path, noisy, job_for) -> None:
    artifacts = Artifacts(Home(tmp_path))
    jobs = [
        job_for(data=noisy, recipe=SHORT, stack=stack)
        for stack in ((registry.describe(REMOVAL),), (registry.describe(Watermark()),), ())
    ]
    artifacts.obtain(jobs, noisy.collected)
    kept, marked, plain = (artifacts.load(job, "cpu").left_out for job in jobs)
    assert kept.tolist() == _made(noisy, jobs[0]).left_out.tolist()
    assert marked is plain is None


# Games about somebody's training data


def test_a_shadow_model_was_not_trained_on_what_its_defenses_left_out(
    noisy, strangers, scenario_for
) -> None:
    left_out = [torch.tensor([k, 10 + k]) for k in range(3)] + [None]
    table = scenario_for(
        noisy, strangers[0], threat=ThreatModel(access=Access.SCORES, aux=Aux.SHADOW),
        others={shadows.PURPOSE: strangers[:4]}, others_left_out={shadows.PURPOSE: left_out},
    )  # fmt: skip
    points, aux = torch.arange(0, 900), torch.arange(900, len(noisy))
    for k, shadow in enumerate(shadows.of(table, points=points, aux=aux)):
        held = shadows.index(noisy, Regime.FROM_SCRATCH, k).tolist()
        used = {row for at, row in enumerate(held) if k == 3 or at not in (k, 10 + k)}
        assert shadow.members.tolist() == [row in used for row in range(900)]
        assert shadow.aux_members.tolist() == [row in used for row in aux.tolist()]


@dataclass(frozen=True, kw_only=True)
class TailsUp(CanaryAudit):
    """The same audit with all coins the other way up."""

    def canaries(self, data, *, trusted, num_classes, seed):
        found = super().canaries(data, trusted=trusted, num_classes=num_classes, seed=seed)
        return replace(found, included=~found.included)


def test_a_canary_that_a_cleaner_dropped_is_none_that_was_trained_on(
    noisy, strangers, job_for, measure, monkeypatch
) -> None:
    """Against both worlds played out: the canary has to be in the data that are trained on."""

    def survivors(attack) -> tuple[set, Trained]:
        used = []
        real = fit
        monkeypatch.setattr(
            single, "fit", lambda m, data, *a, **k: used.append(data) or real(m, data, *a, **k)
        )
        monkeypatch.setattr(registry, "attack", lambda method: attack)
        made = _made(noisy, job_for(
            data=noisy, recipe=SHORT, poison=registry.describe(CanaryAudit(kind="noise")),
            stack=(registry.describe(REMOVAL),),
        ))  # fmt: skip
        monkeypatch.undo()
        return {tuple(row) for row in used[-1].x.flatten(1).tolist()}, made

    heads, made = survivors(CanaryAudit(kind="noise"))
    tails, _ = survivors(TailsUp(kind="noise"))
    target = Trained(strangers[0], made.evidence, made.left_out)
    attack = CanaryAudit(kind="noise")
    found, outcome = measure(noisy, target, 0, attack, stack=(REMOVAL,))
    held = noisy.all.take(quarters(noisy, 0, Regime.FROM_SCRATCH).target_train)
    planted = attack.canaries(
        held, trusted=trusted_index(449, 0), num_classes=10, seed=derive("poison", 0)
    )
    expected = [
        tuple(x) in (heads if inside else tails)
        for x, inside in zip(planted.points.x.flatten(1).tolist(), planted.included, strict=True)
    ]
    assert outcome.samples["counted"].tolist() == expected
    member = outcome.samples["member"]
    assert 0 < sum(expected) < len(expected)
    assert found.evidence["members_matched"] is True
    assert found.evidence["trained_on"] == (member & expected).sum()
    # What an audit proves is for all canaries.
    assert found.metrics["guesses"] == round(0.5 * len(member) / 2) * 2


@pytest.mark.parametrize("can_say", [True, False])
def test_an_owner_compares_what_was_trained_on_with_others_like_it(
    can_say, noisy, strangers, scenario_for, monkeypatch
) -> None:
    """Else a model that has nothing to do with the owner's would be surer of the easy half."""
    owners = []

    def verifier(self, owner):
        owners.append(owner)
        return lambda suspect: Verification(p_value=1.0, statistic=0.0)

    monkeypatch.setattr(DatasetInference, "verifier", verifier)
    table = scenario_for(
        noisy, strangers[0], stack=Stack((DatasetInference(),)), left_out=torch.arange(0, 449, 2),
        others={"independent": strangers[1:2]},
        would_leave_out=lambda data, trusted: torch.arange(len(data)) < 9 if can_say else None,
    )  # fmt: skip
    extraction._ownership(strangers[2], table)
    (owner,) = owners
    split = table.quarters
    assert torch.equal(owner.members.x, noisy.x[split.target_train[1::2]])
    assert torch.equal(owner.unseen.x, noisy.x[split.target_test[9 if can_say else 0 :]])


def test_the_remaining_rows_are_those_not_left_out() -> None:
    index = torch.tensor([7, 3, 9, 1])
    assert remaining(index, None).tolist() == [7, 3, 9, 1]
    assert remaining(index, torch.tensor([0, 2])).tolist() == [3, 1]
    assert remaining(index, torch.tensor([], dtype=torch.int64)).tolist() == [7, 3, 9, 1]
