"""κ against hand-worked numbers and two other implementations, and what a round is compared by."""

import math
import warnings
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from annotations.agreement import (
    ALL,
    SINGLE,
    Agreement,
    Choices,
    Kappa,
    agreement_table,
    cohen,
    compare,
    disagreement_table,
    disagreements,
    fleiss,
)
from annotations.codings import Cell, Decision, Round

Table = Sequence[Sequence[int]]


def choices(*coders: Sequence[object]) -> list[Choices]:
    """One decision per item."""
    return [Choices(i, chosen) for i, chosen in enumerate(zip(*coders, strict=True))]


def crossed(table: Table) -> list[Choices]:
    """Decisions of two coders as their contingency table counts them."""
    cells = [
        pair
        for pair in product(range(len(table)), repeat=2)
        for _ in range(table[pair[0]][pair[1]])
    ]
    return [Choices(i, pair) for i, pair in enumerate(cells)]


def sklearn_kappa(one: Sequence[object], other: Sequence[object]) -> float:
    """NaN where undefined."""
    names = {c: str(i) for i, c in enumerate({*one, *other})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(cohen_kappa_score([names[c] for c in one], [names[c] for c in other]))


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


# Known answers


def test_two_hundred_items_in_three_categories() -> None:
    # Both coders use the categories 70, 70 and 60 times: p_e = (70² + 70² + 60²) / 200² = .335.
    found = cohen(crossed([[66, 2, 2], [2, 66, 2], [2, 2, 56]]))
    assert found.agreement == 188 / 200 == 0.94
    assert found.kappa == pytest.approx((0.94 - 0.335) / (1 - 0.335))
    assert found.kappa == pytest.approx(0.910, abs=5e-4)


def test_fifty_grant_proposals() -> None:
    # p_o = 35/50 = .7; p_e = (25·30 + 25·20) / 50² = .5; κ = .2/.5
    found = cohen(crossed([[20, 5], [10, 15]]))
    assert found.agreement == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)


def test_coders_who_never_agree() -> None:
    assert cohen(crossed([[0, 5], [5, 0]])).kappa == pytest.approx(-1)
    # One coder says only a, the other only b: nothing in common, so chance gives nothing either.
    assert cohen(choices("aaa", "bbb")).kappa == 0


def test_independent_coders_agree_by_chance_only() -> None:
    # Rows and columns are proportional: p_o = p_e.
    assert cohen(crossed([[12, 6], [8, 4]])).kappa == pytest.approx(0, abs=1e-12)


def test_fourteen_raters_of_fleiss() -> None:
    # The worked example that textbooks give of Fleiss' formula: P = .378, P_e = .213, κ = .210.
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    decisions = [
        Choices(i, tuple(c for c, times in enumerate(row) for _ in range(times)))
        for i, row in enumerate(counts)
    ]
    found = fleiss(decisions)
    assert found.agreement == pytest.approx(0.378, abs=5e-4)
    assert found.kappa == pytest.approx(0.210, abs=5e-4)
    assert found.kappa == pytest.approx(fleiss_kappa(counts))


def test_fleiss_of_three_by_hand() -> None:
    # aab: 1 of 3 pairs agrees, aaa: 3, bbb: 3 -> P = 7/9; a 5 times, b 4: P_e = 41/81; κ = 22/40
    found = fleiss([Choices(1, (*"aab",)), Choices(2, (*"aaa",)), Choices(3, (*"bbb",))])
    assert found.agreement == pytest.approx(7 / 9)
    assert found.kappa == pytest.approx(0.55)


def test_fleiss_of_two_coders_is_not_cohens() -> None:
    # Scott's π: p_e from the pooled 55 and 45 of 100 choices = .505
    assert fleiss(crossed([[20, 5], [10, 15]])).kappa == pytest.approx((0.7 - 0.505) / 0.495)


@pytest.mark.parametrize("measure", [cohen, fleiss])
def test_one_category_throughout_is_undefined(measure) -> None:
    assert measure(choices("aaaa", "aaaa")) == Kappa(4, 1.0, None, None, None, 2000)


