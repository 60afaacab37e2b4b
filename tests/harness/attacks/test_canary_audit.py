"""Canaries: which examples they replace, what is trained on, and who is judged."""

import pytest
import torch
from torch import nn

from harness.attacks.canary_audit import CanaryAudit
from harness.attacks.protocol import AttackedPoints, Poison, PoisonsData
from harness.attacks.shared.attacker_data import PlantsCanaries
from harness.data.examples import Column, Split
from harness.data.quarters import quarters
from harness.defenses.dpsgd import DPSGD
from harness.defenses.shared.defender import trusted_index
from harness.defenses.stack import Stack
from harness.games import membership
from harness.games.game import ScenarioSpec
from harness.seeds import derive
from harness.target import AccessDeniedError, BlackBox
from harness.training.job import Trained
from harness.training.single import train_alone
from harness.types import Access, NotApplicableError, Regime, ThreatModel
from zoo import nets
from zoo.errors import ZooError

KINDS = ["mislabelled", "noise"]
TRUSTED = torch.arange(0, 64, 8)


def _both(attack, data, seed=0, trusted=TRUSTED):
    return (
        attack.canaries(data, trusted=trusted, num_classes=3, seed=seed),
        attack.poison(data, trusted=trusted, num_classes=3, seed=seed),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_those_whose_coin_says_so_are_trained_on_and_the_others_are_left_out(kind, tiny) -> None:
    planted, done = _both(CanaryAudit(rate=0.5, kind=kind), tiny.all)
    rows, inside = planted.rows, planted.included
    assert len(rows.unique()) == len(rows) == 32
    assert not torch.isin(rows, TRUSTED).any()
    assert 0 < inside.sum() < 32
    assert len(done.data) == len(done.poisoned) == 64 - int((~inside).sum())
    # What is left keeps its order; the flags are where the canaries are.
    kept = [i for i in range(64) if i not in rows[~inside]]
    at = {row: position for position, row in enumerate(kept)}
    canaries = dict(zip(rows.tolist(), range(32), strict=True))
    for row in kept:
        x, y = done.data.x[at[row]], done.data.y[at[row]]
        assert bool(done.poisoned[at[row]]) is (row in canaries)
        if row in canaries:
            assert torch.equal(x, planted.points.x[canaries[row]])
            assert y == planted.points.y[canaries[row]]
        else:
            assert torch.equal(x, tiny.x[row])
            assert y == tiny.y[row]


@pytest.mark.parametrize("kind", KINDS)
def test_a_canary_in_a_table_could_be_a_row_of_it(kind) -> None:
    columns = (Column("age", 0, 1), Column("colour", 1, 4, values=("red", "green", "blue")))
    stream = torch.Generator().manual_seed(0)
    colours = torch.eye(3)[torch.randint(3, (64,), generator=stream)]
    x = torch.cat([torch.rand(64, 1, generator=stream), colours], 1)
    data = Split(x, torch.arange(64) % 3, columns=columns)
    planted, done = _both(CanaryAudit(rate=0.5, kind=kind), data)
    assert planted.points.columns == columns
    for found in (planted.points.x, done.data.x):
        assert set(found[:, 1:].unique().tolist()) == {0, 1}
        assert (found[:, 1:].sum(1) == 1).all()
    same = (planted.points.x == x[planted.rows]).all(1)
    assert same.all() if kind == "mislabelled" else not same.any()


def test_a_mislabelled_canary_has_its_image_and_another_label(digits) -> None:
    planted = CanaryAudit(rate=0.5).canaries(digits.all, trusted=TRUSTED, num_classes=10, seed=0)
    assert torch.equal(planted.points.x, digits.x[planted.rows])
    shift = (planted.points.y - digits.y[planted.rows]) % 10
    assert set(shift.tolist()) == set(range(1, 10))


def test_a_canary_of_noise_has_nothing_of_the_example_it_replaces(digits) -> None:
    planted = CanaryAudit(rate=0.5, kind="noise").canaries(
        digits.all, trusted=TRUSTED, num_classes=10, seed=0
    )
    x, old = planted.points.x.flatten(), digits.x[planted.rows].flatten()
    assert 0 <= x.min() <= x.max() <= 1
    assert x.mean() == pytest.approx(0.5, abs=0.01)
    assert torch.corrcoef(torch.stack([x, old]))[0, 1].abs() < 0.02
    assert (planted.points.y == digits.y[planted.rows]).double().mean() < 0.2


def test_coins_are_fair_and_know_nothing_of_the_label(digits) -> None:
    inside, labels = [], []
    for seed in range(20):
        planted = CanaryAudit(rate=0.5).canaries(
            digits.all, trusted=TRUSTED, num_classes=10, seed=seed
        )
        inside.append(planted.included)
        labels.append(planted.points.y)
    told, y = torch.cat(inside).double(), torch.cat(labels)
    assert told.mean() == pytest.approx(0.5, abs=0.015)
    for label in range(10):
        assert told[y == label].mean() == pytest.approx(0.5, abs=0.05)
    counts = torch.stack([one.sum() for one in inside])
    assert len(counts.unique()) > 5, "a fixed number is not a coin for each"


class Sure(nn.Module):
    """Leads class 0 by the first pixel."""

    def forward(self, x):
        lead = x.flatten(1)[:, 0]
        return torch.stack([lead, torch.zeros_like(lead), torch.full_like(lead, -90.0)], 1)


def test_a_canary_is_scored_by_the_confidence_in_its_label() -> None:
    x = torch.tensor([2.0, -1.0, 3.0]).view(3, 1, 1, 1)
    data = AttackedPoints(
        points=Split(x, torch.tensor([0, 0, 1])), num_classes=3, architecture="none",
        input_shape=(1, 1, 1),
    )  # fmt: skip
    found = CanaryAudit().run(BlackBox(Sure(), Access.SCORES), data, seed=0)
    assert found.tolist() == pytest.approx([2.0, -1.0, -3.0], rel=1e-5)
    with pytest.raises(AccessDeniedError):
        CanaryAudit().run(BlackBox(Sure(), Access.LABELS), data, seed=0)


class ByHeart(nn.Module):
    """Knows its training data and says of everything else that it is of no class."""

    def __init__(self, data: Split):
        super().__init__()
        self.x, self.y = data.x.flatten(1), data.y

    def forward(self, x):
        distance = torch.cdist(x.flatten(1), self.x)
        nearest = distance.argmin(1)
        known = distance.gather(1, nearest[:, None]) < 1e-3
        return 9.0 * known * nn.functional.one_hot(self.y[nearest], 10)


@pytest.fixture(scope="module")
def by_heart(digits):
    """A model that knows the target's training data by heart, as `train_alone` would hand it."""
    held = digits.all.take(quarters(digits, 0, Regime.FROM_SCRATCH).target_train)
    done = CanaryAudit().poison(
        held, trusted=trusted_index(len(held), 0), num_classes=10, seed=derive("poison", 0)
    )
    return ByHeart(done.data)


def test_the_game_judges_the_canaries_that_were_planted(digits, by_heart, measure) -> None:
    found, outcome = measure(digits, by_heart, 0, CanaryAudit())
    assert found.metrics["auc"] == 1
    assert found.metrics["queries"] == 90
    assert found.metrics["correct_guesses"] == found.metrics["guesses"] == 44
    assert 2.6 < found.metrics["audited_epsilon"] < 2.7
    assert found.metrics["dp_epsilon"] is None
    split = quarters(digits, 0, Regime.FROM_SCRATCH)
    assert set(outcome.samples["index"]) <= set(split.target_train.tolist())
    trusted = split.target_train[trusted_index(len(split.target_train), 0)]
    assert not set(outcome.samples["index"]) & set(trusted.tolist())
    assert outcome.samples["member"].sum() == found.evidence["trained_on"]
    # Canaries of another seed are strangers to this model, both halves of them.
    other, _ = measure(digits, by_heart, 1, CanaryAudit())
    assert other.metrics["auc"] == pytest.approx(0.5, abs=0.15)


def test_the_claim_stands_beside_the_bound_and_gives_delta(digits, by_heart, measure) -> None:
    claim = {"dp_epsilon": 1.5, "dp_delta": 1e-3}
    found, _ = measure(digits, Trained(by_heart, claim), 0, CanaryAudit())
    assert found.metrics["dp_epsilon"] == 1.5
    assert found.metrics["dp_delta"] == 1e-3
    plain, _ = measure(digits, by_heart, 0, CanaryAudit())
    assert plain.metrics["dp_delta"] == 1e-5
    assert found.metrics["audited_epsilon"] < plain.metrics["audited_epsilon"]
    assert found.metrics["audited_epsilon"] > 1.5, "a claim as false as this is refuted"


TUNED = {"tuning": {"tried": [{}] * 12}}


@pytest.mark.parametrize("extra", [{}, TUNED])
@pytest.mark.parametrize(("budget", "refuted"), [(1.5, True), (9.0, False)])
def test_what_is_refuted_is_flagged_and_named(
    budget, refuted, extra, digits, by_heart, measure
) -> None:
    claim = {"dp_epsilon": budget, "dp_delta": 1e-5, **extra}
    found, _ = measure(digits, Trained(by_heart, claim), 0, CanaryAudit())
    assert found.metrics["dp_epsilon"] == budget
    assert found.metrics["dp_delta"] == 1e-5
    what = "dp_epsilon of the training"
    what += ", without the choice of settings" if extra else ""
    assert found.evidence["audited"] == what
    assert ("dp_epsilon" in found.evidence) == (not extra)
    flags = [f for f in found.evidence.get("flags", ()) if f.startswith("the audit refutes")]
    assert bool(flags) == refuted
    assert all(f.startswith(f"the audit refutes 1.5 as {what}: it is 2.6") for f in flags)


def test_a_claim_is_not_for_what_other_defenses_let_through(digits, by_heart, measure) -> None:
    from harness import registry

    claim = {"dp_epsilon": 1.5, "dp_delta": 1e-3}
    stack = [registry.make("defense", "fine-pruning", {})]
    for extra, names in (({}, ["fine-pruning"]), (TUNED, ["fine-pruning", "the"])):
        trained = Trained(by_heart, {**claim, **extra})
        found, _ = measure(digits, trained, 0, CanaryAudit(), stack=stack)
        assert found.metrics["dp_epsilon"] is None
        assert "audited" not in found.evidence
        assert not any("refutes" in flag for flag in found.evidence["flags"])
        without = found.evidence["dp_epsilon_without"]
        assert without["dp_epsilon"] == 1.5
        assert [one.partition(" ")[0] for one in without["leaves_out"]] == names


def test_training_is_on_fewer_examples_and_says_how_many_canaries_a_defense_found(
    digits, job_for
) -> None:
    from harness import registry
    from harness.defenses.outlier_removal import OutlierRemoval

    attack = CanaryAudit()
    job = job_for(poison=registry.describe(attack), stack=(registry.describe(OutlierRemoval()),))
    held = digits.all.take(job.index)
    planted = attack.canaries(
        held, trusted=trusted_index(len(held), 0), num_classes=10, seed=derive("poison", 0)
    )
    trained = train_alone(job, held, None)
    left = len(held) - int((~planted.included).sum())
    assert trained.evidence["removed"] == pytest.approx(0.1 * left, abs=1)
    # One in ten is wrong, and those are what stands out.
    assert trained.evidence["removal_tpr"] > 0.6 > 0.1 > trained.evidence["removal_fpr"]


def _setting(digits, **changes) -> ScenarioSpec:
    regime = changes.pop("regime", Regime.FROM_SCRATCH)
    threat = ThreatModel(access=Access.SCORES, **changes)
    return ScenarioSpec(
        dataset=digits, quarters=quarters(digits, 0, Regime.FROM_SCRATCH), ood_size=0,
        threat=threat, stack=Stack((DPSGD(),)), regime=regime, seed=0,
    )  # fmt: skip


def test_what_cannot_be_played_is_refused_before_any_work(digits) -> None:
    membership.check(CanaryAudit(), _setting(digits, queries=90))
    assert membership.needs(CanaryAudit(), _setting(digits)) in ({}, {"shadows": ()})
    with pytest.raises(ZooError, match="budget is 89, but canary-audit asks about 90 canaries"):
        membership.check(CanaryAudit(), _setting(digits, queries=89))
    with pytest.raises(NotApplicableError, match="too late for a published model"):
        membership.check(CanaryAudit(), _setting(digits, regime=Regime.PUBLISHED))
    with pytest.raises(ZooError, match=r"Lower its rate to at most 0\.8"):
        membership.check(CanaryAudit(rate=0.95), _setting(digits))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0.0}, "wants a rate above 0"),
        ({"rate": 1.0}, "rate of at least 0 and below 1, found 1.0"),
        ({"guessed": 0.0}, "guessed above 0 and at most 1, found 0.0"),
        ({"dp_delta": 1.0}, "dp_delta of at least 0 and below 1, found 1.0"),
    ],
)
def test_refuses_what_makes_no_audit(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        CanaryAudit(**settings)


def test_it_changes_the_training_and_is_no_poisoning(tiny) -> None:
    attack = CanaryAudit()
    assert isinstance(attack, PoisonsData)
    assert isinstance(attack, PlantsCanaries)
    assert not isinstance(attack, Poison)
    state = torch.get_rng_state()
    one, two, other = (_both(attack, tiny.all, seed)[1] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.data.x, two.data.x)
    assert not torch.equal(one.poisoned, other.poisoned)


def test_it_plants_in_tables_too(tiny) -> None:
    table = Split(tiny.x.flatten(1), tiny.y)
    for kind in KINDS:
        _, done = _both(CanaryAudit(rate=0.5, kind=kind), table)
        assert done.data.x.shape[1:] == (16,)
    assert nets.build("mlp-32", (16,), 3)(done.data.x).shape == (len(done.data), 3)
