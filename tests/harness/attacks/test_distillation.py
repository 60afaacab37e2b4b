"""Distillation against a linear target, whose every answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from harness.attacks.distillation import Distillation
from harness.attacks.protocol import AuxiliaryData
from harness.attacks.shared.surrogate import squared_error
from harness.data.examples import Split
from harness.metrics.classification import accuracy
from harness.target import BlackBox, BudgetError
from harness.types import Access
from zoo import nets
from zoo.errors import ZooError

ATTACK = Distillation(epochs=30, lr=1e-2)


class Linear(nn.Module):
    """Class 1 where the first pixel is the larger."""

    def forward(self, x):
        return 10 * x.flatten(1)[:, [1, 0]]


@pytest.fixture
def data() -> AuxiliaryData:
    x = torch.rand(500, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    # The labels are wrong on purpose: the attack must not use them.
    return AuxiliaryData(
        aux=Split(x, torch.zeros(500, dtype=torch.long)),
        num_classes=2,
        architecture="mlp-128",
        input_shape=(1, 1, 2),
    )


def _agreement(surrogate: nn.Module) -> float:
    x = torch.rand(1000, 1, 1, 2, generator=torch.Generator().manual_seed(1))
    return accuracy(surrogate(x).argmax(1), Linear()(x).argmax(1))


@pytest.mark.parametrize("access", [Access.LABELS, Access.SCORES])
def test_the_surrogate_copies_a_linear_target(data, access) -> None:
    surrogate = ATTACK.run(BlackBox(Linear(), access), data, seed=0)
    assert _agreement(surrogate) > 0.97
    assert not surrogate.training


def test_without_training_the_surrogate_knows_nothing(data) -> None:
    idle = Distillation(epochs=1, lr=1e-12)
    found = [
        _agreement(idle.run(BlackBox(Linear(), Access.SCORES), data, seed=s)) for s in range(30)
    ]
    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.15)


def test_with_scores_it_learns_more_than_the_labels(data) -> None:
    """The probabilities themselves come out right, which labels cannot teach."""
    x = data.aux.x
    wanted = Linear()(x).softmax(1)
    gaps = {
        access: (ATTACK.run(BlackBox(Linear(), access), data, seed=0)(x).softmax(1) - wanted)
        .abs()
        .mean()
        for access in (Access.SCORES, Access.LABELS)
    }
    assert gaps[Access.SCORES] < 0.03 < gaps[Access.LABELS]


@pytest.mark.parametrize(("budget", "asked"), [(None, 500), (120, 120)])
def test_it_asks_each_input_once_and_keeps_to_its_budget(data, budget, asked) -> None:
    target = BlackBox(Linear(), Access.SCORES, budget=budget)
    ATTACK.run(target, data, seed=0)
    assert target.queries == asked


def test_a_target_over_its_budget_answers_no_more() -> None:
    target = BlackBox(Linear(), Access.SCORES, budget=10)
    target.labels(torch.rand(8, 1, 1, 2))
    with pytest.raises(BudgetError, match="wants 11 answers, but the query budget is 10"):
        target.labels(torch.rand(3, 1, 1, 2))
    assert target.queries == 8


def test_the_surrogates_architecture_can_be_chosen(data) -> None:
    found = Distillation(epochs=1, surrogate="mlp-6x100").run(
        BlackBox(Linear(), Access.SCORES), data, seed=0
    )
    assert sum(isinstance(m, nn.Linear) for m in found.modules()) == 6


def test_epochs_cost_no_queries(data) -> None:
    """The target itself sees each input once, not only the counter."""
    seen = []

    class Counting(Linear):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    Distillation(epochs=7).run(BlackBox(Counting(), Access.SCORES), data, seed=0)
    assert torch.equal(torch.cat(seen), data.aux.x)


def test_the_squared_error_is_between_probabilities() -> None:
    """By hand; of raw logits it would not be 0 for a perfect copy."""
    x = torch.tensor([[0.3, 0.3], [0.9, 0.1]]).view(2, 1, 1, 2)
    stream = torch.Generator()
    labels = squared_error(Linear(), Split(x, torch.tensor([0, 1])), stream)
    assert labels[0].item() == pytest.approx((0.5**2 + 0.5**2) / 2)  # (.5, .5) against (1, 0)
    perfect = squared_error(Linear(), Split(x, Linear()(x).softmax(1)), stream)
    assert perfect.abs().max() == 0


@pytest.mark.parametrize("access", [Access.LABELS, Access.SCORES])
def test_the_squared_error_copies_as_well(data, access) -> None:
    attack = replace(ATTACK, loss="mse", optimizer="sgd", lr=0.3, momentum=0.9)
    assert _agreement(attack.run(BlackBox(Linear(), access), data, seed=0)) > 0.97


def test_the_optimizer_is_the_one_that_was_asked_for(data) -> None:
    """One step of SGD on all inputs, by hand."""
    attack = Distillation(epochs=1, optimizer="sgd", lr=0.5, batch_size=500)
    found = attack.run(BlackBox(Linear(), Access.LABELS), data, seed=0)
    start = Distillation(epochs=1, optimizer="sgd", lr=1e-30, batch_size=500).run(
        BlackBox(Linear(), Access.LABELS), data, seed=0
    )
    x = data.aux.x
    loss = nn.functional.cross_entropy(start(x), Linear()(x).argmax(1))
    for after, before, slope in zip(
        found.parameters(),
        start.parameters(),
        torch.autograd.grad(loss, list(start.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(after, before - 0.5 * slope)


@pytest.mark.parametrize(
    ("surrogate", "shape", "message"),
    [
        ("torchvision/resnet18", (1, 8, 8), "takes images of 3 channels, not 1"),
        ("torchvision/inception_v3", (3, 32, 32), "cannot take inputs of 3x32x32"),
        ("torchvision/inception_v3", (3, 299, 299), "gives something else in training"),
        ("cnn-smal", (1, 8, 8), "No architecture 'cnn-smal'. Nearest: cnn-small"),
    ],
)
def test_a_surrogate_that_does_not_fit_is_refused_in_one_line(
    digits, surrogate, shape, message
) -> None:
    data = replace(digits, x=torch.zeros(1, *shape).expand(len(digits), *shape))
    with pytest.raises(ZooError, match=message) as error:
        Distillation(surrogate=surrogate).resolve(data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("surrogate", [None, "timm/wide_resnet50_2", "resnet18-stem3", "mlp-128"])
def test_a_surrogate_that_fits_is_not_refused(digits, surrogate) -> None:
    data = replace(digits, x=torch.zeros(1, 3, 32, 32).expand(len(digits), 3, 32, 32))
    state = torch.get_rng_state()
    attack = Distillation(surrogate=surrogate)
    assert attack.resolve(data) == attack
    assert torch.equal(torch.get_rng_state(), state)


def test_it_is_as_good_as_arts_copycat(victim, thief, fidelity) -> None:
    """The same target, inputs, budget, network, optimizer and epochs; ART's own training loop."""
    from art.attacks.extraction import CopycatCNN
    from art.estimators.classification import PyTorchClassifier

    def wrapped(model, **kwargs):
        return PyTorchClassifier(
            model, nn.CrossEntropyLoss(), (1, 8, 8), 10, device_type="cpu", **kwargs
        )

    ours, theirs = [], []
    for seed in range(3):
        target = BlackBox(victim, Access.LABELS, budget=300)
        ours.append(fidelity(Distillation().run(target, thief, seed=seed)))
        torch.manual_seed(seed)
        np.random.seed(seed)
        copy = nets.build("mlp-128", (1, 8, 8), 10)
        attack = CopycatCNN(
            wrapped(victim), batch_size_fit=64, batch_size_query=64, nb_epochs=40, nb_stolen=300
        )
        optimizer = torch.optim.Adam(copy.parameters(), lr=1e-3)
        attack.extract(thief.aux.x.numpy(), thieved_classifier=wrapped(copy, optimizer=optimizer))
        theirs.append(fidelity(copy.eval()))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.03)
