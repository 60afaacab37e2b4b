"""Quantile regression against a target whose confidence in non-members is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_pinball_loss, roc_auc_score
from torch import nn
from torch.distributions import Normal

from harness.attacks.quantile import Quantile, gaussian, lead, pinball
from harness.attacks.shared.attack_network import answers
from harness.attacks.shared.attacker_data import Candidates
from harness.data.dataset import Dataset
from harness.data.examples import Split
from harness.target import AccessDeniedError, BlackBox
from harness.types import Access
from zoo.errors import UnknownNameError, ZooError

SHIFT = 3.0


class Remembers(nn.Module):
    """Leads by 20 times the first feature, and noise of deviation 1; of members, by 3 more.

    The noise is a function of the second feature that no small network learns. The lead is that of
    class 0; class 1 gets what class 0 gets from its negative.
    """

    def __init__(self, members: torch.Tensor) -> None:
        super().__init__()
        self.members = members

    def forward(self, x):
        noise = torch.special.ndtri((x[:, 1].double() * 1e4 % 1).clamp(1e-4, 1 - 1e-4)).float()
        known = torch.isin(x[:, 1], self.members)
        return torch.stack([20 * x[:, 0] + noise + SHIFT * known, torch.zeros(len(x))], 1)


@pytest.fixture(scope="module")
def situation():
    """2000 non-members for the attacker, and 1000 candidates of which half are members."""
    x = torch.rand(3000, 2, generator=torch.Generator().manual_seed(0))
    y, truth = torch.zeros(3000, dtype=torch.long), torch.arange(1000) % 2 == 0
    points, aux = Split(x[:1000], y[:1000]), Split(x[1000:], y[1000:])
    data = Candidates(
        points=points, aux=aux, aux_member=torch.zeros(2000, dtype=torch.bool),
        num_classes=2, architecture="mlp-32", input_shape=(2,),
    )  # fmt: skip
    return Remembers(points.x[truth, 1]), data, truth


def test_the_lead_is_the_difference_of_logits() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0], [1.0, 90.0, 0.0]])
    found = lead(logits.softmax(1), torch.tensor([0, 2, 1]))
    torch.testing.assert_close(found, torch.tensor([1.5, -2.0, found[2].item()]))
    assert found[2] > 80  # a score that rounded to 1
    assert lead(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).isfinite().all()


def test_the_gaussian_loss_is_minus_the_log_likelihood() -> None:
    torch.manual_seed(0)
    forecast, value = torch.randn(50, 2), torch.randn(50)
    normal = Normal(forecast[:, 0], forecast[:, 1].exp())
    difference = gaussian(forecast, value) + normal.log_prob(value)
    # Terms of up to 300 cancel, so that float32 leaves 1e-4 of them.
    wanted = torch.full((50,), -0.5 * np.log(2 * np.pi)).float()
    torch.testing.assert_close(difference, wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.95])
def test_the_pinball_loss_is_scikit_learns_and_least_at_the_quantile(level) -> None:
    torch.manual_seed(0)
    forecast, value = torch.randn(50, 1), torch.randn(50)
    expected = mean_pinball_loss(value, forecast[:, 0], alpha=level)
    assert pinball(level)(forecast, value).mean().item() == pytest.approx(expected, rel=1e-5)
    sample = torch.randn(10_001)
    grid = torch.linspace(-2, 2, 401)
    cost = [pinball(level)(torch.full((10_001, 1), float(g)), sample).mean() for g in grid]
    best = grid[int(torch.stack(cost).argmin())].item()
    assert best == pytest.approx(sample.quantile(level).item(), abs=0.02)


@pytest.mark.parametrize(
    "attack",
    [
        Quantile(),
        Quantile(level=0.5),
        Quantile(level=0.9, lr=0.01, batch_size=256, epochs=60),
    ],
)
def test_confidence_is_judged_by_what_is_usual_for_such_an_example(situation, attack) -> None:
    """All members exceed what is usual by three deviations; few exceed what others reach."""
    model, data, truth = situation
    target = BlackBox(model, Access.SCORES)
    loss = lead(target.scores(data.points.x), data.points.y)
    assert roc_auc_score(truth, loss) == pytest.approx(0.64, abs=0.05)
    found = attack.run(target, data, seed=0)
    best = Normal(0.0, 1.0).cdf(torch.tensor(SHIFT / 2**0.5)).item()  # .983
    assert roc_auc_score(truth, found) == pytest.approx(best, abs=0.025)
    others = found[~truth]
    if attack.level is None:  # a score is a number of deviations
        assert others.mean().item() == pytest.approx(0, abs=0.2)
        assert others.std().item() == pytest.approx(1, abs=0.2)
        assert found[truth].mean().item() == pytest.approx(SHIFT, abs=0.5)
    else:
        assert (others < 0).float().mean().item() == pytest.approx(attack.level, abs=0.06)


def test_nothing_is_found_where_members_are_answered_like_others(situation) -> None:
    _, data, truth = situation
    target = BlackBox(Remembers(torch.empty(0)), Access.SCORES)
    found = Quantile().run(target, data, seed=0)
    assert roc_auc_score(truth, found) == pytest.approx(0.5, abs=3 * 0.0183)


def test_a_label_that_the_target_does_not_believe_is_expected_to_be_mistrusted() -> None:
    """A wrong label that a member's target believes stands out more than any right one."""
    x = torch.rand(2000, 2, generator=torch.Generator().manual_seed(1))
    y = (torch.arange(2000) % 4 == 0).long()  # the target calls everything 0: a quarter is wrong
    points, aux = Split(x[:400], y[:400]), Split(x[400:], y[400:])
    data = Candidates(
        points=points, aux=aux, aux_member=torch.zeros(1600, dtype=torch.bool),
        num_classes=2, architecture="mlp-32", input_shape=(2,),
    )  # fmt: skip
    found = Quantile().run(BlackBox(Remembers(torch.empty(0)), Access.SCORES), data, seed=0)
    wrong = points.y == 1
    # Each label is judged by its own forecast, so wrong ones do not score lower for being wrong.
    assert found[wrong].mean().item() == pytest.approx(found[~wrong].mean().item(), abs=0.4)


