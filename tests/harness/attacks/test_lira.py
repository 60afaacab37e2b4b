"""LiRA against models whose answers are written down, and against its formula in loops."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from torch import nn

from harness.attacks import lira
from harness.attacks.lira import LiRA, confidence, views
from harness.attacks.shared.attacker_data import Candidates, Shadow
from harness.data.examples import Split
from harness.games import shadows
from harness.target import AccessDeniedError, BlackBox, BudgetError
from harness.types import Access, NotApplicableError, Regime
from zoo.errors import ZooError

N, CLASSES, SHADOWS = 12, 3, 16


class Written(nn.Module):
    """Answers row ``i`` of its logits to the input ``i``."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return self.logits[x.flatten().long()]


NOBODY = Split(torch.zeros(0, 1, 1, 1), torch.zeros(0, dtype=torch.long))


def _box(logits, access=Access.SCORES, budget=None):
    return BlackBox(Written(logits), access, budget=budget)


def _candidates(logits, members, *, x=None):
    """Candidates 0 .. n - 1 with labels by turns, and shadow models with these logits."""
    n = members.shape[1]
    return Candidates(
        points=Split(
            torch.arange(float(n)).view(n, 1, 1, 1) if x is None else x, torch.arange(n) % CLASSES
        ),
        aux=NOBODY,
        aux_member=torch.zeros(0, dtype=torch.bool),
        shadows=tuple(
            Shadow(box=_box(one), members=held, aux_members=held[:0])
            for one, held in zip(logits, members, strict=True)
        ),
        num_classes=CLASSES, architecture="none", input_shape=(1, 1, 1),
    )  # fmt: skip


def _quarters(shadows: int, n: int) -> torch.Tensor:
    """Membership (shadows, n) in which four in a row share out the examples."""
    return (torch.arange(n)[None] + torch.arange(shadows)[:, None]) % 4 == 0


@pytest.fixture
def toy():
    stream = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(SHADOWS + 1, N, CLASSES, generator=stream)
    return logits[0], logits[1:], _quarters(SHADOWS, N)


def _slow(target, shadows, members, *, online, variance):
    """The paper's algorithm 1 one number at a time; deviations are unbiased estimates."""

    def phi(logits, i):
        scores = [math.exp(float(v)) for v in logits[i]]
        own = scores[i % CLASSES] / sum(scores)
        return math.log(own / (1 - own))

    sides = {}
    for side in (True, False):
        chosen = [
            [phi(shadows[k], i) for k in range(len(shadows)) if bool(members[k, i]) is side]
            for i in range(N)
        ]
        means = [sum(v) / len(v) for v in chosen]
        squares = [sum((c - m) ** 2 for c in v) for v, m in zip(chosen, means, strict=True)]
        if variance == "global":
            one = math.sqrt(sum(squares) / sum(len(v) - 1 for v in chosen))
            deviations = [one] * N
        else:
            deviations = [math.sqrt(s / (len(v) - 1)) for s, v in zip(squares, chosen, strict=True)]
        sides[side] = list(zip(means, deviations, strict=True))
    found = []
    for i in range(N):
        seen = phi(target, i)
        if online:
            found.append(norm.logpdf(seen, *sides[True][i]) - norm.logpdf(seen, *sides[False][i]))
        else:
            found.append(-norm.logsf(seen, *sides[False][i]))
    return found


@pytest.mark.parametrize(
    ("online", "variance"), itertools.product((True, False), ("global", "per-sample"))
)
def test_scores_are_those_of_the_formula_in_loops(toy, online, variance) -> None:
    target, shadows, members = toy
    attack = LiRA(shadows=SHADOWS, online=online, variance=variance)
    found = attack.run(_box(target), _candidates(shadows, members), seed=0)
    expected = _slow(target, shadows, members, online=online, variance=variance)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_offline_a_target_that_is_less_sure_than_all_shadows_is_never_suspicious(toy) -> None:
    """A two-sided density would call the unlikely low confidence as telling as a high one."""
    _, shadows, members = toy
    sure = torch.zeros(N, CLASSES)
    sure[torch.arange(N), torch.arange(N) % CLASSES] = 30.0
    attack = LiRA(shadows=SHADOWS, online=False)
    data = _candidates(shadows, members)
    low, same, high = (
        attack.run(_box(logits), data, seed=0) for logits in (-sure, shadows.mean(0), sure)
    )
    assert (low < same).all()
    assert (same < high).all()


