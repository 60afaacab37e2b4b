"""RMIA against models whose answers are written down, and against its formula in loops."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from torch import nn

from harness.attacks.rmia import RMIA
from harness.attacks.shared.attacker_data import Candidates, Shadow
from harness.data.examples import Split
from harness.target import AccessDeniedError, BlackBox
from harness.types import Access
from zoo.errors import ZooError

N, M, CLASSES = 9, 14, 3


class Written(nn.Module):
    """Answers row ``i`` of its logits to the input ``i``."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return self.logits[x.flatten().long()]


def _setup(logits, held, n):
    """A target and shadow models with these logits (1 + shadows, n + m, classes).

    The first ``n`` examples are candidates, the others the population.
    """
    total = logits.shape[1]
    x, y = torch.arange(float(total)).view(total, 1, 1, 1), torch.arange(total) % CLASSES
    data = Candidates(
        points=Split(x[:n], y[:n]), aux=Split(x[n:], y[n:]),
        aux_member=torch.zeros(total - n, dtype=torch.bool),
        shadows=tuple(
            Shadow(
                box=BlackBox(Written(one), Access.SCORES), members=row[:n], aux_members=row[n:]
            )
            for one, row in zip(logits[1:], held, strict=True)
        ),
        num_classes=CLASSES, architecture="none", input_shape=(1, 1, 1),
    )  # fmt: skip
    return BlackBox(Written(logits[0]), Access.SCORES), data


def _quarters(shadows: int, n: int) -> torch.Tensor:
    return (torch.arange(n)[None] + torch.arange(shadows)[:, None]) % 4 == 0


@pytest.fixture
def toy():
    stream = torch.Generator().manual_seed(0)
    return 2 * torch.randn(5, N + M, CLASSES, generator=stream), _quarters(4, N + M)


def _slow(logits, held, *, online, gamma, a):
    """Pr over z of (Pr(x | target) / Pr(x)) / (Pr(z | target) / Pr(z)) >= gamma, in loops."""

    def own(k, i):
        scores = [math.exp(float(v)) for v in logits[k, i]]
        return scores[i % CLASSES] / sum(scores)

    def ratio(i):
        inside = [own(1 + k, i) for k in range(len(held)) if held[k, i]]
        outside = [own(1 + k, i) for k in range(len(held)) if not held[k, i]]
        out = sum(outside) / len(outside)
        trained = sum(inside) / len(inside) if online else a * out + 1 - a
        return own(0, i) / ((trained + out) / 2)

    return [sum(ratio(i) / ratio(j) >= gamma for j in range(N, N + M)) / M for i in range(N)]


@pytest.mark.parametrize(
    "settings",
    [
        {"online": True, "gamma": 1.0, "a": 0.3},
        {"online": True, "gamma": 2.0, "a": 0.3},
        {"online": False, "gamma": 1.0, "a": 0.3},
        {"online": False, "gamma": 1.5, "a": 0.0},
        {"online": False, "gamma": 2.0, "a": 1.0},
    ],
)
def test_scores_are_those_of_the_formula_in_loops(toy, settings) -> None:
    logits, held = toy
    target, data = _setup(logits, held, N)
    found = RMIA(**settings).run(target, data, seed=0)
    expected = _slow(logits, held, **settings)
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert len(set(expected)) > 3
    assert target.queries == N + M


def test_an_example_as_likely_as_one_of_the_population_dominates_it() -> None:
    """With gamma 1, where all are alike the share is 1, not 0."""
    logits = torch.zeros(5, N + M, CLASSES)
    target, data = _setup(logits, _quarters(4, N + M), N)
    assert RMIA(gamma=1.0).run(target, data, seed=0).tolist() == [1.0] * N
    assert RMIA(gamma=1.1).run(target, data, seed=0).tolist() == [0.0] * N


def _auc(*, memory: float, online: bool, seed: int) -> float:
    """400 candidates, half of them members, and 400 others; training raises leads by ``memory``."""
    stream = torch.Generator().manual_seed(seed)
    n, total = 400, 800
    held = _quarters(4, total)
    truth = torch.zeros(total, dtype=torch.bool)
    truth[:n] = torch.rand(n, generator=stream) < 0.5
    # Leads far below 0 keep probabilities from saturating.
    lead = -4 + 2 * torch.randn(total, generator=stream)
    lead = lead + torch.randn(5, total, generator=stream) + memory * torch.cat([truth[None], held])
    logits = torch.zeros(5, total, CLASSES)
    logits[:, torch.arange(total), torch.arange(total) % CLASSES] = lead
    target, data = _setup(logits, held, n)
    found = RMIA(online=online, a=1.0).run(target, data, seed=0)
    return float(roc_auc_score(truth[:n], found))