@pytest.mark.parametrize("measure", [cohen, fleiss])
def test_nothing_to_compare_is_undefined(measure) -> None:
    assert measure([]) == Kappa(0, None, None, None, None, 0)


@pytest.mark.parametrize("n", [3, 7, 49, 101, 3001])
def test_undefined_does_not_depend_on_rounding(n: int) -> None:
    assert cohen(choices(["a"] * n, ["a"] * n), draws=1).kappa is None
    assert fleiss(choices(*[["a"] * n] * 3), draws=1).kappa is None


# Other implementations


@given(PAIRS)
def test_cohens_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    one, other = zip(*pairs, strict=True)
    found, expected = cohen(choices(one, other), draws=1), sklearn_kappa(one, other)
    if math.isnan(expected):
        assert found.kappa is None
    else:
        assert found.kappa == pytest.approx(expected, abs=1e-12)


@given(
    st.integers(2, 5).flatmap(
        lambda raters: st.lists(st.tuples(*[st.integers(0, 3)] * raters), min_size=1, max_size=20)
    )
)
def test_fleiss_is_statsmodels(rows: list[tuple[int, ...]]) -> None:
    found = fleiss([Choices(i, row) for i, row in enumerate(rows)], draws=1)
    if len({c for row in rows for c in row}) == 1:
        assert found.kappa is None
    else:
        assert found.kappa == pytest.approx(fleiss_kappa(aggregate_raters(rows)[0]), abs=1e-12)


@pytest.mark.parametrize("measure", [cohen, fleiss])
def test_the_interval_is_that_of_a_loop_over_draws(measure) -> None:
    """Items with several decisions, drawn with all of them, and measured by other programs."""
    rng = np.random.default_rng(5)
    raters = 2 if measure is cohen else 3
    rows = [
        (int(rng.integers(12)), tuple(int(c) for c in rng.choice(3, raters, p=[0.7, 0.2, 0.1])))
        for _ in range(25)
    ]
    found = measure([Choices(*row) for row in rows], draws=200, seed=3)
    order = list(dict.fromkeys(item for item, _ in rows))
    n = len(order)
    kappas = []
    for weights in np.random.default_rng(3).multinomial(n, [1 / n] * n, size=200):
        drawn = [chosen for item, chosen in rows for _ in range(weights[order.index(item)])]
        if measure is cohen:
            kappas.append(sklearn_kappa(*zip(*drawn, strict=True)))
        elif len({c for chosen in drawn for c in chosen}) > 1:
            kappas.append(fleiss_kappa(aggregate_raters(drawn)[0]))
        else:
            kappas.append(math.nan)
    assert (found.low, found.high) == pytest.approx(tuple(np.nanpercentile(kappas, [2.5, 97.5])))
    assert found.undefined_draws == np.isnan(kappas).sum()


def test_undefined_draws_are_left_out_and_counted() -> None:
    # Undefined unless an item other than the first nine is drawn: (9/10)^10 = 35 % of draws.
    found = cohen(choices("aaaaaaaaab", "aaaaaaaaab"))
    assert (found.kappa, found.low, found.high) == (1, 1, 1)
    assert found.undefined_draws == pytest.approx(2000 * 0.9**10, abs=4 * 21.3)


