"""Defenses that repair a backdoored model: pruning, fine-tuning, distillation; and ABL."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from harness.attacks.badnets import BadNets
from harness.data.dataset import DataLocation
from harness.data.datasets import load
from harness.data.examples import Split
from harness.data.quarters import quarters
from harness.defenses.abl import ABL, certainty
from harness.defenses.anp import ANP, neurons
from harness.defenses.fine_pruning import FinePruning, last_channels
from harness.defenses.nad import NAD, attention, distance, watching
from harness.defenses.shared.defender import DefenderData, trusted_index
from harness.defenses.shared.repair import fine_tune, shifted
from harness.seeds import derive, generator
from harness.training.job import network
from harness.training.single import defender_data
from harness.types import NotApplicableError, Regime
from zoo import nets
from zoo.errors import ZooError
from zoo.recipe import Recipe

RECIPE = Recipe(lr=3e-3, epochs=30, batch_size=32)
EDITS = [FinePruning(steps=3), ANP(steps=3), NAD(steps=3)]


def _never(data: Split) -> nn.Module:
    raise AssertionError("a repair trains no model from scratch")


def _shop(trusted: Split) -> DefenderData:
    return DefenderData(
        data=trusted, trusted=trusted, num_classes=10, train=_never, recipe=None, seed=0
    )


@pytest.fixture(scope="module")
def backdoored(digits, job_for):
    """(model, defender, poisoned data, test data, job) of a BadNets model by architecture and seed."""
    made = {}

    def one(architecture: str, seed: int):
        if (architecture, seed) not in made:
            job = job_for(architecture, seed, recipe=RECIPE)
            clean = digits.all.take(job.index)
            trusted = trusted_index(len(clean), seed)
            data = BadNets().poison(
                clean, trusted=trusted, num_classes=10, seed=derive("poison", seed)
            )
            defender = defender_data(job, clean, clean.take(trusted), None)
            test = digits.all.take(quarters(digits, seed, Regime.FROM_SCRATCH).target_test)
            made[architecture, seed] = defender.train(data.data), defender, data.data, test, job
        return made[architecture, seed]

    return one


@torch.no_grad()
def _rates(model: nn.Module, test: Split, attack: BadNets) -> np.ndarray:
    """Clean accuracy and attack success rate."""
    others = test.take((test.y != attack.target).nonzero().flatten())
    hit = model(attack.trigger(others.x, seed=0)).argmax(1) == attack.target
    right = model(test.x).argmax(1) == test.y
    return np.array([right.double().mean().item(), hit.double().mean().item()])


def _mean(backdoored, repair, architecture: str, seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """Rates before and after, averaged over seeds."""
    rates = []
    for seed in seeds:
        model, defender, data, test, job = backdoored(architecture, seed)
        repaired = repair(model, data, defender, job)
        rates.append([_rates(m, test, BadNets()) for m in (model, repaired)])
    before, after = np.mean(rates, axis=0)
    assert before[1] > 0.95  # the control: without the defense the backdoor works
    return before, after


@pytest.mark.parametrize("defense", EDITS, ids=lambda d: d.name)
@pytest.mark.parametrize("architecture", ["cnn-small", "resnet8", "wrn-16-1", "resnet2b"])
def test_an_edit_returns_the_same_kind_of_model_and_leaves_the_old_one(
    defense, architecture, tiny
) -> None:
    torch.manual_seed(0)
    x = F.interpolate(tiny.x, (8, 8))
    model = nets.Scaled(nets.build(architecture, (1, 8, 8), 3), (0.5,), (0.5,), (1, 8, 8)).eval()
    model.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    defender = _shop(Split(x[:20], tiny.y[:20]))
    first = defense.edit(model, Split(x, tiny.y), defender)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert not any(module.training for module in (*model.modules(), *first.modules()))
    assert all(not m._forward_hooks for m in (*model.modules(), *first.modules()))
    assert first.state_dict().keys() == before.keys()
    assert any(not torch.equal(before[k], v) for k, v in first.state_dict().items()) or (
        defense.name == "anp"  # which prunes nothing in three steps
    )
    torch.rand(1)
    again = defense.edit(model, Split(x, tiny.y), defender)
    torch.testing.assert_close(dict(first.state_dict()), dict(again.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("defense", [FinePruning(), NAD()], ids=lambda d: d.name)
@pytest.mark.parametrize("architecture", ["mlp-128", "vit-tiny-patch2"])
def test_without_convolutions_it_is_said_why_not(defense, architecture, tiny) -> None:
    model = nets.build(architecture, (1, 4, 4), 3)
    with pytest.raises(NotApplicableError, match="network has no convolution"):
        defense.edit(model, tiny.all, _shop(tiny.all))


def test_a_network_of_one_layer_has_no_neurons_to_prune(tiny) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(NotApplicableError, match="only its last layer"):
        ANP().edit(model, tiny.all, _shop(tiny.all))


def _with_dormant_channel() -> nn.Module:
    """Bright images are class 1, dark ones 0; any pixel above 0.9 lights channel 2: class 0."""
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1, 1)
        model[0].bias[:] = torch.tensor([0.0, 1e-3, -0.9])
        model[3].weight.zero_()
        model[3].weight[1, :16] = 1.0
        model[3].weight[0, 32:] = 1e4
        model[3].bias[:] = torch.tensor([16 * 0.4, 0.0])
    return model.eval()


def test_the_dormant_channel_goes_and_the_backdoor_with_it() -> None:
    y = torch.arange(40) % 2
    x = (0.2 + 0.4 * y.float()).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).clone()
    triggered = x[y == 1].clone()
    triggered[:, :, 3, 3] = 1.0
    model = _with_dormant_channel()
    _, _, activity = last_channels(model, x)
    torch.testing.assert_close(activity, torch.tensor([0.4, 1e-3, 0.0]))
    assert (model(triggered).argmax(1) == 0).all()
    repaired = FinePruning(steps=0, max_drop=0.0).edit(model, Split(x, y), _shop(Split(x, y)))
    assert (repaired(x).argmax(1) == y).all()
    assert (repaired(triggered).argmax(1) == 1).all()
    assert repaired[0].weight.flatten().tolist() == [1.0, 0.0, 0.0]
    assert repaired[0].bias[2] == 0


def test_pruning_stops_before_the_accuracy_falls_too_far(backdoored) -> None:
    model, defender, data, _, _ = backdoored("cnn-small", 0)
    found = []
    for max_drop in (0.0, 0.2, 0.99):
        repaired = FinePruning(steps=0, max_drop=max_drop).edit(model, data, defender)
        dead = repaired.net[3].weight.flatten(1).abs().sum(1) == 0
        right = (repaired(defender.trusted.x).argmax(1) == defender.trusted.y).double().mean()
        before = (model(defender.trusted.x).argmax(1) == defender.trusted.y).double().mean()
        assert before - right <= max_drop + 1e-9
        found.append(int(dead.sum()))
    assert found == sorted(found)
    assert found[0] < found[1] < found[2] == 31  # one channel of 32 is left


def test_neurons_are_those_of_batch_norm_or_all_before_the_head(tiny) -> None:
    x = torch.rand(2, 1, 8, 8)
    assert all("bn" in name for name in neurons(nets.build("resnet8", (1, 8, 8), 3), x))
    assert neurons(nets.build("cnn-small", (1, 8, 8), 3), x) == ["0", "3", "7"]


def test_a_neuron_that_only_a_perturbation_lights_is_pruned() -> None:
    """Unit 1 is silent on clean inputs, but 40 % more of its weight turns the answer over."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[1].weight[:] = torch.tensor([[1.0, 0.0], [0.0, 10.0]])
        model[1].bias[:] = torch.tensor([0.0, -10.0])
        model[3].weight[:] = torch.tensor([[0.0, 5.0], [3.0, 0.0]])
        model[3].bias[:] = torch.tensor([1.5, 0.0])
    y = torch.arange(40) % 2
    x = torch.stack([y.float(), torch.full((40,), 0.95)], 1)
    pruned = ANP(steps=100).edit(model, Split(x, y), _shop(Split(x, y)))
    assert pruned[1].weight.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert torch.equal(pruned[1].bias, model[1].bias)
    assert (pruned(x).argmax(1) == y).all()