def test_what_shadow_models_trained_on_it_say_does_not_count_offline(toy) -> None:
    target, shadows, members = toy
    other = torch.where(members[:, :, None], shadows + torch.tensor([9.0, 0.0, 0.0]), shadows)
    for online in (True, False):
        attack = LiRA(shadows=SHADOWS, online=online)
        one = attack.run(_box(target), _candidates(shadows, members), seed=0)
        two = attack.run(_box(target), _candidates(other, members), seed=0)
        assert torch.equal(one, two) is not online


def _auc(*, memory: float, online: bool, seed: int) -> float:
    """400 candidates, half of them members, whose logits training raises by ``memory``."""
    stream = torch.Generator().manual_seed(seed)
    n, shadows = 400, 16
    hardness = 3 * torch.randn(n, generator=stream)
    noise = torch.randn(shadows + 1, n, generator=stream)
    members = _quarters(shadows, n)
    truth = torch.rand(n, generator=stream) < 0.5
    lead = hardness + noise + memory * torch.cat([truth[None], members])
    logits = torch.zeros(shadows + 1, n, CLASSES)
    logits[:, torch.arange(n), torch.arange(n) % CLASSES] = lead
    attack = LiRA(shadows=shadows, online=online)
    found = attack.run(_box(logits[0]), _candidates(logits[1:], members), seed=0)
    return float(roc_auc_score(truth, found))


@pytest.mark.parametrize("online", [True, False])
def test_memory_is_found_however_much_harder_some_examples_are(online) -> None:
    found = np.mean([_auc(memory=2.0, online=online, seed=seed) for seed in range(5)])
    # Two normal distributions of deviation 1 that are 2 apart; the means are estimated.
    assert norm.cdf(2 / math.sqrt(2)) - 0.05 < found < norm.cdf(2 / math.sqrt(2)) + 0.02


@pytest.mark.parametrize("online", [True, False])
def test_a_target_without_memory_gives_nothing_away(online) -> None:
    found = np.mean([_auc(memory=0.0, online=online, seed=seed) for seed in range(10)])
    assert found == pytest.approx(0.5, abs=0.03)


def test_an_example_that_no_shadow_model_was_trained_on_is_judged_like_the_others(toy) -> None:
    """It gets the others' mean difference between IN and OUT."""
    target, shadows, members = toy
    members = members.clone()
    members[:, 5] = False
    found = LiRA(shadows=SHADOWS).run(_box(target), _candidates(shadows, members), seed=0)
    y = torch.arange(N) % CLASSES
    seen = np.stack([confidence(one.softmax(1), y).numpy() for one in shadows])
    held = members.numpy()
    inside = [seen[held[:, i], i] for i in range(N)]
    outside = [seen[~held[:, i], i] for i in range(N)]
    effect = np.mean([inside[i].mean() - outside[i].mean() for i in range(N) if i != 5])
    spread = [
        math.sqrt(
            sum(((v - v.mean()) ** 2).sum() for v in side if len(v))
            / sum(len(v) - 1 for v in side if len(v))
        )
        for side in (inside, outside)
    ]
    seen_5 = float(confidence(target.softmax(1), y)[5])
    center = outside[5].mean()
    expected = norm.logpdf(seen_5, center + effect, spread[0]) - norm.logpdf(
        seen_5, center, spread[1]
    )
    assert float(found[5]) == pytest.approx(expected, rel=1e-4)


def test_a_score_that_rounded_to_one_is_still_told_from_others() -> None:
    scores = torch.tensor([[0.0, 20.0], [0.0, 60.0], [0.0, -60.0]]).softmax(1)
    found = confidence(scores, torch.tensor([1, 1, 1]))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([20.0, 60.0, -60.0], rel=1e-4)


