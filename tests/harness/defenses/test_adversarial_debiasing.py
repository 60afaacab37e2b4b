"""Adversarial debiasing: the adversary's error by hand, what it does to gaps, and with others."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from torch import nn

from harness import registry
from harness.data.dataset import Dataset
from harness.data.examples import UNKNOWN, Attribute, Split
from harness.defenses.adversarial_debiasing import AdversarialDebiasing, Adversary
from harness.defenses.adversarial_training import AdversarialTraining
from harness.defenses.dpsgd import DPSGD
from harness.defenses.early_stopping import EarlyStopping
from harness.defenses.group_dro import GroupDRO
from harness.defenses.label_smoothing import LabelSmoothing
from harness.defenses.relaxloss import RelaxLoss
from harness.defenses.reweighing import Reweighing
from harness.defenses.stack import Stack
from harness.defenses.trades import TRADES
from harness.training.single import train_alone
from harness.types import NotApplicableError
from zoo.errors import ZooError
from zoo.recipe import Recipe


def _adversary(sizes, *, told_label=True, **changes) -> Adversary:
    settings = {"hidden": 8, "lr": 0.05, "seed": 0} | changes
    return Adversary(torch.tensor(sizes), told_label=told_label, **settings)


def _guessing(adversary: Adversary) -> Adversary:
    """Its last layer emptied: every group has the same probability."""
    for p in adversary._net[2].parameters():
        nn.init.zeros_(p)
    return adversary


@pytest.fixture(scope="module")
def biased() -> Dataset:
    """Two numbers: one that says the label, with noise, and one that says the group.

    The label is 1 for three quarters of one group and a quarter of the other.
    """
    stream = torch.Generator().manual_seed(0)
    n = 4000
    z = torch.randint(2, (n,), generator=stream)
    y = (torch.rand(n, generator=stream) < 0.25 + 0.5 * z).long()
    signal = torch.stack([0.35 + 0.3 * y, 0.2 + 0.6 * z], 1)
    x = signal + 0.15 * torch.randn(n, 2, generator=stream)
    return Dataset(
        name="biased", num_classes=2, x=x.clamp(0, 1), y=y, z={"kind": Attribute(z, ("a", "b"))}
    )


@pytest.fixture(scope="module")
def gaps(biased, job_for):
    """Accuracy, demographic gap and gap of the odds on examples that were not trained on."""

    def measure(*defenses, seed=0):
        stack = tuple(map(registry.describe, defenses))
        recipe = Recipe(lr=3e-3, epochs=15, batch_size=100)
        job = job_for(data=biased, stack=stack, seed=seed, recipe=recipe)
        trained = train_alone(job, biased.collected.take(job.index), None)
        rest = torch.ones(len(biased), dtype=torch.bool)
        rest[job.index] = False
        y, z = biased.y[rest], biased.z["kind"].values[rest]
        with torch.no_grad():
            found = trained.model(biased.x[rest]).argmax(1)
        right = (found == y).double().mean().item()
        parity = demographic_parity_difference(y, found, sensitive_features=z)
        odds = equalized_odds_difference(y, found, sensitive_features=z)
        return right, parity, odds, trained

    return measure


@pytest.fixture(scope="module")
def mean_gaps(gaps):
    """Their means over seeds: one adversary may end anywhere, by rounding alone.

    Over seeds the gap of the odds varies by .07 to .09, so a mean of 16 by .02.
    """

    def measure(*defenses, seeds=16):
        return np.mean([gaps(*defenses, seed=seed)[:3] for seed in range(seeds)], 0)

    return measure


@pytest.fixture(scope="module")
def undefended(mean_gaps):
    return mean_gaps()


def test_all_groups_weigh_the_same_and_a_guess_is_wrong_by_one() -> None:
    """Six and two of class 0, one and three of class 1: 8 / (2 * 6), 8 / (2 * 2), ..."""
    sizes = [[6.0, 1.0], [2.0, 3.0]]
    groups = torch.tensor([0] * 7 + [1] * 5)
    y = torch.tensor([0] * 6 + [1] + [0, 0, 1, 1, 1])
    scores = torch.rand(12, 2)
    found = _guessing(_adversary(sizes)).error(scores, y, groups)
    assert found.tolist() == pytest.approx([2 / 3] * 6 + [2.0] + [2.0] * 2 + [2 / 3] * 3)
    assert found.mean().item() == pytest.approx(1)
    # Without the label there are seven and five of twelve.
    found = _guessing(_adversary(sizes, told_label=False)).error(scores, y, groups)
    assert found.tolist() == pytest.approx([12 / 14] * 7 + [12 / 10] * 5)


def test_a_class_with_one_group_only_and_a_group_without_anybody() -> None:
    """Who guesses among all three is worse than who knows that there are two: log 3 to log 2."""
    adversary = _guessing(_adversary([[3.0, 2.0], [3.0, 0.0], [0.0, 0.0]]))
    y, groups = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
    found = adversary.error(torch.rand(3, 2), y, groups)
    assert found.tolist() == pytest.approx([math.log2(3)] * 3)


@pytest.mark.parametrize("told_label", [True, False])
def test_a_guess_is_wrong_by_one_however_many_values_nobody_has(told_label) -> None:
    """Ten values, of which two are there; in class 2 three."""
    groups = torch.tensor([3, 3, 7, 7, 3, 7, 5] * 30)
    y = torch.tensor([0, 1, 0, 1, 2, 2, 2] * 30)
    sizes = [[float(((groups == g) & (y == c)).sum()) for c in range(3)] for g in range(10)]
    adversary = _adversary(sizes, told_label=told_label)
    scores = torch.full((210, 3), 1 / 3)
    for _ in range(400):
        adversary.learn(scores, y, groups)
    found = adversary.error(scores, y, groups)
    assert found.mean().item() == pytest.approx(1, abs=0.02)
    if told_label:
        for label in range(3):
            assert found[y == label].mean().item() == pytest.approx(1, abs=0.03)


def test_it_learns_what_there_is_to_learn() -> None:
    """Scores that say the group bring its error to 0; others leave it at 1."""
    groups, y = torch.tensor([0, 0, 1, 1] * 50), torch.tensor([0, 1, 0, 1] * 50)
    telling = F.one_hot(groups, 2).float()
    for scores, expected in ((telling, 0.0), (torch.full((200, 2), 0.5), 1.0)):
        adversary = _adversary([[50.0, 50.0], [50.0, 50.0]])
        for _ in range(300):
            adversary.learn(scores, y, groups)
        assert adversary.error(scores, y, groups).mean().item() == pytest.approx(expected, abs=0.02)


def test_its_own_weights_follow_from_the_seed_and_are_frozen_where_its_error_counts() -> None:
    batch = (torch.rand(5, 2), torch.zeros(5).long(), torch.tensor([0, 1, 0, 1, 0]))
    one, same, other = (
        _adversary([[50.0, 50.0], [50.0, 50.0]], seed=seed).error(*batch) for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not one.requires_grad


def test_only_with_the_label_it_tells_groups_by_wrong_answers() -> None:
    """One group has the answers that are right, the other those that are wrong."""
    groups, y = torch.tensor([0, 0, 1, 1] * 50), torch.tensor([0, 1, 0, 1] * 50)
    scores = F.one_hot(y ^ groups, 2).float()
    for told_label, expected in ((True, 0.0), (False, 1.0)):
        adversary = _adversary([[50.0, 50.0], [50.0, 50.0]], told_label=told_label)
        for _ in range(300):
            adversary.learn(scores, y, groups)
        assert adversary.error(scores, y, groups).mean().item() == pytest.approx(expected, abs=0.02)


@pytest.fixture
def owner(defender, biased):
    return replace(defender, data=biased.collected, num_classes=2, seed=5)


def test_the_loss_is_cross_entropy_less_the_error(biased, owner) -> None:
    defense = AdversarialDebiasing(weight=0.7)
    loss, model = defense.loss_for(owner), nn.Linear(2, 2)
    batch = biased.collected.take(torch.arange(20))
    z = torch.where(torch.arange(20) < 3, UNKNOWN, batch.z["kind"].values)
    batch = replace(batch, z={"kind": Attribute(z, ("a", "b"))})
    found = loss(model, batch, torch.Generator())
    kinds, y = biased.z["kind"].values, biased.y
    sizes = [[float(((kinds == g) & (y == c)).sum()) for c in (0, 1)] for g in (0, 1)]
    same = _adversary(sizes, hidden=32, lr=0.01, seed=5)
    logits = model(batch.x)
    entropy = F.cross_entropy(logits, batch.y, reduction="none")
    same.learn(logits.detach().softmax(1), batch.y, z)
    expected = entropy - 0.7 * same.error(logits.softmax(1), batch.y, z)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found[:3], entropy[:3], rtol=0, atol=0)
    for one, other in zip(
        torch.autograd.grad(found.mean(), list(model.parameters())),
        torch.autograd.grad(expected.mean(), list(model.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_step_goes_through_the_model_once_and_draws_nothing(biased, owner) -> None:
    passes, model = [], nn.Linear(2, 2)
    model.register_forward_hook(lambda *_: passes.append(1))
    state = torch.get_rng_state()
    loss = AdversarialDebiasing().loss_for(owner)
    for _ in range(3):
        loss(model, biased.collected.take(torch.arange(8)), torch.Generator())
    assert len(passes) == 3
    assert torch.equal(state, torch.get_rng_state())


def test_the_same_job_gives_the_same_model(gaps) -> None:
    one, other = (gaps(AdversarialDebiasing())[3].model.state_dict() for _ in range(2))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_gaps_close(mean_gaps, undefended) -> None:
    """Each constraint closes its own; perfect odds leave the gap that the labels have."""
    right, parity, odds = undefended
    assert right > 0.85
    assert parity > 0.5
    assert odds > 0.18
    fair = mean_gaps(AdversarialDebiasing(constraint="equalized-odds"))
    assert fair[0] > right - 0.05
    assert fair[2] < 0.75 * odds
    equal = mean_gaps(AdversarialDebiasing(constraint="demographic-parity", weight=3.0))
    assert equal[1] < parity / 2


def test_private_training_closes_them_too(gaps, mean_gaps) -> None:
    """By both ways of clipping, which train the same model."""
    private, debiasing = DPSGD(noise_multiplier=0.5, lr=0.01), AdversarialDebiasing(weight=3.0)
    right, _, odds = mean_gaps(private, debiasing, seeds=32)
    assert right > 0.75
    assert odds < 0.85 * mean_gaps(private)[2]
    states = []
    for clipping in ("per-example", "ghost"):
        private = DPSGD(noise_multiplier=0.5, clipping=clipping, lr=0.01)
        *_, trained = gaps(private, AdversarialDebiasing())  # weaker, so that rounding stays small
        assert trained.evidence["dp_epsilon"] > 0
        assert Stack.of([private, debiasing]).not_covered == (
            f"adversarial-debiasing ({AdversarialDebiasing.looks_at})",
        )
        states.append(trained.model.state_dict())
    torch.testing.assert_close(*states, atol=1e-3, rtol=1e-3)


def test_adversarial_training_closes_them_too(mean_gaps) -> None:
    robust = AdversarialTraining(epsilon=0.02, step_size=0.02, steps=2)
    _, _, before = mean_gaps(robust)
    right, _, odds = mean_gaps(robust, AdversarialDebiasing())
    assert right > 0.75
    assert odds < 0.75 * before


def test_what_it_goes_with() -> None:
    Stack.of([AdversarialDebiasing(), Reweighing(), EarlyStopping(), AdversarialTraining()])
    for other in (GroupDRO(), LabelSmoothing(), TRADES(), RelaxLoss()):
        with pytest.raises(NotApplicableError, match="both change the loss"):
            Stack.of([AdversarialDebiasing(), other])


def test_settings_and_data_that_do_not_fit(owner, defender) -> None:
    for wrong in ({"weight": 0.0}, {"weight": math.nan}, {"lr": -1.0}, {"hidden": 0}):
        with pytest.raises(ZooError, match=f"wants {next(iter(wrong))}"):
            registry.make("defense", "adversarial-debiasing", wrong)
    with pytest.raises(NotApplicableError, match="no sensitive attributes"):
        AdversarialDebiasing().loss_for(defender)
    alike = {"kind": Attribute(torch.zeros(len(owner.data)).long(), ("a", "b"))}
    with pytest.raises(NotApplicableError, match="the kind is the same for all training examples"):
        AdversarialDebiasing(attribute="kind").loss_for(
            replace(owner, data=replace(owner.data, z=alike))
        )


def test_many_groups_and_classes(defender) -> None:
    stream = torch.Generator().manual_seed(0)
    z, y = (torch.randint(k, (300,), generator=stream) for k in (5, 10))
    data = Split(torch.rand(300, 4), y, {"race": Attribute(z, tuple("abcde"))})
    owner = replace(defender, data=data, num_classes=10)
    for constraint in ("equalized-odds", "demographic-parity"):
        loss = AdversarialDebiasing(constraint=constraint).loss_for(owner)
        found = loss(nn.Linear(4, 10), data.take(torch.arange(50)), torch.Generator())
        assert found.shape == (50,)
        assert found.isfinite().all()