def _masks_by_hand(net, x: torch.Tensor, y: torch.Tensor, anp: ANP, seed: int) -> list[np.ndarray]:
    """Masks of the two batch normalisations of ``net``, written down from the paper.

    The inner maximum over perturbations of weights and biases is one signed step from a random
    start, the outer minimum is momentum of 0.9 (equations 4 to 6, algorithm 1).
    """
    conv, first, _, dense, second, _, head = net
    stream = generator("anp", seed)
    masks = [torch.ones(4), torch.ones(6)]
    speed = [torch.zeros(4), torch.zeros(6)]

    def normalised(h, norm, scale, shift):
        over = [0, 2, 3] if h.dim() == 4 else [0]
        shape = [1, -1, 1, 1] if h.dim() == 4 else [1, -1]
        h = (h - h.mean(over, keepdim=True)) / (
            h.var(over, unbiased=False, keepdim=True) + norm.eps
        ).sqrt()
        return h * (norm.weight * scale).view(shape) + (norm.bias * shift).view(shape)

    def loss(x, y, scales, shifts):
        h = normalised(F.conv2d(x, conv.weight), first, scales[0], shifts[0]).relu()
        h = h.flatten(1) @ dense.weight.T
        h = normalised(h, second, scales[1], shifts[1]).relu() @ head.weight.T + head.bias
        return -h.log_softmax(1)[torch.arange(len(y)), y].mean()

    def draw(size):
        return (torch.rand(size, generator=stream) * 2 - 1) * anp.perturbation

    for _ in range(anp.steps):
        chosen = torch.randint(len(x), (anp.batch_size,), generator=stream)
        a, b = x[chosen], y[chosen]
        noise = [draw(size).requires_grad_() for size in (4, 6, 4, 6)]
        kept = [m.clone().requires_grad_() for m in masks]
        attack = loss(a, b, [m + n for m, n in zip(masks, noise, strict=False)],
                      [1 + n for n in noise[2:]])  # fmt: skip
        worst = []
        for start, slope in zip(noise, torch.autograd.grad(attack, noise), strict=True):
            step = start.detach() + anp.perturbation * slope.sign()
            worst.append(step.clip(-anp.perturbation, anp.perturbation))
        robust = loss(a, b, [m + n for m, n in zip(kept, worst, strict=False)],
                      [1 + n for n in worst[2:]])  # fmt: skip
        natural = loss(a, b, kept, [1.0, 1.0])
        total = anp.trade_off * natural + (1 - anp.trade_off) * robust
        for i, slope in enumerate(torch.autograd.grad(total, kept)):
            speed[i] = 0.9 * speed[i] + slope
            masks[i] = (masks[i] - anp.lr * speed[i]).clip(0, 1)
    return [mask.detach().numpy() for mask in masks]


