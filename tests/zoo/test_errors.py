"""A wrong name is answered with the names that may be meant."""

import pytest

from zoo.errors import unknown


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("age", ["sex", "race"], "No thing 'age'. Known: race, sex."),
        ("rase", ["sex", "race"], "No thing 'rase'. Nearest: race."),
        ("age", ["sex", "race", "job", "town"], "No thing 'age'. Nearest: race."),
        ("age", [], "No thing 'age'. Known: none."),
    ],
)
def test_of_few_names_only_a_near_one_is_called_near(name, known, said) -> None:
    assert str(unknown("thing", name, known)) == said
