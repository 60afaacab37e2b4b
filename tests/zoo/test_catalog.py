"""Questions to the catalog, friendly and hostile."""

import json
from pathlib import Path

import pytest

from zoo.catalog import DEFAULT_COLUMNS, Catalog, open_catalog
from zoo.errors import UnknownNameError, ZooError
from zoo.home import Home
from zoo.recipe import Recipe


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return open_catalog(Home.open(tmp_path_factory.mktemp("home")))


def names(catalog: Catalog, where: str) -> list[str]:
    return [entry.name for entry in catalog.entries(where)]


def test_a_self_trained_entry_has_a_recipe_and_no_file(catalog: Catalog) -> None:
    entry = catalog.entry("digits-vit")
    assert (entry.source, entry.artifact) == ("selftrained", None)
    assert isinstance(entry.recipe, Recipe)
    assert (entry.input_shape, entry.mean, entry.std) == ((1, 8, 8), (0.0,), (1.0,))


def test_a_published_entry_has_a_file_and_no_recipe(catalog: Catalog) -> None:
    entry = catalog.entry("akamaster/resnet20-cifar10")
    assert (entry.source, entry.recipe, entry.licence) == ("published", None, "BSD-2-Clause")
    assert entry.artifact is not None
    assert entry.artifact.sha256.startswith("12fca82f")  # as in the file's published name
    assert (entry.artifact.state_dict, entry.artifact.strip_prefix) == ("state_dict", "module.")
    assert entry.artifact.url is not None
    assert entry.artifact.url.endswith("/pretrained_models/resnet20-12fca82f.th")


def test_a_licence_that_nobody_stated_is_none(catalog: Catalog) -> None:
    assert catalog.entry("locuslab/fast-adversarial-fgsm-mnist").licence is None


def test_an_unknown_model_shows_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(UnknownNameError, match="Nearest: digits-cnn"):
        catalog.entry("digit-cnn")


def test_every_model_can_be_an_entry(catalog: Catalog) -> None:
    listed = [name for (name,) in catalog.list(["name"], "input_shape IS NOT NULL")[1]]
    assert [entry.name for entry in catalog.entries()] == listed
    assert len(listed) >= 2400


def test_a_model_that_takes_volumes_is_told_apart(catalog: Catalog) -> None:
    with pytest.raises(ZooError, match=r"neither images nor rows of a table \(takes volumes\)"):
        catalog.entry("medmnist/resnet18_3d_1-organmnist3d")


def test_the_default_view_leaves_out_what_speaks_against_a_model(catalog: Catalog) -> None:
    backdoored = "bboylyg/nad-wrn16-1-backdoored-cifar10"
    assert catalog.entry(backdoored).backdoored
    assert names(catalog, "backdoored") == []
    shown = catalog.list(["name", "excluded"], "backdoored", all=True)[1]
    assert shown == [(backdoored, "backdoored")]
    left_out = dict(catalog.sql("SELECT model, reason FROM exclusions")[1])
    assert not left_out.keys() & set(names(catalog, "true"))
    assert set(left_out.values()) == {
        "backdoored", "duplicate", "low performance", "not classification",
    }  # fmt: skip


def test_no_model_of_the_default_view_is_hardly_better_than_chance(catalog: Catalog) -> None:
    beyond_chance = "(accuracy - 1 / num_classes) / (1 - 1 / num_classes)"
    assert names(catalog, f"{beyond_chance} < 0.05") == []
    shown = catalog.list(["name", "excluded"], f"{beyond_chance} < 0.05", all=True)[1]
    assert {reason for _, reason in shown} == {"low performance"}


def test_a_duplicate_names_a_model_that_is_kept(catalog: Catalog) -> None:
    rows = catalog.sql("SELECT duplicate_of FROM exclusions WHERE duplicate_of IS NOT NULL")[1]
    assert len(rows) > 50
    assert {original for (original,) in rows} <= set(names(catalog, "true"))


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("resnet20 cifar10", "akamaster/resnet20-cifar10"),
        ("EfficientNet-B0", "efficientnet_b0"),
        ("effcientnet b0", "efficientnet_b0"),
        ("robust WideResNet", "wrn"),
        ("dosovitskiy", None),
        ("deep residual learning", "resnet"),
        ("traffic signs", "gtsrb"),
    ],
)
def test_models_are_found_by_words_and_by_words_that_are_nearly_right(
    catalog: Catalog, words: str, first: str | None
) -> None:
    rows = catalog.list(["name", "architecture"], search=words, limit=40)[1]
    if first is None:
        assert rows == []
    else:
        assert rows
        assert any(first in "".join(row) for row in rows)


