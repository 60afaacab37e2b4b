"""DP-SGD does what the accounting assumes, and leaves a plain model behind."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from opacus.accountants import PRVAccountant, RDPAccountant
from torch import nn

from harness import registry
from harness.attacks.pgd import PGD
from harness.attacks.protocol import AttackedPoints
from harness.data.examples import Split
from harness.defenses.adversarial_training import AdversarialTraining
from harness.defenses.dpsgd import DPSGD
from harness.seeds import derive, generator
from harness.target import BlackBox
from harness.training.job import network
from harness.training.single import train_alone
from harness.types import Access, NotApplicableError
from zoo import nets
from zoo.errors import ZooError
from zoo.recipe import Recipe

RECIPE = Recipe(lr=3e-3, epochs=2, batch_size=32)


def _data(n: int = 100) -> Split:
    stream = torch.Generator().manual_seed(0)
    return Split(torch.rand(n, 3, generator=stream), torch.arange(n) % 2)


@pytest.mark.parametrize(("name", "kind"), [("rdp", RDPAccountant), ("prv", PRVAccountant)])
def test_the_spent_budget_is_opacus_own(name, kind) -> None:
    defense = DPSGD(noise_multiplier=1.5, accountant=name)
    spent = defense.fit(nn.Linear(3, 2), _data(), RECIPE, seed=0)
    assert (spent["sample_rate"], spent["steps"]) == (0.32, 2 * 4)
    accountant = kind()
    for _ in range(8):
        accountant.step(noise_multiplier=1.5, sample_rate=0.32)
    assert spent["dp_epsilon"] == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-9)
    assert (spent["dp_delta"], spent["accountant"]) == (1e-5, name)


def test_a_budget_is_spent_in_full_and_not_more() -> None:
    spent = DPSGD(dp_epsilon=3.0).fit(nn.Linear(3, 2), _data(), RECIPE, seed=0)
    assert 2.98 <= spent["dp_epsilon"] <= 3.0
    assert spent["noise_multiplier"] > 0.5


def test_one_step_is_the_clipped_noised_gradient_by_hand() -> None:
    """Per-sample gradients by autograd, clipping and noise written out; one full batch."""
    torch.manual_seed(1)
    model, data = nn.Linear(3, 2), _data(8)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    grads = []
    for x, y in zip(data.x, data.y, strict=True):
        loss = F.cross_entropy(model(x[None]), y[None])
        grads.append(torch.autograd.grad(loss, list(model.parameters())))
    clip, sigma, lr = 0.05, 0.7, 0.5
    noise = torch.Generator().manual_seed(generator("noise", 3).initial_seed())
    expected = []
    for position, p in enumerate(model.parameters()):
        total = torch.zeros_like(p)
        for g in grads:
            norm = torch.cat([part.flatten() for part in g]).norm()
            total += g[position] * min(1.0, clip / norm.item())
        total += torch.normal(0.0, sigma * clip, p.shape, generator=noise)
        expected.append(p.detach() - lr * total / 8)
    recipe = Recipe(optimizer="sgd", lr=lr, epochs=1, batch_size=8)  # sampling rate 1
    DPSGD(noise_multiplier=sigma, max_grad_norm=clip).fit(model, data, recipe, seed=3)
    for want, found in zip(expected, model.parameters(), strict=True):
        torch.testing.assert_close(found.detach(), want, atol=1e-5, rtol=1e-4)
    assert not torch.equal(before["weight"], model.weight)


def test_two_steps_on_adversarial_inputs_by_hand() -> None:
    """The attack sees the current weights and leaves nothing in the per-example gradients."""
    torch.manual_seed(1)
    model, data = nn.Linear(3, 2), _data(8)
    weights = [p.detach().clone().requires_grad_() for p in model.parameters()]
    clip, sigma, lr, epsilon = 0.05, 0.7, 0.5, 0.2
    noise = torch.Generator().manual_seed(derive("noise", 3))
    stream = generator("hooks", 3)
    for _ in range(2):
        moved = data.x + (torch.rand(8, 3, generator=stream) * 2 - 1) * epsilon
        moved = moved.clamp(0, 1)
        for _ in range(4):
            moved.requires_grad_()
            loss = F.cross_entropy(F.linear(moved, *weights), data.y)
            moved = moved.detach() + 0.1 * torch.autograd.grad(loss, moved)[0].sign()
            moved = torch.min(torch.max(moved, data.x - epsilon), data.x + epsilon).clamp(0, 1)
        total = [torch.zeros_like(w) for w in weights]
        for x, y in zip(moved, data.y, strict=True):
            grads = torch.autograd.grad(F.cross_entropy(F.linear(x, *weights), y), weights)
            norm = torch.cat([g.flatten() for g in grads]).norm()
            for t, g in zip(total, grads, strict=True):
                t += g * min(1.0, clip / norm.item())
        weights = [
            (w - lr * (t + torch.normal(0.0, sigma * clip, t.shape, generator=noise)) / 8)
            .detach().requires_grad_()
            for w, t in zip(weights, total, strict=True)
        ]  # fmt: skip
    recipe = Recipe(optimizer="sgd", lr=lr, epochs=2, batch_size=8)  # sampling rate 1
    attack = AdversarialTraining(epsilon=epsilon, steps=4, step_size=0.1)
    DPSGD(noise_multiplier=sigma, max_grad_norm=clip).fit(
        model, data, recipe, seed=3, inputs=attack.inputs
    )
    for want, found in zip(weights, model.parameters(), strict=True):
        torch.testing.assert_close(found.detach(), want.detach(), atol=1e-5, rtol=1e-4)


def test_adversarial_training_costs_no_privacy(job_for, digits) -> None:
    private = DPSGD(epochs=1)
    data = digits.all.take(job_for().index)
    alone, both = (
        train_alone(job_for("cnn-small", stack=tuple(map(registry.describe, stack))), data, None)
        for stack in ((private,), (private, AdversarialTraining(steps=2).resolve(digits)))
    )
    assert alone.evidence == both.evidence
    assert not torch.equal(alone.model(data.x), both.model(data.x))
    assert all(not m._forward_hooks and not m._backward_hooks for m in both.model.modules())
    assert all(not hasattr(p, "grad_sample") for p in both.model.parameters())


def test_a_batch_size_over_n_is_the_whole_data_not_a_smaller_step() -> None:
    """Dividing the sum by 1000 instead of by the 8 examples there are would hardly move."""
    found = []
    for batch_size in (8, 1000):
        torch.manual_seed(1)
        model = nn.Linear(3, 2)
        recipe = Recipe(optimizer="sgd", lr=0.5, epochs=1, batch_size=batch_size)
        DPSGD().fit(model, _data(8), recipe, seed=3)
        found.append(model.weight.detach())
    torch.testing.assert_close(found[0], found[1])


def test_a_step_that_drew_nobody_is_noise_alone_and_is_accounted() -> None:
    model, data = nn.Linear(3, 2), _data(50)
    before = model.weight.detach().clone()
    recipe = Recipe(optimizer="sgd", lr=0.1, epochs=1, batch_size=1)  # about a third are empty
    spent = DPSGD(noise_multiplier=1.0).fit(model, data, recipe, seed=0)
    assert spent["steps"] == 50
    assert torch.isfinite(model.weight).all()
    assert not torch.equal(before, model.weight)


def test_batches_are_drawn_by_poisson_sampling() -> None:
    seen = []

    def loss(model, batch, stream):
        seen.append(len(batch))
        return F.cross_entropy(model(batch.x), batch.y, reduction="none")

    recipe = Recipe(epochs=10, batch_size=40)
    DPSGD().fit(nn.Linear(3, 2), _data(400), recipe, seed=0, loss=loss)
    sizes = torch.tensor(seen, dtype=torch.float)
    assert len(seen) == 100
    assert abs(sizes.mean() - 40) < 2
    # Binomial(400, .1) has standard deviation 6; fixed batches would have none.
    assert 4.5 < sizes.std() < 7.5


def test_the_same_seed_gives_the_same_private_model(job_for, digits) -> None:
    job = job_for(stack=(registry.describe(DPSGD(epochs=1)),))
    data = digits.all.take(job.index)
    first = train_alone(job, data, None)
    torch.rand(3)
    again = train_alone(job, data, None)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            first.model.state_dict().values(), again.model.state_dict().values(), strict=True
        )
    )
    other = train_alone(replace(job, seed=1), data, None)
    assert not torch.equal(first.model.net[1].weight, other.model.net[1].weight)


def test_a_private_model_can_be_attacked_like_any_other(job_for, digits) -> None:
    """Hooks left behind by Opacus break every attack that differentiates in eval mode."""
    job = job_for("cnn-small", stack=(registry.describe(DPSGD(epochs=1)),))
    trained = train_alone(job, digits.all.take(job.index), None)
    points = digits.all.take(job.index[:20])
    attack = PGD(steps=3).resolve(digits)
    data = AttackedPoints(
        points=points, num_classes=10, architecture="cnn-small", input_shape=(1, 8, 8)
    )
    perturbed = attack.run(BlackBox(trained.model, Access.WEIGHTS), data, seed=0)
    assert not torch.equal(perturbed, points.x)
    assert all(not m._forward_hooks and not m._backward_hooks for m in trained.model.modules())
    assert all(not hasattr(p, "grad_sample") for p in trained.model.parameters())


def test_batch_norm_is_replaced_from_scratch_and_that_is_said(job_for) -> None:
    job = job_for("resnet8", stack=(registry.describe(DPSGD()),))
    model, notes = network(job, None)
    assert len(notes["batch_norm"]) == 7
    assert notes["batch_norm"]["net.bn1"] == "group normalisation, 16 groups"
    assert notes["batch_norm"]["net.layer3.0.bn2"] == "group normalisation, 32 groups"
    (flag,) = notes["flags"]
    assert flag.startswith("dpsgd replaces 7 layers of batch normalisation (group normalisation")
    kinds = {type(m).__name__ for m in model.modules()}
    assert "GroupNorm" in kinds
    assert "BatchNorm2d" not in kinds


def test_batch_norm_is_frozen_in_fine_tuning(job_for, digits) -> None:
    plain = job_for("resnet8", recipe=Recipe(lr=3e-3, epochs=1))
    trained = train_alone(plain, digits.all.take(plain.index), None).model
    base = trained.net.state_dict()
    private = replace(plain, stack=(registry.describe(DPSGD(epochs=1)),), base="sha")
    model, notes = network(private, base)
    assert len(notes["batch_norm"]) == 7
    assert notes["batch_norm"]["net.bn1"] == "frozen at its published statistics"
    # Before any step, the frozen network is the published one.
    torch.testing.assert_close(model.eval()(digits.x[:9]), trained(digits.x[:9]))
    tuned = train_alone(private, digits.all.take(plain.index), base)
    torch.testing.assert_close(
        tuned.model.net.bn1.running_mean, trained.net.bn1.running_mean, rtol=0, atol=0
    )
    assert not torch.equal(tuned.model.net.conv1.weight, trained.net.conv1.weight)


# Of timm's networks, some have an activation in their batch norms.
NETWORKS = ["timm/tf_efficientnet_lite0", "timm/mobilenetv3_small_050", "timm/regnetx_002",
            "timm/resnet10t", "torchvision/resnet18"]  # fmt: skip


def _normed(name: str) -> nn.Module:
    """A network of a library with statistics as after training."""
    torch.manual_seed(0)
    model = nets.build(name, (3, 32, 32), 10).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(32, 3, 32, 32) * 2)
    return model.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_frozen_network_answers_what_it_did(name: str) -> None:
    model, x = _normed(name), torch.rand(8, 3, 32, 32)
    with torch.no_grad():
        wanted = model(x)
        frozen, notes = DPSGD().adapt(deepcopy(model).train(), fine_tuned=True)
        torch.testing.assert_close(frozen.eval()(x), wanted, rtol=1e-3, atol=1e-4)
    assert set(notes["batch_norm"].values()) == {"frozen at its published statistics"}


@pytest.mark.parametrize("name", NETWORKS)
def test_from_scratch_no_example_sees_another(name: str) -> None:
    """What private training takes for granted, and Opacus does not find in timm's layers."""
    model, notes = DPSGD().adapt(_normed(name).train(), fine_tuned=False)
    for layer in model.modules():  # draws that differ from call to call
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    x, other = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)
    model.train()
    with torch.no_grad():
        alone, together = model(x)[:1], model(torch.cat([x[:1], other]))[:1]
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
    assert all(one.startswith("group normalisation") for one in notes["batch_norm"].values())


