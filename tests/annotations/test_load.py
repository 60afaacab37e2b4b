"""The loader accepts what the codebook allows, and names everything else by file and line."""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotations.cells import read_cell, write_cell
from annotations.codings import load_round, rounds
from annotations.load import load, load_codebook
from annotations.record import AnnotationError, Field

Edit = Callable[[str, str, str], None]


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(AnnotationError) as caught:
        load(folder)
    return caught.value.problems


def test_the_projects_own_annotations_are_valid() -> None:
    found = load()
    assert found.rows.keys() == found.codebook.tables.keys()
    empty = {name for name, rows in found.rows.items() if not rows}
    assert empty <= {"huggingface", "pins"}  # what only a Hub can say
    assert len(found.of("models")) == len({row.key for row in found.of("models")}) > 2400


def test_an_empty_cell_is_none_and_never_zero() -> None:
    (digits,) = [row for row in load().rows["datasets"] if row.key == "digits"]
    assert digits.values["test_size"] is None
    assert digits.values["train_size"] == 1797


def test_a_value_may_have_evidence_of_its_own(folder: Path) -> None:
    (he, _) = load(folder).rows["papers"]
    assert he.own.keys() == {"n_authors"}
    assert he.own["n_authors"].coder == "second"
    assert he.provenance.coder == "maintainers"


def test_rows_of_a_package_say_where_they_come_from_in_one_place(folder: Path) -> None:
    (row,) = load(folder).rows["timm"]
    assert (row.provenance.method, row.provenance.confidence) == ("package", "high")
    assert row.own["pretraining"].method == "computed"
    assert load(folder).origins["timm"].title.startswith("PyTorch Image Models")


def test_what_was_decided_between_coders_is_what_the_catalog_says() -> None:
    annotations = load()
    names = {
        "family": {str(row.values["name"]): row.values for row in annotations.of("families")},
        "dataset": {str(row.values["name"]): row.values for row in annotations.of("datasets")},
    }
    papers = {row.key: row.values for row in annotations.of("papers")}
    renamed = {"paper_title": "title", "venue_year": "year"}
    checked = 0
    for name in rounds():
        found = load_round(name)
        for cell, decision in found.decisions.items():
            thing = names[cell.entity].get(cell.item)
            if thing is None:
                continue  # listed under another name, or as another variant
            field = renamed.get(cell.field, cell.field)
            if field not in thing:
                thing = papers[str(thing["paper"])]
            assert write_cell(thing[field]).casefold() == decision.value.casefold(), cell
            checked += 1
    assert checked > 60


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("evidence.csv", "counted on its front page", "recalled", "confidence is high, but the"),
        ("exclusions/curated.csv", "backdoored,,", "duplicate,,", "duplicate_of: must name the m"),
        ("datasets.csv", "CC-BY-4.0", "unknown", "licence: leave it empty if it is unknown"),
        (
            "papers.csv",
            "Gradient-Based Learning,,",
            "Gradient-Based Learning,CVPR,other",
            "venue_type: CVPR is other, but computer vision in papers.csv:2",
        ),
    ],
)
def test_facts_that_contradict_each_other_are_refused(
    folder: Path, edit: Edit, file: str, old: str, new: str, problem: str
) -> None:
    edit(file, old, new)
    assert any(problem in found for found in problems_of(folder)), problems_of(folder)


def test_a_row_knows_its_line(folder: Path) -> None:
    lines = (folder / "sources/published.csv").read_text().splitlines()
    for row in load(folder).rows["published"]:
        assert lines[row.line - 1].startswith(f"{row.key},")


