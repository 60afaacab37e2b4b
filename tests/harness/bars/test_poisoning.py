"""Poisoned digits: the bar every BadNets clears, and for each attack what must and must not work.

An attack must do to the model what it does not do to the model's clean twin. It must do nothing
where nothing is poisoned, or where the trigger is not the one of the training data.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness import registry
from harness.attacks.badnets import BadNets
from harness.attacks.blended import Blended
from harness.attacks.feature_trigger import FeatureTrigger
from harness.attacks.label_flipping import LabelFlipping
from harness.attacks.sig import SIG
from harness.attacks.wanet import WaNet
from harness.seeds import derive
from harness.training.single import train_alone
from zoo.recipe import Recipe

SEEDS = range(8)
RECIPE = Recipe(lr=3e-3, epochs=60, batch_size=64)


@pytest.fixture(scope="module")
def train(digits, job_for):
    """A model on digits that an attack has poisoned, once for each attack and seed."""
    made = {}

    def one(attack, seed):
        if (attack, seed) not in made:
            poison = registry.describe(attack) if attack else None
            job = job_for(recipe=RECIPE, seed=seed, poison=poison)
            made[attack, seed] = train_alone(job, digits.all.take(job.index), None)
        return made[attack, seed]

    return one


@pytest.fixture(scope="module")
def play(digits, train, measure):
    """Metrics of ``trigger`` on the model that ``attack`` has poisoned."""

    def one(attack, seed, trigger=None):
        others = {"clean_twin": [train(None, seed).model]}
        model = train(attack, seed) if attack.rate else train(None, seed)
        found, _ = measure(digits, model, seed, trigger or attack, others=others)
        return found.metrics

    return one


def test_bar_14_badnets(play) -> None:
    found = [play(BadNets(), seed) for seed in SEEDS]

    def mean(name: str) -> float:
        return np.mean([m[name] for m in found])

    assert mean("attack_success_rate") >= 0.95
    assert mean("clean_model_accuracy") - mean("clean_accuracy") <= 0.02
    assert mean("clean_model_success_rate") <= 0.03


# On 8x8 images a warp of a quarter pixel is lost, and a wave has to be learnt from 40 images of a
# class that is easily told without it: both need more than in their papers. All-to-all needs more
# examples, as it has ten things to teach.
WORKING = [
    (BadNets(goal="all-to-all", rate=0.4), 0.8),
    (BadNets(pattern="grid"), 0.95),
    (Blended(), 0.95),
    (SIG(target=8, delta=0.6, rate=0.07), 0.7),
    (WaNet(strength=2.0, noise=0.0, rate=0.1), 0.9),
    (FeatureTrigger(), 0.85),
    (LabelFlipping(rate=0.4), 0.2),
    (LabelFlipping(goal="targeted", source_class=7, target=1, rate=0.07), 0.4),
]


@pytest.mark.parametrize(("attack", "reached"), WORKING, ids=lambda v: getattr(v, "name", None))
def test_what_is_poisoned_does_what_the_attacker_wants(attack, reached, play) -> None:
    for seed in (0, 1):
        found = play(attack, seed)
        assert found["attack_success_rate"] > reached
        assert found["clean_model_success_rate"] < 0.1


@pytest.mark.parametrize("attack", [a for a, _ in WORKING], ids=lambda a: a.name)
def test_where_nothing_is_poisoned_the_trigger_does_what_it_does_to_the_twin(attack, play) -> None:
    found = play(replace(attack, rate=0.0), 0)
    assert found["attack_success_rate"] == found["clean_model_success_rate"]
    assert found["clean_accuracy"] == found["clean_model_accuracy"]


@pytest.mark.parametrize(
    ("attack", "other"),
    [
        (BadNets(), BadNets(corner="upper-left")),
        (BadNets(), BadNets(target=3)),
        (BadNets(), Blended()),
        (Blended(), Blended(target=3)),
        (SIG(target=8, delta=0.6, rate=0.07), SIG(target=3, delta=0.6, rate=0.07)),
        (FeatureTrigger(), FeatureTrigger(target=4)),
        (
            LabelFlipping(goal="targeted", source_class=7, target=1, rate=0.07),
            LabelFlipping(goal="targeted", source_class=4, target=1, rate=0.07),
        ),
    ],
    ids=lambda a: a.name,
)
def test_another_trigger_or_class_is_not_what_the_model_was_poisoned_with(
    attack, other, play
) -> None:
    for seed in (0, 1):
        assert play(attack, seed, other)["attack_success_rate"] < 0.1


def test_the_field_of_another_seed_is_another_trigger(train, digits) -> None:
    """This is so for bending; other noise is as good as the blended one where all else is black."""
    attack = WaNet(strength=2.0, noise=0.0, rate=0.1)
    model = train(attack, 0).model
    x = digits.x[digits.y != 0]
    rates = []
    for seed in range(4):
        with torch.no_grad():
            answers = model(attack.trigger(x, seed=derive("poison", seed))).argmax(1)
        rates.append((answers == 0).double().mean().item())
    assert rates[0] > 0.9
    assert np.mean(rates[1:]) < rates[0] / 2


def test_the_judge_s_numbers_are_made_again_from_its_samples(digits, train, measure) -> None:
    others = {"clean_twin": [train(None, 0).model]}
    found, outcome = measure(digits, train(BadNets(), 0), 0, BadNets(), others=others)
    rows = {name: column for name, column in outcome.samples.items()}
    assert (digits.y.numpy()[rows["index"]] == rows["label"]).all()
    wanted = rows["label"] != 0
    assert found.metrics["attack_success_rate"] == (rows["triggered"][wanted] == 0).mean()
    assert found.metrics["clean_model_success_rate"] == (rows["clean_model"][wanted] == 0).mean()
    assert found.metrics["clean_accuracy"] == (rows["clean"] == rows["label"]).mean()
    assert (rows["success"] == (wanted & (rows["triggered"] == 0))).all()
    chance = found.metrics["clean_model_success_rate"]
    asr = found.metrics["attack_success_rate"]
    assert found.susceptibility == pytest.approx((asr - chance) / (1 - chance))
    assert outcome.images["triggered"].shape == (8, 8 * 9)
