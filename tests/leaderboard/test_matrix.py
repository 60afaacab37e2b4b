"""The interaction matrix."""

from harness.types import Regime, Risk
from leaderboard.findings import findings
from leaderboard.matrix import Utility, block


def matrix(interactions, evaluations=()):
    return block("digits", Regime.FROM_SCRATCH, findings(interactions, []), evaluations)


def test_columns_are_attackers_in_the_fixed_order_of_risks(interaction):
    found = matrix(
        [
            interaction(risk=Risk.MEMBERSHIP_INFERENCE, attack="lira", metric="auc"),
            interaction(risk=Risk.EXTRACTION, threat_model="scores, shadow"),
            interaction(risk=Risk.EXTRACTION, threat_model="labels, shadow"),
            interaction(risk=Risk.EVASION, attack="pgd", metric="robust_accuracy"),
        ]
    )

    assert [(c.risk, c.attack, c.threat_model, c.metrics) for c in found.columns] == [
        (Risk.EVASION, "pgd", "scores, shadow", ("robust_accuracy",)),
        (Risk.EXTRACTION, "distillation", "labels, shadow", ("fidelity",)),
        (Risk.EXTRACTION, "distillation", "scores, shadow", ("fidelity",)),
        (Risk.MEMBERSHIP_INFERENCE, "lira", "scores, shadow", ("auc",)),
    ]
    assert found.risks == [
        (Risk.EVASION, 1),
        (Risk.EXTRACTION, 2),
        (Risk.MEMBERSHIP_INFERENCE, 1),
    ]


def test_an_attack_with_other_settings_is_another_column(interaction):
    found = matrix([interaction(), interaction(attack_params={"queries": 9})])

    assert len(found.columns) == 2
    assert len(found.rows) == 1


def test_a_cell_that_was_not_measured_is_empty(interaction):
    found = matrix(
        [
            interaction(model="a", risk=Risk.EVASION),
            interaction(model="b", risk=Risk.EXTRACTION),
        ]
    )

    assert [[len(cell) for cell in row.cells] for row in found.rows] == [[1, 0], [0, 1]]
    assert [(model, len(rows)) for model, rows in found.models] == [("a", 1), ("b", 1)]


def test_stacks_of_one_name_and_other_settings_are_rows_of_their_own(interaction):
    found = matrix(
        [interaction(), interaction(defense_params={"dpsgd": {"noise_multiplier": 9.0}})]
    )

    assert len(found.rows) == 2


def test_no_interaction_is_dropped_when_two_share_a_cell(interaction):
    found = matrix([interaction(effect=0.1), interaction(effect=0.2)])

    assert [finding.record.effect for finding in found.rows[0].cells[0]] == [0.1, 0.2]


def test_equal_utility_is_said_once_and_different_utility_by_risk(interaction):
    change = {"baseline_utility": 0.9, "defended_utility": 0.8, "utility_delta": -0.1}
    found = matrix(
        [
            interaction(risk=Risk.EXTRACTION, **change),
            interaction(risk=Risk.EXTRACTION, attack="another", **change),
            interaction(risk=Risk.EVASION, **change),
            interaction(risk=Risk.POISONING, **(change | {"utility_delta": -0.2})),
            interaction(risk=Risk.ATTRIBUTE_INFERENCE, **(change | {"utility_delta": None})),
        ]
    )

    shared = {"baseline": 0.9, "defended": 0.8, "n_seeds": 12}
    assert found.rows[0].utilities == (
        Utility(delta=-0.1, risks=(Risk.EVASION, Risk.EXTRACTION), **shared),
        Utility(delta=-0.2, risks=(Risk.POISONING,), **shared),
    )


def test_a_private_stack_says_its_budget(interaction):
    found = matrix([interaction(), interaction(defense="pruning", evidence={"share": 0.5})])

    assert [row.budget for row in found.rows] == [{"dp_epsilon": 3.25, "dp_delta": 1e-5}, {}]


def test_a_budget_is_never_said_without_what_it_leaves_out(interaction):
    left_out = ["strip (the checked examples)", "dfr (the held-out examples)"]
    without = {"dp_epsilon": 3.25, "dp_epsilon_rdp": 3.25, "leaves_out": left_out}
    found = matrix([interaction(evidence={"dp_epsilon_without": without, "dp_delta": 1e-5})])

    assert found.rows[0].budget == {
        "dp_epsilon": 3.25,
        "dp_delta": 1e-5,
        "without": "strip (the checked examples); dfr (the held-out examples)",
    }


def test_risks_that_nothing_was_measured_for_are_named(interaction, evaluation):
    found = matrix(
        [interaction(risk=Risk.EVASION)],
        [
            evaluation(risk=Risk.EVASION),
            evaluation(risk=Risk.POISONING, stack=(), model="other"),
            evaluation(risk=Risk.DATA_RECONSTRUCTION, stack=(), status="failed"),
        ],
    )

    assert [(one.model, one.page, one.risks) for one in found.undefended] == [
        ("other", "models/other.html", (Risk.POISONING,))
    ]
    assert found.unmeasured == (
        Risk.EXTRACTION,
        Risk.MEMBERSHIP_INFERENCE,
        Risk.ATTRIBUTE_INFERENCE,
        Risk.DATA_RECONSTRUCTION,
        Risk.DISTRIBUTION_INFERENCE,
        Risk.DISCRIMINATORY_BEHAVIOR,
    )