def test_search_needs_every_word_and_puts_whole_words_first(catalog: Catalog) -> None:
    both = {n for (n,) in catalog.list(["name"], search="resnet svhn")[1]}
    assert both == {n for (n,) in catalog.list(["name"], search="resnet")[1]} & {
        n for (n,) in catalog.list(["name"], search="svhn")[1]
    }
    assert catalog.list(["name"], search="resnet xyzzyplugh")[1] == []
    found = [n for (n,) in catalog.list(["name"], search="digits resnet8")[1]]
    assert found == ["digits-resnet8"]


def test_a_search_by_a_models_name_finds_that_model_first(catalog: Catalog) -> None:
    names = catalog.names()
    for name in ("digits-mlp", "akamaster/resnet20-cifar10", "AKAMASTER/ResNet20-CIFAR10 "):
        found = [n for (n,) in catalog.list(["name"], search=name, all=True)[1]]
        assert found[0] == name.strip().lower()
    # Without what stands before the slash, too: others are more accurate or have more of the words.
    last = "resnet18.a1_in1k"
    assert f"timm/{last}" in names
    found = [n for (n,) in catalog.list(["name"], search=last, all=True)[1]]
    assert found[0] == f"timm/{last}"
    for name in names[::97]:
        assert catalog.list(["name"], search=name, all=True)[1][0] == (name,)


def test_search_and_conditions_combine(catalog: Catalog) -> None:
    rows = catalog.list(["name", "dataset"], "accuracy > 0.9", "cifar10", search="resnet20")[1]
    assert {dataset for _, dataset in rows} == {"cifar10"}
    assert ("akamaster/resnet20-cifar10", "cifar10") in rows


def test_models_can_be_sorted_by_any_column(catalog: Catalog) -> None:
    rows = catalog.list(["parameters"], "parameters IS NOT NULL", sort="-parameters")[1]
    assert rows == sorted(rows, reverse=True)
    first = catalog.list(["year"], sort="year", limit=1)[1]
    assert first == catalog.sql("SELECT min(year) FROM v_models")[1]
    with pytest.raises(ZooError, match="No column 'yaer'. Nearest: year"):
        catalog.list(sort="yaer")


def test_a_search_without_words_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ZooError, match="there is no word to search for"):
        catalog.list(search="!!")


def test_an_architecture_may_differ_from_its_family(catalog: Catalog) -> None:
    rows = catalog.list(["architecture", "architecture_type"], "family = 'metaformer-baselines'")[1]
    kinds = {name.split("/")[1].split("_")[0]: kind for name, kind in rows}
    assert kinds == {"caformer": "hybrid", "convformer": "convolutional", "poolformerv2": "mlp"}


def test_accuracy_says_at_which_size_it_was_measured(catalog: Catalog) -> None:
    columns = ["accuracy", "accuracy_image_size", "input_shape"]
    (row,) = catalog.list(columns, "name = 'timm/resnet50.a1_in1k'")[1]
    assert row == (0.81214, 288, [3, 224, 224])


def test_answers_come_as_frames(catalog: Catalog) -> None:
    frame = catalog.models("dataset = 'digits'", columns=["name", "parameters"])
    assert list(frame.columns) == ["name", "parameters"]
    assert list(frame.name) == ["digits-cnn", "digits-mlp", "digits-resnet8", "digits-vit"]
    counted = catalog.query("SELECT family, count(*) AS n FROM v_models GROUP BY ALL")
    assert counted.n.sum() == len(catalog.models())


def test_every_column_of_the_wide_view_is_explained(catalog: Catalog) -> None:
    rows = catalog.sql(
        "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'v_models'"
    )[1]
    assert len(rows) > 50
    assert [name for name, comment in rows if not comment] == []


def test_every_code_of_the_codebook_stands_in_the_wide_view(catalog: Catalog) -> None:
    codes = catalog.sql("SELECT code_group, code, columns FROM codes")[1]
    assert sum(group == "securitynet" for group, _, _ in codes) == 22
    known = set(catalog.list(["*"], limit=0)[0])
    assert {column for _, _, columns in codes for column in columns} <= known