@pytest.mark.parametrize("variance", ["global", "per-sample"])
@pytest.mark.parametrize("online", [True, False])
def test_answers_without_scores_give_finite_numbers(toy, online, variance) -> None:
    _, shadows, members = toy
    certain = 1000 * torch.nn.functional.one_hot(shadows.argmax(2), CLASSES).float()
    agreed = certain[:1].expand_as(certain)  # where nobody ever differs, there is no deviation
    attack = LiRA(shadows=SHADOWS, online=online, variance=variance)
    for answers in (certain, agreed):
        for target in (certain[0], -certain[0]):
            found = attack.run(_box(target), _candidates(answers, members), seed=0)
            assert torch.isfinite(found).all()


class Linear(nn.Module):
    def __init__(self, seed):
        super().__init__()
        self.weight = torch.randn(16, CLASSES, generator=torch.Generator().manual_seed(seed))

    def forward(self, x):
        return x.flatten(1) @ self.weight


def test_several_queries_are_averaged() -> None:
    x = torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    members = _quarters(8, N)
    data = Candidates(
        points=Split(x, torch.arange(N) % CLASSES), aux=NOBODY, aux_member=members[0, :0],
        shadows=tuple(
            Shadow(box=BlackBox(Linear(k), Access.SCORES), members=held, aux_members=held[:0])
            for k, held in enumerate(members)
        ),
        num_classes=CLASSES, architecture="none", input_shape=(1, 4, 4),
    )  # fmt: skip
    target = BlackBox(Linear(100), Access.SCORES)
    found = LiRA(shadows=8, queries=3, flip=True).run(target, data, seed=0)
    assert target.queries == 3 * N
    one = []
    for view in (x, x.flip(-1), next(itertools.islice(views(x, 3, flip=True), 2, None))):
        moved = Candidates(**{**vars(data), "points": Split(view, data.points.y)})
        one.append(LiRA(shadows=8).run(target, moved, seed=0))
    torch.testing.assert_close(found, torch.stack(one).mean(0))
    assert not torch.allclose(one[0], one[2])


def test_the_views_are_the_image_and_then_its_neighbours() -> None:
    x = torch.arange(25.0).view(1, 1, 5, 5)
    found = list(views(x, 25, flip=False))
    assert torch.equal(found[0], x)
    assert len({tuple(view.flatten().tolist()) for view in found}) == 25
    assert all(view[0, 0, 2, 2] in x[0, 0, 1:4, 1:4] for view in found[:9])
    down = next(view for view in found[1:5] if torch.equal(view[..., 1:, :], x[..., :-1, :]))
    assert torch.equal(down[..., 0, :], x[..., 0, :])
    both = list(views(x, 4, flip=True))
    assert torch.equal(both[1], x.flip(-1))
    assert torch.equal(both[3], both[2].flip(-1))


def test_a_budget_cuts_queries_and_never_candidates(toy) -> None:
    target, shadows, members = toy
    data = _candidates(shadows, members)
    attack = LiRA(shadows=SHADOWS, queries=5)
    box = _box(target, budget=2 * N - 1)
    found = attack.run(box, data, seed=0)
    assert box.queries == N
    assert torch.equal(found, LiRA(shadows=SHADOWS).run(_box(target), data, seed=0))
    with pytest.raises(BudgetError):
        attack.run(_box(target, budget=N - 1), data, seed=0)


