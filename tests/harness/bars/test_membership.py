"""The bars that membership attacks with shadow models and the audit clear on digits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from torch import nn

from harness import registry
from harness.attacks.canary_audit import CanaryAudit
from harness.attacks.lira import LiRA, confidence
from harness.attacks.rmia import RMIA
from harness.attacks.shared.attacker_data import Candidates, Shadow
from harness.data.dataset import Dataset
from harness.data.quarters import quarters
from harness.defenses.dpsgd import DPSGD
from harness.games import membership, shadows
from harness.learning.fit import fit
from harness.seeds import derive, generator, seeded
from harness.target import BlackBox
from harness.training.cohort import train_together
from harness.training.job import Trained
from harness.training.single import train_alone
from harness.types import Access, Aux, Regime, ThreatModel
from zoo import nets
from zoo.recipe import Recipe

SCRATCH = Regime.FROM_SCRATCH
SEEDS = range(8)
SHADOWS = 8
ATTACKS = [
    LiRA(shadows=SHADOWS),
    LiRA(shadows=SHADOWS, online=False),
    RMIA(shadows=SHADOWS),
    RMIA(shadows=SHADOWS, online=False, a=1.0),
]


def _noisy(digits: Dataset, rate: float) -> Dataset:
    """Digits with a share of the labels wrong: those a model can only know by heart."""
    stream = generator("label noise")
    flip = torch.rand(len(digits), generator=stream) < rate
    shift = torch.randint(1, 10, (len(digits),), generator=stream)
    return replace(digits, y=torch.where(flip, (digits.y + shift) % 10, digits.y))


@pytest.fixture(scope="module")
def noisy(digits) -> Dataset:
    return _noisy(digits, 0.3)


@pytest.fixture(scope="module")
def overfitted(noisy, job_for):
    """Targets by seed, and the pool, all of which know much of their data by heart."""
    recipe = Recipe(lr=1e-2, epochs=40, batch_size=32)
    jobs = [job_for(data=noisy, seed=seed, recipe=recipe) for seed in SEEDS] + [
        job_for(
            data=noisy,
            seed=derive("shadow", k),
            recipe=recipe,
            index=shadows.index(noisy, SCRATCH, k),
        )
        for k in range(SHADOWS)
    ]
    models = train_together(jobs, noisy.all, {})
    return models[: len(SEEDS)], models[len(SEEDS) :]


@pytest.fixture(scope="module")
def play(noisy, overfitted, scenario_for):
    """AUC of an attack by seed; ``swap`` changes who the members are taken to be."""
    targets, pool = overfitted

    def run(attack, swap=lambda split: split) -> list[float]:
        found = []
        for seed in SEEDS:
            table = scenario_for(
                noisy,
                targets[seed],
                seed,
                quarters=swap(quarters(noisy, seed, SCRATCH)),
                threat=ThreatModel(access=Access.SCORES, aux=Aux.SHADOW),
                others={shadows.PURPOSE: pool},
            )
            found.append(membership.play(attack, table).metrics["auc"])
        return found

    return run


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_bar_3_non_members_are_not_told_from_non_members(attack, play) -> None:
    def strangers(split):
        return replace(split, target_train=split.shadow_test, shadow_test=split.shadow_test[:0])

    assert np.mean(play(attack, strangers)) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_bar_11_an_overfitted_model_leaks_more_than_its_loss_shows(attack, play) -> None:
    found, loss = play(attack), play(registry.make("attack", "loss-threshold", {}))
    assert np.mean(found) >= 0.66
    assert np.mean(found) > np.mean(loss) + 0.02


class LinearNet(nn.Sequential):
    """The perceptron with batch norm of the peer's probe: 128, 256 and 128 hidden units."""

    def __init__(self, width: int):
        layers: list[nn.Module] = [nn.Flatten()]
        for units in (128, 256, 128):
            layers += [nn.Linear(width, units), nn.BatchNorm1d(units), nn.ReLU()]
            width = units
        super().__init__(*layers, nn.Linear(width, 10))


