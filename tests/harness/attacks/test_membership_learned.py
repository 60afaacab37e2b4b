"""Membership attacks by a trained network, on targets whose answers are written down."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.func import functional_call, grad, vmap

from harness.attacks.mlp_black_box import MLPBlackBox
from harness.attacks.mlp_membership import MLP
from harness.attacks.mlp_white_box import MLPWhiteBox, last_layer_gradient
from harness.attacks.shared.attacker_data import Candidates, Shadow
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.games import membership
from harness.seeds import seeded
from harness.target import BlackBox
from harness.types import Access, Aux, NotApplicableError, ThreatModel
from zoo import nets
from zoo.errors import ZooError

ATTACKS = [MLP(), MLPBlackBox(), MLPWhiteBox()]


class Written(nn.Module):
    """Answers the input times ten: an input of the class's one-hot vector is a sure answer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(10 * torch.eye(4))

    def forward(self, x):
        return self.layer(x)


def _people(n: int, seed: int, *, sure: bool = True) -> tuple[Split, torch.Tensor]:
    """Examples and their membership; a target is surer of members, if ``sure``."""
    stream = torch.Generator().manual_seed(seed)
    member = torch.arange(n) % 2 == 0
    y = torch.randint(4, (n,), generator=stream)
    trust = torch.rand(n, generator=stream) * 0.2 + 0.1 + 0.3 * (member & sure)
    return Split(F.one_hot(y, 4) * trust[:, None], y), member


def _data(points: Split, aux: Split, aux_member, shadows=()) -> Candidates:
    return Candidates(
        points=points, aux=aux, aux_member=aux_member, shadows=shadows,
        num_classes=4, architecture="mlp-32", input_shape=(4,),
    )  # fmt: skip


POINTS, TRUTH = _people(200, 0)
KNOWN = _data(POINTS, *_people(200, 1))


@pytest.mark.parametrize("attack", ATTACKS)
def test_members_that_are_answered_surely_are_all_found(attack) -> None:
    found = attack.run(BlackBox(Written(), Access.WEIGHTS), KNOWN, seed=0)
    assert found.shape == (200,)
    assert roc_auc_score(TRUTH, found) == 1


@pytest.mark.parametrize("attack", ATTACKS)
def test_answers_that_do_not_depend_on_membership_tell_nothing(attack) -> None:
    target, found = BlackBox(Written(), Access.WEIGHTS), []
    for seed in range(4):
        points, truth = _people(1000, 10 + seed, sure=False)
        aux, aux_member = _people(200, 20 + seed, sure=False)
        quick = replace(attack, epochs=5)
        scores = quick.run(target, _data(points, aux, aux_member), seed=seed)
        found.append(roc_auc_score(truth, scores))
    assert sum(found) / 4 == pytest.approx(0.5, abs=3 * 0.0183 / 2)


@pytest.mark.parametrize("attack", [MLPBlackBox(), MLPWhiteBox()])
def test_shadow_models_teach_what_the_target_then_is_asked(attack) -> None:
    aux, aux_member = _people(200, 1)
    boxes = [BlackBox(Written(), Access.WEIGHTS) for _ in range(2)]
    target = BlackBox(Written(), Access.WEIGHTS)
    shadows = tuple(Shadow(box=box, members=~TRUTH, aux_members=aux_member) for box in boxes)
    nobody = torch.zeros(200, dtype=torch.bool)
    found = attack.run(target, _data(POINTS, aux, nobody, shadows), seed=0)
    assert roc_auc_score(TRUTH, found) == 1
    if attack.access == (Access.SCORES,):
        assert (boxes[0].queries, boxes[1].queries, target.queries) == (200, 200, 200)


@pytest.mark.parametrize("attack", [MLP(), MLPBlackBox()])
def test_known_members_are_asked_about_as_far_as_the_budget_goes(attack) -> None:
    for budget in (260, 400, None):
        target = BlackBox(Written(), Access.SCORES, budget=budget)
        attack.run(target, KNOWN, seed=0)
        assert target.queries == (budget or 400)
    with pytest.raises(ZooError, match=r"knows 0 and 0. .* raise --queries"):
        attack.run(BlackBox(Written(), Access.SCORES, budget=200), KNOWN, seed=0)
    nobody = replace(KNOWN, aux_member=torch.zeros(200, dtype=torch.bool))
    with pytest.raises(ZooError, match=r"knows 0 and 200"):
        attack.run(BlackBox(Written(), Access.SCORES), nobody, seed=0)