def test_labels_are_not_enough(toy) -> None:
    target, shadows, members = toy
    with pytest.raises(AccessDeniedError, match="wants scores"):
        LiRA().run(_box(target, Access.LABELS), _candidates(shadows, members), seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shadows": 7}, r"at least 8 shadow models online, found shadows=7.*or set lira\.online"),
        ({"shadows": 3, "online": False}, "at least 4 shadow models offline, found shadows=3"),
        ({"queries": 0}, "queries from 1 to 25 without flip, found 0"),
        ({"queries": 51, "flip": True}, "queries from 1 to 50, found 51"),
    ],
)
def test_refuses_what_cannot_be(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        LiRA(**settings)


def test_rows_of_a_table_are_not_shifted(tiny) -> None:
    from dataclasses import replace

    table = replace(tiny, x=tiny.x.flatten(1))
    assert LiRA(queries=2).resolve(tiny) == LiRA(queries=2)
    assert LiRA().resolve(table) == LiRA()
    with pytest.raises(ZooError, match=r"tiny is tabular. Set lira\.queries=1"):
        LiRA(queries=2).resolve(table)


@pytest.mark.parametrize("variance", ["global", "per-sample"])
def test_an_example_that_every_shadow_model_was_trained_on_is_judged_like_the_others(
    variance,
) -> None:
    """LeakPro 441: no OUT shadow. Training adds 2 to a confidence, with a deviation of 1."""
    stream = torch.Generator().manual_seed(0)
    members = _quarters(64, 200)
    members[:, :20] = True
    hard = torch.randn(200, generator=stream, dtype=torch.float64)
    noise = torch.randn(65, 200, generator=stream, dtype=torch.float64)
    expected = hard + 2 * members + noise[:64]
    for online in (True, False):
        at = [
            lira.score(hard + shift, expected, members, online=online, variance=variance)
            for shift in (0.0, 2.0)
        ]
        for low, high in zip(*at, strict=True):
            assert low.isfinite()
            assert high.isfinite()
        assert abs(at[0][:20].mean() - at[0][20:].mean()) < 0.5
        assert abs(at[1][:20].mean() - at[1][20:].mean()) < 0.5
        assert (at[1] - at[0])[:20].mean() > 1


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("variance", ["global", "per-sample"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_scores_are_finite_or_it_is_said_what_is_lacking(online, variance, share, count) -> None:
    """LeakPro 441, 345: whatever share of the data the shadow models were trained on."""
    stream = torch.Generator().manual_seed(count)
    members = torch.rand(count, 40, generator=stream) < share
    expected = torch.randn(count, 40, generator=stream, dtype=torch.float64)
    observed = torch.randn(40, generator=stream, dtype=torch.float64)
    both = (members.any(0) & ~members.all(0)).any()
    enough = (both or (not online and not members.any())) and count > 1
    if enough:
        found = lira.score(observed, expected, members, online=online, variance=variance)
        assert found.isfinite().all()
        assert len(found.unique()) == 40
    else:
        with pytest.raises(NotApplicableError, match=rf"of {count} shadows .* lira\.shadows"):
            lira.score(observed, expected, members, online=online, variance=variance)


def test_the_game_can_deal_an_example_that_every_shadow_model_was_trained_on(tiny) -> None:
    """One that the data have often enough is in every quarter of them."""
    x, y = tiny.x.clone(), tiny.y.clone()
    x[: len(x) // 2], y[: len(x) // 2] = x[0], y[0]
    data = replace(tiny, x=x, y=y)
    held = [data.content[shadows.index(data, Regime.FROM_SCRATCH, k)] for k in range(8)]
    assert all(torch.isin(data.content[0], one) for one in held)


@pytest.mark.parametrize("variance", ["global", "per-sample"])
@pytest.mark.parametrize("inside", [1, 2])
def test_where_one_side_has_no_two_models_they_differ_as_on_the_other(inside, variance) -> None:
    """LeakPro 441: three shadow models, of which one or two were trained on everything.

    The pair 1 and 3 has mean 2 and a variance of 2 (unbiased); the third says 6.
    """
    members = torch.tensor([inside == 2, inside == 2, inside == 1])[:, None].expand(3, 5)
    expected = torch.tensor([1.0, 3.0, 6.0], dtype=torch.float64)[:, None].expand(3, 5)
    observed = torch.arange(5.0, dtype=torch.float64)
    found = lira.score(observed, expected, members, online=True, variance=variance)
    toward = (observed - 2) ** 2 / 4 - (observed - 6) ** 2 / 4
    assert found.tolist() == pytest.approx((toward if inside == 1 else -toward).tolist())


def test_one_shadow_of_each_kind_is_refused() -> None:
    """LeakPro 441: how much two models differ, one and one cannot say."""
    members = torch.tensor([[True, False, True], [False, True, False]])
    expected = torch.randn(2, 3, dtype=torch.float64)
    with pytest.raises(NotApplicableError, match=r"of 2 shadows no candidate has two of a kind"):
        lira.score(expected[0], expected, members, online=True, variance="global")