def test_the_masks_are_those_that_the_paper_defines() -> None:
    stream = torch.Generator().manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), nn.Flatten()),
        nn.Linear(16, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=stream))
    x = torch.rand(40, 1, 4, 4, generator=stream)
    y = torch.arange(40) % 3
    anp = ANP(steps=12, batch_size=16, lr=0.1)
    found = anp.masks(net.eval(), neurons(net, x), Split(x, y), seed=5)
    wanted = _masks_by_hand(net, x, y, anp, 5)
    for mask, by_hand in zip(found.values(), wanted, strict=True):
        np.testing.assert_allclose(mask, by_hand, atol=1e-3)
    everything = np.concatenate(wanted)
    assert ((everything > 0.05) & (everything < 0.95)).sum() >= 3  # most would hide a difference


def test_attention_is_the_mean_square_over_channels_of_length_one() -> None:
    maps = torch.tensor([[[[3.0, 0.0]], [[0.0, 4.0]]]])  # channel means of squares: 4.5 and 8
    torch.testing.assert_close(attention(maps), torch.tensor([[4.5, 8.0]]) / (4.5**2 + 64) ** 0.5)
    torch.testing.assert_close(distance(maps, 7 * maps), torch.zeros(1))


def test_the_maps_of_a_residual_network_are_its_stages() -> None:
    model, x = nets.build("wrn-16-1", (3, 32, 32), 10).eval(), torch.rand(2, 3, 32, 32)
    with watching(model) as maps:
        model(x)
    first = model.block1(model.conv1(x))
    second = model.block2(first)
    wanted = {(32, 32): first, (16, 16): second, (8, 8): model.block3(second)}
    assert maps.keys() == wanted.keys()
    assert all(torch.equal(maps[size], wanted[size]) for size in wanted)