def test_a_batch_norm_of_somebody_elses_is_refused() -> None:
    class Mine(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).relu()

    for fine_tuned in (True, False):
        with pytest.raises(NotApplicableError, match="Mine"):
            DPSGD().adapt(nn.Sequential(nn.Conv2d(3, 4, 3), Mine(4)), fine_tuned=fine_tuned)


def test_batch_norm_is_refused_by_name_if_so_wished(job_for) -> None:
    job = job_for("resnet8", stack=(registry.describe(DPSGD(batch_norm="refuse")),))
    with pytest.raises(NotApplicableError, match=r"'net\.bn1', 'net\.layer1.* group norm"):
        network(job, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_multiplier": 1.0, "dp_epsilon": 2.0}, "not both"),
        ({"noise_multiplier": -1.0}, "noise_multiplier above 0"),
        ({"dp_epsilon": 0.0}, "dp_epsilon above 0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        DPSGD(**settings)


def test_a_delta_that_gives_away_an_example_is_refused() -> None:
    with pytest.raises(ZooError, match=r"below 1/n = 0\.01 for 100"):
        DPSGD(dp_delta=0.01).check(100, RECIPE)


def test_an_unreachable_budget_is_refused() -> None:
    with pytest.raises(ZooError, match="cannot reach dp_epsilon=1e-07"):
        DPSGD(dp_epsilon=1e-7).check(100, RECIPE)