def test_one_sided_lira_finds_on_noisy_labels_what_a_two_sided_one_misses(digits) -> None:
    """The peer's probe: 20 % wrong labels, digits of 28x28, 16 shadow models, 15 epochs.

    The peer scores offline with a two-sided density and finds an AUC of .60.
    """
    data = _noisy(digits, 0.2)
    data = replace(data, x=F.interpolate(data.x, (28, 28), mode="bilinear"))
    recipe = Recipe(lr=3e-3, epochs=15, batch_size=64)

    def train(index, seed) -> nn.Module:
        with seeded("init", seed):
            net = LinearNet(28 * 28)
        return fit(net, data.all.take(index), recipe, seed=seed)

    held = [shadows.index(data, SCRATCH, k) for k in range(16)]
    pool = [BlackBox(train(rows, 100 + k), Access.SCORES) for k, rows in enumerate(held)]
    one_sided, two_sided = [], []
    for seed in range(6):
        split = quarters(data, seed, SCRATCH)
        target = BlackBox(train(split.target_train, seed), Access.SCORES)
        rows = torch.cat([split.target_train, split.target_test])
        truth = torch.arange(len(rows)) < len(split.target_train)
        members = torch.stack([torch.isin(rows, one) for one in held])
        points = data.all.take(rows)
        found = LiRA(shadows=16, online=False).run(
            target,
            Candidates(
                points=points, aux=points.take(slice(0)), aux_member=truth[:0],
                shadows=tuple(
                    Shadow(box=box, members=own, aux_members=own[:0])
                    for box, own in zip(pool, members, strict=True)
                ),
                num_classes=10, architecture="none", input_shape=(1, 28, 28),
            ),
            seed=seed,
        )  # fmt: skip
        one_sided.append(roc_auc_score(truth, found))
        seen = confidence(target.scores(points.x), points.y).numpy()
        shadow = [confidence(box.scores(points.x), points.y).numpy() for box in pool]
        outside = np.ma.array(shadow, mask=members.numpy())
        density = norm.logpdf(seen, outside.mean(0).filled(0), outside.std(0).filled(1))
        two_sided.append(roc_auc_score(truth, -density))
    assert np.mean(one_sided) >= 0.72
    assert np.mean(two_sided) <= np.mean(one_sided) - 0.06


AUDIT = CanaryAudit(rate=0.5)


def _audited(digits, measure, job_for, seed, *, attack=AUDIT, stack=(), recipe):
    job = job_for(
        seed=seed, recipe=recipe, stack=tuple(map(registry.describe, stack)),
        poison=registry.describe(attack),
    )  # fmt: skip
    trained = train_alone(job, digits.all.take(job.index), None)
    return measure(digits, trained, seed, attack, stack=stack)[0].metrics


def test_the_audit_never_exceeds_what_dpsgd_claims(digits, measure, job_for) -> None:
    recipe = Recipe(lr=1e-2, epochs=5, batch_size=64)
    found = [
        _audited(
            digits, measure, job_for, seed, recipe=recipe, stack=(DPSGD(noise_multiplier=3.0),)
        )
        for seed in range(20)
    ]
    assert all(0.5 < m["dp_epsilon"] < 3 for m in found)
    assert all(m["audited_epsilon"] <= m["dp_epsilon"] for m in found)
    assert np.mean([m["auc"] for m in found]) < 0.6


@pytest.mark.parametrize("kind", ["mislabelled", "noise"])
def test_a_model_that_claims_what_it_does_not_keep_is_refuted(
    kind, digits, measure, job_for
) -> None:
    recipe = Recipe(lr=3e-3, epochs=100, batch_size=64)
    attack = CanaryAudit(rate=0.5, kind=kind)
    for seed in range(3):
        job = job_for(seed=seed, recipe=recipe, poison=registry.describe(attack))
        model = train_alone(job, digits.all.take(job.index), None).model
        claim = Trained(model, {"dp_epsilon": 1.0, "dp_delta": 1e-5})
        found = measure(digits, claim, seed, attack)[0].metrics
        assert found["audited_epsilon"] > 1.5 > found["dp_epsilon"]
        assert found["auc"] > 0.9


def test_without_canaries_or_without_training_the_audit_finds_nothing(
    digits, measure, job_for
) -> None:
    clean, untrained = [], []
    for seed in range(8):
        job = job_for(seed=seed, recipe=Recipe(lr=3e-3, epochs=20, batch_size=64))
        clean.append(
            measure(digits, train_alone(job, digits.all.take(job.index), None), seed, AUDIT)
        )
        with seeded("untrained", seed):
            fresh = nets.build("mlp-128", (1, 8, 8), 10).eval()
        untrained.append(measure(digits, fresh, seed, AUDIT))
    for found in (clean, untrained):
        assert np.mean([one.metrics["auc"] for one, _ in found]) == pytest.approx(0.5, abs=0.04)
        assert np.mean([one.metrics["audited_epsilon"] for one, _ in found]) < 0.1