PUBLISHED = "sources/published.csv"
SELFTRAINED = "sources/selftrained.csv"
TIMM = "sources/timm.csv"
METRICS = "metrics/published.csv"
NETS = "computed/nets.csv"
EXCLUDED = "exclusions/curated.csv"
PROBLEMS = [
    (
        "datasets.csv",
        "traffic signs",
        "road signs",
        "datasets.csv:3: topic: 'road signs' is not one of natural objects, digits and characters, "
        "fashion and products,",
    ),
    ("datasets.csv", "39209", "39,209", "datasets.csv:3: 18 cells under 17 columns"),
    ("datasets.csv", "39209", "many", "datasets.csv:3: train_size: 'many' is not a whole number"),
    ("datasets.csv", "39209", "0", "datasets.csv:3: train_size: 0 is below 1"),
    ("datasets.csv", "39209", " 39209", "datasets.csv:3: train_size: ' 39209' has spaces"),
    ("datasets.csv", "SIGNS", "", "datasets.csv:3: name: is required, but empty"),
    (
        "datasets.csv",
        "3;35;35",
        "3;35",
        "datasets.csv:3: input_shape: has 2 numbers instead of 1 or 3",
    ),
    ("datasets.csv", "topic", "subject", "datasets.csv:1: unknown column 'subject'"),
    ("datasets.csv", "topic", "subject", "datasets.csv:1: no column 'topic'"),
    ("datasets.csv", "topic", "name", "datasets.csv:1: column 'name' twice"),
    ("datasets.csv", ",lecun1998", ",x2000", "datasets.csv:3: paper: no row 'x2000' among the pap"),
    ("papers.csv", "Microsoft", "Microsoft;", "papers.csv:2: affiliations: 'Microsoft;' has an e"),
    ("papers.csv", "Microsoft", "A;B;A", "papers.csv:2: affiliations: 'A;B;A' has a part twice"),
    ("papers.csv", "company", "company;firm", "papers.csv:2: affiliation_types: 'firm' is not one"),
    ("families.csv", ",he2016", ",x2000", "families.csv:3: paper: no row 'x2000' among the papers"),
    ("architectures.csv", ",mlp,", ",x,", "architectures.csv:2: family: no row 'x' among the fam"),
    (NETS, "19000,false", "19000,no", f"{NETS}:2: has_batchnorm: 'no' is not true or false"),
    (NETS, "mlp-128", "mlp-64", f"{NETS}:2: architecture: no row 'mlp-64' among the arch"),
    (PUBLISHED, "signs,resnet8", "signs,x", f"{PUBLISHED}:2: architecture: no row 'x' among the"),
    (PUBLISHED, "ion,signs", "ion,x", f"{PUBLISHED}:2: dataset: no row 'x' among the"),
    (PUBLISHED, "32,43", "32,10", f"{PUBLISHED}:2: num_classes: 10, but signs has 43; if that is"),
    (PUBLISHED, "0.1;0.2;0.3", "0.1", f"{PUBLISHED}:2: mean has 1 and std has 3 numbers, but the"),
    (PUBLISHED, "0.1;0.2;0.3", "", f"{PUBLISHED}:2: mean and std: one is given without the other"),
    (PUBLISHED, "1;1;1", "1;0;1", f"{PUBLISHED}:2: std: must be above 0"),
    (PUBLISHED, "none,none", "none,labelled", f"{PUBLISHED}:2: pretraining and extra_data: one is"),
    (PUBLISHED, "aaaa,9", "aaaA,9", f"{PUBLISHED}:2: sha256: 'aaaa"),
    (PUBLISHED, "weights/a", "../a", f"{PUBLISHED}:2: mirror_path: '../a.pt' does not look like"),
    (PUBLISHED, "https://", "file:///", f"{PUBLISHED}:2: url: 'file:///example.org/a.pt' does not"),
    (
        SELFTRAINED,
        "digits-mlp",
        "me/resnet8-signs",
        f"{PUBLISHED}:2: 'me/resnet8-signs' is already in {SELFTRAINED}:2",
    ),
    (SELFTRAINED, "digits-mlp", "Digits", f"{SELFTRAINED}:2: name: 'Digits' does not look like"),
    (SELFTRAINED, "quick", "slow", f"{SELFTRAINED}:2: recipe: no row 'slow' among the recipes"),
    (TIMM, "imagenet-1k", "imagenet-1000", f"{TIMM}:2: pretraining: 'imagenet-1000' is not one of"),
    (TIMM, "hub_repo", "coder", f"{TIMM}:1: unknown column 'coder'"),
    (METRICS, "0.95", "95", f"{METRICS}:3: value: 95.0 is above 1"),
    (METRICS, "0.95", "nan", f"{METRICS}:3: value: 'nan' is not a number"),
    (
        EXCLUDED,
        "backdoored",
        "bad",
        f"{EXCLUDED}:2: reason: 'bad' is not one of duplicate, corrupt",
    ),
    (EXCLUDED, "doored,,", "doored,x,", f"{EXCLUDED}:2: duplicate_of: no row 'x' among the models"),
    ("evidence.csv", "he2016", "x2000", "evidence.csv:2: no row 'x2000' among the papers"),
    ("evidence.csv", "n_authors", "pages", "evidence.csv:2: 'he2016' has no value of 'pages'"),
    ("evidence.csv", "high", "sure", "evidence.csv:2: confidence: 'sure' is not one of high"),
    (
        "sources.toml",
        "[timm-results]",
        "[timm-x]",
        "sources.toml: no table 'timm-results', which m",
    ),
    ("sources.toml", 'version = "1.0.31"', "version = 1.0", "sources.toml: timm: version: 1.0 is"),
    (
        "sources.toml",
        'version = "1.0.31"',
        'versoin = "1"',
        "sources.toml: timm: unknown field 've",
    ),
    ("recipes.toml", "adam", "lbfgs", "recipes.toml:1: quick: optimizer: 'lbfgs' is not one of"),
    ("recipes.toml", "= 2", "= 2.5", "recipes.toml:1: quick: epochs: 2.5 is not of type int"),
    ("recipes.toml", "= 2", "= true", "recipes.toml:1: quick: epochs: True is not of type int"),
    ("recipes.toml", "= 2", "= 0", "recipes.toml:1: quick: epochs: 0 is below 1"),
    ("recipes.toml", "epochs = 2\n", "", "recipes.toml:1: quick: epochs is required"),
    ("recipes.toml", "epochs", "epoch", "recipes.toml:1: quick: unknown field 'epoch'"),
    ("recipes.toml", "= 2", "=", "recipes.toml: Invalid value"),
    ("recipes.toml", "[quick]", "slow = 1\n[quick]", "recipes.toml:1: slow is not a table"),
    ("codebook.toml", '"computed/nets.csv"', '"no.csv"', "no.csv:1: there is no such file"),
    ("codebook.toml", 'unit = "people"', 'units = "people"', "codebook.toml: "),
    ("codebook.toml", "[sources.title]", "[source.title]", "sources.toml: timm: unknown field "),
    ("codebook.toml", '"[0-9]{4}\\\\.[0-9]{4,5}"', '"["', "codebook.toml: unterminated"),
    ("sources.toml", "[timm.fields.dataset]", "[timm.fields]\nx = 3\n[timm.y]", "sources.toml: "),
]