@pytest.mark.parametrize("online", [True, False])
def test_memory_is_found_however_much_harder_some_examples_are(online) -> None:
    found = np.mean([_auc(memory=2.0, online=online, seed=seed) for seed in range(5)])
    # At best two normal distributions of deviation 1, two apart; few references blur that.
    assert 0.78 < found < norm.cdf(2 / math.sqrt(2)) + 0.02


@pytest.mark.parametrize("online", [True, False])
def test_a_target_without_memory_gives_nothing_away(online) -> None:
    found = np.mean([_auc(memory=0.0, online=online, seed=seed) for seed in range(10)])
    assert found == pytest.approx(0.5, abs=0.03)


def test_an_example_that_no_reference_was_trained_on_is_interpolated(toy) -> None:
    logits, held = toy
    held = held.clone()
    held[:, 3] = False
    target, data = _setup(logits, held, N)
    online = RMIA(online=True, a=0.5).general(
        torch.full((4, 2), 0.4),
        torch.tensor([[False, True], [False] * 2, [False] * 2, [False] * 2]),
    )
    assert online.tolist() == pytest.approx([(0.4 + 0.5 * 0.4 + 0.5) / 2, 0.4])
    assert torch.isfinite(RMIA().run(target, data, seed=0)).all()


def test_a_budget_leaves_some_of_the_population_out(toy) -> None:
    logits, held = toy
    _, data = _setup(logits, held, N)
    box = BlackBox(Written(logits[0]), Access.SCORES, budget=N + 4)
    found = RMIA().run(box, data, seed=0)
    assert box.queries == N + 4
    assert (found * 4 == (found * 4).round()).all()
    again = RMIA().run(BlackBox(Written(logits[0]), Access.SCORES, budget=N + 4), data, seed=0)
    assert torch.equal(found, again)
    with pytest.raises(ZooError, match="query budget of 9 only suffices for 9 candidates"):
        RMIA().run(BlackBox(Written(logits[0]), Access.SCORES, budget=N), data, seed=0)


def test_answers_without_scores_are_right_or_wrong(toy) -> None:
    """What is wrong dominates what is wrong and nothing else, whatever the references say."""
    logits, held = toy
    certain = 1000 * torch.nn.functional.one_hot(logits.argmax(2), CLASSES).float()
    target, data = _setup(certain, held, N)
    right = certain[0].argmax(1) == torch.arange(N + M) % CLASSES
    for attack in (RMIA(), RMIA(online=False, a=1.0)):
        found = attack.run(target, data, seed=0)
        assert found[~right[:N]].unique().tolist() == [pytest.approx(1 - right[N:].double().mean())]
        assert (found[right[:N]] >= found[~right[:N]].max()).all()


def test_labels_are_not_enough(toy) -> None:
    logits, held = toy
    _, data = _setup(logits, held, N)
    with pytest.raises(AccessDeniedError, match="wants scores"):
        RMIA().run(BlackBox(Written(logits[0]), Access.LABELS), data, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shadows": 1}, "at least 2 reference models, found shadows=1"),
        ({"gamma": 0.0}, "gamma above 0, found 0.0"),
        ({"a": 1.5}, "a between 0 and 1, found 1.5"),
    ],
)
def test_refuses_what_cannot_be(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        RMIA(**settings)


def test_an_example_that_all_reference_models_were_trained_on_is_as_likely_as_they_say() -> None:
    """LeakPro 441: without a model that lacks it, it looked half as likely, and so like a member."""
    answers = torch.tensor([[0.8, 0.8], [0.6, 0.6]], dtype=torch.float64)
    held = torch.tensor([[True, True], [True, False]])
    assert RMIA(online=True, shadows=2).general(answers, held).tolist() == pytest.approx([0.7, 0.7])
    offline = RMIA(online=False, shadows=2, a=0.3).general(answers, held).tolist()
    assert offline == pytest.approx([(0.7 + 0.91) / 2, (0.6 + 0.88) / 2])
