"""Metrics of groups: worked by hand, against fairlearn, and what luck alone would show."""

import fairlearn.metrics as fl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, precision_score
from statsmodels.stats.proportion import proportion_confint

from harness.metrics import group_tables
from harness.metrics.fairness import fairness

NAMES = ("a", "b")


def examples(*cells: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers, labels and groups of (group, label, answer, how many)."""
    columns = [np.repeat(column, [n for *_, n in cells]) for column in zip(*cells, strict=True)]
    return columns[2], columns[1], columns[0]


# Of a: 4 of 5 positives found, 1 of 5 others accused. Of b: 1 of 4 found, none of 6 accused.
HAND = ((0, 1, 1, 4), (0, 1, 0, 1), (0, 0, 1, 1), (0, 0, 0, 4),
        (1, 1, 1, 1), (1, 1, 0, 3), (1, 0, 0, 6))  # fmt: skip


def metrics_of(*cells, names=NAMES, num_classes=2, smallest=1, **more):
    found = fairness(*examples(*cells), names, num_classes=num_classes, smallest=smallest, **more)
    return found.metrics


def test_two_groups_worked_by_hand() -> None:
    found = metrics_of(*HAND)
    expected = {
        "demographic_parity_difference": 5 / 10 - 1 / 10,
        "demographic_parity_ratio": 1 / 5,
        "p_rule": 20,
        "equalized_odds_difference": 4 / 5 - 1 / 4,
        "equal_opportunity_difference": 4 / 5 - 1 / 4,
        "predictive_parity_difference": 1 - 4 / 5,
        "accuracy_difference": 8 / 10 - 7 / 10,
        "worst_group_accuracy": 7 / 10,
        "base_rate_difference": 5 / 10 - 4 / 10,
        "n[a]": 10, "accuracy[a]": 0.8, "selection_rate[a]": 0.5, "tpr[a]": 0.8, "fpr[a]": 0.2,
        "ppv[a]": 0.8, "n[b]": 10, "accuracy[b]": 0.7, "selection_rate[b]": 0.1, "tpr[b]": 0.25,
        "fpr[b]": 0, "ppv[b]": 1,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["calibration_difference"] is None  # without scores


def test_the_larger_of_both_rates_differences_is_that_in_equalized_odds() -> None:
    found = metrics_of(
        (0, 1, 1, 9), (0, 1, 0, 1), (0, 0, 1, 5), (0, 0, 0, 5),
        (1, 1, 1, 8), (1, 1, 0, 2), (1, 0, 1, 1), (1, 0, 0, 9),
    )  # fmt: skip
    assert found["equalized_odds_difference"] == pytest.approx(0.5 - 0.1)
    assert found["equal_opportunity_difference"] == pytest.approx(0.9 - 0.8)


def test_with_three_groups_the_outermost_two_count() -> None:
    cells = [(g, y, a, n) for g, hits in enumerate((9, 5, 6)) for y, a, n in
             ((1, 1, hits), (1, 0, 10 - hits), (0, 1, hits), (0, 0, 10 - hits))]  # fmt: skip
    found = metrics_of(*cells, names=("a", "b", "c"))
    for name in ("demographic_parity", "equal_opportunity", "equalized_odds"):
        assert found[f"{name}_difference"] == pytest.approx(0.4)
    assert found["p_rule"] == pytest.approx(100 * 5 / 9)


def test_of_more_classes_each_is_held_against_the_others_and_the_worst_stands_for_all() -> None:
    found = metrics_of(
        (0, 0, 0, 10), (0, 1, 1, 10), (0, 2, 2, 10),
        (1, 0, 0, 10), (1, 1, 1, 4), (1, 1, 0, 6), (1, 2, 2, 9), (1, 2, 1, 1),
        num_classes=3,
    )  # fmt: skip
    odds = [found[f"equalized_odds_difference[class {c}]"] for c in range(3)]
    # Class 0: all are found, and 6 of the 20 others of group b are taken for it.
    assert odds == pytest.approx([0.3, 0.6, 0.1])
    assert found["equalized_odds_difference"] == pytest.approx(0.6)
    selection = [found[f"demographic_parity_difference[class {c}]"] for c in range(3)]
    assert selection == pytest.approx([6 / 30, 5 / 30, 1 / 30])
    assert found["demographic_parity_difference"] == pytest.approx(6 / 30)
    assert found["p_rule"] == pytest.approx(100 * 5 / 10)
    assert found["predictive_parity_difference"] == pytest.approx(1 - 10 / 16)
    assert found["accuracy_difference"] == pytest.approx(1 - 23 / 30)
    assert found["classes_judged"] == 3


def test_what_rests_on_too_few_examples_is_not_defined_and_marked() -> None:
    found = fairness(*examples(*HAND), NAMES, num_classes=2, smallest=5)
    # Of b there are 4 positives, and 1 got a positive answer.
    assert found.too_small == {"b": ["tpr", "ppv"]}
    for name in ("equalized_odds", "equal_opportunity", "predictive_parity"):
        assert found.metrics[f"{name}_difference"] is None
        assert found.metrics[f"{name}_difference_low"] is None
    assert found.metrics["equalized_odds_chance"] is None
    assert (found.metrics["tpr[b]"], found.metrics["fpr[b]"]) == (None, 0)
    assert found.metrics["demographic_parity_difference"] == pytest.approx(0.4)


def test_a_group_that_is_too_small_counts_nowhere() -> None:
    cells = [(g, y, a, 10) for g in (0, 1) for y in (0, 1) for a in (0, 1)]
    found = fairness(
        *examples(*cells, (2, 1, 0, 4)), ("a", "b", "c"), num_classes=2, smallest=5
    )  # fmt: skip
    assert found.too_small == {"c": ["everything"]}
    for name, value in found.metrics.items():
        if name.endswith("_difference"):
            assert value in (0, None), name
    assert found.metrics["worst_group_accuracy"] == 0.5
    assert (found.metrics["n[c]"], found.metrics["accuracy[c]"]) == (4, None)
    assert np.isnan(found.bands["accuracy"][2]).all()


def test_a_group_without_examples_counts_nowhere() -> None:
    found = metrics_of(*HAND, names=("a", "b", "nobody"))
    assert found["demographic_parity_difference"] == pytest.approx(0.4)
    assert found["n[nobody]"] == 0


def test_nobody_selected_is_no_ratio() -> None:
    found = metrics_of((0, 1, 0, 9), (0, 0, 0, 9), (1, 1, 0, 9), (1, 0, 0, 9))
    assert found["demographic_parity_difference"] == 0
    assert (found["demographic_parity_ratio"], found["p_rule"]) == (None, None)
    assert found["predictive_parity_difference"] is None


def test_one_group_that_is_large_enough_has_no_ratio_to_another() -> None:
    found = metrics_of((0, 1, 1, 20), (0, 0, 0, 20), (1, 1, 1, 3), smallest=5)
    for name in ("demographic_parity_difference", "demographic_parity_ratio", "p_rule"):
        for end in ("", "_low", "_high"):
            assert found[f"{name}{end}"] is None


def test_where_one_class_has_a_ratio_the_others_do_not_matter() -> None:
    """Nobody is given class 2: it has no ratio, and the intervals are of the other two."""
    found = metrics_of((0, 0, 0, 30), (0, 1, 1, 10), (1, 0, 0, 20), (1, 1, 1, 20), num_classes=3)
    assert found["demographic_parity_ratio"] == pytest.approx(0.5)
    assert 0 < found["demographic_parity_ratio_low"] < 0.5 < found["demographic_parity_ratio_high"]


def test_a_group_of_which_nobody_is_selected_may_still_have_a_share() -> None:
    """None of 40, beside a half: up to about .072 of them by luck, so the ratio is up to .15."""
    found = metrics_of((0, 0, 0, 40), (1, 0, 0, 1000), (1, 1, 1, 1000))
    assert (found["p_rule"], found["p_rule_low"]) == (0, 0)
    assert found["p_rule_high"] == pytest.approx(100 * (1 - 0.05 ** (1 / 40)) / 0.5, rel=0.1)
    assert found["p_rule_high"] == 100 * found["demographic_parity_ratio_high"]


def test_the_rates_of_groups_have_clopper_and_pearsons_intervals() -> None:
    found = metrics_of(*HAND)
    assert (found["ppv[b]"], found["fpr[b]_low"], found["tpr[a]"]) == (1, 0, 0.8)
    assert found["ppv[b]_low"] == pytest.approx(0.025)  # one of one
    assert found["fpr[b]_high"] == pytest.approx(1 - 0.025 ** (1 / 6))
    for rate in ("selection_rate", "tpr", "ppv", "accuracy"):
        assert found[f"{rate}[a]_low"] < found[f"{rate}[a]"] < found[f"{rate}[a]_high"]
    few = metrics_of(*HAND, smallest=5)
    assert (few["tpr[b]_low"], few["tpr[b]_high"]) == (None, None)
    three = metrics_of((0, 2, 2, 9), (1, 2, 2, 9), num_classes=3)
    assert three["accuracy[a]_low"] == pytest.approx(0.025 ** (1 / 9))
    assert "tpr[a]_low" not in three


def test_of_more_classes_those_that_cannot_be_judged_are_left_out_and_counted() -> None:
    found = fairness(
        *examples(
            (0, 0, 0, 10), (0, 1, 1, 10), (0, 2, 2, 10),
            (1, 0, 0, 8), (1, 0, 1, 2), (1, 1, 1, 10), (1, 2, 0, 3),
        ), NAMES, num_classes=3, smallest=5,
    )  # fmt: skip
    assert found.metrics["equalized_odds_difference[class 2]"] is None
    assert found.metrics["equalized_odds_difference"] == pytest.approx(3 / 13)
    assert found.metrics["classes_judged"] == 2
    assert found.too_small == {"b": ["tpr of class 2", "ppv of class 2"]}


def test_calibration_is_how_far_scores_are_from_what_is_true() -> None:
    predicted, y, group = examples((0, 1, 1, 6), (0, 0, 1, 4), (1, 1, 1, 10))
    scores = np.tile(np.array([[0.1, 0.9]]), (20, 1))
    found = fairness(predicted, y, group, NAMES, num_classes=2, smallest=1, scores=scores).metrics
    assert (found["ece[a]"], found["ece[b]"]) == (pytest.approx(0.9 - 0.6), pytest.approx(0.1))
    assert found["calibration_difference"] == pytest.approx(0.2)
    assert found["miscalibration[a]"] == pytest.approx(0.9 - 0.6)
    assert found["miscalibration[b]"] == pytest.approx(0.9 - 1)
    assert found["miscalibration_difference"] == pytest.approx(0.4)


def test_who_is_underrated_at_every_score_is_seen() -> None:
    """Ten points more are true of group b, whatever the score: of .2 and .8, .3 and .9.

    The surer class is .8 for both, and as often right in both: (.7 + .9) / 2.
    """
    cells = [(0, 1, 1, 80), (0, 0, 1, 20), (0, 1, 0, 20), (0, 0, 0, 80),
             (1, 1, 1, 90), (1, 0, 1, 10), (1, 1, 0, 30), (1, 0, 0, 70)]  # fmt: skip
    one = np.where(examples(*cells)[0] == 1, 0.8, 0.2)
    found = metrics_of(*cells, scores=np.stack([1 - one, one], 1))
    assert found["ece[a]"] == pytest.approx(0)
    assert (found["ece[b]"], found["calibration_difference"]) == pytest.approx((0.1, 0.1))
    assert found["miscalibration[b]"] == pytest.approx(-0.1)


def test_errors_that_cancel_out_within_a_group_are_seen_by_bins_alone() -> None:
    predicted, y, group = examples((0, 1, 1, 8), (0, 0, 1, 2), (0, 1, 0, 2), (0, 0, 0, 8),
                                   (1, 1, 1, 10), (1, 0, 0, 10))  # fmt: skip
    one = np.where(predicted == 1, 0.8, 0.2)
    found = fairness(predicted, y, group, NAMES, num_classes=2, smallest=1,
                     scores=np.stack([1 - one, one], 1)).metrics  # fmt: skip
    assert found["calibration_difference"] == pytest.approx(0.2)
    assert found["miscalibration_difference"] == pytest.approx(0)


def _slow_ece(score: np.ndarray, truth: np.ndarray) -> float:
    """By scikit-learn's bins of one class's score."""
    true, said = calibration_curve(truth, score, n_bins=15)
    n, _ = np.histogram(score, bins=np.linspace(0, 1, 16))
    return float(np.abs(true - said) @ n[n > 0] / len(score))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_calibration_is_that_of_scikit_learns_curve(num_classes) -> None:
    rng = np.random.default_rng(0)
    scores, y = rng.dirichlet(np.ones(num_classes), 300), rng.integers(0, num_classes, 300)
    group = np.arange(300) % 2
    found = fairness(
        scores.argmax(1), y, group, NAMES, num_classes=num_classes, smallest=5, scores=scores
    ).metrics
    classes = [1] if num_classes == 2 else [0, 1, 2]
    slow = np.array([[_slow_ece(scores[group == i, c], y[group == i] == c) for c in classes]
                     for i in (0, 1)])  # fmt: skip
    off = [[(scores[:, c] - (y == c))[group == i].mean() for c in classes] for i in (0, 1)]
    for i, name in enumerate(NAMES):
        assert found[f"ece[{name}]"] == pytest.approx(slow[i].max())
    assert found["calibration_difference"] == pytest.approx(np.abs(slow[0] - slow[1]).max())
    assert found["miscalibration_difference"] == pytest.approx(np.abs(np.diff(off, axis=0)).max())
    assert ("miscalibration[a]" in found) == (num_classes == 2)


def test_a_group_that_is_too_small_has_no_calibration_and_counts_in_none() -> None:
    predicted, y, group = examples((0, 1, 1, 10), (1, 1, 1, 10), (2, 0, 1, 4))
    scores = np.tile(np.array([[0.0, 1.0]]), (24, 1))
    found = fairness(
        predicted, y, group, ("a", "b", "c"), num_classes=2, smallest=5, scores=scores
    ).metrics
    assert (found["ece[a]"], found["ece[c]"], found["miscalibration[c]"]) == (0, None, None)
    assert found["calibration_difference"] == found["miscalibration_difference"] == 0


def test_scores_that_are_no_numbers_have_no_calibration() -> None:
    predicted, y, group = examples(*HAND)
    scores = np.full((20, 2), np.nan)
    found = fairness(predicted, y, group, NAMES, num_classes=2, smallest=1, scores=scores).metrics
    for name in ("ece[a]", "calibration_difference", "miscalibration_difference"):
        assert found[name] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.array([1, 2, 1, 2])}, "labels from 0 to 1, found 2"),
        ({"y": np.array([-1, 1, 1, -1])}, "labels from 0 to 1, found -1"),
        ({"y": np.array([0, 0.5, 1, 1])}, "labels from 0 to 1, found 0.5"),
        ({"predicted": np.array([0, 1, 3, 1])}, "answers from 0 to 1, found 3"),
        ({"group": np.array([0, 1, -1, 1])}, "groups from 0 to 1, found -1"),
        ({"y": np.array([0, 1])}, "one length above 0, found 2, 4 and 4"),
        ({"scores": np.ones((4, 3))}, r"scores \(4, 2\), found \(4, 3\)"),
    ],
)
def test_what_is_no_label_gives_no_number(change, message) -> None:
    four = np.array([0, 1, 0, 1])
    given = {"predicted": four, "y": four, "group": four, "scores": None} | change
    scores = given.pop("scores")
    with pytest.raises(ValueError, match=message):
        fairness(*given.values(), NAMES, num_classes=2, smallest=1, scores=scores)


def _random(seed: int, n: int, groups: int, num_classes: int) -> tuple[np.ndarray, ...]:
    """Examples with each group, label and answer at least once together."""
    rng = np.random.default_rng(seed)
    every = np.indices((num_classes, num_classes, groups)).reshape(3, -1)
    ends = (num_classes, num_classes, groups)
    return tuple(
        np.concatenate([column, rng.integers(0, end, n)])
        for column, end in zip(every, ends, strict=True)
    )


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(2, 4))
def test_our_numbers_are_fairlearns(seed, n, groups) -> None:
    predicted, y, group = _random(seed, n, groups, 2)
    names = tuple(map(str, range(groups)))
    found = fairness(predicted, y, group, names, num_classes=2, smallest=1).metrics
    both = {"y_true": y, "y_pred": predicted, "sensitive_features": group}
    frame = fl.MetricFrame(
        metrics={"accuracy": accuracy_score, "ppv": precision_score, "rate": fl.selection_rate},
        **both,
    )
    expected = {
        "demographic_parity_difference": fl.demographic_parity_difference(**both),
        "demographic_parity_ratio": fl.demographic_parity_ratio(**both),
        "equalized_odds_difference": fl.equalized_odds_difference(**both),
        "equal_opportunity_difference": fl.equal_opportunity_difference(**both),
        "predictive_parity_difference": frame.difference()["ppv"],
        "accuracy_difference": frame.difference()["accuracy"],
        "worst_group_accuracy": frame.group_min()["accuracy"],
        "base_rate_difference": fl.demographic_parity_difference(
            y_true=y, y_pred=y, sensitive_features=group
        ),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(2, 3), st.integers(3, 4))
def test_of_more_classes_our_numbers_are_fairlearns_too(seed, n, groups, num_classes) -> None:
    predicted, y, group = _random(seed, n, groups, num_classes)
    names = tuple(map(str, range(groups)))
    found = fairness(predicted, y, group, names, num_classes=num_classes, smallest=1).metrics
    ratios = []
    for c in range(num_classes):
        both = {"y_true": y == c, "y_pred": predicted == c, "sensitive_features": group}
        for name, ours in (
            ("equalized_odds_difference", fl.equalized_odds_difference),
            ("demographic_parity_difference", fl.demographic_parity_difference),
            ("equal_opportunity_difference", fl.equal_opportunity_difference),
        ):
            assert found[f"{name}[class {c}]"] == pytest.approx(ours(**both))
        ppv = fl.MetricFrame(metrics=precision_score, **both).difference()
        assert found[f"predictive_parity_difference[class {c}]"] == pytest.approx(ppv)
        ratios.append(fl.demographic_parity_ratio(**both))
    assert found["demographic_parity_ratio"] == pytest.approx(min(ratios))
    right = fl.MetricFrame(
        metrics=accuracy_score, y_true=y, y_pred=predicted, sensitive_features=group
    )
    assert found["accuracy_difference"] == pytest.approx(right.difference())
    assert found["worst_group_accuracy"] == pytest.approx(right.group_min())


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 4))
def test_the_rates_of_a_table_are_those_of_its_examples(seed, groups, num_classes) -> None:
    predicted, y, group = _random(seed, 40, groups, num_classes)
    table = group_tables.counted(predicted, y, group, groups=groups, num_classes=num_classes)
    found = group_tables.rates(table, range(num_classes))
    for c in range(num_classes):
        frame = fl.MetricFrame(
            metrics={
                "selection_rate": fl.selection_rate, "tpr": fl.true_positive_rate,
                "fpr": fl.false_positive_rate, "ppv": precision_score,
            },
            y_true=(y == c).astype(int), y_pred=(predicted == c).astype(int),
            sensitive_features=group,
        ).by_group  # fmt: skip
        for name in frame.columns:
            np.testing.assert_allclose(found[name][:, c], frame[name])
    for i in range(groups):
        assert found["accuracy"][i, 0] == pytest.approx((predicted == y)[group == i].mean())
        assert found["base_rate"][i, 0] == pytest.approx((y == 0)[group == i].mean())


def test_perfect_answers_show_the_labels_own_gap_and_none_beyond() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 500)
    y = (rng.random(500) < np.where(group == 1, 0.6, 0.2)).astype(int)
    found = fairness(y, y, group, NAMES, num_classes=2, smallest=5).metrics
    gap = y[group == 1].mean() - y[group == 0].mean()
    assert found["demographic_parity_difference"] == found["base_rate_difference"] == gap
    for name in ("equalized_odds_difference", "equalized_odds_chance", "accuracy_difference"):
        assert found[name] == 0


def test_redrawn_rates_are_those_of_redrawn_examples_where_these_are_many() -> None:
    """In law: against fairlearn's bootstrap, and against drawing the rows."""
    rng = np.random.default_rng(0)
    group = (rng.random(600) < 0.3).astype(int)
    y = rng.integers(0, 2, 600)
    predicted = np.where(rng.random(600) < 0.6 + 0.2 * group, y, 1 - y)
    table = group_tables.counted(predicted, y, group, groups=2, num_classes=2)
    low, high = (end[..., 0] for end in group_tables.redrawn(table, [1])["tpr"])
    assert (low < high).all()
    tpr = (low + high) / 2
    tail = [0.025, 0.5, 0.975]
    theirs = fl.MetricFrame(
        metrics=fl.true_positive_rate, y_true=y, y_pred=predicted, sensitive_features=group,
        n_boot=150, ci_quantiles=tail, random_state=0,
    ).by_group_ci  # fmt: skip
    deviation = tpr.std(0)
    for ours, other in zip(np.quantile(tpr, tail, axis=0), theirs, strict=True):
        assert (np.abs(ours - other.to_numpy()) < 0.6 * deviation).all()
    rows = rng.integers(0, 600, (3000, 600))
    for i in range(2):
        positive = (group[rows] == i) & (y[rows] == 1)
        slow = (positive & (predicted[rows] == 1)).sum(1) / positive.sum(1)
        assert tpr[:, i].mean() == pytest.approx(slow.mean(), abs=0.15 * deviation[i])
        assert deviation[i] == pytest.approx(slow.std(), rel=0.1)
        for q in tail:
            assert np.quantile(tpr[:, i], q) == pytest.approx(
                np.quantile(slow, q), abs=0.35 * deviation[i]
            )


def test_each_ends_quantile_is_that_of_clopper_and_pearson() -> None:
    predicted, y, group = examples((0, 1, 1, 7), (0, 1, 0, 3), (1, 1, 1, 12), (1, 0, 0, 30))
    table = group_tables.counted(predicted, y, group, groups=2, num_classes=2)
    drawn = group_tables.redrawn(table, [1])
    for rate, i, hits, n in (("tpr", 0, 7, 10), ("tpr", 1, 12, 12), ("fpr", 1, 0, 30),
                             ("selection_rate", 1, 12, 42), ("base_rate", 0, 10, 10),
                             ("accuracy", 0, 7, 10), ("ppv", 0, 7, 7)):  # fmt: skip
        ends = proportion_confint(hits, n, alpha=0.05, method="beta")
        low, high = (end[:, i, 0] for end in drawn[rate])
        assert np.quantile(low, 0.025) == pytest.approx(ends[0], abs=0.03)
        assert np.quantile(high, 0.975) == pytest.approx(ends[1], abs=0.03)


def _drawn_examples(rng, n: int, tpr=(0.8, 0.8), fpr=(0.3, 0.3)) -> np.ndarray:
    """A table of people of two groups, of whom as many are of the positive class."""
    group, y = rng.integers(0, 2, n), rng.integers(0, 2, n)
    share = np.where(y == 1, np.array(tpr)[group], np.array(fpr)[group])
    answers = (rng.random(n) < share).astype(int)
    return group_tables.counted(answers, y, group, groups=2, num_classes=2)


def _misses(truth: dict[str, float], times: int = 300, **model) -> dict[str, int]:
    """How often the interval of each gap does not reach what is true."""
    rng = np.random.default_rng(1)
    missed = dict.fromkeys(truth, 0)
    for _ in range(times):
        table = _drawn_examples(rng, 400, **model)
        found = group_tables.rates(table, [1])
        judged = {name: np.full((2, 1), True) for name in found}
        drawn = group_tables.redrawn(table, [1])
        margins = group_tables.margins(found, drawn, judged)
        gaps = group_tables.gaps(found, judged)
        for name, true in truth.items():
            missed[name] += abs(gaps[name][0] - true) > margins[name]
    return missed


def test_where_nobody_is_treated_differently_the_intervals_reach_zero_as_often_as_they_say() -> (
    None
):
    """19 times in 20, and not always: 300 times, of which 15 +- 4 are to miss."""
    nothing = dict.fromkeys(group_tables.GAPS, 0.0)
    for name, missed in _misses(nothing).items():
        assert 4 <= missed <= 30, name


def test_a_real_gap_is_in_its_interval_as_often_as_it_says() -> None:
    """Where one rate alone differs, the other widens the interval, and fewer miss."""
    real = {"demographic_parity_difference": 0.15, "equal_opportunity_difference": 0.3}
    for name, missed in _misses(real, tpr=(0.9, 0.6)).items():
        assert 4 <= missed <= 30, name
    both = _misses({"equalized_odds_difference": 0.3}, tpr=(0.9, 0.6))
    assert both["equalized_odds_difference"] <= 30


@pytest.mark.parametrize(
    ("sizes", "tpr", "fpr"),
    [
        ((12, 2000), 0.95, 0.05),
        ((20, 2000), 0.95, 0.02),
        ((40, 2000), 0.97, 0.02),
        ((40, 2000), 0.85, 0.1),
        ((46, 120, 430, 45, 3400, 72, 260, 600, 57, 7200), 0.6, 0.05),
        ((20,) * 10, 0.95, 0.02),
    ],
)
def test_intervals_of_small_groups_and_of_rates_near_1_reach_what_is_true(sizes, tpr, fpr) -> None:
    """All are treated alike: of 150 intervals of each number, at most 8 % may miss that."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(len(sizes)), sizes)
    truth = {**dict.fromkeys(group_tables.GAPS, 0.0), "demographic_parity_ratio": 1.0,
             "worst_group_accuracy": (tpr + 1 - fpr) / 2}  # fmt: skip
    missed = dict.fromkeys(truth, 0)
    for _ in range(150):
        y = rng.integers(0, 2, len(group))
        answers = (rng.random(len(group)) < np.where(y == 1, tpr, fpr)).astype(int)
        table = group_tables.counted(answers, y, group, groups=len(sizes), num_classes=2)
        found = ends_of(table, smallest=5)
        for name, true in truth.items():
            low, high = found[name]
            missed[name] += true < low or true > high
    assert max(missed.values()) <= 12, missed


def ends_of(table: np.ndarray, smallest: int) -> dict[str, np.ndarray]:
    """The intervals of a table's numbers; without fairlearn, of which there are many here."""
    rests = group_tables.resting_on(table, [1])
    judged = {name: n >= smallest for name, n in rests.items()}
    found, drawn = group_tables.rates(table, [1]), group_tables.redrawn(table, [1])
    gaps = group_tables.gaps(found, judged)
    counts, accuracy = judged["accuracy"][:, 0], found["accuracy"][:, 0]
    least = group_tables.margin_of_least(accuracy, np.stack(drawn["accuracy"])[..., 0], counts)
    given = np.stack([group_tables.counts(table, [1])["selection_rate"], rests["selection_rate"]])
    return {
        **{
            name: gaps[name][0] + margin * np.array([-1, 1])
            for name, margin in group_tables.margins(found, drawn, judged).items()
        },
        "demographic_parity_ratio": np.array(
            group_tables.ratio_ends(given, drawn, judged["selection_rate"])
        ),
        "worst_group_accuracy": accuracy[counts].min() + least * np.array([-1, 1]),
    }


def test_a_real_ratio_is_in_its_interval_as_often_as_it_says() -> None:
    """Said of .5 and .25 of the groups; the interval is not so wide that none misses."""
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(300):
        table = _drawn_examples(rng, 400, tpr=(0.5, 0.25), fpr=(0.5, 0.25))
        low, high = ends_of(table, smallest=5)["demographic_parity_ratio"]
        missed += not low <= 0.5 <= high
    assert 4 <= missed <= 30


def test_groups_that_do_not_count_have_no_part_in_a_margin() -> None:
    """The third group is of 3 people; with it, the margins would be several times as wide."""
    table = np.zeros((3, 2, 2), dtype=int)
    table[:2] = [[400, 100], [100, 400]]
    table[2] = [[1, 0], [1, 1]]
    two, three = (ends_of(t, smallest=5) for t in (table[:2], table))
    for name, ends in two.items():
        assert np.ptp(three[name]) == pytest.approx(np.ptp(ends), rel=0.15), name


def test_accuracy_is_one_number_however_many_classes_there_are() -> None:
    cells = [(g, c, a, 18 if a == c else 2) for g in (0, 1) for c in range(10)
             for a in (c, (c + 1) % 10)]  # fmt: skip
    found = metrics_of(*cells, num_classes=10)
    deviation = np.sqrt(2 * 0.9 * 0.1 / 200)
    assert found["accuracy_difference_high"] == pytest.approx(1.96 * deviation, rel=0.15)
    assert found["demographic_parity_ratio_high"] == found["demographic_parity_ratio"] == 1


def test_a_class_that_one_group_alone_has_is_no_part_of_a_margin() -> None:
    cells = [(g, c, a, 100) for g in (0, 1) for c in (0, 1) for a in (0, 1)]
    without, found = (
        metrics_of(*cells, *rare, num_classes=3, smallest=5) for rare in ((), [(0, 2, 2, 5)])
    )
    name = "equal_opportunity_difference_high"
    assert found[name] == pytest.approx(without[name], rel=0.15)


def test_the_least_accuracy_is_in_its_interval() -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(200):
        table = _drawn_examples(rng, 400, tpr=(0.9, 0.6))  # right of 100: 80 and 65
        found = group_tables.rates(table, [1])["accuracy"][:, 0]
        drawn = np.stack(group_tables.redrawn(table, [1])["accuracy"])[..., 0]
        margin = group_tables.margin_of_least(found, drawn, np.array([True, True]))
        missed += abs(found.min() - 0.65) > margin
    assert 0 < missed <= 20


def test_chance_is_what_dealing_the_groups_anew_gives_on_average() -> None:
    rng = np.random.default_rng(3)
    group = (rng.random(120) < 0.2).astype(int)
    y = rng.integers(0, 3, 120)
    predicted = np.where(rng.random(120) < 0.7, y, rng.integers(0, 3, 120))
    found = fairness(predicted, y, group, NAMES, num_classes=3, smallest=3).metrics
    candidate_split = []
    for _ in range(2000):
        z = group.copy()
        for c in range(3):
            z[y == c] = rng.permutation(z[y == c])
        gaps = []
        for c in range(3):
            for rows in (y == c, y != c):
                gaps.append(np.diff([(predicted[rows & (z == i)] == c).mean() for i in (0, 1)])[0])
        candidate_split.append(np.abs(gaps).max())
    assert found["equalized_odds_chance"] == pytest.approx(np.mean(candidate_split), abs=0.015)


def test_a_model_that_treats_all_alike_is_not_above_chance() -> None:
    rng = np.random.default_rng(4)
    above = []
    for _ in range(100):
        table = _drawn_examples(rng, 200)
        judged = {name: np.full((2, 1), True) for name in group_tables.rates(table, [1])}
        of = (group_tables.rates(t, [1]) for t in (table, group_tables.shuffled(table)))
        gap, chance = (group_tables.gaps(r, judged)["equalized_odds_difference"] for r in of)
        above.append(gap[0] - chance.mean())
    assert np.mean(above) == pytest.approx(0, abs=3 * np.std(above) / 10)
    assert np.std(above) > 0.02


def test_the_picture_is_of_the_class_that_is_treated_least_equally() -> None:
    found = fairness(
        *examples((0, 0, 0, 9), (0, 1, 1, 9), (0, 2, 2, 9), (1, 0, 0, 9), (1, 1, 1, 9),
                  (1, 2, 0, 4), (1, 2, 2, 5)),
        NAMES, num_classes=3, smallest=5,
    )  # fmt: skip
    assert found.shown == 2
    np.testing.assert_allclose(found.bands["tpr"][:, 0], [1, 5 / 9])
    # Clopper-Pearson: all of nine are right with probability .025 at .025 ** (1 / 9).
    np.testing.assert_allclose(found.bands["tpr"][0, 1:], [0.025 ** (1 / 9), 1])


def test_an_interval_reaches_as_far_down_as_up_and_never_beyond_what_a_rate_can_be() -> None:
    cells = [
        (0, 1, 1, 80),
        (0, 1, 0, 20),
        (1, 1, 1, 40),
        (1, 1, 0, 60),
        (0, 0, 0, 50),
        (1, 0, 0, 50),
    ]
    found = metrics_of(*cells)
    for name in ("equal_opportunity_difference", "accuracy_difference", "worst_group_accuracy"):
        low, value, high = found[f"{name}_low"], found[name], found[f"{name}_high"]
        assert high - value == pytest.approx(value - low)
        assert 0.05 < value - low < 0.2
    # 1.96 deviations of a difference of two rates, each of 100 examples.
    width = 1.96 * np.sqrt(0.8 * 0.2 / 100 + 0.4 * 0.6 / 100)
    assert found["equal_opportunity_difference_low"] == pytest.approx(0.4 - width, abs=0.02)
    assert (found["base_rate_difference_low"], found["base_rate_difference"]) == (0, 0)
    assert found["base_rate_difference_high"] > 0.05