def test_a_security_model_has_the_codes_of_its_own_paper(catalog: Catalog) -> None:
    columns = ["venue", "year", "n_authors"]
    own = catalog.list(columns, "name = 'microsoft/resnet50_l2_eps3-imagenet-1k'")[1]
    family = catalog.list(columns, "name = 'torchvision/resnet50.imagenet1k_v2'")[1]
    assert (own, family) == ([("NeurIPS", 2020, 5)], [("CVPR", 2016, 4)])


def test_zeros_that_meant_missing_became_unknown(catalog: Catalog) -> None:
    rows = catalog.list(["train_accuracy", "overfitting_level"], "source = 'medmnist'", all=True)[1]
    assert len(rows) == 174
    assert set(rows) == {(None, None)}
    assert catalog.sql(
        "SELECT count(*) FROM metrics WHERE value = 0 AND evaluator = 'securitynet'"
    )[1] == [(0,)]


def test_the_overfitting_level_is_of_one_evaluator(catalog: Catalog) -> None:
    ((accuracy, by, train, gap),) = catalog.list(
        ["accuracy", "accuracy_by", "train_accuracy", "overfitting_level"],
        "name = 'akamaster/resnet20-cifar10'",
    )[1]
    assert (accuracy, by) == (0.9173, "source")  # on 10,000 images, by its publisher
    assert (train, round(gap, 6)) == (0.999, 0.084)  # both on 1,000 images, by the mirror


def test_filters_select_and_combine(catalog: Catalog) -> None:
    assert len(catalog.entries(dataset="digits")) == 4
    assert {entry.purpose for entry in catalog.entries(purpose="security")} == {"security"}
    assert names(catalog, "architecture = 'wrn-16-1'") == ["bboylyg/nad-wrn16-1-teacher-cifar10"]
    found = catalog.entries("accuracy > 0.98", dataset="mnist", purpose="security")
    assert {entry.dataset for entry in found} == {"mnist"}
    assert "locuslab/fast-adversarial-pgd-mnist" in {entry.name for entry in found}


def test_the_publishers_claim_comes_before_the_mirrors_measurement(catalog: Catalog) -> None:
    columns = ["accuracy", "accuracy_by", "accuracy_n"]
    claimed = catalog.list(columns, "name = 'akamaster/resnet20-cifar10'")[1]
    measured = catalog.list(columns, "name = 'locuslab/convex-adversarial-mnist'")[1]
    unknown = catalog.list(columns, "name = 'digits-cnn'")[1]
    assert claimed == [(0.9173, "source", 10_000)]
    assert measured == [(0.982, "mirror", 10_000)]
    assert unknown == [(None, None, None)]


def test_accuracy_lists_every_measurement_claims_first(catalog: Catalog) -> None:
    found = catalog.accuracy("akamaster/resnet20-cifar10")
    assert [(a["split"], a["value"], a["n"], a["evaluator"]) for a in found] == [
        ("test", 0.9173, 10_000, "source"),
        ("test1000", 0.915, 1_000, "mirror"),
        ("train1000", 0.999, 1_000, "mirror"),
    ]
    assert catalog.accuracy("digits-cnn") == []


def test_list_gives_the_columns_asked_for_in_order_and_stops_at_the_limit(
    catalog: Catalog,
) -> None:
    header, rows = catalog.list(["dataset", "name"], limit=2)
    assert header == ["dataset", "name"]
    assert rows == [
        ("adult-aware", "adult-aware-mlp"),
        ("adult", "adult-mlp"),
    ]
    assert tuple(catalog.list()[0]) == DEFAULT_COLUMNS
    assert catalog.list(["*"], limit=0)[1] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"columns": ["acuracy"]}, "No column 'acuracy'. Nearest: accuracy"),
        ({"columns": ["name; DROP TABLE models"]}, "No column"),
        ({"dataset": "cifar"}, "No dataset 'cifar'. Nearest: cifar10"),
        ({"purpose": "secure"}, "No purpose 'secure'. Nearest: security"),
        ({"where": "acuracy > 0.9"}, '"acuracy" not found'),
        ({"where": "accuracy >"}, "is not a condition"),
        ({"where": "true; DROP TABLE models"}, "is not a condition"),
        ({"where": "true) UNION ALL SELECT * FROM v_models WHERE (true"}, "is not a condition"),
        ({"where": "true], [true"}, "is not a condition"),
        ({"where": "true /*"}, "is not a condition"),
        ({"where": "name = ?"}, "parameter"),
        ({"where": "name IN (SELECT content FROM read_text('/etc/passwd'))"}, "Permission Error"),
    ],
)
def test_a_wrong_filter_is_one_line(catalog: Catalog, arguments: dict, said: str) -> None:
    with pytest.raises(ZooError, match=said.replace("(", r"\(")) as caught:
        catalog.list(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["", "  ", "\n", "-- accuracy > 0.9", "/* */"])
