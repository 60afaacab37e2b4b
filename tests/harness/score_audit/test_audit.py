"""What two files of answers say: by hand, of nothing, and of what was put in."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, norm

from harness.metrics.membership import auc
from harness.score_audit.auc_interval import auc_interval
from harness.score_audit.audit import Audit, Finding, audit
from harness.score_audit.read import check_alike, read
from zoo.errors import ZooError

CLASSES = ["cat", "dog", "owl"]


def answers(n: int, seed: int, memory: float = 0.0, sharpness: float = 1.5) -> pd.DataFrame:
    """Of a model that is calibrated at a sharpness of 1.5; a member's own logit is larger."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 3, n)
    z = draw.normal(0, 1, (n, 3))
    z[np.arange(n), y] += 1.5 + memory
    p = np.exp(sharpness * z)
    table = pd.DataFrame(p / p.sum(1, keepdims=True), columns=CLASSES)
    table["label"] = np.array(CLASSES)[y]
    table["sex"] = draw.choice(["f", "m"], n)
    return table


def audited(tmp_path: Path, members: pd.DataFrame, others: pd.DataFrame, **how) -> Audit:
    files = []
    for name, table in (("members", members), ("others", others)):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        files.append(read(tmp_path / f"{name}.csv", **{"groups": ["sex"], **how}))
    return audit(files[0], check_alike(*files))


def one(found: Audit, what: str, measure: str) -> Finding:
    (finding,) = [f for f in found.findings if (f.what, f.measure) == (what, measure)]
    return finding


# By hand.


def test_attacks_and_rates_by_hand(tmp_path: Path) -> None:
    members = pd.DataFrame({"a": [0.9, 0.2], "b": [0.1, 0.8], "label": ["a", "b"], "sex": [1, 2]})
    others = pd.DataFrame({"a": [0.6, 0.7], "b": [0.4, 0.3], "label": ["a", "b"], "sex": [1, 2]})
    found = audited(tmp_path, members, others)
    # Loss: .9 and .8 against .6 and .3; correctness: 1, 1 against 1, 0.
    assert one(found, "loss-threshold", "auc").value == 1.0
    assert one(found, "correctness", "auc").value == 0.75
    assert one(found, "confidence", "auc").value == 1.0
    assert one(found, "members", "accuracy").value == 1.0
    assert one(found, "others", "accuracy").value == 0.5
    assert one(found, "members - others", "generalization_gap").value == 0.5
    log_loss = -(np.log(0.6) + np.log(0.3)) / 2
    assert one(found, "scores", "log_loss").value == pytest.approx(log_loss)
    brier = (2 * 0.4**2 + 2 * 0.7**2) / 2
    assert one(found, "scores", "brier_score").value == pytest.approx(brier)
    assert one(found, "confidence", "overconfidence").value == pytest.approx(0.65 - 0.5)
    assert "only 2 members" in found.flags[0]


def test_the_interval_of_an_auc_is_as_wide_as_redrawn_examples_say() -> None:
    draw = np.random.default_rng(0)
    inside, outside = draw.normal(0.6, 1, 150), draw.normal(0, 1, 250)
    member = np.arange(400) < 150
    found, low, high = auc_interval(np.concatenate([inside, outside]), member)
    assert found == pytest.approx(auc(np.concatenate([inside, outside]), member), abs=1e-12)

    def statistic(a, b) -> float:
        both = np.concatenate([a, b])
        return auc(both, np.arange(len(both)) < len(a))

    ends = bootstrap((inside, outside), statistic, vectorized=False, n_resamples=999, rng=1,
                     method="percentile").confidence_interval  # fmt: skip
    assert (low, high) == pytest.approx((ends.low, ends.high), abs=0.012)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    draw, truth = np.random.default_rng(2), norm.cdf(0.5 / np.sqrt(2))
    member, held = np.arange(120) < 50, 0
    for _ in range(400):
        scores = draw.normal(0.5 * member, 1)
        _, low, high = auc_interval(scores, member)
        held += low <= truth <= high
    assert 0.92 < held / 400 < 0.98


@pytest.mark.parametrize(("m", "n", "truth"), [(20, 1000, 0.95), (4, 200, 0.75), (40, 40, 0.98)])
def test_it_does_so_of_few_members_and_near_1(m: int, n: int, truth: float) -> None:
    draw, member = np.random.default_rng(3), np.arange(m + n) < m
    held = 0
    for _ in range(400):
        scores = draw.normal(np.sqrt(2) * norm.ppf(truth) * member, 1)
        _, low, high = auc_interval(scores, member)
        held += low <= truth <= high
    assert held / 400 > 0.91


