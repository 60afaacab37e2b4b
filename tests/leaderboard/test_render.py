"""Tables as HTML: the same bytes, the right words, and nothing that a name can break."""

import random
import re
from html.parser import HTMLParser

import pytest

from harness.results import Method, OtherMeasure
from harness.types import Access, Regime, Risk, ThreatModel
from leaderboard.render import render
from leaderboard.tables import tables

EVIL = """<script>alert("1")</script>'"--></svg>&amp;{{7*7}}"""


def text(html: bytes) -> str:
    """What a reader sees, one space between words and between elements."""
    found: list[str] = []

    class Parser(HTMLParser):
        def handle_data(self, data):
            found.append(data)

        def handle_starttag(self, tag, attrs):
            found.append("" if tag == "wbr" else " ")

        def handle_endtag(self, tag):
            found.append(" ")

    Parser().feed(html.decode())
    return " ".join("".join(found).split())


@pytest.fixture
def records(interaction, evaluation):
    interactions = [
        interaction(),
        interaction(risk=Risk.EVASION, attack="pgd", verdict="decreases", effect=-0.05),
        interaction(model="digits-mlp", verdict="no effect", effect=0.001),
        interaction(regime=Regime.FINE_TUNED, dataset="cifar10", model="akamaster/resnet20"),
    ]
    evaluations = [
        evaluation(stack=stack, seed=seed)
        for seed in range(3)
        for stack in ((), (Method("dpsgd", (("max_grad_norm", 1.0), ("noise_multiplier", 1.1))),))
    ]
    return interactions, evaluations


def site(interactions, evaluations=(), facts=None) -> dict[str, bytes]:
    return render(tables(interactions, evaluations, facts or {}))


def test_the_same_records_give_the_same_bytes_in_any_order(records):
    interactions, evaluations = records
    first = site(interactions, evaluations)
    chance = random.Random(0)
    for _ in range(5):
        chance.shuffle(interactions)
        chance.shuffle(evaluations)
        again = site(interactions, evaluations)
        assert again == first
        assert list(again) == list(first)


def test_the_site_has_a_page_for_each_model_its_style_and_its_data(records):
    assert sorted(site(*records)) == [
        "data/interactions.csv",
        "data/interactions.json",
        "index.html",
        "models/akamaster__resnet20.html",
        "models/digits-cnn.html",
        "models/digits-mlp.html",
        "static/site.css",
        "static/site.js",
    ]


def test_a_cell_says_verdict_effect_interval_metric_seeds_and_q(interaction):
    shown = text(site([interaction()])["index.html"])

    assert "▲ increases +3.1 [+1.2, +4.9] 0.912 → 0.940 12 seeds alone · q 0.004" in shown
    assert "−3.1 97.2% → 94.1%" in shown
    assert "fidelity: higher is worse" in shown
    assert "dp_epsilon 3.25 dp_delta 1e-05" in shown


def test_what_would_resolve_an_effect_stands_at_its_interval(interaction):
    wide = {"ci_low": -0.02, "ci_high": 0.08, "q": 0.4, "q_equivalence": 0.9}
    found = interaction(verdict="unresolved", **wide, seeds_needed=31, verdict_note="as it is")
    words = "about 31 seeds would resolve an effect of this size, 19 more"
    files = site([found])
    for path in ("index.html", "models/digits-cnn.html"):
        assert text(files[path]).count(words) == 1
    assert f"[−2.0, +8.0] {words}" in text(files["models/digits-cnn.html"])
    assert words not in text(site([interaction(seeds_needed=31)])["models/digits-cnn.html"])


@pytest.mark.parametrize("verdict", ["failed", "not applicable", "unresolved"])
def test_what_has_no_number_is_a_word_and_a_reason(interaction, verdict):
    numbers = ["baseline", "defended", "effect", "ci_low", "ci_high", "p", "q", "utility_delta"]
    nothing = dict.fromkeys(["metric", *numbers])
    reason = "layer bn1 has no per-sample gradient"
    files = site([interaction(verdict=verdict, verdict_note=reason, n_seeds=0, **nothing)])

    index = text(files["index.html"])
    assert f"{verdict} {reason}" in index
    assert "+0.0" not in index
    assert "q –" not in index
    page = text(files["models/digits-cnn.html"])
    assert f"{verdict} {reason} – – → – –" in page


def test_a_missing_cell_and_a_missing_risk_are_said_in_words(interaction):
    shown = text(site([interaction(), interaction(model="b", risk=Risk.EVASION)])["index.html"])

    assert shown.count("– not measured") == 2
    assert (
        "Not measured yet: poisoning, membership-inference, attribute-inference, "
        "data-reconstruction, distribution-inference, discriminatory-behavior" in shown
    )


def test_a_model_without_any_defense_is_linked_and_its_evaluations_are_shown(evaluation):
    alone = evaluation(
        regime=Regime.PUBLISHED, stack=(), risk=Risk.EVASION, metrics={"robust_accuracy": 0.125},
        primary="robust_accuracy", threat=ThreatModel(access=Access.WEIGHTS),
    )  # fmt: skip
    files = site([], [alone])

    assert "Measured without a defense only: digits-cnn (evasion)" in text(files["index.html"])
    assert "none 0 ok 0.125 0.934 94.1%" in text(files["models/digits-cnn.html"])


def test_regimes_never_share_a_block(interaction):
    files = site([interaction(), interaction(regime=Regime.FINE_TUNED, model="tuned")])

    blocks = re.findall('<section class="block".*?</section>', files["index.html"].decode(), re.S)

    assert [re.findall('data-model="(.*?)"', block) for block in blocks] == [
        ["digits-cnn"],
        ["tuned"],
    ]


