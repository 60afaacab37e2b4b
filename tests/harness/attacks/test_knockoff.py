"""Knockoff: the policies choose what they should, and the copy is made of what was asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from harness.attacks.distillation import Distillation
from harness.attacks.knockoff import Bandit, Knockoff
from harness.data.examples import Split
from harness.target import BlackBox
from harness.types import Access
from zoo import nets


def test_the_random_policy_is_distillation_on_random_inputs(victim, thief) -> None:
    found = [
        attack.run(BlackBox(victim, Access.SCORES, budget=100), thief, seed=3)
        for attack in (Knockoff(epochs=2), Distillation(epochs=2))
    ]
    torch.testing.assert_close(found[0].state_dict(), found[1].state_dict(), rtol=0, atol=0)


def test_one_update_of_the_bandit_by_hand() -> None:
    bandit = Bandit(np.array([0, 0, 1, 1]), seed=0)
    answers = np.array([[0.9, 0.1], [0.6, 0.4]])
    bandit.learn(np.array([0, 1]), answers, np.array([2.0, 1.0]))
    # The mean answer is (.75, .25). Certainty .8 and .2, diversity .15 and .15, surprise 2 and 1:
    # rescaled and less their means +.5 and -.5, 0 and 0, +.5 and -.5, so the gains are 1 and -1.
    first = np.array([0.5, -0.5])  # (drawn - policy) * gain / 1, from a policy of one half each
    policy = np.exp(first) / np.exp(first).sum()
    assert bandit.preference == pytest.approx(first - (np.array([0, 1]) - policy))
    assert bandit.policy.sum() == pytest.approx(1)


def test_the_bandit_draws_every_member_once() -> None:
    labels = np.array([5] * 3 + [7] * 20)
    bandit = Bandit(labels, seed=0)
    chosen, actions = bandit.draw(23)
    assert sorted(chosen) == list(range(23))
    assert np.array_equal(np.array([5, 7])[actions], labels[chosen])


def test_the_adaptive_policy_leaves_a_class_that_teaches_nothing(victim, thief) -> None:
    """Half of the pool is one blank image over and over; every answer to it is the same."""
    digits = thief.aux.take(torch.arange(400))
    pool = Split(torch.cat([digits.x, torch.zeros_like(digits.x)]), torch.arange(800) // 400)
    asked = []

    class Watched(nn.Module):
        def forward(self, x):
            asked.append(x)
            return victim(x)

    for policy, low, high in (("random", 0.4, 0.6), ("adaptive", 0.65, 1.0)):
        asked.clear()
        target = BlackBox(Watched(), Access.SCORES, budget=400)
        Knockoff(policy=policy, epochs=1, batch_size=32).run(
            target, replace(thief, aux=pool), seed=0
        )
        assert target.queries == 400
        share = (torch.cat(asked).flatten(1).amax(1) > 0).float().mean().item()
        assert low < share < high


@pytest.mark.parametrize("access", [Access.LABELS, Access.SCORES])
def test_the_adaptive_policy_keeps_to_its_budget_and_copies(
    access, victim, thief, fidelity
) -> None:
    target = BlackBox(victim, access, budget=333)
    copy = Knockoff(policy="adaptive").run(target, thief, seed=0)
    assert target.queries == 333
    assert fidelity(copy) > 0.8


def test_without_a_budget_the_whole_pool_is_asked(victim, thief) -> None:
    for policy in ("random", "adaptive"):
        target = BlackBox(victim, Access.SCORES)
        Knockoff(policy=policy, epochs=1).run(target, thief, seed=0)
        assert target.queries == 898


def test_untrained_it_knows_nothing(victim, thief, fidelity) -> None:
    idle = Knockoff(epochs=1, lr=1e-12)
    target = BlackBox(victim, Access.SCORES)
    assert np.mean([fidelity(idle.run(target, thief, seed=s)) for s in range(10)]) < 0.2


def test_it_is_as_good_as_arts_knockoff_nets(victim, thief, fidelity) -> None:
    """The same target, inputs, budget, network, optimizer and epochs; ART's own training loop."""
    from art.attacks.extraction import KnockoffNets
    from art.estimators.classification import PyTorchClassifier

    def wrapped(model, **kwargs):
        return PyTorchClassifier(
            model, nn.CrossEntropyLoss(), (1, 8, 8), 10, device_type="cpu", **kwargs
        )

    ours, theirs = [], []
    for seed in range(3):
        target = BlackBox(victim, Access.LABELS, budget=200)
        ours.append(fidelity(Knockoff().run(target, thief, seed=seed)))
        torch.manual_seed(seed)
        np.random.seed(seed)
        copy = nets.build("mlp-128", (1, 8, 8), 10)
        attack = KnockoffNets(
            wrapped(victim), batch_size_fit=64, batch_size_query=64, nb_epochs=40, nb_stolen=200,
            sampling_strategy="random", verbose=False,
        )  # fmt: skip
        optimizer = torch.optim.Adam(copy.parameters(), lr=1e-3)
        attack.extract(thief.aux.x.numpy(), thieved_classifier=wrapped(copy, optimizer=optimizer))
        theirs.append(fidelity(copy.eval()))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.04)
