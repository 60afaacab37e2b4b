"""Another dataset's inputs: what a target can be asked about, and what it cannot."""

from dataclasses import replace

import pytest
import torch

from harness.data import datasets
from harness.data.dataset import DataLocation, Dataset
from harness.data.examples import Column
from harness.data.ood import adapt, check
from harness.types import NotApplicableError

COLUMNS = (Column("age", 0, 1), Column("colour", 1, 4, values=("red", "green", "blue")))


@pytest.fixture
def people() -> Dataset:
    return Dataset(
        name="people", num_classes=2, x=torch.rand(8, 4), y=torch.arange(8) % 2, columns=COLUMNS
    )


def test_images_become_as_large_and_as_grey(tiny) -> None:
    photos = replace(tiny, name="photos", x=torch.rand(5, 3, 8, 8), y=torch.zeros(5).long())
    check(photos, tiny)
    found = adapt(photos, tiny)
    assert found.x.shape == (5, 1, 4, 4)
    assert 0 <= found.x.min() <= found.x.max() <= 1
    assert torch.equal(found.y, photos.y)


def test_images_are_no_rows_and_rows_no_images(tiny, people) -> None:
    with pytest.raises(NotApplicableError, match=r"rows of a table .* people \(4\), but tiny"):
        check(tiny, people)
    with pytest.raises(
        NotApplicableError, match=r"images like those of tiny \(1x4x4\), but people"
    ):
        check(people, tiny)


def test_rows_of_another_table_with_the_same_places_are_taken_as_they_are(people) -> None:
    columns = (Column("height", 0, 1), Column("size", 1, 4, values=("s", "m", "l")))
    other = replace(
        people, name="others", x=torch.rand(3, 4), y=torch.ones(3).long(), columns=columns
    )
    check(other, people)
    found = adapt(other, people)
    assert torch.equal(found.x, other.x)
    assert torch.equal(found.y, other.y)
    assert found.columns == columns


@pytest.mark.parametrize(
    ("features", "columns"),
    [
        (5, COLUMNS),
        (4, (Column("colour", 0, 3, values=("red", "green", "blue")), Column("age", 3, 4))),
        (4, (Column("a", 0, 1), Column("b", 1, 2), Column("c", 2, 4, values=("x", "y")))),
        (4, ()),
    ],
)
def test_rows_of_another_table_with_other_places_are_refused(features, columns, people) -> None:
    other = replace(people, name="others", x=torch.rand(8, features), columns=columns)
    with pytest.raises(NotApplicableError, match="Rows of others .* not in the same places"):
        check(other, people)


@pytest.mark.parametrize("name", ["digits", "digits-noisy", "digits-tinted"])
def test_data_in_another_guise_are_no_other_data(digits, name) -> None:
    """Tinted and wrongly labelled digits are the same pictures, some as every second one of them."""
    other = datasets.load(name, DataLocation())
    with pytest.raises(
        NotApplicableError, match=f"of the inputs of {name} are among those of digits"
    ):
        check(other, digits)
    check(datasets.load(datasets.OOD_DEFAULT, DataLocation()), digits)


def test_rows_that_two_tables_share_by_chance_are_no_reason(people) -> None:
    mixed = torch.cat([people.x[:1], torch.rand(15, 4)])
    check(replace(people, name="others", x=mixed, y=torch.zeros(16).long()), people)
    four = replace(people, name="others", x=mixed[:4], y=torch.zeros(4).long())
    with pytest.raises(NotApplicableError, match="25% of the inputs"):
        check(four, people)