def test_training_is_adam_on_the_weighted_cross_entropy_of_each_step_alone() -> None:
    """Written out with other means: gradients that pile up, or a second softmax, would differ."""
    attack = MLPBlackBox(epochs=10, batch_size=1000, lr=0.01)
    aux, member = _people(200, 1)
    row = (~member | (torch.arange(200) % 6 == 0)).nonzero()[:, 0]  # one in four, as for a shadow
    aux, member = aux.take(row), member[row]
    target = BlackBox(Written(), Access.SCORES)
    found = attack.run(target, _data(POINTS, aux, member), seed=5)

    with seeded("attack network", 5, 0):
        network = attack.build(5, 4)
    params: dict[str, torch.Tensor] = dict(network.named_parameters())
    x, y = attack.see(target, aux), member.long()
    mean, deviation = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - mean) / deviation

    def loss(params):
        odds = functional_call(network, params, (x,)).softmax(1)
        each = -odds.gather(1, y[:, None])[:, 0].log()
        return each[member].mean() / 2 + each[~member].mean() / 2

    first = {k: torch.zeros_like(v) for k, v in params.items()}
    second = {k: torch.zeros_like(v) for k, v in params.items()}
    for step in range(1, 11):
        slope = grad(loss)(params)
        for k, g in slope.items():
            first[k] = 0.9 * first[k] + 0.1 * g
            second[k] = 0.999 * second[k] + 0.001 * g**2
            move = first[k] / (1 - 0.9**step) / ((second[k] / (1 - 0.999**step)).sqrt() + 1e-8)
            params[k] = params[k] - 0.01 * move
    asked = (attack.see(target, POINTS) - mean) / deviation
    odds = functional_call(network, params, (asked,)).softmax(1)
    expected = odds[:, 1].log() - odds[:, 0].log()
    torch.testing.assert_close(found, expected.detach(), atol=1e-3, rtol=1e-3)
    assert expected.std() > 0.1


def test_scores_are_seen_in_order_and_no_more_than_asked_for() -> None:
    scores = torch.tensor([[0.1, 0.6, 0.05, 0.25], [0.7, 0.0, 0.2, 0.1]])
    # log gives the scores back in softmax
    box = BlackBox(_Fixed(scores.clamp_min(1e-30).log()), Access.SCORES)
    examples = Split(torch.zeros(2, 4), torch.tensor([1, 1]))
    top = MLP(top=3).see(box, examples)
    torch.testing.assert_close(top, torch.tensor([[0.6, 0.25, 0.1], [0.7, 0.2, 0.1]]))
    seen = MLPBlackBox().see(box, examples)
    # Right about the first, wrong about the second; class 0 is an answer like any other.
    assert seen[:, 4].tolist() == [1, 0]
    torch.testing.assert_close(seen[:, :4], scores.sort(descending=True).values)
    assert MLPBlackBox().see(box, Split(examples.x, torch.tensor([0, 0])))[:, 4].tolist() == [0, 1]


class _Fixed(nn.Module):
    def __init__(self, logits) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return self.logits


