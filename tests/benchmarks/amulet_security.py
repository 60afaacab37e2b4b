"""The workloads on security risks, done by this project; `amulet_side.py` has the other side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from amulet_common import MARK, Common, Numbers, Work
from torch import Tensor, nn

from harness.attacks.badnets import BadNets
from harness.defenses.adversarial_training import AdversarialTraining
from harness.defenses.dataset_inference import DatasetInference
from harness.defenses.outlier_removal import OutlierRemoval
from harness.defenses.shared.defender import trusted_index
from harness.learning.fit import fit
from harness.metrics.extraction import extraction
from harness.target import BlackBox
from harness.types import Access
from zoo.recipe import Recipe

FEW = torch.arange(32)  # images that dataset inference looks at, of each kind


def evasion(common: Common) -> Work:
    model = common.model("target")
    return lambda: common.evade(model), lambda x: {"robust accuracy": common.robust(model, x)}


def adversarial_training(common: Common) -> Work:
    defense = AdversarialTraining(epsilon=0.1, steps=40, step_size=0.01)

    def work() -> nn.Module:
        recipe, model = Recipe(epochs=2), common.model("initial")
        return fit(model, common.train, recipe, seed=common.seed, inputs=defense.inputs)

    return work, lambda made: {
        "test accuracy": common.accuracy(made),
        "robust accuracy": common.robust(made, common.evade(made)),
    }


def badnets(common: Common) -> Work:
    attack, seed = BadNets(rate=0.1, target=0), common.seed
    trusted = trusted_index(len(common.train), seed)

    def work() -> nn.Module:
        found = attack.poison(common.train, trusted=trusted, num_classes=10, seed=seed)
        return common.fit(found.data)

    def judge(made: nn.Module) -> Numbers:
        rest = common.test.take(attack.applies(common.test.y).nonzero().flatten())
        triggered = BlackBox(made, Access.LABELS).labels(attack.trigger(rest.x, seed=seed))
        success = attack.success(triggered, rest.y, num_classes=10)
        return {
            "test accuracy": common.accuracy(made),
            "attack success rate": success.double().mean().item(),
        }

    return work, judge


def outlier_removal(common: Common) -> Work:
    defense = OutlierRemoval(share=0.1, k=5)
    # The model whose features are used is trained already, as the one that Amulet is given.
    defender = replace(common.defender, train=lambda _: common.model("mislabelled"))

    def work() -> tuple[nn.Module, Tensor]:
        found = defense.clean(common.wrong.data, defender)
        assert found.removed is not None
        return common.fit(found.data), found.removed

    def judge(found: tuple[nn.Module, Tensor]) -> Numbers:
        made, removed = found
        return {
            "test accuracy": common.accuracy(made),
            "wrong labels removed": removed[common.wrong.poisoned].double().mean().item(),
        }

    return work, judge


def watermark(common: Common) -> Work:
    def work() -> nn.Module:
        return common.fit(MARK.clean(common.train, common.defender).data)

    def judge(made: nn.Module) -> Numbers:
        verify = MARK.verifier(common.owner(made))
        own = verify(BlackBox(made, Access.LABELS))
        other = verify(BlackBox(common.model("target"), Access.LABELS))
        return {
            "test accuracy": common.accuracy(made),
            "watermark accuracy": own.statistic,
            "of a model without it": other.statistic,
            "p of the own model": own.p_value,
            "p of a model without it": other.p_value,
        }

    return work, judge


def dataset_inference(common: Common) -> Work:
    own, stolen = common.model("half"), common.model("stolen")
    defense = DatasetInference(distance="mingd")

    def work() -> Numbers:
        verify = defense.verifier(common.owner(own, FEW))
        return {
            "p of the own model": verify(BlackBox(own, Access.WEIGHTS)).p_value,
            "p of the stolen model": verify(BlackBox(stolen, Access.WEIGHTS)).p_value,
        }

    return work, lambda found: found


def model_extraction(common: Common) -> Work:
    target = BlackBox(common.model("half"), Access.SCORES)

    def judge(made: nn.Module) -> Numbers:
        answers = target.labels(common.test.x)
        copied = BlackBox(made, Access.LABELS).labels(common.test.x)
        found = extraction(copied, answers, common.test.y)
        return {
            "surrogate accuracy": found["surrogate_accuracy"] or 0.0,
            "fidelity": found["fidelity"] or 0.0,
        }

    return lambda: common.steal(target), judge


# The letters are those of the table that the workloads were first written down in.
ROWS: dict[str, tuple[str, Callable[[Common], Work], str]] = {
    "b": (
        "PGD, epsilon 0.1, 40 steps of 0.01, 500 images",
        evasion,
        "Amulet attacks the predicted label, not the true one, and counts inputs that the attack "
        "made right. Here an image that is broken is left alone.",
    ),
    "c": (
        "adversarial training, epsilon 0.1, 40 steps of 0.01, 2 epochs",
        adversarial_training,
        "Amulet takes a step on clean inputs before each adversarial one, so it takes two a batch.",
    ),
    "d": (
        "BadNets, 10 % poisoned, 10 epochs",
        badnets,
        "Amulet's trigger is black, as is the background of half the images.",
    ),
    "e": (
        "outlier removal, 10 % of the labels wrong, 10 % removed, k = 5, 10 epochs",
        outlier_removal,
        "Amulet values the examples by the test set and trains the poisoned weights further.",
    ),
    "f": (
        "watermark, 99 triggers, 10 epochs",
        watermark,
        "Amulet puts all triggers into every batch, with pixels of 0 to 255 beside data of 0 to 1, "
        "and has no p-value. Here a batch has 2 or more on average, as in the paper, so fewer are "
        "learnt in 10 epochs.",
    ),
    "g": (
        "dataset inference, 32 + 32 images, 10 classes, 3 norms, 100 steps, 2 models",
        dataset_inference,
        "Amulet's reshaping mixes the distances of 30 images in every row. Not the same work: here "
        "2 linearised steps go to the 3 likeliest classes, and 8 references are trained, so as not "
        "to take easy images for a proof. Neither side claims anything from so few images.",
    ),
    "i": (
        "extraction, mean squared error, 648 queries, 20 epochs",
        model_extraction,
        "Amulet asks the target anew in every epoch and is given its logits; here it is asked once "
        "and gives probabilities.",
    ),
}
