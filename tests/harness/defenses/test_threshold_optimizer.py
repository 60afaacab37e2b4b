"""Thresholds per group: fairlearn's rules, drawn once for each input, on what the input states."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from harness.data.dataset import Dataset
from harness.data.examples import UNKNOWN, Attribute, Column, Split
from harness.defenses.label_only import LabelOnly
from harness.defenses.randomized_smoothing import RandomizedSmoothing
from harness.defenses.shared.defender import DefenderData
from harness.defenses.shared.group_columns import groups_in, stating
from harness.defenses.stack import Stack
from harness.defenses.threshold_optimizer import (
    CONSTRAINTS,
    Decided,
    Rules,
    ThresholdOptimizer,
    fitted,
)
from harness.defenses.top_k import TopK
from harness.types import NotApplicableError
from zoo.errors import ZooError

COLUMNS = (
    Column("age", 0, 1, low=17, high=90),
    Column("sex", 1, 3, values=("f", "m")),
    Column("race", 3, 6, values=("a", "b", "c")),
)


class Ages(nn.Module):
    """A model whose margin is the age, from -1 to 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = 2 * x[:, 0] - 1
        return torch.stack([-score / 2, score / 2], 1)


def _people(n: int, seed: int = 0) -> Split:
    """Age goes with the label; men are older, and oftener have label 1."""
    rng = np.random.default_rng(seed)
    sex, race = rng.integers(2, size=n), rng.integers(3, size=n)
    y = (rng.random(n) < 0.2 + 0.3 * sex).astype(int)
    age = np.clip(0.3 + 0.2 * y + 0.1 * sex + 0.1 * rng.standard_normal(n), 0, 1)
    x = np.concatenate([age[:, None], np.eye(2)[sex], np.eye(3)[race]], 1)
    z = {
        "sex": Attribute(torch.from_numpy(sex), ("f", "m")),
        "race": Attribute(torch.from_numpy(race), ("a", "b", "c")),
    }
    return Split(torch.from_numpy(x).float(), torch.from_numpy(y), z, columns=COLUMNS)


def _shop(data: Split, seed: int = 0) -> DefenderData:
    return DefenderData(
        data=data, trusted=data.take(torch.arange(1)), num_classes=2, train=lambda data: Ages(),
        recipe=None, seed=seed,
    )  # fmt: skip


def _rates(chosen: torch.Tensor, data: Split) -> dict[str, float]:
    """Largest differences between the sexes: selected, and selected of each label."""
    group = data.z["sex"].values

    def gap(rows: torch.Tensor) -> float:
        return abs(
            float(chosen[rows & (group == 0)].mean()) - float(chosen[rows & (group == 1)].mean())
        )

    everybody = torch.ones(len(data), dtype=torch.bool)
    return {
        "demographic-parity": gap(everybody),
        "equal-opportunity": gap(data.y == 1),
        "equalized-odds": max(gap(data.y == 1), gap(data.y == 0)),
    }