@pytest.mark.parametrize("architecture", ["mlp-32", "cnn-small", "resnet8", "no-bias"])
def test_gradients_of_the_last_layer_are_those_of_each_example_alone(architecture) -> None:
    torch.manual_seed(0)
    shape = (1, 8, 8)
    if architecture == "no-bias":
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.Tanh(), nn.Linear(7, 4, False))
    else:
        model = nets.build(architecture, shape, 4)
    model.eval()
    x, y = torch.rand(6, *shape), torch.randint(4, (6,))
    seen = MLPWhiteBox().see(BlackBox(model, Access.WEIGHTS), Split(x, y))
    scores, loss, label, inputs = seen.split((4, 1, 4, seen.shape[1] - 9), 1)
    found = last_layer_gradient(scores, label, inputs).unflatten(1, (4, -1))

    params = {k: v.detach() for k, v in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def cost(params, x, y):
        logits = functional_call(model, (params, buffers), (x[None],))
        return F.cross_entropy(logits, y[None])

    each = vmap(grad(cost), (None, 0, 0))(params, x, y)
    last = [k for k in params if k.endswith("weight")][-1]
    expected = each[last]
    if architecture != "no-bias":
        expected = torch.cat([expected, each[last.replace("weight", "bias")][..., None]], 2)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(loss[:, 0], F.cross_entropy(model(x), y, reduction="none"))
    torch.testing.assert_close(scores, model(x).softmax(1))
    assert torch.equal(label, F.one_hot(y, 4).float())


def test_what_is_seen_of_an_example_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    box = BlackBox(nets.build("cnn-small", (1, 8, 8), 4).eval(), Access.WEIGHTS)
    x, y = torch.rand(9, 1, 8, 8), torch.randint(4, (9,))
    order = torch.randperm(9)
    for attack in ATTACKS:
        seen = attack.see(box, Split(x, y))
        torch.testing.assert_close(attack.see(box, Split(x[order], y[order])), seen[order])


def test_a_model_whose_last_layer_is_not_linear_is_not_applicable() -> None:
    target = BlackBox(_Convolution(), Access.WEIGHTS)
    data = _data(Split(torch.rand(4, 4), torch.arange(4)), *_people(4, 0))
    with pytest.raises(NotApplicableError, match="not linear"):
        MLPWhiteBox().run(target, data, seed=0)


class _Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(4, 4, 1)

    def forward(self, x):
        return self.layer(x[:, :, None])[:, :, 0]


@pytest.mark.parametrize("attack", [MLPBlackBox(shadows=3), MLPWhiteBox(shadows=3)])
def test_shadow_models_are_trained_only_where_no_member_is_known(
    digits, scenario_for, attack
) -> None:
    model = nets.build("mlp-32", (1, 8, 8), 10)
    for aux, wanted in ((Aux.SHADOW, 3), (Aux.PARTIAL, 0)):
        threat = ThreatModel(access=attack.access[0], aux=aux)
        setting = scenario_for(digits, model, threat=threat).spec
        membership.check(attack, setting)
        assert len(membership.needs(attack, setting)["shadows"]) == wanted


def test_settings_that_make_no_sense_are_refused(tiny: Dataset) -> None:
    with pytest.raises(ZooError, match="mlp wants top of at least 1, found 0"):
        MLP(top=0)
    with pytest.raises(ZooError, match="mlp wants the 4 largest scores, but tiny has 3 classes"):
        MLP(top=4).resolve(tiny)
    assert MLP(top=3).resolve(tiny) == MLP(top=3)
    with pytest.raises(ZooError, match="mlp-black-box wants shadows of at least 1, found 0"):
        MLPBlackBox(shadows=0)
    with pytest.raises(ZooError, match="mlp-white-box wants shadows of at least 1, found 0"):
        MLPWhiteBox(shadows=0)
    with pytest.raises(ZooError, match="wants lr above 0"):
        MLP(lr=0)


def test_networks_that_are_dead_are_tried_again_and_then_called_off(monkeypatch) -> None:
    aux, member = _people(200, 1)
    target = BlackBox(Written(), Access.SCORES)
    real, tried = MLPBlackBox.build, []

    def build(self, width, num_classes):
        network = real(self, width, num_classes)
        tried.append(network)
        if len(tried) <= dead:
            for p in network.head[-1].parameters():
                p.data.zero_()
                p.requires_grad_(False)
        return network

    monkeypatch.setattr(MLPBlackBox, "build", build)
    dead = 2
    found = MLPBlackBox(epochs=1).run(target, _data(POINTS, aux, member), seed=5)
    assert len(tried) == 3
    assert found.std() > 0
    dead, tried[:] = 9, []
    with pytest.raises(RuntimeError, match="3 networks give every candidate the same answer"):
        MLPBlackBox(epochs=1).run(target, _data(POINTS, aux, member), seed=5)
