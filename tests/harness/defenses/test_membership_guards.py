"""Output defenses against membership inference: what is seen, and what an attacker makes of it."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints
from harness.data.examples import Split
from harness.defenses import hamp, memguard
from harness.defenses.hamp import HAMP
from harness.defenses.memguard import MemGuard, representative
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.rewritten_scores import secret, uniform
from harness.target import BlackBox
from harness.training.single import defender_data, train_alone
from harness.types import Access, NotApplicableError
from zoo.errors import ZooError
from zoo.recipe import Recipe


class Memory(nn.Module):
    """Right with at least .9 on what it was trained on, and with at most .7 on the rest.

    The first three numbers of an input say the class; the others are some from 0 to 1.
    """

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.known = known

    def forward(self, x: Tensor) -> Tensor:
        seen = (x[:, None, 3:] == self.known[None, :, 3:]).all(2).any(1)
        sure = (torch.where(seen, 0.9, 0.6) + 0.1 * x[:, 3])[:, None].clamp_max(0.999)
        rest = 0.5 + 0.4 * x[:, 4:5]
        rows = torch.cat([sure, (1 - sure) * rest, (1 - sure) * (1 - rest)], 1)
        places = (torch.arange(3)[None, :] + x[:, :3].argmax(1, keepdim=True)) % 3
        return torch.zeros(len(x), 3).scatter(1, places, rows).log()


def _people(n: int, seed: int) -> Split:
    """Inputs for a `Memory`."""
    stream = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    return Split(torch.cat([torch.eye(3)[y], torch.rand(n, 4, generator=stream)], 1), y)


def _shop(data: Split, made: list | None = None) -> DefenderData:
    def train(part: Split) -> nn.Module:
        if made is not None:
            made.append(part)
        return Memory(part.x)

    return DefenderData(data=data, trusted=data, num_classes=3, train=train, recipe=None, seed=0)


def _scores(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# HAMP


@pytest.mark.parametrize(
    ("own", "classes", "bits"),
    [(0.75, 2, 2 - 0.75 * math.log2(3)), (0.5, 3, 1.5), (0.25, 13, 0.5 + 0.75 * 4)],
)
def test_a_label_keeps_what_its_entropy_allows(own, classes, bits) -> None:
    assert hamp.confidence(bits / math.log2(classes), classes) == pytest.approx(own)


def test_the_training_loss_by_hand() -> None:
    gamma = 2 - 0.75 * math.log2(3)  # labels (.75, .25)
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    model, stream = nn.Identity(), torch.Generator()
    found = HAMP(gamma=gamma, alpha=0.1).loss(model, Split(logits, torch.tensor([0, 0])), stream)
    own = 0.75 * math.log(0.75) + 0.25 * math.log(0.25)  # minus the entropy of (.75, .25)
    expected = [own + math.log(2) - 0.1 * math.log(2), 0.1 * own]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_what_is_seen_are_the_scores_of_a_random_input_in_the_order_of_the_true_ones() -> None:
    logits = torch.tensor([[9.0, -3.0, 1.0, 2.0], [-5.0, 0.0, 7.0, 1.0]])
    model = nn.Linear(4, 4, bias=False)
    model.weight.data = torch.eye(4)
    defender = _shop(_people(6, 0))
    guarded = BlackBox(HAMP().guard(model, defender), Access.SCORES)
    seen = guarded.scores(logits)
    random = uniform(secret("hamp", defender), logits, 4).softmax(1)
    assert torch.equal(seen.argsort(1), logits.argsort(1))
    torch.testing.assert_close(seen.sort(1).values, random.sort(1).values)
    # Nothing of how sure the model is gets through: scores from uniform inputs stay moderate.
    assert seen.amax(1).max() < math.e / (3 + math.e)
    assert not torch.equal(seen[0].sort().values, seen[1].sort().values)
    torch.testing.assert_close(guarded.scores(logits[1:]), seen[1:])


# MemGuard


def _sure(scores: Tensor) -> Tensor:
    """An attack that takes whoever is answered with more than .8 for a member."""
    return scores.amax(1) - 0.8


def test_noise_leads_to_even_odds_on_a_short_way() -> None:
    scores = _scores((0.9, 0.06, 0.04), (0.5, 0.3, 0.2))
    found = representative(_sure, scores, steps=300)
    assert found.argmax(1).tolist() == [0, 0]
    assert found.sum(1).tolist() == pytest.approx([1, 1])
    assert found[:, 0].tolist() == pytest.approx([0.8, 0.8], abs=1e-9)
    # The smallest changes there are move .1 and .3 from or to the first score.
    size = (found - scores).abs().sum(1).tolist()
    assert 0.2 <= size[0] < 0.21
    assert 0.6 <= size[1] < 0.65


def test_where_no_noise_keeps_the_decision_there_is_none() -> None:
    scores = _scores((0.6, 0.4))
    # Just past a tie, far past it, and nowhere at all.
    for hopeless in (lambda s: s[:, 0] - 0.499, lambda s: s[:, 0] - 0.3, lambda s: 1 + 0 * s[:, 0]):
        assert torch.equal(representative(hopeless, scores, steps=50), scores)


def test_the_budget_is_the_expected_size_of_the_noise(monkeypatch) -> None:
    monkeypatch.setattr(memguard, "_classifier", lambda defense, defender: _sure)
    row = torch.tensor([0.9, 0.06, 0.04])
    x = row.log() + torch.arange(4000)[:, None] / 1000  # a shift that the softmax does not see
    full = (representative(_sure, row.double()[None], steps=300)[0] - row).abs().sum().item()
    for budget, share in ((0.1, 0.1 / full), (1.0, 1.0)):
        guarded = MemGuard(budget=budget).guard(nn.Identity(), _shop(_people(6, 0)))
        size = (BlackBox(guarded, Access.SCORES).scores(x) - row).abs().sum(1)
        assert (size > 0.01).double().mean().item() == pytest.approx(share, abs=0.03)
        assert size.mean().item() == pytest.approx(min(budget, full), abs=0.01)


def test_noise_that_makes_the_owners_attack_surer_is_left_out(monkeypatch) -> None:
    def torn(scores: Tensor) -> Tensor:
        beyond = scores.amax(1) - 0.8
        return torch.where(beyond > 0, beyond, -1.0)  # no odds in between

    monkeypatch.setattr(memguard, "_classifier", lambda defense, defender: torn)
    row = torch.tensor([[0.9, 0.06, 0.04]])
    guarded = MemGuard(budget=2.0).guard(nn.Identity(), _shop(_people(6, 0)))
    torch.testing.assert_close(guarded(row.log()).softmax(1), row)


@pytest.mark.parametrize("budget", [2.0, 1e-6])  # enough for every answer, and for none
def test_the_owners_attack_is_left_at_a_loss(budget) -> None:
    data, others = _people(90, 1), _people(90, 2)
    target, defender = Memory(data.x), _shop(data)
    x, truth = torch.cat([data.x, others.x]), np.arange(180) < 90
    defense = MemGuard(budget=budget)
    attack = memguard._classifier(defense, defender)
    bare = target(x).softmax(1)
    assert roc_auc_score(truth, attack(bare.double())) == 1.0
    seen = BlackBox(defense.guard(target, defender), Access.SCORES).scores(x)
    assert torch.equal(seen.argmax(1), bare.argmax(1))
    if budget == 2.0:
        assert attack(seen.double()).abs().max() < 1e-3
        assert roc_auc_score(truth, seen.amax(1)) < 0.9  # and with it other attacks on the scores
    else:
        torch.testing.assert_close(seen, bare, atol=1e-5, rtol=0)


def test_the_owners_second_model_sees_half_the_data_and_is_made_once() -> None:
    made: list[Split] = []
    data = _people(90, 1)
    defender = _shop(data, made)
    state = torch.get_rng_state()
    for known in (data.x, data.x[:45]):
        MemGuard().guard(Memory(known), defender)
    assert torch.equal(torch.get_rng_state(), state)
    assert [len(part) for part in made] == [45]
    rows = (made[0].x[:, None] == data.x[None]).all(2)
    assert rows.sum().item() == 45


def test_a_model_that_is_not_trained_here_has_no_second_one(job_for, digits) -> None:
    data = digits.all.take(torch.arange(20))
    defender = defender_data(job_for(recipe=None), data, data, None)
    with pytest.raises(NotApplicableError, match="as downloaded is not trained"):
        MemGuard().guard(nn.Identity(), defender)


# Both

GUARDS = [HAMP(), MemGuard(steps=50), MemGuard(steps=50, budget=0.1)]


@pytest.fixture(scope="module")
def made(digits, job_for):
    """A model of digits and its owner's workshop."""
    job = job_for(recipe=Recipe(lr=1e-2, epochs=20))
    data = digits.all.take(job.index)
    return train_alone(job, data, None).model, defender_data(job, data, data, None)


