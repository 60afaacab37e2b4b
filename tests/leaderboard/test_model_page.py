"""What a model's page holds."""

from harness.types import Regime, Risk
from leaderboard.findings import findings, in_order
from leaderboard.model_page import model_page


def test_each_regime_is_a_section_of_its_own(interaction, evaluation):
    found = findings([interaction(), interaction(regime=Regime.FINE_TUNED)], [])

    page = model_page("digits-cnn", {}, found, [evaluation(regime=Regime.PUBLISHED)], {})

    assert page.path == "models/digits-cnn.html"
    assert [(s.regime, len(s.findings), len(s.seed_tables)) for s in page.sections] == [
        (Regime.FROM_SCRATCH, 1, 0),
        (Regime.FINE_TUNED, 1, 0),
        (Regime.PUBLISHED, 0, 1),
    ]


def test_evaluations_of_one_attacker_stand_in_one_table(evaluation):
    measured = in_order(
        [
            evaluation(seed=1),
            evaluation(seed=0),
            evaluation(seed=0, stack=()),
            evaluation(risk=Risk.EVASION),
        ]
    )

    (section,) = model_page("digits-cnn", {}, [], measured, {}).sections

    assert [
        (table.risk, [(e.cell.defense, e.cell.seed) for e in table.evaluations])
        for table in section.seed_tables
    ] == [
        (Risk.EVASION, [("dpsgd", 0)]),
        (Risk.EXTRACTION, [("none", 0), ("dpsgd", 0), ("dpsgd", 1)]),
    ]


def test_provenance_that_all_seeds_share_is_said_once(evaluation):
    def made_on(device):
        return {"weights": device * 2, "device": device, "versions": {"torch": "2.15"}}

    measured = [
        evaluation(seed=0, provenance=made_on("cpu")),
        evaluation(seed=1, provenance=made_on("gpu")),
        evaluation(seed=2, provenance=made_on("cpu") | {"split": "s"}),
    ]

    (section,) = model_page("digits-cnn", {}, [], measured, {}).sections
    (table,) = section.seed_tables

    assert table.shared == {"versions torch": "2.15"}
    assert table.own == (
        {"device": "cpu", "weights": "cpucpu"},
        {"device": "gpu", "weights": "gpugpu"},
        {"device": "cpu", "split": "s", "weights": "cpucpu"},
    )
    assert table.own_names == ["device", "split", "weights"]


def test_the_primary_metric_comes_first(evaluation):
    measured = [
        evaluation(seed=0, status="failed", metrics={}, primary=None),
        evaluation(seed=1, metrics={"a": 1.0, "z": 2.0, "b": None}, primary="z"),
    ]

    (section,) = model_page("digits-cnn", {}, [], measured, {}).sections

    assert section.seed_tables[0].metrics == ("z", "a", "b")


def test_metrics_of_one_group_and_ends_of_intervals_have_no_column(evaluation):
    names = ["gap", "gap_low", "gap_high", "gap [class 3]", "accuracy[sex=f]", "n_low", "odds_low"]
    measured = [evaluation(metrics=dict.fromkeys([*names, "odds"], 0.5), primary="odds_low")]

    (section,) = model_page("digits-cnn", {}, [], measured, {}).sections
    (table,) = section.seed_tables

    # n_low is no end of anything, and the primary metric is always shown.
    assert table.metrics == ("odds_low", "gap", "n_low", "odds")
    assert table.others == ("accuracy[sex=f]", "gap [class 3]", "gap_high", "gap_low")


def test_findings_are_grouped_by_defense(interaction):
    found = findings(
        [
            interaction(defense="b"),
            interaction(defense="a"),
            interaction(defense="a", risk=Risk.EVASION),
        ],
        [],
    )

    (section,) = model_page("digits-cnn", {}, found, [], {}).sections

    assert [(name, len(group)) for name, group in section.defenses] == [("a", 2), ("b", 1)]


def test_each_defense_shows_the_pictures_of_its_first_seed_that_has_some(evaluation):
    measured = in_order(evaluation(seed=seed, stack=stack) for seed in (0, 1, 2) for stack in
                        ((), evaluation().cell.stack))  # fmt: skip
    pictures = {e.cell.key: {"grid": f"{e.cell.seed}".encode()} for e in measured if e.cell.seed}

    (section,) = model_page("digits-cnn", {}, [], measured, pictures).sections
    (table,) = section.seed_tables

    assert [(p.evaluation.cell.defense, p.png) for p in table.pictures] == [
        ("none", b"1"),
        ("dpsgd", b"1"),
    ]
    assert len({p.path for p in table.pictures}) == 2