def test_the_interval_covers_the_truth() -> None:
    """100 coders who guess one item in five: κ = 1 - .2 exactly, for two equal categories."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth = rng.integers(2, size=150)
        second = np.where(rng.random(150) < 0.2, rng.integers(2, size=150), truth)
        found = cohen(choices(truth.tolist(), second.tolist()), draws=500)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.8 <= found.high
    assert 88 <= covered <= 100


# Properties


@given(PAIRS)
def test_the_order_of_the_coders_does_not_matter(pairs: list[tuple[int, int]]) -> None:
    one, other = zip(*pairs, strict=True)
    there, back = cohen(choices(one, other), draws=50), cohen(choices(other, one), draws=50)
    assert vars(there) == pytest.approx(vars(back), abs=1e-12)


@given(PAIRS, st.permutations("wxyz"))
def test_names_of_categories_do_not_matter(pairs: list[tuple[int, int]], names: list[str]) -> None:
    one, other = zip(*pairs, strict=True)
    renamed = choices([names[c] for c in one], [names[c] for c in other])
    assert cohen(renamed, draws=50) == cohen(choices(one, other), draws=50)
    assert fleiss(renamed, draws=50) == fleiss(choices(one, other), draws=50)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30))
def test_coders_who_always_agree_have_one(values: list[int]) -> None:
    assume(len(set(values)) > 1)
    for found in (cohen(choices(values, values)), fleiss(choices(values, values, values))):
        assert (found.agreement, found.kappa, found.low, found.high) == (1, 1, 1, 1)


@given(PAIRS)
def test_kappa_is_at_most_the_agreement(pairs: list[tuple[int, int]]) -> None:
    one, other = zip(*pairs, strict=True)
    found = cohen(choices(one, other), draws=1)
    assert found.agreement is not None
    assert 0 <= found.agreement <= 1
    if found.kappa is not None:
        assert -1 <= found.kappa <= found.agreement + 1e-12


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.1, 0.9))
def test_the_interval_of_many_items_holds_the_estimate(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(3, size=200)
    second = np.where(rng.random(200) < noise, rng.integers(3, size=200), first)
    found = cohen(choices(first.tolist(), second.tolist()))
    assert found.kappa is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.kappa < found.high


def test_the_same_seed_gives_the_same_interval() -> None:
    decisions = crossed([[20, 5], [10, 15]])
    assert cohen(decisions, seed=1) == cohen(decisions, seed=1) != cohen(decisions, seed=2)


def test_more_decisions_of_the_same_items_do_not_narrow_the_interval() -> None:
    once = crossed([[20, 5], [10, 15]])
    many, single = cohen(once * 10), cohen(once)
    assert many.decisions == 500
    assert (many.kappa, many.low, many.high) == pytest.approx(
        (single.kappa, single.low, single.high)
    )


# Rounds


def round_of(
    coders: dict[str, dict[str, dict[str, str]]],
    *,
    items: Sequence[tuple[str, str]],
    decisions: dict[Cell, Decision] | None = None,
    aliases: dict[tuple[str, str], str] | None = None,
) -> Round:
    """A round from values by coder, field and item."""
    entities = {item: entity for entity, item in items}
    return Round(
        name="test",
        items=tuple(items),
        codings={
            coder: {
                Cell(entities[item], item, field): value
                for field, values in fields.items()
                for item, value in values.items()
            }
            for coder, fields in coders.items()
        },
        decisions=decisions or {},
        aliases=aliases or {},
    )


ITEMS = [("family", "A"), ("family", "B"), ("family", "C"), ("family", "D"), ("dataset", "E")]
FIRST = {
    "venue": {"A": "CVPR", "B": "ICCV", "C": "CVPR", "D": ""},
    "countries": {"A": "USA;China", "B": "China", "C": "UK", "D": "Japan"},
    "topic": {"E": "food"},
}
SECOND = {
    "venue": {"A": "cvpr ", "B": "CVPR", "C": "CVPR"},
    "countries": {"A": "China; USA", "B": "China;USA", "C": "UK", "D": ""},
    "topic": {"E": "food"},
}


def by_field(rows: Sequence[Agreement]) -> dict[str, Agreement]:
    return {row.field: row for row in rows}


def test_fields_are_compared_over_what_both_found() -> None:
    rows = compare(round_of({"one": FIRST, "two": SECOND}, items=ITEMS))
    assert [(row.entity, row.field) for row in rows] == [
        ("family", "venue"),
        ("family", "countries"),
        ("dataset", "topic"),
        (ALL, SINGLE),
        (ALL, ALL),
    ]
    assert {row.coders for row in rows} == {("one", "two")}
    venue = by_field(rows)["venue"]
    # D is empty in one file, and not written down in the other.
    assert (venue.n, venue.left_out, venue.open, venue.kappa.decisions) == (3, 1, 1, 3)
    assert venue.kappa.agreement == pytest.approx(2 / 3)
    assert venue.kappa.kappa == 0  # p_e = (2·3 + 1·0) / 9 = 2/3


def test_several_values_are_one_decision_per_value_of_the_round() -> None:
    countries = by_field(compare(round_of({"one": FIRST, "two": SECOND}, items=ITEMS)))["countries"]
    # A, B and C times USA, China, UK, and Japan, which was given to D. One disagreement: B, USA.
    assert (countries.n, countries.left_out, countries.open) == (3, 1, 1)
    assert countries.kappa.decisions == 12
    assert countries.kappa.agreement == pytest.approx(11 / 12)
    # Yes 4 and 5 times of 12: p_e = (4·5 + 8·7) / 144
    assert countries.kappa.kappa == pytest.approx((11 / 12 - 76 / 144) / (1 - 76 / 144))


def test_pooled_categories_are_fields_with_values() -> None:
    rows = by_field(compare(round_of({"one": FIRST, "two": SECOND}, items=ITEMS)))
    single = rows[SINGLE]
    assert (single.n, single.left_out, single.open) == (4, 1, 1)
    # venue CVPR 2 and 3 times, venue ICCV 1 and 0 times, topic food once each
    assert single.kappa.kappa == pytest.approx((3 / 4 - 7 / 16) / (1 - 7 / 16))
    everything = rows[ALL]
    assert (everything.n, everything.left_out, everything.open) == (7, 2, 2)
    assert everything.kappa.decisions == 4 + 12
    chance = (2 * 3 + 1 * 1 + 4 * 5 + 8 * 7) / 16**2
    assert everything.kappa.kappa == pytest.approx((14 / 16 - chance) / (1 - chance))


def test_equal_values_of_different_fields_are_different_categories() -> None:
    values = {"A": "2015", "B": "2015"}
    coder = {"venue_year": values, "arxiv_year": values}
    rows = by_field(compare(round_of({"one": coder, "two": coder}, items=ITEMS)))
    assert rows["venue_year"].kappa.kappa is None
    assert rows[SINGLE].kappa.kappa == 1


def test_yes_to_one_field_is_not_yes_to_another() -> None:
    always, never = {"A": "USA", "B": "USA"}, {"A": "Meta;Intel", "B": "Intel"}
    coder = {"countries": always, "affiliations": never}
    other = {"countries": always, "affiliations": {"A": "Intel", "B": "Intel"}}
    found = by_field(compare(round_of({"one": coder, "two": other}, items=ITEMS)))[ALL].kappa
    # countries: yes 2 and 2 times; affiliations: yes 3 and 2, no 1 and 2, one disagreement
    assert found.kappa == pytest.approx((5 / 6 - 12 / 36) / (1 - 12 / 36))


def test_the_bootstrap_draws_an_item_with_all_its_fields() -> None:
    years = ["2015", "2016"] * 4
    wrong = ["2015"] * 3 + years[3:]
    cells = [
        Cell(entity, str(i), field)
        for entity, field, n in [
            ("family", "arxiv_year", 8),
            ("family", "venue_year", 8),
            ("dataset", "year", 4),  # of things that are called like a family
        ]
        for i in range(n)
    ]
    found = Round(
        name="test",
        items=tuple(dict.fromkeys((cell.entity, cell.item) for cell in cells)),
        codings={
            "one": {cell: years[int(cell.item)] for cell in cells},
            "two": {cell: wrong[int(cell.item)] for cell in cells},
        },
        decisions={},
        aliases={},
    )
    decisions = [
        Choices(
            (cell.entity, cell.item),
            tuple((cell.field, coding[cell]) for coding in found.codings.values()),
        )
        for cell in cells
    ]
    assert by_field(compare(found))[ALL].kappa == cohen(decisions)
    apart = [Choices(i, choices.chosen) for i, choices in enumerate(decisions)]
    assert cohen(apart).low != cohen(decisions).low


def test_an_alias_is_the_value_that_it_stands_for() -> None:
    one = {"affiliations": {"A": "FAIR; Meta", "B": "Google"}}
    two = {"affiliations": {"A": "meta", "B": "google"}}
    aliases = {("affiliations", "fair"): "meta"}
    with_aliases = round_of({"one": one, "two": two}, items=ITEMS, aliases=aliases)
    without = round_of({"one": one, "two": two}, items=ITEMS)
    assert by_field(compare(with_aliases))["affiliations"].kappa.kappa == 1
    assert disagreements(with_aliases) == []
    assert [found.cell.item for found in disagreements(without)] == ["A"]


def test_three_coders_are_compared_together_and_in_pairs() -> None:
    third = {"venue": {"A": "CVPR", "B": "ICCV", "C": "ICCV", "D": "CVPR"}}
    rows = compare(round_of({"one": FIRST, "two": SECOND, "three": third}, items=ITEMS))
    venues = {row.coders: row for row in rows if row.field == "venue"}
    assert list(venues) == [
        ("one", "two", "three"),
        ("one", "two"),
        ("one", "three"),
        ("two", "three"),
    ]
    # A: all agree; B and C: one pair of three. P = 5/9; CVPR 6 and ICCV 3 of 9: P_e = 5/9.
    assert venues["one", "two", "three"].kappa.agreement == pytest.approx(5 / 9)
    assert venues["one", "two", "three"].kappa.kappa == pytest.approx(0, abs=1e-12)
    assert venues["one", "two", "three"].open == 2
    assert [venues[pair].open for pair in list(venues)[1:]] == [1, 1, 2]
    # What the third coder never wrote down is left out of every comparison with them.
    topics = {row.coders: (row.n, row.left_out) for row in rows if row.field == "topic"}
    assert topics["one", "two"] == (1, 0)
    assert topics["one", "two", "three"] == topics["one", "three"] == (0, 1)


def test_one_coder_is_compared_with_nobody() -> None:
    assert compare(round_of({"one": FIRST}, items=ITEMS)) == []


def test_disagreements_show_what_was_written_and_decided() -> None:
    decision = Decision("ICCV", "a third person", "title page")
    found = round_of(
        {"one": FIRST, "two": SECOND},
        items=ITEMS,
        decisions={Cell("family", "B", "venue"): decision},
    )
    header, rows = disagreement_table(found)
    assert header == [
        "entity", "item", "field", "one", "two", "adjudicated", "decided_by", "reason",
    ]  # fmt: skip
    assert rows == [
        ["family", "B", "venue", "ICCV", "CVPR", "ICCV", "a third person", "title page"],
        ["family", "B", "countries", "China", "China;USA", None, None, None],
    ]
    compared = by_field(compare(found))
    assert [compared[field].open for field in ("venue", "countries", ALL)] == [0, 1, 1]


def test_a_decision_does_not_change_the_agreement() -> None:
    decision = Decision("ICCV", "a third person", "title page")
    decided = round_of(
        {"one": FIRST, "two": SECOND},
        items=ITEMS,
        decisions={Cell("family", "B", "venue"): decision},
    )
    before = compare(round_of({"one": FIRST, "two": SECOND}, items=ITEMS))
    assert [row.kappa for row in compare(decided)] == [row.kappa for row in before]


def test_a_value_that_one_coder_found_is_no_disagreement() -> None:
    cells = {
        found.cell for found in disagreements(round_of({"a": FIRST, "b": SECOND}, items=ITEMS))
    }
    assert cells == {Cell("family", "B", "venue"), Cell("family", "B", "countries")}


def test_two_of_three_coders_can_disagree() -> None:
    values = [{"topic": {"E": text}} for text in ("food", "", "plants")]
    found = round_of(dict(zip("abc", values, strict=True)), items=ITEMS)
    assert [row.values for row in disagreements(found)] == [("food", "", "plants")]
    assert disagreement_table(found)[1][0][3:6] == ["food", None, "plants"]


def test_the_rows_of_the_table() -> None:
    header, rows = agreement_table(round_of({"one": FIRST, "two": SECOND}, items=ITEMS))
    venue = dict(zip(header, rows[0], strict=True))
    assert venue["coders"] == "one, two"
    assert (venue["n"], venue["left_out"], venue["kappa"], venue["open"]) == (3, 1, 0, 1)
    topic = dict(zip(header, rows[2], strict=True))
    assert (topic["agreement"], topic["kappa"], topic["ci_low"], topic["ci_high"]) == (
        1, None, None, None,
    )  # fmt: skip
