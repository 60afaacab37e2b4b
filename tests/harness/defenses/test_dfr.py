"""Last-layer retraining: which examples are held out, what the new layer is, and that it helps."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.examples import UNKNOWN, Attribute, Split
from harness.data.quarters import quarters
from harness.defenses import dfr
from harness.defenses.dfr import DFR, balanced, chosen, retrained
from harness.defenses.shared.defender import DefenderData
from harness.defenses.stack import Stack
from harness.training.single import train_alone
from harness.types import NotApplicableError, Part, Regime
from zoo.errors import ZooError
from zoo.recipe import Recipe


def _shop(data: Split, num_classes: int = 2, seed: int = 0) -> DefenderData:
    return DefenderData(
        data=data, trusted=data.take(torch.arange(2)), num_classes=num_classes,
        train=lambda data: nn.Identity(), recipe=Recipe(), seed=seed,
    )  # fmt: skip


def _spurious(n: int, agrees: float, seed: int) -> Split:
    """Features (core, spurious): the label with noise, and the group without; both around 0.5."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    group = np.where(rng.random(n) < agrees, y, 1 - y)
    core = 0.5 + 0.12 * (2 * y - 1) + 0.2 * rng.standard_normal(n)
    shown = 0.5 + 0.3 * (2 * group - 1) + 0.03 * rng.standard_normal(n)
    return Split(
        torch.from_numpy(np.stack([core, shown], 1)).float(),
        torch.from_numpy(y),
        {"group": Attribute(torch.from_numpy(group), ("a", "b"))},
    )