def test_an_empty_condition_is_refused(catalog: Catalog, where: str) -> None:
    for ask in (lambda: catalog.list(where=where), lambda: catalog.entries(where)):
        with pytest.raises(ZooError, match="the condition is empty"):
            ask()


def test_a_comment_cannot_cut_off_the_other_filters(catalog: Catalog) -> None:
    found = catalog.entries("true -- ", dataset="digits")
    assert {entry.dataset for entry in found} == {"digits"}


def test_a_condition_cannot_undo_the_other_filters(catalog: Catalog) -> None:
    found = catalog.entries("true OR true", dataset="digits")
    assert {entry.dataset for entry in found} == {"digits"}


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 AS a",
        "FROM (VALUES (1)) AS t (a)",
        "WITH t AS (SELECT 1 AS a) FROM t",
        "SELECT 1 AS a;",
    ],
)
def test_a_question_is_answered(catalog: Catalog, query: str) -> None:
    assert catalog.sql(query) == (["a"], [(1,)])


def test_the_catalog_describes_itself(catalog: Catalog) -> None:
    assert ("v_models",) in catalog.sql("SHOW TABLES")[1]
    assert catalog.sql("DESCRIBE models")[1][0][:2] == ("name", "VARCHAR")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "Ask one question"),
        ("SELECT 1; SELECT 2", "Ask one question"),
        ("SELECT 1; DROP TABLE models", "Ask one question"),
        ("DROP TABLE models", "Ask one question"),
        ("UPDATE models SET licence = 'mine'", "Ask one question"),
        ("COPY models TO 'stolen.csv'", "Ask one question"),
        ("ATTACH 'other.duckdb'", "Ask one question"),
        ("INSTALL httpfs", "Ask one question"),
        ("SET threads = 1", "Ask one question"),
        ("PRAGMA database_list", "Ask one question"),
        ("SELEC 1", "syntax error"),
        ("FROM nothing", "nothing does not exist"),
        ("FROM read_text('/etc/passwd')", "Permission Error"),
        ("FROM catalog", "catalog does not exist"),
        ("SELECT 1 // 'a'", "Could not convert"),
    ],
)
def test_anything_else_is_refused_in_one_line(
    catalog: Catalog, query: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZooError, match=said) as caught:
        catalog.sql(query)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert len(catalog.names()) >= 26


def test_show_gives_every_known_value_with_its_source(catalog: Catalog) -> None:
    found = catalog.show("bboylyg/nad-wrn16-1-backdoored-cifar10")
    assert found["model"]["backdoored"] is True
    assert found["fetched"] is None
    assert {metric["metric"] for metric in found["metrics"]} == {"accuracy", "attack_success_rate"}
    sources = {(fact["entity"], fact["field"]): fact for fact in found["facts"]}
    assert sources["models", "sha256"]["value"] == found["model"]["sha256"]
    assert sources["models", "sha256"]["evidence"].startswith(
        "https://github.com/bboylyg/NAD/tree/"
    )
    assert {fact["entity"] for fact in found["facts"]} == {
        "models", "metrics", "datasets", "architectures", "families", "papers", "networks",
        "exclusions",
    }  # fmt: skip
    assert {fact["entity_id"] for fact in found["facts"] if fact["entity"] == "papers"} == {
        "li2021", "zagoruyko2016", "krizhevsky2009",
    }  # fmt: skip


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sha256": 1}'])
def test_a_damaged_record_is_shown_as_not_fetched(catalog: Catalog, content: str) -> None:
    record = catalog.home.model("digits-cnn") / "fetched.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(content)
    with pytest.warns(UserWarning, match="fetched.json is damaged .* `zoo fetch digits-cnn`"):
        assert catalog.show("digits-cnn")["fetched"] is None
    made = {"sha256": "0" * 64, "accuracy": 0.9}
    record.write_text(json.dumps(made))
    assert catalog.show("digits-cnn")["fetched"] == made


def test_dataset_gives_what_a_model_of_it_needs(catalog: Catalog) -> None:
    found = catalog.dataset("cifar10")
    assert (found["input_shape"], found["num_classes"]) == ([3, 32, 32], 10)
    with pytest.raises(UnknownNameError, match="Nearest: cifar10"):
        catalog.dataset("cifar-10")