@pytest.mark.parametrize(
    ("constraint", "chances"),
    [
        # Half of each group. Of the second all that deserve it; of the first either the best one or
        # the best three, which are right three times of four.
        ("demographic-parity", [1.0, 0.5, 0.5, 0.0, 1.0, 1.0, 0.0, 0.0]),
        # All of the first group's positives cost one of its negatives; the second's cost none.
        ("equal-opportunity", [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
        # The best of the first group is half of its positives and no negative; the second's rates
        # are made as bad by giving up half of its positives at random.
        ("equalized-odds", [1.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0]),
    ],
)
def test_two_groups_of_four_worked_by_hand(constraint, chances) -> None:
    margins = np.array([3, 2, 1, 0, 30, 20, 10, 0.0])
    y, groups = np.array([1, 0, 1, 0, 1, 1, 0, 0]), np.repeat([0, 1], 4)
    rules = Rules.of(fitted(margins, y, groups, constraint), 2)
    found = rules.chance(torch.from_numpy(margins), torch.from_numpy(groups))
    assert found.tolist() == chances


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("groups", [2, 5])
def test_the_chances_are_those_of_fairlearn_and_the_rates_are_equal(constraint, groups) -> None:
    rng = np.random.default_rng(groups)
    n = 900
    group = rng.integers(groups, size=n)
    y = (rng.random(n) < 0.2 + 0.1 * group).astype(int)
    margins = np.round(rng.normal(size=n) + y * rng.random() + 0.3 * group, 2)  # with ties
    optimizer = fitted(margins, y, group, constraint)
    rules = Rules.of(optimizer, groups + 1)
    unseen = np.r_[margins, rng.normal(size=300)]
    asked = np.r_[group, rng.integers(groups, size=300)]
    found = rules.chance(torch.from_numpy(unseen), torch.from_numpy(asked)).numpy()
    theirs = optimizer._pmf_predict(unseen[:, None], sensitive_features=asked)[:, 1]
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-12)
    labels = {"demographic-parity": [(0, 1)], "equal-opportunity": [(1,)]}
    for wanted in labels.get(constraint, [(0,), (1,)]):
        rows = np.isin(y, wanted)
        rates = [found[:n][rows & (group == g)].mean() for g in range(groups)]
        assert max(rates) - min(rates) < 1e-9
    # A group without a rule, and no group, are decided by the margin.
    margin = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    for group in (groups, UNKNOWN):
        assert rules.chance(margin, torch.full((2,), group)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_decisions_are_fair_on_the_training_data_and_drawn_once(constraint) -> None:
    data = _people(4000)
    defense = ThresholdOptimizer(constraint=constraint)
    guarded = defense.guard(Ages(), _shop(data))
    before, after = Ages()(data.x).argmax(1).double(), guarded(data.x).argmax(1).double()
    found = [_rates(chosen, data)[constraint] for chosen in (before, after)]
    assert found[0] > 0.15
    assert found[1] < 0.03  # draws differ from their chances
    # The same input gets the same answer, alone or in a batch; another owner draws otherwise.
    assert torch.equal(guarded(data.x[5:9]), guarded(data.x)[5:9])
    others = defense.guard(Ages(), _shop(data, seed=1))(data.x).argmax(1).double()
    drawn = guarded._rules.chance(
        2 * data.x[:, 0].double() - 1, groups_in(data.x, COLUMNS[1:2])
    )  # fmt: skip
    certain = (drawn == 0) | (drawn == 1)
    assert 0 < (after != others).double().mean() < 0.5
    assert torch.equal(after[certain], others[certain])
    assert torch.equal(after[certain], drawn[certain])
    assert abs(float(after[~certain].mean() - drawn[~certain].mean())) < 0.05


def test_it_shows_decisions_only_and_gradients_are_the_models() -> None:
    data = _people(500)
    guarded = ThresholdOptimizer().guard(Ages(), _shop(data))
    assert guarded(data.x).softmax(1).amax(1).tolist() == pytest.approx([1.0] * 500)
    x = data.x.clone().requires_grad_()
    assert torch.equal(guarded(x), Ages()(data.x))
    guarded(x)[:, 1].sum().backward()
    assert x.grad[:, 0].tolist() == [1.0] * 500


def test_the_group_is_read_from_the_input() -> None:
    x = torch.tensor(
        [
            [0.5, 1, 0, 0, 0, 1],
            [0.5, 0, 1, 1, 0, 0],
            [0.5, 0.2, 0.7, 0, 0.1, 0],  # an attacker's
            [0.5, 0, 0, 1, 0, 0],  # a sex that no training row had
        ]
    )
    assert groups_in(x, stating("sex", COLUMNS, name="d")).tolist() == [0, 1, 1, UNKNOWN]
    crossed = stating("sex+race", COLUMNS, name="d")
    assert groups_in(x, crossed).tolist() == [2, 3, 4, UNKNOWN]
    # Attributes of the owner's are not asked: others that make such a guard know none.
    data = _people(3000)
    defender = _shop(replace(data, z={}))
    without = ThresholdOptimizer(attribute="sex+race").guard(Ages(), defender)
    with_them = ThresholdOptimizer(attribute="sex+race").guard(Ages(), _shop(data))
    assert torch.equal(without(data.x), with_them(data.x))
    assert isinstance(without, Decided)
    assert without._rules.known.tolist() == [True] * 6


def test_rows_that_state_no_group_are_not_fitted_to() -> None:
    data = _people(1000)
    more = data.with_rows(torch.zeros(300, 6), torch.ones(300).long())
    first, second = (ThresholdOptimizer().guard(Ages(), _shop(d)) for d in (data, more))
    assert torch.equal(first(data.x), second(data.x))
    assert torch.equal(first(more.x)[1000:].argmax(1), torch.zeros(300).long())


def _dataset(data: Split, **changes) -> Dataset:
    known = {"name": "people", "num_classes": 2, "x": data.x, "y": data.y, "z": data.z}
    return Dataset(**{**known, "columns": data.columns, **changes})


def test_a_dataset_whose_input_does_not_say_the_group_is_refused() -> None:
    data = _people(100)
    found = ThresholdOptimizer().resolve(_dataset(data))
    assert found == ThresholdOptimizer(attribute="sex")
    asked = ThresholdOptimizer(attribute="race")
    for columns, missing in ((COLUMNS[:2], "race"), ((), "race")):
        with pytest.raises(NotApplicableError, match=f"does not say the {missing}. Choose a data"):
            asked.resolve(_dataset(data, columns=columns))
    number = (*COLUMNS[:2], Column("race", 3, 4))
    with pytest.raises(NotApplicableError, match="does not say the race"):
        asked.resolve(_dataset(data, columns=number))
    with pytest.raises(NotApplicableError, match="two classes, but people has 3"):
        asked.resolve(_dataset(data, num_classes=3))
    with pytest.raises(NotApplicableError, match="people has no sensitive attributes"):
        asked.resolve(_dataset(data, z={}))
    with pytest.raises(ZooError, match="No sensitive attribute of people 'rase'. Nearest: race"):
        ThresholdOptimizer(attribute="rase").resolve(_dataset(data))


def test_a_group_with_one_label_is_refused() -> None:
    data = _people(300)
    one = (data.z["sex"].values == 1) & (data.z["race"].values == 2)
    data = replace(data, y=torch.where(one, 0, data.y))
    with pytest.raises(NotApplicableError, match="examples of m, c have label 0. Choose another"):
        ThresholdOptimizer(attribute="sex+race").guard(Ages(), _shop(data))


def test_what_is_hidden_stays_hidden_behind_it_and_nothing_else_decides() -> None:
    """By name, label-only would come first: there would be no scores to compare with thresholds."""
    data = _people(300)
    for hides in (LabelOnly(), TopK(k=1)):
        guarded = Stack.of([ThresholdOptimizer(), hides]).guard(Ages(), _shop(data))
        assert isinstance(guarded.model, Decided)
        alone = ThresholdOptimizer().guard(Ages(), _shop(data))
        assert torch.equal(guarded(data.x).argmax(1), alone(data.x).argmax(1))
    with pytest.raises(NotApplicableError, match="randomized-smoothing and threshold-optimizer bo"):
        Stack.of([ThresholdOptimizer(), RandomizedSmoothing()])
    assert Stack.of([ThresholdOptimizer()]).not_covered == (
        f"threshold-optimizer ({ThresholdOptimizer.looks_at})",
    )
