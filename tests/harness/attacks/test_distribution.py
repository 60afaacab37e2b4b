"""Distribution inference on models whose answers and weights are known."""

import copy
import itertools
from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.stats import entropy
from torch import Tensor, nn

from harness import registry
from harness.attacks.distribution_kl import KLDivergence
from harness.attacks.distribution_loss import LossTest
from harness.attacks.distribution_pin import (
    PermutationInvariant,
    PermutationInvariantNetwork,
    layers,
)
from harness.attacks.distribution_threshold import ThresholdTest, best_rule
from harness.attacks.shared.distribution_attack import DistributionAttack, Suspects
from harness.data.examples import Split
from harness.target import BlackBox, BudgetError
from harness.types import Access, NotApplicableError
from zoo import nets
from zoo.errors import ZooError

CLASSES = 3
NAMES = ["distribution-kl", "distribution-loss", "distribution-pin", "distribution-threshold"]


class Answers(nn.Module):
    """Gives every input of group ``x[0]`` the probabilities of that group."""

    def __init__(self, probabilities: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(probabilities.log())

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[x[:, 0].long()]


def _tests(n: int = 40) -> tuple[Split, Split]:
    """World 0 is mostly of group 0, world 1 of group 1; the labels are spread evenly."""
    y = torch.arange(n) % CLASSES
    groups = [(torch.arange(n) % 5 < 1).float(), (torch.arange(n) % 5 < 4).float()]
    first, second = (Split(group[:, None], y) for group in groups)
    return first, second


def _data(victims, own, access=Access.WEIGHTS, tests=None, budget=None) -> Suspects:
    return Suspects(
        victims=tuple(BlackBox(model, access, budget=budget) for model in victims),
        own=tuple(tuple(BlackBox(model, access) for model in world) for world in own),
        tests=tests or _tests(),
        num_classes=CLASSES,
        architecture="mlp-128",
        input_shape=(1,),
    )


def _random(seed: int) -> Answers:
    stream = torch.Generator().manual_seed(seed)
    return Answers(torch.rand(2, CLASSES, generator=stream).softmax(1))


def _run(attack, models, own, *, access=Access.SCORES, tests=None, seed=0) -> Tensor:
    """Scores of models; the first is the target."""
    data = _data(models[1:], own, access, tests)
    return attack.run(BlackBox(models[0], access), data, seed=seed)


def test_kl_counts_votes_as_the_slow_formula_does() -> None:
    own = [[_random(i) for i in range(3)], [_random(10 + i) for i in range(4)]]
    victims = [_random(20 + i) for i in range(5)]
    found = _run(KLDivergence(), victims, own)

    def divergence(model, victim, test) -> float:
        p, q = (m(test.x).softmax(1).detach().double().numpy() for m in (model, victim))
        return float(entropy(p, q, axis=1).mean())

    for victim, score in zip(victims, found, strict=True):
        votes = [
            divergence(zero, victim, test) > divergence(one, victim, test)
            for test in _tests()
            for zero, one in itertools.product(*own)
        ]
        assert float(score) == pytest.approx(np.mean(votes) - 0.5)


def test_kl_looks_at_every_class() -> None:
    """The worlds differ in the second and third class alone; sigmoids of the first are blind."""
    worlds = torch.tensor([[0.6, 0.3, 0.1], [0.6, 0.1, 0.3]])
    models = [Answers(worlds[w].expand(2, -1)) for w in (0, 1)]
    found = _run(KLDivergence(), models, [[models[0]], [models[1]]])
    assert found.tolist() == [-0.5, 0.5]


def test_kl_does_not_mind_a_constant_in_the_logits() -> None:
    own = [[_random(0)], [_random(1)]]
    shifted = copy.deepcopy(own)
    for model in itertools.chain(*shifted):
        model.logits.data += torch.tensor([[5.0], [-7.0]])
    victims = [_random(2), _random(3)]
    assert torch.equal(_run(KLDivergence(), victims, own), _run(KLDivergence(), victims, shifted))


def test_kl_outlives_answers_of_probability_zero() -> None:
    sure = [Answers(torch.eye(CLASSES)[[i, i]]) for i in (0, 1)]
    found = _run(KLDivergence(), sure, [[sure[0]], [sure[1]]])
    assert found.tolist() == [-0.5, 0.5]


def test_the_loss_test_compares_cross_entropies() -> None:
    victims = [_random(i) for i in range(4)]
    found = _run(LossTest(), victims, [[], []])
    for victim, score in zip(victims, found, strict=True):
        zero, one = (float(F.cross_entropy(victim(test.x), test.y)) for test in _tests())
        assert float(score) == pytest.approx(zero - one, abs=1e-6)


def test_with_labels_only_the_loss_is_the_error_rate() -> None:
    right, wrong = (Split(torch.zeros(10, 1), torch.full((10,), label)) for label in (0, 2))
    model = Answers(torch.tensor([[0.8, 0.1, 0.1]]).expand(2, -1))
    for tests, score in (((wrong, right), 1.0), ((right, wrong), -1.0)):
        assert _run(LossTest(), [model], [[], []], access=Access.LABELS, tests=tests) == score


def test_a_rule_is_the_best_of_all() -> None:
    stream = torch.Generator().manual_seed(0)
    for _ in range(50):
        zeros, ones = torch.randn(4, generator=stream), torch.randn(6, generator=stream) + 0.5
        rule = best_rule(zeros, ones)
        sides = torch.tensor([1.0, -1.0])[:, None, None]
        at = torch.linspace(-4, 4, 2001)[:, None]
        found = (sides * (zeros - at) < 0).double().mean(2)
        found += (sides * (ones - at) > 0).double().mean(2)
        assert rule.accuracy >= found.max() / 2 - 1e-9
        mine = (rule.sign * (zeros - rule.at) < 0).double().mean()
        mine += (rule.sign * (ones - rule.at) > 0).double().mean()
        assert rule.accuracy == pytest.approx(float(mine) / 2)


def test_a_rule_lies_in_the_middle_of_the_widest_gap() -> None:
    rule = best_rule(torch.tensor([1.0, 2.0]), torch.tensor([6.0, 7.0]))
    assert (rule.at, rule.sign, rule.accuracy, rule.gap) == (4.0, 1, 1.0, 2.0)
    below = best_rule(torch.tensor([6.0, 7.0]), torch.tensor([1.0, 2.0]))
    assert (below.at, below.sign) == (4.0, -1)


def test_numbers_that_are_all_the_same_make_no_rule() -> None:
    rule = best_rule(torch.ones(3), torch.ones(2))
    assert (rule.at, rule.accuracy) == (1.0, 0.5)


def test_the_threshold_is_that_of_own_models() -> None:
    """Own models of world 1 are surer of themselves, and so are its victims."""
    levels = [[0.4, 0.42, 0.38], [0.6, 0.58, 0.62]]
    own = [[_level(p) for p in world] for world in levels]
    found = _run(ThresholdTest(), [_level(p) for p in (0.41, 0.59, 0.44, 0.57)], own)
    assert (found > 0).tolist() == [False, True, False, True]
    # Trained the other way round, the same victims are of the other world.
    turned = _run(ThresholdTest(), [_level(p) for p in (0.41, 0.59, 0.44, 0.57)], own[::-1])
    assert (turned > 0).tolist() == [True, False, True, False]


def _level(p: float) -> Answers:
    """Right with confidence ``p`` on inputs whose label is 0."""
    return Answers(torch.tensor([[p, (1 - p) / 2, (1 - p) / 2]]).expand(2, -1))


def test_equal_models_are_told_from_nobody() -> None:
    same = _random(0)
    own = [[same, same], [same, same]]
    for attack in (KLDivergence(), ThresholdTest()):
        assert _run(attack, [same, same], own).tolist() == [0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_one_model_does_not_depend_on_the_others(name) -> None:
    attack = registry.make("attack", name, {"epochs": 3} if name.endswith("pin") else {})
    access = attack.access[-1]
    models = [_network(i) for i in range(10)]
    own = [models[:3], models[3:6]]
    together = _run(attack, models[6:], own, access=access, tests=_images())
    alone = [_run(attack, [m], own, access=access, tests=_images())[0] for m in models[6:]]
    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_changes_no_model_and_no_luck(name) -> None:
    attack = registry.make("attack", name, {"epochs": 2} if name.endswith("pin") else {})
    models = [_network(i) for i in range(6)]
    before = [copy.deepcopy(model.state_dict()) for model in models]
    state = torch.get_rng_state()
    runs = []
    for _ in range(2):
        own = [models[:2], models[2:4]]
        runs.append(_run(attack, models[4:], own, access=attack.access[-1], tests=_images()))
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(1)  # move the global generator: the attack must not notice
        state = torch.get_rng_state()
    assert torch.equal(*runs)
    for model, weights in zip(models, before, strict=True):
        torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["distribution-kl", "distribution-loss", "distribution-threshold"])
def test_a_victim_is_asked_about_each_example_once(name) -> None:
    own = [[_random(0)], [_random(1)]]
    data = _data([_random(2)], own, Access.SCORES, budget=80)
    target = BlackBox(_random(3), Access.SCORES, budget=80)
    registry.make("attack", name, {}).run(target, data, seed=0)
    assert target.queries == data.victims[0].queries == 80
    with pytest.raises(BudgetError):
        registry.make("attack", name, {}).run(target, data, seed=0)


# The permutation-invariant network.


def _images() -> tuple[Split, Split]:
    stream = torch.Generator().manual_seed(0)
    x = torch.rand(12, 1, 4, 4, generator=stream)
    return Split(x[:6], torch.arange(6) % CLASSES), Split(x[6:], torch.arange(6) % CLASSES)


def _network(seed: int, architecture: str = "cnn-small") -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nets.build(architecture, (1, 4, 4), CLASSES)


def _permuted(model: nn.Sequential, seed: int) -> nn.Sequential:
    """The same function with its hidden neurons in another order."""
    stream, model = torch.Generator().manual_seed(seed), copy.deepcopy(model)
    rows = [layer for layer in model if isinstance(layer, (nn.Linear, nn.Conv2d))]
    for layer, after in itertools.pairwise(rows):
        order = torch.randperm(len(layer.weight), generator=stream)
        layer.weight.data, layer.bias.data = layer.weight.data[order], layer.bias.data[order]
        grouped = after.weight.data.reshape(len(after.weight), len(order), -1)
        after.weight.data = grouped[:, order].reshape(after.weight.shape)
    return model


@pytest.mark.parametrize("architecture", ["mlp-32", "mlp-6x100", "cnn-small", "conv-base"])
def test_the_order_of_hidden_neurons_does_not_matter(architecture) -> None:
    shape = (1, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nets.build(architecture, shape, CLASSES)
        judge = PermutationInvariant(layers([model]), 16, 8)
    model, judge = model.double(), judge.double()
    other = _permuted(model, 1)
    x = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(model(x), other(x))  # the test's own premise
    assert not torch.equal(model[-1].weight, other[-1].weight)
    said = float(judge(layers([model])).detach())
    assert abs(said - float(judge(layers([other])).detach())) < 1e-14
    # Another order of the weights out of them alone makes another network of it.
    other[-1].weight.data = other[-1].weight.data.flip(1)
    assert abs(said - float(judge(layers([other])).detach())) > 1e-10


def test_a_weight_remains_with_the_neuron_that_it_belongs_to() -> None:
    """The worlds share all neurons and all weights out of them; they differ in which go together.

    Neurons with large weights in have large weights out in world 1, small ones in world 0, in any
    order. Who pools the neurons before looking at the weights out cannot see it.
    """

    def network(world: int, seed: int) -> nn.Module:
        stream = torch.Generator().manual_seed(1000 * world + seed)
        inward = torch.linspace(0.2, 2, 16)
        outward = inward if world else inward.flip(0)
        order = torch.randperm(16, generator=stream)
        model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2))
        for layer, scale in ((model[0], inward[order, None]), (model[2], outward[order])):
            noise = 0.1 * torch.randn(layer.weight.shape, generator=stream)
            layer.weight.data = scale * (1 + noise)
            layer.bias.data.zero_()
        return model

    own = [[network(world, i) for i in range(12)] for world in (0, 1)]
    victims = [network(world, 100 + i) for world in (0, 1) for i in range(10)]
    found = _run(PermutationInvariantNetwork(lr=1e-2), victims, own, access=Access.WEIGHTS)
    assert ((found > 0) == (torch.arange(20) >= 10)).double().mean() >= 0.9


