"""Whoever trained something in vain says so, and whoever did not does not."""

from dataclasses import fields

import pytest
import torch
from torch import nn

from harness import registry
from harness.attacks.protocol import AttackerData
from harness.attacks.shared import convergence
from harness.attacks.shared.attacker_data import Candidates, InfersAttribute, Records
from harness.attacks.shared.distribution_attack import DistributionAttack, Suspects
from harness.data.quarters import quarters
from harness.target import BlackBox
from harness.types import Access, Regime, Risk
from zoo import nets

IDLE = {
    "attribute-embeddings": {"lr": "1e-12"},
    "attribute-scores": {"lr": "1e-12"},
    "data-free": {"lr": "1e-12", "queries": "200", "epochs": "1", "width": "4"},
    "distillation": {"lr": "1e-12", "epochs": "1"},
    "distribution-pin": {"lr": "1e-12"},
    "fine-tuning": {"lr": "1e-12", "epochs": "1"},
    "gmi": {"gan_lr": "1e-12", "gan_steps": "2", "iterations": "1"},
    "knockoff": {"lr": "1e-12", "epochs": "1"},
    "mlp": {"lr": "1e-12"},
    "mlp-black-box": {"lr": "1e-12"},
    "mlp-white-box": {"lr": "1e-12"},
    "plg-mi": {"gan_lr": "1e-12", "gan_steps": "2", "iterations": "1"},
    "pruning": {"lr": "1e-12", "epochs": "1"},
    "quantile": {"lr": "1e-12", "level": "0.9"},
    "semi-supervised": {"lr": "1e-12", "epochs": "1"},
    "transfer": {"lr": "1e-12", "epochs": "1", "steps": "1"},
}
"""Settings with which nothing is learned, of every attack that trains anything."""


@pytest.fixture
def thief() -> AttackerData:
    return AttackerData(num_classes=3, architecture="mlp-128", input_shape=(4,))


def _random(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nets.build("mlp-128", (1, 8, 8), 10).eval()


@pytest.fixture
def known(digits):
    """What any attacker could hold of digits: 200 examples in question, and 200 of its own."""
    split = quarters(digits, 0, Regime.FROM_SCRATCH)
    return Candidates(
        points=digits.all.take(split.target_test[:200]),
        aux=digits.all.take(split.shadow_train[:200]),
        num_classes=10, architecture="mlp-128", input_shape=(1, 8, 8),
        aux_member=torch.arange(200) % 2 == 0, shadows=(),
    )  # fmt: skip


def _handed(attack: object, known: Candidates) -> AttackerData:
    plain = {field.name: getattr(known, field.name) for field in fields(AttackerData)}
    if isinstance(attack, InfersAttribute):
        seen = attack.see(BlackBox(_random(0), Access.WEIGHTS), known.points.x)
        return Records(
            **plain, points=known.points, aux=known.aux,
            seen=seen, aux_z=torch.arange(200) % 2, num_values=2,
        )  # fmt: skip
    if isinstance(attack, DistributionAttack):
        boxes = tuple(BlackBox(_random(seed), Access.WEIGHTS) for seed in range(1, 6))
        tests = (known.points, known.points)
        return Suspects(**plain, victims=boxes[:1], own=(boxes[1:3], boxes[3:]), tests=tests)
    return known


def test_every_attack_that_trains_is_here() -> None:
    training = {
        name
        for name, kind in registry.known("attack").items()
        if {"epochs", "gan_steps"} & {field.name for field in fields(kind)}
        and kind.risk is not Risk.POISONING
    }
    assert training == IDLE.keys()


@pytest.mark.parametrize("name", IDLE)
def test_an_attack_says_that_what_it_trained_learned_nothing(name, digits, known) -> None:
    attack = registry.make("attack", name, IDLE[name])
    if name in ("plg-mi", "gmi", "transfer"):  # the others' settings depend on no dataset
        attack = attack.resolve(digits)
    data = _handed(attack, known)
    attack.run(BlackBox(_random(0), Access.WEIGHTS), data, seed=0)
    assert len(data.doubts) == 1
    assert "learned nothing" in data.doubts[0]


@pytest.mark.parametrize("name", ["distillation", "knockoff", "semi-supervised", "transfer"])
def test_an_attack_whose_surrogate_learned_is_not_doubted(name, digits, known) -> None:
    attack = registry.make("attack", name, {"epochs": "40"}).resolve(digits)
    attack.run(BlackBox(Right(known), Access.LABELS), known, seed=0)
    assert known.doubts == []


class Right(nn.Module):
    """Answers the attacker's own examples with their labels."""

    def __init__(self, known: Candidates) -> None:
        super().__init__()
        self.x, self.y = known.aux.x, known.aux.y

    def forward(self, x):
        nearest = torch.cdist(x.flatten(1), self.x.flatten(1)).argmin(1)
        return 10 * nn.functional.one_hot(self.y[nearest], 10).float()


def test_errors_by_hand(thief) -> None:
    """The mean of 0, 0, 1, 1 has an error of 1/4; halfway to the truth it is 1/16."""
    wanted = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    convergence.fits(thief, "the halfway one", (wanted + 0.5) / 2, wanted)
    # A hundredth of the way, 1 - .99 ** 2 = .0199 of the error is gone, which is too little.
    convergence.fits(thief, "the one that hardly moved", 0.01 * wanted + 0.495, wanted)
    convergence.fits(thief, "the one that moved a little more", 0.02 * wanted + 0.49, wanted)
    assert thief.doubts == [
        "the one that hardly moved learned nothing: on the data that it was trained on its error "
        "is 98.0% of that of the best constant answer."
    ]


def test_weights_move_the_best_constant_answer(thief) -> None:
    """Of 0, 0, 0, 1 it is .25 with an error of 3/16; weighted evenly, .5 and worse."""
    wanted, said = torch.tensor([[0.0], [0.0], [0.0], [1.0]]), torch.full((4, 1), 0.5)
    weight = torch.tensor([1.0, 1.0, 1.0, 3.0])
    convergence.fits(thief, "a", said + 0.1 * (wanted - 0.5), wanted, weight)
    assert thief.doubts == []
    convergence.fits(thief, "a", said + 0.1 * (wanted - 0.5), wanted)
    assert len(thief.doubts) == 1


def test_what_is_not_finite_learned_nothing(thief) -> None:
    convergence.fits(thief, "a", torch.tensor([[0.0], [torch.nan]]), torch.eye(2)[:, :1])
    convergence.fits(thief, "a", torch.tensor([[0.0], [torch.inf]]), torch.eye(2)[:, :1])
    assert thief.doubts == ["a learned nothing: it gives values that are not finite."] * 2


def test_where_all_answers_are_the_same_there_was_nothing_to_learn(thief) -> None:
    same = torch.tensor([[0.1, 0.9]]).expand(7, 2)
    convergence.fits(thief, "a", same + 1e-3, same)
    assert thief.doubts == []


def test_a_generator_has_to_be_nearer_than_the_mean(thief) -> None:
    stream = torch.Generator().manual_seed(0)
    real = torch.rand(256, 2, 3, generator=stream)
    convergence.generates(thief, "the generator", torch.rand(256, 2, 3, generator=stream), real)
    assert thief.doubts == []
    for made in (real.mean(0).expand(256, 2, 3), 2 + real, torch.full_like(real, torch.nan)):
        convergence.generates(thief, "the generator", made, real)
    assert len(thief.doubts) == 3
