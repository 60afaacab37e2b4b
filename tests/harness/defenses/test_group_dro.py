"""Group DRO: the weights by hand, the loss of a batch, and what becomes of the worst group."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from harness import registry
from harness.data.dataset import Dataset
from harness.data.examples import UNKNOWN, Attribute, Split
from harness.defenses.adversarial_training import AdversarialTraining
from harness.defenses.dpsgd import DPSGD
from harness.defenses.early_stopping import EarlyStopping
from harness.defenses.group_dro import GroupDRO, GroupWeights
from harness.defenses.label_smoothing import LabelSmoothing
from harness.defenses.relaxloss import RelaxLoss
from harness.defenses.reweighing import Reweighing
from harness.defenses.stack import Stack
from harness.defenses.trades import TRADES
from harness.training.single import train_alone
from harness.types import NotApplicableError
from zoo.errors import ZooError
from zoo.recipe import Recipe


def _weights(*sizes: int, step_size=0.5, adjustment=0.0) -> GroupWeights:
    return GroupWeights(torch.tensor(sizes), step_size=step_size, adjustment=adjustment)


def test_weights_after_two_steps_by_hand() -> None:
    """Mean losses 1 and 3, then 2 and 1: the exponents are .5 * (1 + 2) and .5 * (3 + 1)."""
    weights = _weights(10, 5)
    assert weights.q.tolist() == [0.5, 0.5]
    groups = torch.tensor([0, 0, 0, 1])
    first = weights.of(torch.tensor([0.5, 1.0, 1.5, 3.0]), groups)
    q = math.exp(1.5) / (math.exp(0.5) + math.exp(1.5))
    assert weights.q.tolist() == pytest.approx([1 - q, q])
    # Of four examples three share the first group's weight, and one has the other's.
    assert first.tolist() == pytest.approx([4 * (1 - q) / 3] * 3 + [4 * q])
    weights.of(torch.tensor([2.0, 1.0]), torch.tensor([0, 1]))
    q = math.exp(2.0) / (math.exp(1.5) + math.exp(2.0))
    assert weights.q.tolist() == pytest.approx([1 - q, q])


def test_a_small_group_is_adjusted_more() -> None:
    """3 / sqrt(9) and 3 / sqrt(4) are added to the losses, which are the same."""
    weights = _weights(9, 4, adjustment=3.0)
    weights.of(torch.tensor([1.0, 1.0]), torch.tensor([0, 1]))
    one, other = math.exp(0.5 * (1 + 1)), math.exp(0.5 * (1 + 1.5))
    assert weights.q.tolist() == pytest.approx([one / (one + other), other / (one + other)])


def test_who_is_missing_keeps_the_weight_and_who_is_not_there_has_none() -> None:
    weights = _weights(3, 3, 0, 3, adjustment=1.0)
    assert weights.q.tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    weights.of(torch.tensor([2.0, 1.0]), torch.tensor([0, 1]))
    parts = [math.exp(0.5 * (2 + 3**-0.5)), math.exp(0.5 * (1 + 3**-0.5)), 0, 1]
    assert weights.q.tolist() == pytest.approx([part / sum(parts) for part in parts])


def test_the_mean_over_a_batch_is_the_weighted_sum_of_the_groups_means() -> None:
    """As the authors write it, over many batches of an own slow formula."""
    stream = torch.Generator().manual_seed(0)
    weights, q = _weights(50, 20, 10, step_size=0.1), [1 / 3] * 3
    for _ in range(20):
        groups = torch.randint(3, (16,), generator=stream)
        losses = torch.rand(16, generator=stream)
        found = (weights.of(losses, groups) * losses).mean().item()
        means = [losses[groups == g].mean().item() if (groups == g).any() else 0 for g in range(3)]
        q = [w * math.exp(0.1 * mean) for w, mean in zip(q, means, strict=True)]
        q = [w / sum(q) for w in q]
        assert found == pytest.approx(sum(w * m for w, m in zip(q, means, strict=True)), rel=1e-5)


def test_who_nobody_is_behind_counts_as_in_ordinary_training() -> None:
    losses, groups = torch.tensor([1.0, 3.0, 5.0, 7.0]), torch.tensor([0, 1, UNKNOWN, UNKNOWN])
    alone = _weights(1, 1).of(losses[:2], groups[:2])
    found = _weights(1, 1).of(losses, groups)
    assert found.tolist() == pytest.approx([*alone.tolist(), 1.0, 1.0])
    nobody = torch.full((2,), UNKNOWN)
    assert _weights(1, 1).of(losses[:2], nobody).tolist() == [1.0, 1.0]


def test_groups_are_values_of_the_attribute_and_classes(defender) -> None:
    z, y = torch.tensor([0, 0, 1, 1, 1, UNKNOWN]), torch.tensor([0, 1, 0, 1, 1, 1])
    data = Split(torch.rand(6, 2), y, {"sex": Attribute(z, ("f", "m"))})
    owner = replace(defender, data=data, num_classes=2)
    model = nn.Linear(2, 2)
    found = GroupDRO(step_size=0.3, adjustment=2.0).loss_for(owner)(model, data, torch.Generator())
    entropy = F.cross_entropy(model(data.x), y, reduction="none")
    cells = torch.tensor([0, 1, 2, 3, 3, UNKNOWN])
    weights = _weights(1, 1, 1, 2, step_size=0.3, adjustment=2.0)
    expected = weights.of(entropy.detach(), cells) * entropy
    torch.testing.assert_close(found, expected)
    # The weights are no part of what is differentiated.
    for one, other in zip(
        torch.autograd.grad(found.mean(), list(model.parameters())),
        torch.autograd.grad(expected.mean(), list(model.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.fixture(scope="module")
def spurious() -> Dataset:
    """A number that says the label, weakly, and one that says the group, which mostly agrees."""
    stream = torch.Generator().manual_seed(0)
    n = 4000
    y = torch.randint(2, (n,), generator=stream)
    z = torch.where(torch.rand(n, generator=stream) < 0.95, y, 1 - y)
    signal = torch.stack([0.4 + 0.2 * y, 0.2 + 0.6 * z], 1)
    x = signal + 0.1 * torch.randn(n, 2, generator=stream)
    return Dataset(
        name="spurious", num_classes=2, x=x.clamp(0, 1), y=y, z={"kind": Attribute(z, ("a", "b"))}
    )


@pytest.fixture(scope="module")
def worst(spurious, job_for):
    """Accuracy on the worst of the four groups, of examples that were not trained on."""

    def measure(*defenses):
        stack = tuple(map(registry.describe, defenses))
        recipe = Recipe(lr=3e-3, epochs=15, batch_size=100)
        job = job_for(data=spurious, stack=stack, recipe=recipe)
        trained = train_alone(job, spurious.collected.take(job.index), None)
        rest = torch.ones(len(spurious), dtype=torch.bool)
        rest[job.index] = False
        with torch.no_grad():
            right = (trained.model(spurious.x[rest]).argmax(1) == spurious.y[rest]).double()
        cells = (2 * spurious.z["kind"].values + spurious.y)[rest]
        return min(right[cells == cell].mean().item() for cell in range(4)), trained

    return measure


@pytest.fixture(scope="module")
def undefended(worst):
    return worst()[0]


def test_the_worst_group_rises(worst, undefended) -> None:
    assert undefended < 0.4
    state = torch.get_rng_state()
    assert worst(GroupDRO(step_size=0.05))[0] > undefended + 0.3
    assert torch.equal(state, torch.get_rng_state())


def test_under_private_training_too(worst) -> None:
    """Where the norm leaves the gradients of those who count more longer than the others'."""
    private = DPSGD(noise_multiplier=0.5, max_grad_norm=10.0, lr=0.01)
    before, _ = worst(private)
    states = []
    for clipping in ("per-example", "ghost"):
        after, trained = worst(replace(private, clipping=clipping), GroupDRO(step_size=0.05))
        assert after > before + 0.2
        assert trained.evidence["dp_epsilon"] > 0
        states.append(trained.model.state_dict())
    torch.testing.assert_close(*states, atol=1e-4, rtol=1e-3)
    assert Stack.of([private, GroupDRO()]).not_covered == (f"group-dro ({GroupDRO.looks_at})",)


def test_under_adversarial_training_too(worst) -> None:
    robust = AdversarialTraining(epsilon=0.02, step_size=0.02, steps=2)
    assert worst(robust, GroupDRO(step_size=0.05))[0] > worst(robust)[0] + 0.2


def test_what_it_goes_with() -> None:
    Stack.of([GroupDRO(), Reweighing(), EarlyStopping(), AdversarialTraining()])
    for other in (LabelSmoothing(), TRADES(), RelaxLoss()):
        with pytest.raises(NotApplicableError, match="both change the loss"):
            Stack.of([GroupDRO(), other])


def test_settings_and_data_that_do_not_fit(defender) -> None:
    for name, value in (("step_size", 0.0), ("step_size", math.inf), ("adjustment", -1.0)):
        with pytest.raises(ZooError, match=f"wants {name}"):
            registry.make("defense", "group-dro", {name: value})
    with pytest.raises(NotApplicableError, match="no sensitive attributes"):
        GroupDRO().loss_for(defender)