@pytest.mark.parametrize(("file", "old", "new", "problem"), PROBLEMS)
def test_a_problem_is_named_with_its_file_and_line(
    folder: Path, edit: Edit, file: str, old: str, new: str, problem: str
) -> None:
    edit(file, old, new)
    assert any(problem in found for found in problems_of(folder)), problems_of(folder)


def test_all_problems_are_reported_together(folder: Path, edit: Edit) -> None:
    edit("datasets.csv", "39209", "many")
    edit("families.csv", "he2016", "x2000")
    edit("recipes.toml", "= 2", "= 0")
    assert len(problems_of(folder)) == 3


def test_a_broken_row_is_not_also_reported_as_missing(folder: Path, edit: Edit) -> None:
    edit("papers.csv", "he2016,Deep", "he2016, Deep")
    assert len(problems_of(folder)) == 1


def test_a_duplicate_and_an_unsorted_row_are_refused(folder: Path) -> None:
    path = folder / "families.csv"
    header, mlp, resnet = path.read_text().splitlines(keepends=True)
    path.write_text(header + mlp + mlp + resnet)
    assert problems_of(folder) == ["families.csv:3: 'mlp' is already on line 2"]
    path.write_text(header + resnet + mlp)
    assert problems_of(folder) == ["families.csv:3: 'mlp' must come before 'resnet': sort the rows"]


def test_carriage_returns_and_other_encodings_are_refused(folder: Path) -> None:
    path = folder / "families.csv"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"\n", b"\r\n"))
    assert problems_of(folder)[0].startswith("families.csv:1: lines end in CR")
    path.write_bytes(good.replace(b"ResNet", "RésNet".encode("latin-1")))
    assert problems_of(folder)[0] == "families.csv:3: is not UTF-8"


def test_an_unclosed_quote_is_refused(folder: Path, edit: Edit) -> None:
    edit("families.csv", "resnet,Res", 'resnet,"Res')
    assert problems_of(folder)[0].startswith("families.csv:3: ")


def test_a_line_break_inside_a_cell_is_refused_and_counted(folder: Path, edit: Edit) -> None:
    edit("families.csv", "multilayer perceptron", '"multilayer\nperceptron"')
    edit("families.csv", "ResNet", "")
    first, second = problems_of(folder)
    assert first.startswith("families.csv:2: name: ")
    assert second == "families.csv:4: name: is required, but empty"


def test_every_column_of_every_file_is_explained() -> None:
    book = load_codebook()
    described = [book.provenance, book.recipes, *(table.fields for table in book.tables.values())]
    for fields in described:
        for field in fields.values():
            assert field.rule.endswith(".")


@given(st.integers())
def test_whole_numbers_are_read_back(value: int) -> None:
    assert read_cell(Field(type="int", rule=""), str(value)) == value


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_are_read_back(values: list[float]) -> None:
    text = ";".join(format(value, "f") for value in values)
    found = read_cell(Field(type="floats", rule=""), text)
    assert isinstance(found, tuple)
    for value, back in zip(values, found, strict=True):
        assert math.isclose(value, back, abs_tol=1e-6)


@given(
    st.text(),
    st.sampled_from(["text", "int", "float", "bool", "texts", "ints", "floats", "ref"]),
    st.booleans(),
)
def test_any_cell_gives_a_value_or_a_reason(text: str, kind: str, required: bool) -> None:
    field = Field(type=kind, rule="", required=required, min=3, max=5)  # type: ignore[arg-type]
    try:
        value = read_cell(field, text)
    except ValueError:
        return
    assert (value is None) == (text == "")
    assert value is not None or not required
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and not isinstance(number, bool):
            assert 3 <= number <= 5


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.text(max_size=8), max_size=16), max_size=4))
def test_any_csv_gives_rows_or_problems_and_nothing_else(
    folder: Path, cells: list[list[str]]
) -> None:
    path = folder / "papers.csv"
    header = path.read_text().splitlines()[0]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells)
    path.write_bytes(f"{header}\n{text.getvalue()}".encode("utf-8", "surrogatepass"))
    for problem in problems_of(folder):  # the families still refer to papers that are gone
        file, line, _ = problem.split(":", 2)
        assert (folder / file).exists()
        assert line.isdigit()