@pytest.mark.parametrize("defense", GUARDS, ids=repr)
def test_no_decision_changes_and_every_answer_is_a_distribution(defense, made, digits) -> None:
    model, defender = made
    guarded = defense.guard(model, defender)
    state = torch.get_rng_state()
    # Far from the data the model is as good as certain.
    x = torch.cat([digits.x[:100], 30 * digits.x[:20], 0 * digits.x[:1]])
    with torch.no_grad():
        found, bare = guarded(x), model(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.isfinite(found).all()
    assert torch.equal(found.argmax(1), bare.argmax(1))
    assert found.softmax(1).sum(1).numpy() == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        assert torch.equal(guarded(x), found)
        alone = torch.cat([guarded(row[None]) for row in x[:5]])
    torch.testing.assert_close(alone.softmax(1), found[:5].softmax(1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("defense", GUARDS[:2], ids=repr)
def test_an_attacker_with_the_weights_is_not_fooled(defense, made, digits) -> None:
    model, defender = made
    points = digits.all.take(torch.arange(1000, 1030))
    data = AttackedPoints(points=points, num_classes=10, architecture="", input_shape=(1, 8, 8))
    attack = PGD(steps=3).resolve(digits)
    bare = attack.run(BlackBox(model, Access.WEIGHTS), data, seed=0)
    found = attack.run(BlackBox(defense.guard(model, defender), Access.WEIGHTS), data, seed=0)
    assert torch.equal(found, bare)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HAMP(gamma=1.0), "gamma between 0 and 1, found 1.0"),
        (lambda: HAMP(alpha=-1.0), "alpha of at least 0, found -1.0"),
        (lambda: MemGuard(budget=0.0), "budget above 0, found 0.0"),
        (lambda: MemGuard(steps=0), "steps and epochs of at least 1, found 0 and 30"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message) -> None:
    with pytest.raises(ZooError, match=message):
        make()