def test_a_model_page_has_facts_settings_evidence_p_values_and_the_command(interaction, evaluation):
    facts = {
        "digits-cnn": {
            "model": {"licence": None, "accuracy": 0.9722, "recipe": {"epochs": 40}},
            "metrics": [{"split": "test", "value": 0.5, "notes": None}],
            "fetched": None,
        }
    }
    page = text(site([interaction()], [evaluation()], facts)["models/digits-cnn.html"])

    for words in (
        "licence –",
        "accuracy 97.2%",
        "split value notes test 0.5 –",
        "fetched –",
        "epochs 40",
        "<0.001 0.004 0.810",
        "0.903 → 0.934",
        "surrogate_accuracy 0.900 → –",
        "accountant rdp",
        "dp_epsilon 3.25",
        "noise_multiplier 1.1",
        "queries 400",
        "harness eval --model digits-cnn --defense dpsgd",
        "weights abababababab",
        "versions torch 2.15.0",
        "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
    ):
        assert words in page


def test_effects_by_other_measures_and_metrics_of_groups_are_on_the_page(interaction, evaluation):
    one = OtherMeasure(
        name="worst_group_accuracy", n_seeds=12, baseline=0.5, defended=0.625, effect=0.125,
        ci_low=0.1, ci_high=0.15, p=0.0005,
    )  # fmt: skip
    measured = evaluation(metrics={"fidelity": 0.5, "accuracy[sex=f]": 0.25})

    page = text(site([interaction(other_measures=(one,))], [measured])["models/digits-cnn.html"])

    assert "worst_group_accuracy 0.500 → 0.625; +12.5 [+10.0, +15.0] , p <0.001" in page
    assert "1 metric accuracy[sex=f] 0.250 0.934 94.1%" in page
    assert "other measures" not in text(site([interaction()])["models/digits-cnn.html"])


def test_a_model_that_left_the_catalog_says_so(interaction):
    assert "not in the catalog any more" in text(site([interaction()])["models/digits-cnn.html"])


def test_the_drawing_puts_the_interval_where_the_axis_says(interaction):
    page = site([interaction(effect=0.02, ci_low=0.01, ci_high=0.03)])["models/digits-cnn.html"]

    # The axis runs from -4 to +4 points.
    assert b'x1="62.50%" x2="87.50%"' in page
    assert b'cx="75.00%"' in page
    assert b'class="zero" x1="50.00%"' in page
    assert b'class="band" x="25.00%" width="50.00%"' in page


def test_an_interval_that_goes_on_beyond_the_axis_has_an_arrow(interaction):
    def arrows(ci_low, ci_high):
        files = site([interaction(effect=0.0, ci_low=ci_low, ci_high=ci_high)])
        return re.findall('<svg x="(.*?)" y="50%" class="arrow">', files["index.html"].decode())

    assert arrows(-0.1, 0.1) == []
    assert arrows(-0.5, 0.1) == ["0"]
    assert arrows(-0.1, 0.5) == ["100%"]


def test_no_text_of_a_record_becomes_markup(interaction, evaluation):
    method = Method(EVIL, ((EVIL, EVIL),), EVIL)
    params = {EVIL: EVIL}
    hostile = interaction(
        model=EVIL, dataset=EVIL, defense=EVIL, defense_params={EVIL: params}, attack=EVIL,
        attack_params=params, threat_model=EVIL, metric=EVIL, verdict_note=EVIL,
        metrics={EVIL: (0.1, 0.2)}, evidence={EVIL: [EVIL, {EVIL: EVIL}], "dp_epsilon": EVIL},
    )  # fmt: skip
    failed = interaction(
        model=EVIL, dataset=EVIL, verdict="failed", verdict_note=EVIL, effect=None, ci_low=None,
        risk=Risk.EVASION, metric=EVIL,
    )  # fmt: skip
    measured = evaluation(
        model=EVIL, dataset=EVIL, stack=(method,), attack=method, status="failed", reason=EVIL,
        metrics={EVIL: 0.5}, primary=EVIL, evidence={EVIL: EVIL},
        provenance={EVIL: EVIL, "v": {EVIL: EVIL}},
    )  # fmt: skip
    facts = {EVIL: {EVIL: [{EVIL: EVIL}], "map": {EVIL: {EVIL: EVIL}}, "text": EVIL}}

    files = site([hostile, failed], [measured, evaluation(model=EVIL, provenance={})], facts)

    for path, content in files.items():
        if path.endswith(".html"):
            html = content.decode()
            assert html.count("<script") == html.count('<script src="') == 1
            assert EVIL in text(content)
            assert _unbalanced(html) == []


def _unbalanced(html: str) -> list[str]:
    """Tags that are closed by nothing or close nothing, and attributes nobody wrote."""
    void = {"meta", "link", "wbr"}
    known = re.compile(r"^(data-[a-z]+|aria-[a-z]+|[a-z][a-z0-9-]*)$")
    open_tags: list[str] = []
    wrong: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            wrong.extend(name for name, _ in attrs if not known.match(name) or "alert" in name)
            if tag not in void:
                open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            if not open_tags or open_tags.pop() != tag:
                wrong.append(f"</{tag}>")

    Parser().feed(html)
    return wrong + open_tags


def test_pictures_of_an_evaluation_are_files_that_its_page_shows(evaluation):
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (7, 5)).save(file, "png")
    measured = evaluation(seed=0)
    pictures = {measured.cell.key: {"reconstructed": file.getvalue()}}

    files = render(tables([], [measured], {}, pictures))

    (path,) = [name for name in files if name.endswith(".png")]
    assert files[path] == file.getvalue()
    page = files["models/digits-cnn.html"].decode()
    assert f'<img src="../{path}" width="7" height="5"' in page
    assert "Reconstructed: dpsgd, seed 0" in text(page.encode())
