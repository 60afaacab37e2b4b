"""Output defenses: what is seen is what they say, no decision changes, nothing is masked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from art.defences.postprocessor import Rounded
from scipy.stats import kstest
from torch import nn

from harness.attacks.distillation import Distillation
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints, AuxiliaryData
from harness.data.examples import Split
from harness.defenses.hamp import HAMP
from harness.defenses.label_only import LabelOnly
from harness.defenses.rounding import Rounding
from harness.defenses.score_noise import ScoreNoise
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.rewritten_scores import noise, uniform
from harness.defenses.top_k import TopK
from harness.target import BlackBox
from harness.training.single import train_alone
from harness.types import Access
from zoo.errors import ZooError
from zoo.recipe import Recipe

NOTHING = Split(torch.zeros(0, 1), torch.zeros(0).long())
SHOP = DefenderData(
    data=NOTHING, trusted=NOTHING, num_classes=10, train=lambda data: nn.Identity(), recipe=None,
    seed=0,
)  # fmt: skip
"""These guards look at none of it."""


GUARDS = [
    Rounding(decimals=0), Rounding(decimals=1), Rounding(), Rounding(decimals=38), TopK(k=1), TopK(k=3), LabelOnly(),
    ScoreNoise(), ScoreNoise(scale=1.0),
]  # fmt: skip


def _seen(defense, *rows: tuple[float, ...]) -> torch.Tensor:
    """What an attacker sees of a model with these scores."""
    logits = torch.tensor(rows).log()
    return BlackBox(defense.guard(nn.Identity(), SHOP), Access.SCORES).scores(logits)


def _near(*rows: tuple[float, ...]):
    return pytest.approx(np.array(rows), abs=2e-5)


def test_scores_are_rounded() -> None:
    assert _seen(Rounding(decimals=1), (0.62, 0.31, 0.07)).numpy() == _near((0.6, 0.3, 0.1))


def test_rounded_scores_sum_to_one_again() -> None:
    found = _seen(Rounding(decimals=1), (0.46, 0.36, 0.18)).numpy()
    assert found == _near((0.5 / 1.1, 0.4 / 1.1, 0.2 / 1.1))


def test_a_tie_made_by_rounding_keeps_the_decision_and_looks_like_a_tie() -> None:
    found = _seen(Rounding(decimals=1), (0.33, 0.35, 0.32), (0.32, 0.33, 0.35))
    assert found.argmax(1).tolist() == [1, 2]
    assert found.numpy() == _near((0.3 / 1, 0.4 / 1, 0.3 / 1), (0.3, 0.3, 0.4))
    close = _seen(Rounding(decimals=1), (0.331, 0.333, 0.336))
    assert close.argmax(1).tolist() == [2]
    assert close.numpy() == _near((1 / 3, 1 / 3, 1 / 3))


def test_scores_that_all_round_to_nothing_tell_the_decision_alone() -> None:
    scores = torch.full((1000,), 0.001) + 1e-5 * (torch.arange(1000) == 7)
    found = _seen(Rounding(), tuple((scores / scores.sum()).tolist()))
    assert found.argmax(1).tolist() == [7]
    assert found.numpy() == pytest.approx(0.001, abs=1e-6)


def test_the_k_largest_scores_are_shown_and_the_rest_is_shared_evenly() -> None:
    row = (0.1, 0.5, 0.05, 0.35)
    assert _seen(TopK(k=1), row).numpy() == _near((0.5 / 3, 0.5, 0.5 / 3, 0.5 / 3))
    assert _seen(TopK(k=2), row).numpy() == _near((0.075, 0.5, 0.075, 0.35))


def test_label_only_is_certain() -> None:
    assert _seen(LabelOnly(), (0.1, 0.5, 0.4)).numpy() == _near((0.0, 1.0, 0.0))


def test_rounding_equals_art() -> None:
    scores = torch.rand(200, 5, generator=torch.Generator().manual_seed(0)).softmax(1)
    rows = [tuple(row.tolist()) for row in scores]
    rounded = Rounded(decimals=2)(scores.numpy())
    expected = rounded / rounded.sum(1, keepdims=True)
    assert _seen(Rounding(), *rows).numpy() == pytest.approx(expected, abs=2e-5)


def test_noise_has_its_scale_and_is_the_same_for_the_same_query() -> None:
    guarded = BlackBox(ScoreNoise(scale=0.01).guard(nn.Identity(), SHOP), Access.SCORES)
    # Scores of .4, .3 and .3 that differ as inputs, by a shift that the softmax does not see.
    x = torch.tensor([0.4, 0.3, 0.3]).log() + torch.arange(4000)[:, None] / 1000
    seen = guarded.scores(x)
    off = seen - torch.tensor([0.4, 0.3, 0.3])
    # Scaling to sum to 1 takes part of the noise away: sd^2 = s^2 (1 - 2 p + 3 p^2) for each score.
    p = torch.tensor([0.4, 0.3, 0.3])
    assert off.std(0).numpy() == pytest.approx(
        (0.01 * (1 - 2 * p + 3 * p**2).sqrt()).numpy(), rel=0.06
    )
    assert off.mean(0).abs().max() < 0.001
    # Averaging many answers to one query gains nothing.
    assert torch.equal(guarded.scores(x[5:6]), seen[5:6])
    assert torch.equal(guarded.scores(x.flip(0)).flip(0), seen)


def test_noise_of_different_defenses_on_one_input_is_unrelated() -> None:
    x = torch.rand(3, 2)
    assert noise("a", x, 4).shape == (3, 4)
    assert not torch.equal(noise("a", x, 4), noise("b", x, 4))
    assert noise("a", x[:0], 4).shape == (0, 4)


@pytest.mark.parametrize("defense", GUARDS, ids=repr)
def test_no_decision_changes_and_every_answer_is_a_distribution(defense) -> None:
    stream = torch.Generator().manual_seed(0)
    logits = torch.cat(
        [
            torch.randn(300, 6, generator=stream) * scale
            for scale in (0.0, 1e-4, 0.1, 1.0, 10.0, 100.0)
        ]
    )
    guarded = defense.guard(nn.Identity(), SHOP)
    state = torch.get_rng_state()
    found = guarded(logits)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.isfinite(found).all()
    assert torch.equal(found.argmax(1), logits.argmax(1))
    assert torch.equal(found.softmax(1).argmax(1), logits.argmax(1))
    assert found.softmax(1).sum(1).numpy() == pytest.approx(1, abs=1e-5)
    assert torch.equal(guarded(logits), found)


@pytest.fixture(scope="module")
def model(digits, job_for):
    job = job_for(recipe=Recipe(lr=3e-3, epochs=20))
    return train_alone(job, digits.all.take(job.index), None).model


@pytest.mark.parametrize("defense", GUARDS, ids=repr)
def test_an_attacker_with_the_weights_is_not_fooled(defense, model, digits) -> None:
    """PGD finds just what it finds without the guard; a straight-through answer would stop it."""
    points = digits.all.take(torch.arange(1000, 1060))
    data = AttackedPoints(points=points, num_classes=10, architecture="", input_shape=(1, 8, 8))
    attack = PGD(steps=5).resolve(digits)
    bare = attack.run(BlackBox(model, Access.WEIGHTS), data, seed=0)
    guarded = defense.guard(model, SHOP)
    found = attack.run(BlackBox(guarded, Access.WEIGHTS), data, seed=0)
    assert torch.equal(found, bare)
    assert (guarded(found).argmax(1) != points.y).sum() > 10


def test_scores_stay_hidden_from_an_attacker_who_asks_with_a_gradient(model, digits) -> None:
    x = digits.x[:5].clone().requires_grad_()
    seen = BlackBox(LabelOnly().guard(model, SHOP), Access.SCORES).scores(x)
    assert seen.amax(1).tolist() == [1.0] * 5


def test_scores_of_labels_only_teach_a_thief_what_labels_teach(model, digits) -> None:
    aux = digits.all.take(torch.arange(200))
    data = AuxiliaryData(aux=aux, num_classes=10, architecture="mlp-128", input_shape=(1, 8, 8))
    attack = Distillation(epochs=3)
    of_scores = attack.run(BlackBox(LabelOnly().guard(model, SHOP), Access.SCORES), data, seed=0)
    of_labels = attack.run(BlackBox(model, Access.LABELS), data, seed=0)
    for one, two in zip(of_scores.parameters(), of_labels.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: Rounding(decimals=-1), "decimals from 0 to 38, found -1"),
        (lambda d: Rounding(decimals=10**9), "decimals from 0 to 38, found 1000000000"),
        (lambda d: TopK(k=10**9).resolve(d), "the 3 classes of tiny, found 1000000000"),
        (lambda d: TopK(k=0), "k of at least 1, found 0"),
        (lambda d: TopK(k=2).resolve(d), "k of at most 1 for the 3 classes of tiny, found 2"),
        (
            lambda d: TopK(k=1).resolve(replace(d, num_classes=2)),
            "top-k wants at least 3 classes, but tiny has 2",
        ),
        (lambda d: ScoreNoise(scale=0.0), "scale above 0, found 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message, tiny) -> None:
    with pytest.raises(ZooError, match=message):
        make(tiny)


def test_another_owner_draws_other_noise() -> None:
    """Whoever trains models like the target cannot find out the target's noise from them."""
    x, other = torch.rand(6, 3), replace(SHOP, seed=1)
    model = nn.Linear(3, 4).requires_grad_(False)
    for defense in (ScoreNoise(scale=0.1), HAMP()):
        first, again, foreign = (
            BlackBox(defense.guard(model, defender), Access.SCORES).scores(x)
            for defender in (SHOP, SHOP, other)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, foreign)


def test_uniform_noise_is_uniform_and_each_input_has_its_own() -> None:
    x = torch.rand(400, 5, generator=torch.Generator().manual_seed(0))
    found = uniform("key", x, 50)
    assert kstest(found.flatten().numpy(), "uniform").pvalue > 0.01
    assert abs(np.corrcoef(found.numpy()) - np.eye(400)).max() < 0.75
    assert torch.equal(uniform("key", x[7:9], 50), found[7:9])
    assert not (uniform("other", x, 50) == found).any()