@pytest.mark.parametrize("apart", [True, False])
def test_scores_that_are_apart_or_all_alike_have_an_interval(apart: bool) -> None:
    member = np.arange(60) < 30
    found, low, high = auc_interval(member * float(apart), member)
    assert 0 <= low <= found <= high <= 1
    assert found == (1.0 if apart else 0.5)


# Of nothing, and of what was put in.


def test_of_a_model_that_remembers_nothing_nothing_is_shown(tmp_path: Path) -> None:
    """All membership attacks and both rates together: in 60 audits 5 % once or more, plus luck."""
    alarms, uncalibrated = 0, 0
    for seed in range(60):
        found = audited(tmp_path, answers(300, 2 * seed), answers(300, 2 * seed + 1))
        shown = [f for f in found.findings if f.shown]
        alarms += any(f.about == "membership" for f in shown)
        uncalibrated += one(found, "confidence", "ece_15_bins").shown is True
        assert found.flags == ()
    assert alarms <= 8
    assert uncalibrated <= 9


def test_memory_a_gap_and_bad_calibration_are_shown(tmp_path: Path) -> None:
    found = audited(tmp_path, answers(800, 1, memory=1.0), answers(800, 2, sharpness=4))
    for attack in ("loss-threshold", "modified-entropy"):
        assert one(found, attack, "auc").shown
    assert one(found, "members - others", "generalization_gap").shown
    over = one(found, "confidence", "overconfidence")
    assert over.shown
    assert (over.value or 0) > 0.05
    assert one(found, "confidence", "ece_15_bins").shown


def test_a_few_members_that_are_known_by_heart_are_shown_at_low_error(tmp_path: Path) -> None:
    members = answers(1000, 3)
    rows = np.arange(60)
    members.loc[rows, CLASSES] = np.eye(3)[[CLASSES.index(c) for c in members.label[:60]]]
    found = audited(tmp_path, members, answers(1000, 4))
    rate = one(found, "loss-threshold", "tpr_at_0.1pct_fpr")
    assert rate.shown
    assert (rate.value or 0) >= 0.05


def test_the_rate_of_a_group_is_its_own(tmp_path: Path) -> None:
    others = answers(600, 5)
    wrong = (others.sex == "f") & (np.arange(600) % 2 == 0)
    others.loc[wrong, "label"] = others.loc[wrong, "label"].map(
        dict(zip(CLASSES, np.roll(CLASSES, 1), strict=True))
    )
    found = audited(tmp_path, answers(600, 6), others)
    gap = one(found, "sex", "accuracy_difference")
    assert gap.low is not None
    assert gap.low > 0.1
    right = others[CLASSES].to_numpy().argmax(1) == [CLASSES.index(c) for c in others.label]
    assert one(found, "sex f", "accuracy").value == pytest.approx(right[others.sex == "f"].mean())


# What to bear in mind.


def test_what_else_differs_is_told(tmp_path: Path) -> None:
    others = answers(400, 7)
    assert any("other labels" in flag for flag in
               audited(tmp_path, answers(400, 8), others[others.label != "owl"]).flags)  # fmt: skip
    assert any("are also in" in f for f in audited(tmp_path, others, others).flags)
    assert any("2 decimals" in f for f in audited(tmp_path, others, others.round(2)).flags)
    plain = others.drop(columns="sex")
    same = audited(tmp_path, plain, plain.iloc[np.zeros(300, dtype=int)], groups=[])
    assert any("299 of 300 rows" in flag for flag in same.flags)


def test_probabilities_alone_are_enough_for_membership(tmp_path: Path) -> None:
    plain = [answers(300, 9, memory=3).drop(columns=["label", "sex"]),
             answers(300, 10).drop(columns=["label", "sex"])]  # fmt: skip
    found = audited(tmp_path, *plain, groups=[])
    assert {f.about for f in found.findings} == {"membership"}
    assert {f.what for f in found.findings} == {"confidence", "entropy"}
    assert one(found, "entropy", "auc").shown
    assert any("without labels" in flag for flag in found.flags)


def test_one_column_is_the_second_of_two_classes(tmp_path: Path) -> None:
    table = pd.DataFrame({"sick": [0.9, 0.2, 0.6], "label": [1, 0, 0]})
    table.to_csv(tmp_path / "t.csv", index=False)
    found = read(tmp_path / "t.csv")
    assert found.scores.tolist() == pytest.approx(np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]]))
    assert found.y is not None
    assert found.y.tolist() == [1, 0, 0]