def test_networks_that_do_not_differ_are_told_apart_by_luck_alone() -> None:
    right = []
    for seed in range(4):
        own = [[_network(100 * seed + 10 * w + i, "mlp-32") for i in range(6)] for w in (0, 1)]
        victims = [_network(5000 + 100 * seed + i, "mlp-32") for i in range(20)]
        found = _run(
            PermutationInvariantNetwork(epochs=50), victims, own, access=Access.WEIGHTS, seed=seed
        )
        right.append(((found > 0) == (torch.arange(20) >= 10)).double().mean())
    assert np.mean(right) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()), "BatchNorm2d"),
        (nn.Sequential(nn.Conv2d(2, 4, 3, groups=2)), "Conv2d"),
        (nets.build("resnet8", (3, 32, 32), 10), "CifarResNet"),
    ],
)
def test_a_network_that_is_no_plain_row_is_refused(model, kind) -> None:
    with pytest.raises(NotApplicableError, match=f"plain row .* has a {kind}"):
        layers([model])


# Settings.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio0": -0.1}, "ratio0 wants a share between 0 and 1, found -0.1"),
        ({"ratio1": 1.5}, "ratio1 wants a share between 0 and 1, found 1.5"),
        ({"train_size": 0}, "train_size wants at least 1 example, found 0"),
        ({"victims": 0}, "victims wants at least 1 model of each world, found 0"),
        ({"models": 0}, "models wants at least 1 model of each world, found 0"),
        ({"width": 0}, "width wants at least 1, found 0"),
        ({"epochs": -1}, "epochs wants 0 or more, found -1"),
    ],
)
def test_a_bad_setting_is_named(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        PermutationInvariantNetwork(**settings)


@pytest.mark.parametrize("name", NAMES)
def test_all_ask_the_same_question(name) -> None:
    """So that they share their victims and own models."""
    attack = registry.make("attack", name, {})
    assert all(getattr(attack, field.name) == field.default for field in fields(DistributionAttack))
    assert getattr(attack, "models", 8) == 8
