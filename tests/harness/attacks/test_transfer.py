"""Transfer: what is crafted on a model of one's own, and what the target is asked: nothing."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from harness.attacks.fgsm import FGSM
from harness.attacks.protocol import EvasionData
from harness.attacks.transfer import Transfer
from harness.data.quarters import quarters
from harness.games import evasion
from harness.target import BlackBox
from harness.types import Access, Aux, Regime, ThreatModel
from zoo.errors import UnknownNameError, ZooError

QUICK = Transfer(epsilon=0.15, method="fgsm", surrogate="mlp-128", epochs=15, lr=3e-3)


@pytest.fixture(scope="module")
def data(digits, points) -> EvasionData:
    split = quarters(digits, 0, Regime.FROM_SCRATCH)
    return EvasionData(
        points=points,
        aux=digits.all.take(split.shadow_train),
        num_classes=10,
        architecture="cnn-small",
        input_shape=(1, 8, 8),
    )


def _right(model, x, y) -> float:
    return (model(x).argmax(1) == y).double().mean().item()


@pytest.mark.parametrize("method", ["fgsm", "pgd"])
def test_the_target_is_fooled_without_a_question(method, trained, data) -> None:
    target = BlackBox(trained, Access.LABELS)
    found = replace(QUICK, method=method).run(target, data, seed=0)
    assert target.queries == 0
    assert (found - data.points.x).abs().max() <= 0.15 + 1e-6
    x, y = data.points.x, data.points.y
    noise = (x + 0.15 * torch.randn(x.shape).sign()).clamp(0, 1)
    after = _right(trained, found, y)
    assert after < _right(trained, noise, y) - 0.2  # chance moves of the same size do little
    own = FGSM(epsilon=0.15).run(BlackBox(trained, Access.WEIGHTS), data, seed=0)
    assert after > _right(trained, own, y)  # and the weights would be worth more


def test_on_the_target_itself_transfer_is_the_white_box(trained, data) -> None:
    """With the target as its source, and no data of its own."""
    attack = Transfer(epsilon=0.1, method="fgsm", source="twin")
    given = replace(data, aux=data.aux.take(slice(0)), source=trained)
    found = attack.run(BlackBox(trained, Access.LABELS), given, seed=0)
    expected = FGSM(epsilon=0.1).run(BlackBox(trained, Access.WEIGHTS), given, seed=0)
    assert torch.equal(found, expected)


def test_a_source_that_knows_nothing_fools_nobody(trained, data) -> None:
    class Blind(nn.Module):
        def forward(self, x):
            return torch.zeros(len(x), 10)

    attack = Transfer(epsilon=0.1, method="fgsm", source="blind")
    found = attack.run(BlackBox(trained, Access.LABELS), replace(data, source=Blind()), seed=0)
    torch.testing.assert_close(found, data.points.x, rtol=0, atol=0)


def test_every_input_goes_the_whole_way(trained, data) -> None:
    """Stopping where the surrogate is wrong would leave the target's margin for nothing."""
    attack = Transfer(epsilon=0.1, steps=10, source="twin")
    found = attack.run(BlackBox(trained, Access.LABELS), replace(data, source=trained), seed=0)
    size = (found - data.points.x).flatten(1).abs().amax(1)
    torch.testing.assert_close(size, torch.full_like(size, 0.1), atol=1e-3, rtol=0)


def test_the_game_hands_over_what_is_granted_and_nothing_else(
    trained, digits, scenario_for, monkeypatch
) -> None:
    seen = []
    monkeypatch.setattr(
        Transfer, "run", lambda self, target, data, *, seed: seen.append(data) or data.points.x
    )
    attack = QUICK.resolve(digits)
    for aux in (Aux.PARTIAL, Aux.SHADOW):
        table = scenario_for(digits, trained, threat=ThreatModel(access=Access.LABELS, aux=aux))
        evasion.play(attack, table)
        held = table.quarters.target_train[:224]
        if aux is Aux.SHADOW:
            held = torch.cat([table.quarters.shadow_train, table.quarters.shadow_test])
        assert torch.equal(seen[-1].aux.x, digits.x[held])
        assert torch.equal(seen[-1].points.x, digits.x[table.quarters.target_test])
    evasion.play(FGSM(epsilon=0.1), scenario_for(digits, trained))
    monkeypatch.setattr(FGSM, "run", lambda s, t, data, *, seed: seen.append(data) or data.points.x)
    evasion.play(FGSM(epsilon=0.1), scenario_for(digits, trained))
    assert len(seen[-1].aux) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"surrogate": "resnet"}, "No architecture 'resnet'"),
        ({"surrogate": "conv-marabou-large"}, "cannot take inputs of 1x4x4"),
        ({"epsilon": 8}, r"pixel range \[0, 1\], found 8"),
        ({"surrogate": "mlp-128", "source": "a"}, "either a source"),
        ({"steps": 0}, "steps of at least 1, found 0"),
    ],
)
def test_a_surrogate_or_radius_that_does_not_fit_is_refused(settings, message, tiny) -> None:
    with pytest.raises((ZooError, UnknownNameError), match=message):
        Transfer(**settings).resolve(tiny)


def test_an_attacker_without_data_is_told_what_to_do(trained, data, digits, scenario_for) -> None:
    without = replace(data, aux=data.aux.take(slice(0)))
    with pytest.raises(ZooError, match="or a model of the catalog with transfer.source"):
        QUICK.run(BlackBox(trained, Access.LABELS), without, seed=0)
    split = quarters(replace(digits, n_train=0), 0, Regime.PUBLISHED)
    threat = ThreatModel(access=Access.LABELS, aux=Aux.PARTIAL)
    with pytest.raises(ZooError, match="partial data holds no examples"):
        evasion.check(
            QUICK, replace(scenario_for(digits, trained).spec, quarters=split, threat=threat)
        )