def test_columns_in_another_order_are_the_same_model(tmp_path: Path) -> None:
    members, others = answers(200, 11), answers(200, 12)
    plain = audited(tmp_path, members, others)
    turned = audited(tmp_path, members, others[["owl", "sex", "label", "cat", "dog"]])
    for found, wanted in zip(turned.findings, plain.findings, strict=True):
        assert (found.what, found.measure, found.shown) == (
            wanted.what,
            wanted.measure,
            wanted.shown,
        )
        assert found.value == pytest.approx(wanted.value, abs=1e-12)


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    table = answers(50, 13)
    table.to_parquet(tmp_path / "t.parquet")
    table.to_csv(tmp_path / "t.csv", index=False)
    found, wanted = (read(tmp_path / f"t.{kind}", groups=["sex"]) for kind in ("parquet", "csv"))
    assert np.allclose(found.scores, wanted.scores)
    assert found.groups["sex"].tolist() == wanted.groups["sex"].tolist()


BAD = {
    "one row": ("cat,dog\n0.5,0.5\n", "has 1 row, and at least 2 are wanted"),
    "all 0": ("cat,dog\n1,0\n0,0\n", "row 2: the probabilities sum to 0"),
    "several labels": (
        "a,b,c,d,e,f,g,h,i,j,k\n" + 2 * (",".join(["0.1"] * 11) + "\n"),
        "sum to 1.1",
    ),
    "no rows": ("cat,dog,label\n", "has no rows"),
    "empty": ("", "cannot be read as a table"),
    "no number": ("cat,dog\n0.5,0.5\n0.5,half\n", r"row 2, column 'dog': wanted a probability"),
    "nan": ("cat,dog\n0.5,0.5\n0.5,\n", "row 2, column 'dog': wanted a probability, found nan"),
    "inf": ("cat,dog\n0.5,inf\n0.5,0.5\n", "row 1, column 'dog': wanted a probability, found inf"),
    "logits": ("cat,dog\n3.1,-2\n0.5,0.5\n", "row 1: 3.1 is no probability .*softmax"),
    "percent": ("cat,dog\n40,60\n40,60\n", "row 1: 40 is no probability"),
    "sum": ("cat,dog\n0.5,0.5\n0.5,0.2\n", r"row 2: the probabilities sum to 0.7 \(1 such"),
    "label": (
        "cat,dog,label\n0.5,0.5,cow\n0.5,0.5,cat\n",
        "the label 'cow' is none of the columns cat, dog",
    ),
    "from 1": ("cat,dog,label\n0.5,0.5,1\n0.5,0.5,2\n", "They seem to start at 1"),
    "no label": ("cat,dog,label\n0.5,0.5,cat\n0.5,0.5,\n", "row 2: there is no label"),
    "only labels": ("label\ncat\ncat\n", "no column of probabilities"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=list(BAD))
def test_what_is_no_file_of_answers_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ZooError, match=said) as error:
        read(tmp_path / "t.csv")
    assert "\n" not in str(error.value)


def test_files_of_two_models_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="Both have to be of one model"):
        audited(tmp_path, answers(20, 1), answers(20, 2).replace("cat", "cow").rename(
            columns={"cat": "cow"}))  # fmt: skip
    with pytest.raises(ZooError, match="has no column of labels, and the other has"):
        audited(tmp_path, answers(20, 1), answers(20, 2).drop(columns="label"))
    with pytest.raises(ZooError, match="'sexx'. Nearest: sex"):
        audited(tmp_path, answers(20, 1), answers(20, 2), groups=["sexx"])
    with pytest.raises(ZooError, match="There is no file"):
        read(tmp_path / "nothing.csv")


def test_python_gives_the_same_rows(tmp_path: Path) -> None:
    import harness

    tables = [answers(120, seed) for seed in (1, 2)]
    wanted = audited(tmp_path, *tables)
    found = harness.audit_scores(tmp_path / "members.csv", tmp_path / "others.csv", groups="sex")
    values = [np.nan if one.value is None else one.value for one in wanted.findings]
    assert found.value.tolist() == pytest.approx(values, nan_ok=True)
    assert found.attrs["flags"] == list(wanted.flags)


def test_the_command_prints_a_table_and_notes(tmp_path: Path) -> None:
    for name, seed in (("m", 1), ("o", 2)):
        answers(150, seed).to_csv(tmp_path / f"{name}.csv", index=False)
    command = [Path(sys.executable).parent / "harness", "audit", "scores", tmp_path / "m.csv"]
    done = subprocess.run([*command, tmp_path / "o.csv", "--group", "sex", "--format", "json"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["about"] for row in rows} == {"membership", "accuracy", "calibration", "fairness"}
    (tmp_path / "o.csv").write_text("cat\nx\ny\n")
    done = subprocess.run([*command, tmp_path / "o.csv"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
