"""One private step against Opacus used as its manual says, by hand, and both ways of clipping."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from opacus import PrivacyEngine
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from harness.data.examples import Split
from harness.defenses import label_smoothing
from harness.defenses.adversarial_training import AdversarialTraining
from harness.defenses.dpsgd import DPSGD
from harness.defenses.label_smoothing import LabelSmoothing
from harness.defenses.stack import Stack
from harness.defenses.trades import TRADES
from harness.seeds import derive, generator
from harness.types import NotApplicableError
from zoo.errors import ZooError
from zoo.recipe import Recipe

CLIP, SIGMA = 0.05, 0.7


@pytest.fixture
def images() -> Split:
    stream = torch.Generator().manual_seed(0)
    return Split(torch.rand(24, 1, 6, 6, generator=stream), torch.arange(24) % 3)


@pytest.fixture
def network() -> nn.Module:
    """Layers of every kind that Opacus treats in its own way."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3, bias=False),
        nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3),
    )  # fmt: skip


def _state(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("clipping", ["per-example", "ghost"])
def test_a_step_is_opacus_own(network, images, clipping) -> None:
    """Same data, same noise, sampling rate 1: the weights after a step are those of its engine."""
    theirs = copy.deepcopy(network).train()
    module, optimizer, loader = PrivacyEngine().make_private(
        module=theirs,
        optimizer=torch.optim.SGD(theirs.parameters(), lr=0.5),
        data_loader=DataLoader(TensorDataset(images.x, images.y), batch_size=24),
        noise_multiplier=SIGMA,
        max_grad_norm=CLIP,
        poisson_sampling=False,
        noise_generator=torch.Generator().manual_seed(derive("noise", 3)),
    )
    [(x, y)] = loader
    optimizer.zero_grad()
    F.cross_entropy(module(x), y).backward()
    optimizer.step()

    before = _state(network)
    recipe = Recipe(optimizer="sgd", lr=0.5, epochs=1, batch_size=24)
    DPSGD(noise_multiplier=SIGMA, max_grad_norm=CLIP, clipping=clipping).fit(
        network, images, recipe, seed=3
    )
    for was, mine, wanted in zip(before, network.parameters(), theirs.parameters(), strict=True):
        assert not torch.equal(was, mine)
        torch.testing.assert_close(mine, wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("clipping", ["per-example", "ghost"])
def test_two_examples_of_a_linear_model_by_hand(clipping) -> None:
    """Weights 0, so both classes have probability 1/2 and the gradient is (1/2 - y) x^T.

    The first x has length 1, its gradient length sqrt(1/2): clipped to half of that. The second has
    length 1/4, its gradient sqrt(1/2) / 4: left as it is.
    """
    model = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(model.weight)
    x, y = torch.tensor([[0.6, 0.8], [0.15, 0.2]]), torch.tensor([0, 1])
    clip = math.sqrt(0.5) / 2
    first = torch.tensor([[-0.3, -0.4], [0.3, 0.4]]) / 2
    second = torch.tensor([[0.075, 0.1], [-0.075, -0.1]])
    noise = torch.normal(
        0.0, 3 * clip, (2, 2), generator=torch.Generator().manual_seed(derive("noise", 7))
    )
    [found] = DPSGD(noise_multiplier=3.0, max_grad_norm=clip, clipping=clipping).release(
        model, Split(x, y), seed=7
    )
    torch.testing.assert_close(found, (first + second + noise) / 2, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("clipping", ["per-example", "ghost"])
def test_another_defenses_loss_and_the_weights_of_examples_come_before_the_clipping(
    network, images, defender, clipping
) -> None:
    """Against one backward pass for each example, in as many pieces as memory asks for."""
    smoothing = LabelSmoothing(alpha=0.3)
    data = replace(images, weight=torch.linspace(0.2, 3.0, 24))
    wanted = [torch.zeros_like(p) for p in network.parameters()]
    for i in range(24):
        one = data.take(torch.tensor([i]))
        loss = one.weight * label_smoothing.cross_entropy(network(one.x), one.y, 0.3)
        gradient = torch.autograd.grad(loss.sum(), list(network.parameters()))
        scale = min(1.0, CLIP / torch.cat([g.flatten() for g in gradient]).norm().item())
        wanted = [w + scale * g / 24 for w, g in zip(wanted, gradient, strict=True)]
    noise = torch.Generator().manual_seed(derive("noise", 0))
    wanted = [w + torch.normal(0.0, CLIP / 2, w.shape, generator=noise) / 24 for w in wanted]
    for memory in (1.0, 1e-6):
        private = DPSGD(noise_multiplier=0.5, max_grad_norm=CLIP, clipping=clipping, memory=memory)
        found = Stack.of([private, smoothing]).release(network, data, defender, seed=0)
        torch.testing.assert_close(list(found), wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_ghosts_train_the_same_model(network, images, optimizer) -> None:
    """Over many Poisson batches, of which some are empty."""
    found = []
    for clipping in ("per-example", "ghost"):
        model = copy.deepcopy(network)
        recipe = Recipe(optimizer=optimizer, lr=0.01, epochs=2, batch_size=2)
        defense = DPSGD(noise_multiplier=0.5, max_grad_norm=CLIP, clipping=clipping)
        found.append((defense.fit(model, images, recipe, seed=0), _state(model)))
        assert all(not m._forward_hooks and not m._backward_hooks for m in model.modules())
        for p in model.parameters():
            assert not {"grad_sample", "summed_grad", "_norm_sample"} & vars(p).keys()
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-5, rtol=1e-3)


def test_a_training_may_begin_with_nobody(network, images) -> None:
    def first(seed: int) -> list[int]:
        return next(
            iter(
                UniformWithReplacementSampler(
                    num_samples=24, sample_rate=1 / 24, generator=generator("poisson", seed)
                )
            )
        )

    seed = next(seed for seed in range(100) if not first(seed))
    found = []
    for clipping in ("per-example", "ghost"):
        model = copy.deepcopy(network)
        recipe = Recipe(optimizer="sgd", lr=0.1, epochs=1, batch_size=1)
        DPSGD(max_grad_norm=CLIP, clipping=clipping).fit(model, images, recipe, seed=seed)
        found.append(_state(model))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("clipping", ["per-example", "ghost"])
def test_pieces_of_a_batch_give_the_whole_sum(network, images, clipping) -> None:
    """1,000 floats hold two examples, or six if the layers are taken singly."""
    found = []
    for memory in (1.0, 1e3 / 2**28):
        model = copy.deepcopy(network)
        defense = DPSGD(max_grad_norm=CLIP, clipping=clipping, memory=memory)
        recipe = Recipe(optimizer="sgd", lr=0.1, epochs=2, batch_size=12)
        found.append((defense.fit(model, images, recipe, seed=0), _state(model)))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-6, rtol=1e-4)


def test_memory_decides_how_many_examples_are_held(network, images) -> None:
    parameters = sum(p.numel() for p in network.parameters())
    largest = 4 * 4 * 9  # the second convolution; the ghosts of linear layers need no room
    held = []

    def count(model, batch, stream):
        held.append(len(batch))
        return batch.x

    for clipping, floats in (("per-example", parameters), ("ghost", largest)):
        defense = DPSGD(clipping=clipping, memory=(10 * floats + 1) / 2**28)
        defense.release(network, images, seed=0, inputs=count)
    assert held == [10, 10, 4, 10, 10, 4]


def test_the_average_of_the_weights_is_what_is_kept(images) -> None:
    """Decays (1 + t) / (10 + t) for the first steps, at most the one asked for."""
    defense = DPSGD(averaging=0.15)
    states = []
    for epochs in (0, 1, 2, 3):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
        recipe = Recipe(optimizer="sgd", lr=0.5, epochs=max(epochs, 1), batch_size=24)
        if epochs:
            DPSGD().fit(model, images, recipe, seed=0)
        states.append(_state(model))
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    defense.fit(model, images, Recipe(optimizer="sgd", lr=0.5, epochs=3, batch_size=24), seed=0)
    average = states[0]
    for decay, state in zip((0.1, 0.15, 0.15), states[1:], strict=True):
        average = [decay * a + (1 - decay) * s for a, s in zip(average, state, strict=True)]
    torch.testing.assert_close(_state(model), average)


def test_a_release_is_the_step_that_training_takes(network, images, defender) -> None:
    defense = DPSGD(noise_multiplier=SIGMA, max_grad_norm=CLIP)
    before, torch_state = _state(network), torch.get_rng_state()
    network.eval()
    released = Stack.of([defense]).release(network, images, defender, seed=3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert not network.training
    assert all(p.grad is None for p in network.parameters())
    torch.testing.assert_close(_state(network), before, rtol=0, atol=0)
    again = defense.release(network, images, seed=3)
    torch.testing.assert_close(released, again, rtol=0, atol=0)
    other = defense.release(network, images, seed=4)
    assert not torch.equal(released[0], other[0])

    recipe = Recipe(optimizer="sgd", lr=0.5, epochs=1, batch_size=24)
    defense.fit(network, images, recipe, seed=3)
    for was, now, gradient in zip(before, network.parameters(), released, strict=True):
        torch.testing.assert_close(now.detach(), was - 0.5 * gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "settings", [{}, {"clipping": "ghost"}, {"augmentations": 4}, {"memory": 1e3 / 2**28}], ids=repr
)
def test_no_example_moves_a_release_by_more_than_its_share(network, images, settings) -> None:
    """One example for another, the noise the same: at most a clipped gradient out and one in."""
    defense = DPSGD(max_grad_norm=CLIP, **settings)
    other = images.x.clone()
    other[5] = 100 * torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(1))
    released = [defense.release(network, Split(x, images.y), seed=0) for x in (images.x, other)]
    moved = torch.cat([(a - b).flatten() for a, b in zip(*released, strict=True)]).norm()
    assert 0.5 * CLIP / 24 < moved <= 2 * CLIP / 24 + 1e-6


def test_frozen_parameters_are_not_released(network, images, defender) -> None:
    network[0].requires_grad_(False)
    for stack in (Stack(()), Stack.of([DPSGD()])):
        shapes = [g.shape for g in stack.release(network, images, defender, seed=0)]
        assert shapes == [p.shape for p in list(network.parameters())[2:]]
        with pytest.raises(ZooError, match="every parameter of the model is frozen"):
            stack.release(copy.deepcopy(network).requires_grad_(False), images, defender, seed=0)


def test_without_such_a_defense_the_mean_gradient_is_released(network, images, defender) -> None:
    network.eval()
    before = _state(network)
    released = Stack(()).release(network, images, defender, seed=0)
    loss = F.cross_entropy(network(images.x), images.y)
    torch.testing.assert_close(released, torch.autograd.grad(loss, list(network.parameters())))
    torch.testing.assert_close(_state(network), before, rtol=0, atol=0)
    assert not network.training


def test_what_is_released_depends_on_the_other_defenses(network, images, defender) -> None:
    attack = AdversarialTraining(epsilon=0.2, steps=2, step_size=0.1)
    network.train()
    moved = attack.inputs(network, images, generator("hooks", 0))
    for alone, both in (((), (attack,)), ((DPSGD(),), (DPSGD(), attack))):
        wanted = Stack.of(alone).release(network, Split(moved, images.y), defender, seed=0)
        found = Stack.of(both).release(network, images, defender, seed=0)
        torch.testing.assert_close(found, wanted)
    trades = TRADES(epsilon=0.2, steps=2, step_size=0.1)
    loss = trades.loss(network, images, generator("hooks", 0)).mean()
    torch.testing.assert_close(
        Stack.of([trades]).release(network, images, defender, seed=0),
        torch.autograd.grad(loss, list(network.parameters())),
    )


def test_a_budget_does_not_say_the_noise_of_one_batch(network, images, defender) -> None:
    defense = DPSGD(dp_epsilon=3.0)
    with pytest.raises(NotApplicableError, match="give the evidence of the training"):
        defense.release(network, images, seed=0)
    told = Stack.of([defense]).release(
        network, images, defender, seed=0, evidence={"noise_multiplier": 2.5}
    )
    set_by_hand = DPSGD(noise_multiplier=2.5).release(network, images, seed=0)
    assert all(map(torch.equal, told, set_by_hand))


def test_a_network_with_batch_norm_releases_nothing(images) -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, 3))
    with pytest.raises(NotApplicableError, match="dpsgd: BatchNorm"):
        DPSGD().release(model, images, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": 0.0}, "memory above 0"),
        ({"augmentations": 0}, "augmentations of at least 1"),
        ({"averaging": 1.0}, "averaging from 0 to below 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        DPSGD(**settings)