def test_examples_of_the_attacker_are_asked_about_as_far_as_the_budget_goes(situation) -> None:
    model, data, _ = situation
    quick = Quantile(epochs=1)
    for budget in (1100, None):
        target = BlackBox(model, Access.SCORES, budget=budget)
        quick.run(target, data, seed=0)
        assert target.queries == (budget or 3000)
    with pytest.raises(ZooError, match=r"the query budget of 1001 leaves 1. Raise --queries"):
        quick.run(BlackBox(model, Access.SCORES, budget=1001), data, seed=0)
    with pytest.raises(AccessDeniedError):
        quick.run(BlackBox(model, Access.LABELS), data, seed=0)


def test_a_target_that_is_as_sure_of_everything_gives_finite_scores(situation) -> None:
    _, data, _ = situation
    constant = nn.Linear(2, 2)
    nn.init.zeros_(constant.weight)
    found = Quantile(epochs=1).run(BlackBox(constant, Access.SCORES), data, seed=0)
    assert found.isfinite().all()


def test_any_network_that_takes_the_input_may_be_the_forecaster(tiny: Dataset) -> None:
    data = Candidates(
        points=tiny.all, aux=tiny.all, aux_member=torch.zeros(64, dtype=torch.bool),
        num_classes=3, architecture="mlp-32", input_shape=(1, 4, 4),
    )  # fmt: skip
    torch.manual_seed(0)
    target = BlackBox(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), Access.SCORES)
    for network in ("mlp-128", "cnn-small"):
        attack = Quantile(network=network, epochs=1).resolve(tiny)
        one, other = (a.run(target, data, seed=0) for a in (attack, replace(attack, network=None)))
        assert one.shape == (64,)
        assert not torch.equal(one, other)
    with pytest.raises(UnknownNameError, match="No architecture 'mlp-129'"):
        Quantile(network="mlp-129").resolve(tiny)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, float("nan")])
def test_a_level_that_is_none_is_refused(level) -> None:
    with pytest.raises(ZooError, match="quantile wants level between 0 and 1"):
        Quantile(level=level)


def test_many_inputs_are_answered_in_parts() -> None:
    torch.manual_seed(0)
    net, x = nn.Linear(3, 2), torch.rand(10, 3)
    torch.testing.assert_close(answers(net, x, batch_size=4), net(x).detach())