def test_images_are_shifted_by_up_to_an_eighth_and_nothing_comes_back_on_the_other_side() -> None:
    x = torch.zeros(400, 1, 8, 8)
    x[:, :, 0, 0] = 1  # leaves the picture when it is moved up or left
    moved = shifted(
        nn.Identity(), Split(x, torch.zeros(400).long()), torch.Generator().manual_seed(0)
    )
    assert moved.shape == x.shape
    total = moved.sum(0)[0]
    assert torch.equal(total.nonzero(), torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]))
    assert moved.flatten(1).sum(1).max() == 1
    assert 0.35 < moved.flatten(1).sum(1).mean() < 0.55  # 4 of 9 shifts keep it
    rows = torch.rand(5, 7)
    batch = Split(rows, torch.zeros(5).long())
    assert torch.equal(shifted(nn.Identity(), batch, torch.Generator()), rows)


def test_without_attention_nad_is_fine_tuning(backdoored) -> None:
    import copy

    model, defender, data, _, _ = backdoored("cnn-small", 0)
    settings = {"steps": 5, "lr": 0.02, "batch_size": 64}
    tuned = fine_tune(copy.deepcopy(model), defender.trusted, seed=defender.seed, **settings)
    taught = NAD(beta=0.0, **settings).edit(model, data, defender)
    torch.testing.assert_close(dict(taught.state_dict()), dict(tuned.state_dict()))
    other = NAD(beta=1000.0, **settings).edit(model, data, defender)
    assert not torch.equal(other.net[0].weight, taught.net[0].weight)


@pytest.mark.parametrize(
    ("defense", "fall", "cost"),
    [(FinePruning(), 0.5, 0.17), (ANP(), 0.05, 0.12), (NAD(), 0.5, 0.15)],
    ids=lambda d: getattr(d, "name", ""),
)
def test_a_repair_weakens_the_backdoor_of_digits_cnn(backdoored, defense, fall, cost) -> None:
    """With 45 trusted digits a strong backdoor is weakened, not erased."""
    before, after = _mean(
        backdoored,
        lambda m, data, defender, _: defense.edit(m, data, defender),
        "cnn-small",
        range(4),
    )
    print(defense.name, "accuracy and ASR before", before, "after", after)
    assert after[1] < before[1] - fall
    assert after[0] > before[0] - cost