def _network(seed: int = 0) -> nn.Module:
    """Its features are its inputs."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2))
    model[0].weight.data = torch.eye(2)
    return model.eval()


def _worst(model: nn.Module, data: Split) -> float:
    right = (model(data.x).argmax(1) == data.y).double()
    cells = data.z["group"].values * 2 + data.y
    return min(right[cells == cell].mean().item() for cell in range(4))


def test_given_both_features_it_takes_the_core_one() -> None:
    data, test = _spurious(4000, 0.97, 0), _spurious(4000, 0.5, 1)
    erm = LogisticRegression(C=1e4).fit(data.x.numpy(), data.y.numpy())
    model = _network()
    model[1].weight.data[1] = torch.from_numpy(erm.coef_[0]).float()
    model[1].bias.data[1] = float(erm.intercept_[0])
    model[1].weight.data[0], model[1].bias.data[0] = 0.0, 0.0
    repaired = DFR().edit(model, data, _shop(data))
    scales = data.x.std(0)
    before, after = (
        ((m[1].weight[1] - m[1].weight[0]) * scales).abs().tolist() for m in (model, repaired)
    )
    assert before[1] > 2 * before[0]  # the control: the spurious feature rules
    assert after[0] > 3 * after[1]
    found = _worst(model, test), _worst(repaired, test)
    assert found[0] < 0.3
    assert found[1] > 0.62  # with the core feature alone, 0.726 of each are right


@pytest.mark.parametrize("classes", [2, 3])
def test_the_last_layer_says_what_scikit_learn_says_of_standardised_features(classes) -> None:
    """With as many of each group and label, every draw is the same: all held-out examples."""
    rng = np.random.default_rng(0)
    y = np.arange(60 * classes) % classes
    cells = y + classes * (np.arange(60 * classes) // classes % 2)
    x = 5.0 + 3.0 * rng.standard_normal((len(y), 4)) + np.eye(4)[y]
    x = np.concatenate([x, np.full((len(y), 1), 2.0)], 1)  # one that is always the same
    weight, bias = retrained(x, y, cells, draws=3, rng=np.random.default_rng(1))
    scaled = StandardScaler().fit_transform(x)
    strength = chosen(scaled, y, cells, np.random.default_rng(1))
    fit = LogisticRegression(
        l1_ratio=1.0, C=strength, solver="saga", tol=1e-6, max_iter=5000, random_state=0
    ).fit(scaled, y)
    logits = torch.from_numpy(x @ weight.T + bias)
    assert (weight.shape, bias.shape) == ((classes, 5), (classes,))
    np.testing.assert_allclose(logits.softmax(1).numpy(), fit.predict_proba(scaled), atol=2e-3)


def test_a_draw_has_as_many_of_each_as_the_rarest_and_the_layer_is_their_mean(monkeypatch) -> None:
    cells = np.array([0] * 9 + [2] * 3 + [3] * 5)
    draws = balanced(cells, 8, np.random.default_rng(0))
    assert all(np.bincount(cells[rows]).tolist() == [3, 0, 3, 3] for rows in draws)
    assert all(len(np.unique(rows)) == 9 for rows in draws)
    assert len({tuple(sorted(rows)) for rows in draws}) > 4

    made = []

    class Fixed:
        def __init__(self) -> None:
            made.append(self)
            self.coef_, self.intercept_ = np.array([[6.0 * len(made)]]), np.array([len(made)])

    monkeypatch.setattr(dfr, "chosen", lambda *given: 1.0)
    monkeypatch.setattr(dfr, "_fitted", lambda x, y, strength: Fixed())
    x = np.array([[1.0]] * 9 + [[4.0]] * 8)
    scale, mean = x.std(), x.mean()
    weight, bias = retrained(x, cells % 2, cells, draws=3, rng=np.random.default_rng(0))
    # Slopes 6, 12, 18 and intercepts 1, 2, 3 of the standardised feature; half for each class.
    np.testing.assert_allclose(weight, [[-6 / scale], [6 / scale]])
    np.testing.assert_allclose(bias, [-1 + 6 * mean / scale, 1 - 6 * mean / scale])


def test_the_strength_is_the_best_for_the_worst_group_of_the_other_half(monkeypatch) -> None:
    y, cells = np.arange(40) % 2, np.arange(40) % 4
    fitted_to = []

    class Fixed:
        def __init__(self, x, strength) -> None:
            fitted_to.append(x[:, 0])
            self.strength = strength

        def predict(self, x):
            asked = x[:, 0].astype(int)
            assert not set(asked) & set(fitted_to[-1])
            if self.strength in (0.3, 0.03):  # right of every group half of the time
                return np.where(asked // 4 % 2, asked % 2, 1 - asked % 2)
            return np.where(asked % 4 == 0, 1, asked % 2)  # right but of one group

    monkeypatch.setattr(dfr, "_fitted", lambda x, y, strength: Fixed(x, strength))
    rows = np.arange(40.0)[:, None]
    assert chosen(rows, y, cells, np.random.default_rng(0)) == 0.3
    assert len(fitted_to) == len(dfr.STRENGTHS)
    assert all(np.bincount(rows.astype(int) % 4).tolist() == [5] * 4 for rows in fitted_to)


def test_a_share_of_each_group_and_label_is_held_out_and_edited_with() -> None:
    y = torch.tensor([0] * 50 + [1] * 30 + [0] * 20 + [1] * 5)
    values = torch.tensor([0] * 80 + [1] * 25)
    values[:10] = UNKNOWN
    data = Split(torch.rand(105, 2), y, {"group": Attribute(values, ("a", "b"))})
    defense, defender = DFR(held_out=0.2), _shop(data)
    rows = defense.rows(defender)
    counts = [int(rows[(values == g) & (y == k)].sum()) for g in (0, 1) for k in (0, 1)]
    assert counts == [8, 6, 4, 2]  # of the last five, two at least
    assert not rows[values == UNKNOWN].any()
    cleaned = defense.clean(data, defender)
    assert torch.equal(cleaned.held_out, rows)
    assert torch.equal(cleaned.data.x, data.x[~rows])
    assert cleaned.removed is None
    assert cleaned.notes == {"held_out": 20}
    assert not torch.equal(rows, defense.rows(_shop(data, seed=1)))
    # What is not held out does not matter to the new layer.
    changed = data.x.clone()
    changed[~rows] = 0.5
    model = _network()
    layers = [
        defense.edit(model, data, _shop(Split(x, y, data.z)))[1].weight for x in (data.x, changed)
    ]
    assert torch.equal(*layers)
    assert not torch.equal(layers[0], model[1].weight)


def test_it_holds_out_before_filters_and_the_trained_model_has_not_seen_them(
    job_for, monkeypatch
) -> None:
    tinted = datasets.load("digits-tinted", DataLocation())
    defense = DFR(held_out=0.5, draws=2).resolve(tinted)
    assert defense.attribute == "tint"
    others = [registry.make("defense", name, {}) for name in ("activation-clustering", "watermark")]
    assert [d.name for d in Stack.of([*others, defense]).defenses] == [
        "dfr", "activation-clustering", "watermark",
    ]  # fmt: skip
    job = job_for(data=tinted, stack=(registry.describe(defense),))
    members = tinted.collected.take(job.index)
    seen = []

    def edit(self, model, data, defender):
        seen.append((data, self.rows(defender)))
        return model

    monkeypatch.setattr(DFR, "edit", edit)
    made = train_alone(job, members, None)
    # The last layer is fitted to what was held out.
    assert made.left_out is not None
    assert made.left_out.tolist() == []
    (data, rows) = seen[0]
    assert made.evidence["held_out"] == int(rows.sum()) > 150
    assert torch.equal(data.x, members.x[~rows])


def test_the_tint_matters_less_after_it(job_for) -> None:
    """How much oftener digits are right whose tint goes with the label than others."""
    tinted = datasets.load("digits-tinted", DataLocation())
    found = []
    for stack in ((), (registry.describe(DFR(held_out=0.5).resolve(tinted)),)):
        gaps = []
        for seed in range(3):
            job = job_for(
                data=tinted, seed=seed, stack=stack, recipe=Recipe(lr=3e-3, epochs=30)
            )  # fmt: skip
            model = train_alone(job, tinted.collected.take(job.index), None).model
            split = quarters(tinted, seed, Regime.FROM_SCRATCH)
            test = tinted.collected.take(split.target_test)
            right = (model(test.x).argmax(1) == test.y).double()
            usual = test.z["tint"].values == test.y % 2
            gaps.append([right[usual].mean().item(), right[~usual].mean().item()])
        found.append(np.mean(gaps, 0))
    assert found[0][0] - found[0][1] > 0.04
    assert found[1][0] - found[1][1] < 0.6 * (found[0][0] - found[0][1])
    assert found[1][1] > found[0][1] - 0.02


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2, bias=False)), "has none"),
        (nn.Sequential(nn.Linear(2, 3), nn.Unflatten(1, (3, 1)), nn.Conv1d(3, 2, 1),
                       nn.Flatten()), "is not linear"),
    ],
)  # fmt: skip
def test_a_network_without_such_a_layer_is_refused(model, message) -> None:
    data = _spurious(100, 0.7, 0)
    with pytest.raises(NotApplicableError, match=message):
        DFR().edit(model.eval(), data, _shop(data))


def test_groups_that_are_too_small_are_refused() -> None:
    data = _spurious(60, 0.7, 0)
    cells = data.z["group"].values * 2 + data.y
    keep = torch.cat([(cells != 1).nonzero().flatten(), (cells == 1).nonzero().flatten()[:1]])
    with pytest.raises(NotApplicableError, match="found 1 of a with label 1. Choose another"):
        DFR().clean(data.take(keep), _shop(data.take(keep)))
    with pytest.raises(NotApplicableError, match="every example of class 0, and leaves none"):
        DFR(held_out=0.99).rows(_shop(data))
    with pytest.raises(NotApplicableError, match="no sensitive attributes"):
        DFR().rows(_shop(Split(data.x, data.y)))


def test_the_old_model_is_left_and_the_edit_can_be_repeated() -> None:
    data, model = _spurious(200, 0.8, 0), _network()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    first, again = (DFR().edit(model, data, _shop(data)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    torch.testing.assert_close(dict(first.state_dict()), dict(again.state_dict()), rtol=0, atol=0)
    assert first.state_dict().keys() == before.keys()
    assert DFR.acts_on == {Part.DATA, Part.MODEL}
    assert Stack.of([DFR()]).is_trained


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"held_out": 0.0}, "held_out between 0 and 1"), ({"draws": 0}, "draws of at least 1")],
)
def test_settings_that_make_no_sense_are_refused(settings, message) -> None:
    with pytest.raises(ZooError, match=message):
        DFR(**settings)
