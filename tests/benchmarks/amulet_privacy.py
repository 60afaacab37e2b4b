"""The workloads on privacy risks, done by this project; `amulet_side.py` has the other side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from amulet_common import HALF, RECIPE, Common, Numbers, Work, network
from torch import Tensor, nn

from harness.attacks.attribute_scores import AttributeScores
from harness.attacks.distribution_kl import KLDivergence
from harness.attacks.fredrikson import Fredrikson
from harness.attacks.lira import LiRA
from harness.attacks.shared.attacker_data import Candidates, Records, Shadow, granted
from harness.attacks.shared.distribution_attack import WORLDS, Suspects
from harness.data.dataset import Dataset
from harness.data.populations import Populations
from harness.defenses.dpsgd import DPSGD
from harness.metrics.attribute import auc, balanced_accuracy
from harness.metrics.distribution import distribution
from harness.metrics.membership import membership
from harness.metrics.reconstruction import reconstruction
from harness.target import BlackBox
from harness.training.cohort import train
from harness.training.job import Job
from harness.types import Access
from zoo.nets.registry import ARCHITECTURES
from zoo.recipe import Recipe

SHADOWS = 16
SHADOW_RECIPE = Recipe(
    optimizer="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4, schedule="cosine", epochs=10
)
RATIOS = (0.2, 0.8)
POPULATION = 10
TRAINED_ON, ASKED_ABOUT = 240, 176


def _made(common: Common, data: Dataset, indices: list[Tensor], recipe: Recipe) -> list[nn.Module]:
    """A model of the network for each of ``indices``, in that order."""
    ARCHITECTURES["amulet"] = lambda shape, classes: network(classes)
    jobs = [
        Job(
            dataset=data.name,
            fingerprint="",
            index=index,
            architecture="amulet",
            input_shape=data.input_shape,
            num_classes=data.num_classes,
            mean=(0.0,),
            std=(1.0,),
            recipe=recipe,
            seed=1000 * common.seed + number,
        )
        for number, index in enumerate(indices)
    ]
    made = {job.seed: done.model for job, done, _ in train(jobs, data.all, {})}
    return [made[job.seed] for job in jobs]


def dpsgd(common: Common) -> Work:
    defense = DPSGD(noise_multiplier=1.0, max_grad_norm=1.0, dp_delta=1e-5)

    def work() -> tuple[nn.Module, dict[str, Any]]:
        model = common.model("initial")
        return model, defense.fit(model, common.train, RECIPE, seed=common.seed)

    def judge(found: tuple[nn.Module, dict[str, Any]]) -> Numbers:
        made, evidence = found
        return {"test accuracy": common.accuracy(made.eval()), "epsilon": evidence["dp_epsilon"]}

    return work, judge


def lira(common: Common) -> Work:
    n = len(common.train)
    order = np.random.default_rng(common.seed).random((SHADOWS, n)).argsort(0)
    members = torch.from_numpy(order < SHADOWS // 2)  # as many in as out, for every candidate
    target = BlackBox(common.model("half"), Access.SCORES)
    nobody = torch.zeros(0, dtype=torch.bool)

    def work() -> tuple[Tensor, Tensor]:
        indices = [held.nonzero().flatten() for held in members]
        shadows = tuple(
            Shadow(box=BlackBox(model, Access.SCORES), members=held, aux_members=nobody)
            for model, held in zip(
                _made(common, common.data, indices, SHADOW_RECIPE), members, strict=True
            )
        )
        data = Candidates(
            **vars(common.attacker()),
            points=common.train,
            aux=common.train.take(torch.arange(0)),
            aux_member=nobody,
            shadows=shadows,
        )
        online, offline = (LiRA(shadows=SHADOWS, online=o) for o in (True, False))
        return tuple(a.run(target, data, seed=common.seed) for a in (online, offline))

    def judge(found: tuple[Tensor, Tensor]) -> Numbers:
        truth = (torch.arange(n) < HALF).numpy()
        online, offline = (membership(scores.double().numpy(), truth) for scores in found)
        return {
            "online AUC": online["auc"],
            "online TPR at 1 % FPR": online["tpr_at_1pct_fpr"],
            "offline AUC": offline["auc"],
            "offline TPR at 1 % FPR": offline["tpr_at_1pct_fpr"],
        }

    return work, judge


def attribute_inference(common: Common) -> Work:
    target = BlackBox(common.model("half"), Access.SCORES)
    own = torch.arange(HALF, len(common.train))
    attack = AttributeScores(attribute="tint", knows="nothing")

    def work() -> Tensor:
        data = Records(
            **vars(common.attacker()),
            points=granted(common.test, attack.knows),
            aux=common.train.take(own),
            aux_z=common.tint[own],
            seen=attack.see(target, common.test.x),
            num_values=2,
        )
        return attack.run(target, data, seed=common.seed)

    def judge(scores: Tensor) -> Numbers:
        found, truth = scores.double().numpy(), common.tint[len(common.train) :].numpy()
        return {"AUC": auc(found, truth), "balanced accuracy": balanced_accuracy(found, truth)}

    return work, judge


def inversion(common: Common) -> Work:
    target = BlackBox(common.model("target"), Access.WEIGHTS)
    attack = Fredrikson(iterations=1000)

    def judge(found: Tensor) -> Numbers:
        return judged(found[:, 0], common)

    return lambda: attack.run(target, common.attacker(), seed=common.seed), judge


def judged(x: Tensor, common: Common) -> Numbers:
    """Distance of one picture of each class to the mean of its training images."""
    classes = torch.arange(10)
    means = torch.stack([common.train.x[common.train.y == c].mean(0) for c in classes])
    found = reconstruction(x, means, classes, common.test.x.mean(0), common.train)
    black = (means**2).mean()
    return {
        "MSE to the class mean": found["mse"].mean().item(),
        "of a black image": black.item(),
        "SSIM": found["ssim"].mean().item(),
        "correlation": found["correlation"].mean().item(),
    }


def distribution_inference(common: Common) -> Work:
    data = replace(common.data, num_classes=2, y=(common.data.y >= 5).long())
    worlds = Populations(dataset=data, attribute="tint", value="tinted", ratios=RATIOS)
    order = torch.randperm(len(common.train), generator=torch.Generator().manual_seed(common.seed))
    victims, own = order.chunk(2)
    tested = torch.arange(len(common.train), len(data))
    draw = partial(worlds.draw, n=TRAINED_ON)

    def work() -> Tensor:
        indices = [
            draw(pool, world, seed=k)
            for pool in (victims, own)
            for world in range(WORLDS)
            for k in range(POPULATION)
        ]
        boxes = [BlackBox(m, Access.SCORES) for m in _made(common, data, indices, RECIPE)]
        half = WORLDS * POPULATION
        tests = tuple(
            data.all.take(worlds.draw(tested, world, ASKED_ABOUT, seed=0))
            for world in range(WORLDS)
        )
        suspects = Suspects(
            **vars(common.attacker()),
            victims=tuple(boxes[:half]),
            own=(tuple(boxes[half : half + POPULATION]), tuple(boxes[half + POPULATION :])),
            tests=tests,
        )
        return KLDivergence().run(boxes[0], suspects, seed=common.seed)[1:]

    def judge(scores: Tensor) -> Numbers:
        world = np.repeat(np.arange(WORLDS), POPULATION)
        found = distribution(scores.double().numpy(), world, ratio0=RATIOS[0], ratio1=RATIOS[1])
        return {
            "distinguishing accuracy": found["distinguishing_accuracy"] or 0.0,
            "AUC": found["auc"] or 0.0,
        }

    return work, judge


# The letters are those of the table that the workloads were first written down in.
ROWS: dict[str, tuple[str, Callable[[Common], Work], str]] = {
    "h": (
        "DP-SGD, noise 1, clipping at 1, delta 1e-5, 10 epochs",
        dpsgd,
        "Both use Opacus; Amulet's epsilon is by the PRV accountant, this one by RDP. Amulet leaves "
        "its hooks on the model, which then fails under attacks that differentiate it.",
    ),
    "j": (
        "LiRA, 16 shadow models of half of 1,297 images, 10 epochs",
        lira,
        "Amulet's offline score is two-sided and its variance per example; it starts worker "
        "processes for every epoch and computes in bfloat16.",
    ),
    "k": (
        "attribute inference from scores, 648 known records, 500 asked about",
        attribute_inference,
        "Amulet gives logits to a perceptron of three hidden layers for 300 epochs; here it is "
        "probabilities, one hidden layer and 50 epochs.",
    ),
    "l": (
        "Fredrikson's inversion, 1,000 steps, 10 classes",
        inversion,
        "Amulet goes class by class with steps of 0.003; here all classes are one batch, with steps "
        "of 0.01.",
    ),
    "m": (
        "distribution inference, shares of 0.2 and 0.8, 4 x 10 models, 10 epochs",
        distribution_inference,
        "Amulet takes the sigmoid of the first logit for a probability, and scales its scores over "
        "all victims, so that no single model can be judged.",
    ),
}
