"""Thieves who have the weights: what they change, and what they leave as it is."""

import copy

import pytest
import torch
from torch import nn

from harness.attacks.fine_tuning import FineTuning
from harness.attacks.pruning import Pruning
from harness.data.examples import Split
from harness.target import AccessDeniedError, BlackBox
from harness.types import Access
from zoo.errors import ZooError

ATTACKS = [FineTuning(epochs=2), Pruning(), Pruning(share=0.9, epochs=2)]


class Two(nn.Module):
    """Weights 1 .. 4 and -5 .. -8 in two layers, all biases .1."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.first.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        self.second.weight.data = -torch.tensor([[5.0, 6.0], [7.0, 8.0]])
        for layer in (self.first, self.second):
            layer.bias.data.fill_(0.1)

    def forward(self, x):
        return self.second(self.first(x.flatten(1)).relu())


def test_the_smallest_weights_of_all_layers_go(thief) -> None:
    found = Pruning(share=0.625).run(BlackBox(Two(), Access.WEIGHTS), thief, seed=0)
    assert found.first.weight.tolist() == [[0, 0], [0, 0]]
    assert found.second.weight.tolist() == [[0, -6], [-7, -8]]
    assert found.first.bias.tolist() == pytest.approx([0.1, 0.1])
    assert found.state_dict().keys() == Two().state_dict().keys()


def test_removed_weights_stay_removed_in_training(victim, thief) -> None:
    before = Pruning(share=0.9).run(BlackBox(victim, Access.WEIGHTS), thief, seed=0)
    after = Pruning(share=0.9, epochs=3).run(BlackBox(victim, Access.WEIGHTS), thief, seed=0)
    gone = total = 0
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert not torch.equal(old, new)
        if name.endswith("weight"):
            assert torch.equal(old == 0, new == 0)
            gone, total = gone + int((new == 0).sum()), total + new.numel()
    assert gone == round(0.9 * total)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_the_target_is_left_as_it_is_and_asked_nothing(attack, victim, thief) -> None:
    target = BlackBox(victim, Access.WEIGHTS)
    shown, before = target.model, copy.deepcopy(victim.state_dict())
    found = attack.run(target, thief, seed=0)
    torch.testing.assert_close(shown.state_dict(), before, rtol=0, atol=0)
    assert not any(p.requires_grad for p in shown.parameters())
    assert target.queries == 0
    assert not found.training
    assert any(
        not torch.equal(a, b) for a, b in zip(found.parameters(), shown.parameters(), strict=True)
    )
    assert all(
        a.data_ptr() != b.data_ptr()
        for a, b in zip(found.parameters(), shown.parameters(), strict=True)
    )


def test_how_much_of_the_model_is_left(victim, thief, fidelity) -> None:
    target = BlackBox(victim, Access.WEIGHTS)
    assert fidelity(Pruning(share=0.0).run(target, thief, seed=0)) == 1
    assert fidelity(Pruning().run(target, thief, seed=0)) > 0.9
    ruined = fidelity(Pruning(share=0.99).run(target, thief, seed=0))
    assert ruined < 0.6
    assert fidelity(Pruning(share=0.99, epochs=20).run(target, thief, seed=0)) > ruined + 0.1
    assert fidelity(FineTuning().run(target, thief, seed=0)) > 0.9


def test_fine_tuning_follows_the_thiefs_labels(victim, thief, fidelity) -> None:
    from dataclasses import replace

    wrong = replace(thief, aux=Split(thief.aux.x, (thief.aux.y + 1) % 10))
    found = FineTuning().run(BlackBox(victim, Access.WEIGHTS), wrong, seed=0)
    assert fidelity(found) < 0.1


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_it_needs_the_weights(attack, victim, thief) -> None:
    with pytest.raises(AccessDeniedError, match="wants weights, but the target gives scores only"):
        attack.run(BlackBox(victim, Access.SCORES), thief, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"share": 1.0}, "share of at least 0 and below 1"), ({"epochs": -1}, "epochs of at least 0")],
)
def test_settings_that_make_no_sense_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=f"pruning wants (a )?{message}"):
        Pruning(**settings)
