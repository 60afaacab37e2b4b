"""Coding files are read as they were written, and what breaks the rules is named by line."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from annotations.codings import FIELDS, MULTIPLE, Cell, Decision, load_round, rounds
from annotations.load import FOLDER
from annotations.record import AnnotationError

ROUND = "codings/2026-11"
FILES = {
    f"{ROUND}/sample.csv": """\
entity,item,hint
family,ResNet,timm:resnet50
family,ViT,
dataset,Pets,37 breeds
""",
    f"{ROUND}/first.csv": """\
entity,item,field,value,confidence,evidence
family,ResNet,venue,CVPR,high,title page
family,ResNet,affiliations,MSRA; FAIR ,medium,"page 1,
first line"
family,ViT,venue,,,
dataset,Pets,topic,animals,high,archive
""",
    f"{ROUND}/second.csv": """\
entity,item,field,value,confidence,evidence
dataset,Pets,topic, Animals,low,
family,ResNet,venue,IEEE TPAMI,low,recalled
""",
    f"{ROUND}/adjudicated.csv": """\
entity,item,field,value,decided_by,reason
family,ResNet,venue,CVPR,a third person,proceedings
family,ResNet,affiliations,,,
""",
    "codings/aliases.csv": """\
field,alias,value
affiliations,MSRA,Microsoft
affiliations, fair,Meta
""",
}

Edit = Callable[[str, str, str], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(AnnotationError) as caught:
        load_round("2026-11", folder)
    return caught.value.problems


def test_the_fields_are_those_of_the_rules() -> None:
    rules = (FOLDER / "codings/README.md").read_text().split("## Rules")[1]
    tables = re.split(r"\| field \| rule.*\n", rules)[1:]
    for (entity, fields), table in zip(FIELDS.items(), tables, strict=True):
        heads = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
        names = [name for head in heads for name in re.findall("`(.*?)`", head)]
        assert tuple(names) == fields, entity
    assert {field for fields in FIELDS.values() for field in fields} >= MULTIPLE


def test_the_projects_own_rounds_are_valid() -> None:
    names = rounds()
    assert "2026-11" in names
    for name in names:
        assert load_round(name).items


def test_a_round_is_what_its_coders_wrote(folder: Path) -> None:
    found = load_round("2026-11", folder)
    assert found.items == (("family", "ResNet"), ("family", "ViT"), ("dataset", "Pets"))
    assert list(found.codings) == ["first", "second"]
    assert found.codings["first"] == {
        Cell("family", "ResNet", "venue"): "CVPR",
        Cell("family", "ResNet", "affiliations"): "MSRA; FAIR",
        Cell("family", "ViT", "venue"): "",
        Cell("dataset", "Pets", "topic"): "animals",
    }
    assert found.decisions == {
        Cell("family", "ResNet", "venue"): Decision("CVPR", "a third person", "proceedings")
    }


def test_values_have_one_spelling(folder: Path) -> None:
    found = load_round("2026-11", folder)
    assert found.values("first", Cell("family", "ResNet", "affiliations")) == {"microsoft", "meta"}
    topic = Cell("dataset", "Pets", "topic")
    assert found.values("first", topic) == found.values("second", topic) == {"animals"}
    # The aliases of one field are not those of another.
    assert found.values("second", Cell("family", "ResNet", "venue")) == {"ieee tpami"}


def test_what_was_not_found_or_not_written_is_empty(folder: Path) -> None:
    found = load_round("2026-11", folder)
    for coder in ("first", "second"):
        assert found.values(coder, Cell("family", "ViT", "venue")) == frozenset()


def test_separators_without_values_between_are_empty(folder: Path, edit: Edit) -> None:
    edit(f"{ROUND}/first.csv", "MSRA; FAIR ", "; ;")
    found = load_round("2026-11", folder)
    assert found.values("first", Cell("family", "ResNet", "affiliations")) == frozenset()


def test_a_separator_in_a_field_with_one_value_is_part_of_it(folder: Path, edit: Edit) -> None:
    edit(f"{ROUND}/first.csv", "animals", "animals;plants")
    found = load_round("2026-11", folder)
    assert found.values("first", Cell("dataset", "Pets", "topic")) == {"animals;plants"}


def test_decisions_and_aliases_may_be_missing(folder: Path) -> None:
    (folder / ROUND / "adjudicated.csv").unlink()
    (folder / "codings/aliases.csv").unlink()
    found = load_round("2026-11", folder)
    assert (found.decisions, found.aliases) == ({}, {})


def test_a_decision_can_be_that_the_value_cannot_be_found(folder: Path, edit: Edit) -> None:
    edit(f"{ROUND}/adjudicated.csv", "affiliations,,,", "affiliations,,me,not printed")
    cell = Cell("family", "ResNet", "affiliations")
    assert load_round("2026-11", folder).decisions[cell].value == ""


def test_rounds_are_folders_with_a_sample_oldest_first(folder: Path) -> None:
    for name in ("2027-01", "2025-12", "notes"):
        (folder / "codings" / name).mkdir()
    for name in ("2027-01", "2025-12"):
        (folder / "codings" / name / "sample.csv").write_text("entity,item,hint\n")
    assert rounds(folder) == ["2025-12", "2026-11", "2027-01"]
    assert rounds(folder / "nowhere") == []


FIRST, ADJUDICATED = f"{ROUND}/first.csv", f"{ROUND}/adjudicated.csv"
PROBLEMS = [
    (FIRST, "dataset,Pets", "model,Pets", f"{FIRST}:6: unknown entity 'model'"),
    (FIRST, "topic", "subject", f"{FIRST}:6: unknown field 'subject' of a dataset"),
    (FIRST, "topic", "venue", f"{FIRST}:6: unknown field 'venue' of a dataset"),
    (FIRST, "Pets", "Cats", f"{FIRST}:6: dataset 'Cats' is not in the sample"),
    (FIRST, "dataset,Pets,topic", "family,Pets,venue", f"{FIRST}:6: family 'Pets' is not in the"),
    (
        FIRST,
        "family,ViT",
        "family,ResNet",
        f"{FIRST}:5: the venue of family 'ResNet' is already on line 2",
    ),
    (
        FIRST,
        "animals,high",
        "animals,sure",
        f"{FIRST}:6: confidence: 'sure' is not one of high, medium, low",
    ),
    (FIRST, "animals,high", "animals,", f"{FIRST}:6: confidence: '' is not one of high, medium"),
    (FIRST, "ViT,venue,,,", "ViT,venue,,no,", f"{FIRST}:5: confidence: 'no' is not one of high"),
    (FIRST, "animals", "cats, dogs", f"{FIRST}:6: 7 cells under 6 columns"),
    (FIRST, "archive", '"archive', f"{FIRST}:6: "),
    (
        FIRST,
        "confidence",
        "certainty",
        f"{FIRST}:1: unknown column 'certainty'",
    ),
    (FIRST, "entity,item", "item,item", f"{FIRST}:1: column 'item' twice"),
    (f"{ROUND}/second.csv", "topic", "x", f"{ROUND}/second.csv:2: unknown field 'x' of a dataset"),
    (f"{ROUND}/sample.csv", "dataset", "model", f"{ROUND}/sample.csv:4: unknown entity 'model'"),
    (f"{ROUND}/sample.csv", "ViT", "", f"{ROUND}/sample.csv:3: item: is required, but empty"),
    (
        f"{ROUND}/sample.csv",
        "ViT",
        "ResNet",
        f"{ROUND}/sample.csv:3: 'ResNet' is already on line 2",
    ),
    (
        ADJUDICATED,
        "ResNet,affiliations",
        "ViT,countries",
        f"{ADJUDICATED}:3: nobody coded the countries of family 'ViT'",
    ),
    (ADJUDICATED, "affiliations,,,", "venue,,,", f"{ADJUDICATED}:3: the venue of family 'ResNet' "),
    (ADJUDICATED, "proceedings", "", f"{ADJUDICATED}:2: reason: is required, but empty"),
    (ADJUDICATED, "a third person", "", f"{ADJUDICATED}:2: decided_by: is required, but empty"),
    (ADJUDICATED, "affiliations", "x", f"{ADJUDICATED}:3: unknown field 'x' of a family"),
    (ADJUDICATED, "reason", "why", f"{ADJUDICATED}:1: no column 'reason'"),
    ("codings/aliases.csv", "affiliations,MSRA", "x,MSRA", "codings/aliases.csv:2: unknown field"),
    ("codings/aliases.csv", " fair", "msra", "codings/aliases.csv:3: 'msra' is already on line 2"),
    ("codings/aliases.csv", "Meta", "", "codings/aliases.csv:3: an alias and a value are required"),
    ("codings/aliases.csv", "Meta", "Meta;X", "codings/aliases.csv:3: affiliations: one value per"),
    (
        "codings/aliases.csv",
        "Microsoft",
        "Fair",
        "codings/aliases.csv:2: 'fair' is itself an alias, on line 3",
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "problem"), PROBLEMS)
def test_a_problem_is_named_with_its_file_and_line(
    folder: Path, edit: Edit, file: str, old: str, new: str, problem: str
) -> None:
    edit(file, old, new)
    assert any(found.startswith(problem) for found in problems_of(folder)), problems_of(folder)


def test_all_problems_are_reported_together_in_the_order_of_the_files(
    folder: Path, edit: Edit
) -> None:
    edit(ADJUDICATED, "proceedings", "")
    edit(f"{ROUND}/second.csv", "IEEE TPAMI,low", "IEEE TPAMI,")
    edit(FIRST, "animals,high", "animals,sure")
    edit(FIRST, "ResNet,venue,CVPR,high", "ResNet,venue,CVPR,")
    assert [":".join(problem.split(":")[:2]) for problem in problems_of(folder)] == [
        f"{FIRST}:2",
        f"{FIRST}:6",
        f"{ROUND}/second.csv:3",
        f"{ADJUDICATED}:2",
    ]


def test_a_broken_row_is_not_also_reported_as_missing(folder: Path, edit: Edit) -> None:
    edit(f"{ROUND}/sample.csv", "dataset,Pets", "model,Pets")
    assert len(problems_of(folder)) == 1


def test_a_broken_coding_is_not_also_reported_by_its_decision(folder: Path, edit: Edit) -> None:
    edit(FIRST, "ResNet,affiliations", "ResNet,affiliation")
    assert problems_of(folder) == [f"{FIRST}:3: unknown field 'affiliation' of a family"]


@pytest.mark.parametrize("file", FILES)
def test_carriage_returns_other_encodings_and_empty_files_are_refused(
    folder: Path, file: str
) -> None:
    path = folder / file
    good = path.read_bytes()
    path.write_bytes(good.replace(b"\n", b"\r\n"))
    assert f"{file}:1: lines end in CR; save the file with LF line ends" in problems_of(folder)
    path.write_bytes(good + "é\n".encode("latin-1"))
    last = good.count(b"\n") + 1
    assert f"{file}:{last}: is not UTF-8" in problems_of(folder)
    path.write_bytes(b"")
    assert problems_of(folder)[0].startswith(f"{file}:1: has no header")