def test_certainty_is_how_far_the_label_is_from_unlearned() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 30.0, 0.0], [-50.0, 0.0, 1.0]])
    y = torch.tensor([0, 1, 0])
    probability = logits.double().softmax(1)[torch.arange(3), y]
    torch.testing.assert_close(
        certainty(logits, y).double(), -(1 - probability).log(), atol=1e-5, rtol=1e-3
    )
    grown = logits.clone().requires_grad_()
    certainty(grown, y).sum().backward()
    assert grown.grad[1, 1] > 0.9  # where cross-entropy has no gradient left
    assert grown.grad[2].abs().sum() < 1e-6  # what is unlearned is left alone


def test_abl_trains_a_model_that_has_not_the_backdoor(backdoored) -> None:
    def train(model, data, defender, job):
        fresh, _ = network(job, None)
        evidence = ABL().fit(fresh, data, RECIPE, seed=defender.seed)
        assert evidence["isolated"] == len(evidence["not_fitted_to"]) == 9
        return fresh.eval()

    before, after = _mean(backdoored, train, "mlp-128", range(4))
    print("abl accuracy and ASR before", before, "after", after)
    assert after[1] < 0.5
    assert after[0] > before[0] - 0.15


def test_abl_passes_on_the_inputs_of_another_defense_in_every_phase(tiny) -> None:
    seen = []

    def inputs(model, batch, stream):
        seen.append(len(batch))
        return batch.x

    model = nets.build("mlp-128", (1, 4, 4), 3)
    ABL(isolated=0.1).fit(model, tiny.all, Recipe(epochs=10, batch_size=64), seed=0, inputs=inputs)
    assert seen == [64] + 9 * [58]


@pytest.mark.mirror
def test_the_published_backdoor_falls_to_anp(mirror) -> None:
    """A few points of accuracy are the price, as in the paper, for a perturbation that fits.

    The paper's 0.4 is for a ResNet-18 of 4,800 neurons. This network has 464, sixteen in its first
    layers, and hardly one that it could do without while all are changed by so much: 0.4 took it
    from .86 to .45 and .42 on seeds 0 and 1, and to .32 and .31 in 300 steps. With 0.1 the cost is
    .063 over six seeds (standard deviation .023, at most .106), and .009 to .044 of the triggered
    images are still answered with the attacker's class. Rounding differs between machines, and a
    mask near the threshold makes that a draw of its own.
    """
    path = mirror / "weights/bboylyg__NAD/WRN-16-1-S-model_best.pth.tar"
    weights = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    net = nets.build("wrn-16-1", (3, 32, 32), 10)
    net.load_state_dict(weights)
    model = nets.Scaled(net, (0.0,) * 3, (1.0,) * 3, (3, 32, 32)).eval()
    cifar = load("cifar10", DataLocation(mirror=mirror))
    attack = BadNets(pattern="grid", target=5)
    test = cifar.all.take(torch.arange(10_000, 10_500))
    before = _rates(model, test, attack)
    assert before[1] > 0.99
    defense = ANP(perturbation=0.1, steps=60, batch_size=32)
    defender = _shop(cifar.all.take(torch.arange(500)))
    after = _rates(defense.edit(model, defender.trusted, defender), test, attack)
    print("published: accuracy and ASR before", before, "after", after)
    assert after[1] < 0.15
    assert after[0] > before[0] - 0.16


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (FinePruning, {"max_drop": 1.0}, "max_drop of at least 0 and below 1"),
        (FinePruning, {"lr": 0.0}, "lr above 0"),
        (ANP, {"threshold": 1.5}, r"threshold in \[0, 1\]"),
        (ANP, {"steps": 0}, "steps of at least 1"),
        (ANP, {"perturbation": 0.0}, "perturbation above 0"),
        (NAD, {"beta": -1.0}, "beta of at least 0"),
        (NAD, {"steps": 0}, "steps and batch_size of at least 1"),
        (ABL, {"gamma": 0.0}, "gamma above 0"),
        (ABL, {"isolated": 1.0}, "isolated between 0 and 1"),
        (ABL, {"isolation": 0.6, "unlearning": 0.4}, "leave epochs between them"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind, settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        kind(**settings)
