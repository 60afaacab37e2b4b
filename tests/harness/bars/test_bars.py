"""The bars that every honest measurement on digits clears, over eight seeds each.

Numbers as in the literature's sanity checks: identities change nothing, non-members cannot be told
from non-members, robust accuracy falls with the radius, an overfitted model leaks and DP-SGD stops
that, and a small model is easily stolen.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness import registry
from harness.data.dataset import Dataset
from harness.data.quarters import quarters
from harness.defenses.dpsgd import DPSGD
from harness.games import membership
from harness.seeds import generator
from harness.training.job import Job, Trained
from harness.training.single import train_alone
from harness.types import Access, Aux, Regime, ThreatModel
from zoo.recipe import Recipe

pytestmark = pytest.mark.whole

SEEDS = range(8)
RECIPE = Recipe(lr=3e-3, epochs=60, batch_size=64)


def _train(data: Dataset, seed: int, *, recipe=RECIPE, stack=(), training_seed=None) -> Trained:
    split = quarters(data, seed, Regime.FROM_SCRATCH)
    job = Job(
        dataset=data.name, fingerprint=data.fingerprint, index=split.target_train,
        architecture="mlp-128", input_shape=(1, 8, 8), num_classes=10, mean=(0.0,), std=(1.0,),
        recipe=recipe, stack=tuple(map(registry.describe, stack)),
        seed=seed if training_seed is None else training_seed,
    )  # fmt: skip
    return train_alone(job, data.all.take(job.index), None)


@pytest.fixture(scope="module")
def evaluated(measure):
    """The evaluation alone."""
    return lambda *args, **settings: measure(*args, **settings)[0]


@pytest.fixture(scope="module")
def plain(digits):
    return [_train(digits, seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def noisy(digits):
    """Digits with 30 % of the labels wrong: those a model can only know by heart."""
    stream = generator("label noise")
    flip = torch.rand(len(digits), generator=stream) < 0.3
    shift = torch.randint(1, 10, (len(digits),), generator=stream)
    y = torch.where(flip, (digits.y + shift) % 10, digits.y)
    return replace(digits, name="noisy-digits", y=y)


def test_bar_1_an_identity_changes_nothing_at_all(digits, plain, evaluated) -> None:
    for seed in (0, 1):
        again = _train(digits, seed)
        for attack in ("fgsm", "pgd", "distillation", "correctness", "loss-threshold", "square"):
            one = evaluated(digits, plain[seed], seed, attack)
            two = evaluated(digits, again, seed, attack)
            assert one.susceptibility == two.susceptibility
            assert one.metrics == two.metrics


def test_bar_2_another_training_seed_changes_nothing_on_average(digits, plain, evaluated) -> None:
    auc, robust = [], []
    for seed in SEEDS:
        other = _train(digits, seed, training_seed=seed + 100)
        for attack, deltas, name in (
            ("loss-threshold", auc, "auc"), ("pgd", robust, "robust_accuracy"),
        ):  # fmt: skip
            before = evaluated(digits, plain[seed], seed, attack).metrics[name]
            after = evaluated(digits, other, seed, attack).metrics[name]
            deltas.append(after - before)
    assert abs(np.mean(auc)) < 0.01
    assert abs(np.mean(robust)) < 0.03


@pytest.mark.parametrize("name", ["correctness", "loss-threshold", "modified-entropy"])
def test_bar_3_non_members_are_not_told_from_non_members(digits, plain, name, scenario_for) -> None:
    found = []
    for seed in SEEDS:
        split = quarters(digits, seed, Regime.FROM_SCRATCH)
        table = scenario_for(
            digits,
            plain[seed].model,
            seed,
            quarters=replace(
                split, target_train=split.shadow_train, shadow_train=split.target_train
            ),
            threat=ThreatModel(access=Access.SCORES),
        )
        outcome = membership.play(registry.make("attack", name, {}), table)
        found.append((outcome.metrics["auc"], outcome.metrics["balanced_accuracy"]))
    assert np.mean(found, axis=0) == pytest.approx([0.5, 0.5], abs=0.03)


def test_bar_6_undefended_models_fall_to_pgd(digits, plain, evaluated) -> None:
    robust = {
        epsilon: np.mean([
            evaluated(digits, m, s, "pgd", epsilon=epsilon).metrics["robust_accuracy"]
            for s, m in enumerate(plain)
        ])
        for epsilon in (0.1, 0.2)
    }  # fmt: skip
    assert robust[0.2] < 0.05
    assert 0.35 < robust[0.1] < 0.55


def test_bar_7_robust_accuracy_never_rises_with_the_radius_or_the_steps(
    digits, plain, evaluated
) -> None:
    for seed in (0, 1, 2):
        found = [
            evaluated(digits, plain[seed], seed, "pgd", epsilon=e, random_start=False).metrics
            for e in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2)
        ]
        rates = [m["robust_accuracy"] for m in found]
        assert rates[0] == found[0]["clean_accuracy"]
        assert rates == sorted(rates, reverse=True)
        steps = [
            evaluated(digits, plain[seed], seed, "pgd", steps=n).metrics["robust_accuracy"]
            for n in (5, 20)
        ]
        assert steps[1] <= steps[0] + 0.01
        fgsm = evaluated(digits, plain[seed], seed, "fgsm").metrics["robust_accuracy"]
        assert steps[1] <= fgsm


def test_bars_11_and_12_an_overfitted_model_leaks_and_dpsgd_stops_that(noisy, evaluated) -> None:
    recipe = replace(RECIPE, epochs=200)
    before, after = [], []
    for seed in SEEDS:
        leaking = _train(noisy, seed, recipe=recipe)
        private = _train(
            noisy, seed, recipe=replace(RECIPE, epochs=20), stack=(DPSGD(noise_multiplier=2.0),)
        )
        before.append(evaluated(noisy, leaking, seed, "loss-threshold").metrics["auc"])
        after.append(evaluated(noisy, private, seed, "loss-threshold").metrics["auc"])
    assert np.mean(before) >= 0.62
    assert np.mean(after) <= 0.56
    assert np.mean(after) - np.mean(before) <= -0.08


def test_bar_21_a_small_model_is_easily_stolen(digits, plain, evaluated) -> None:
    found = [evaluated(digits, m, s, "distillation").metrics for s, m in enumerate(plain)]
    assert np.mean([m["fidelity"] for m in found]) >= 0.95
    assert all(m["queries"] == 898 for m in found)


def test_numbers_are_made_again_from_the_stored_samples(digits, plain, measure) -> None:
    """A judge that does not trust us finds the same metrics in the per-example columns."""
    from sklearn.metrics import roc_auc_score

    split = quarters(digits, 0, Regime.FROM_SCRATCH)
    for name in ("pgd", "distillation", "loss-threshold"):
        found, outcome = measure(digits, plain[0], 0, name)
        samples = outcome.samples
        if name == "pgd":
            right = (samples["clean"] == samples["label"]) & (
                samples["perturbed"] == samples["label"]
            )
            assert right.mean() == pytest.approx(found.metrics["robust_accuracy"])
            assert sorted(samples["index"]) == sorted(split.target_test.tolist())
            assert samples["size"].max() <= 0.1 + 1e-5
        elif name == "distillation":
            assert (samples["target"] == samples["surrogate"]).mean() == pytest.approx(
                found.metrics["fidelity"]
            )
        else:
            members = set(split.target_train.tolist())
            truth = np.array([i in members for i in samples["index"]])
            assert np.array_equal(truth, samples["member"])
            assert roc_auc_score(truth, samples["score"]) == pytest.approx(found.metrics["auc"])


def test_partial_and_foreign_data_are_what_the_attacker_says(digits, plain, measure) -> None:
    from harness.data import datasets
    from harness.data.dataset import DataLocation
    from harness.data.ood import adapt

    ood = adapt(datasets.load("photo-patches", DataLocation()), digits)
    assert ood.x.shape == (2000, 1, 8, 8)
    assert 0 <= ood.x.min() <= ood.x.max() <= 1
    rates = {}
    for aux, name in ((Aux.PARTIAL, None), (Aux.OOD, "photo-patches")):
        threat = ThreatModel(access=Access.SCORES, aux=aux, ood=name)
        found, _ = measure(digits, plain[0], 0, "distillation", threat=threat, ood=ood)
        rates[aux] = found.metrics
    assert rates[Aux.PARTIAL]["queries"] == 224
    assert rates[Aux.OOD]["queries"] == 2000
    # Photographs teach less about digits than digits do.
    assert rates[Aux.OOD]["fidelity"] < rates[Aux.PARTIAL]["fidelity"]
