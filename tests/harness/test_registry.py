"""Settings are read as the types of their fields."""

from dataclasses import dataclass
from typing import Literal

import pytest

from harness import registry
from harness.defenses.dpsgd import DPSGD
from zoo.errors import ZooError


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("none", float | None, None),
        ("None", int | None, None),
        ("8/255", float, 8 / 255),
        ("8 / 255", float | None, 8 / 255),
        ("0.5", int | float, 0.5),
        ("3", int | float, 3),
        ("true", bool, True),
        ("a", Literal["a", "b"], "a"),
        ("none", str, "none"),
    ],
)
def test_texts_are_read(text, hint, value) -> None:
    found = registry.parse(text, hint, "x")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("1/0", float), ("a/b", float), ("1/2", int), ("nan", float), ("inf", float), ("none", float),
     ("c", Literal["a", "b"])],
)  # fmt: skip
def test_what_fits_nothing_is_refused(text, hint) -> None:
    with pytest.raises(ZooError, match=f"x wants .*, found '{text}'"):
        registry.parse(text, hint, "x")


def test_none_can_be_given_for_a_setting_that_is_something_by_itself() -> None:
    given = {name: "none" for name in ("dp_epsilon", "noise_multiplier")}
    assert registry.make("defense", "dpsgd", {**given, "noise_multiplier": "1"}).dp_epsilon is None
    assert registry.default("defense", "dpsgd", "lr") == DPSGD().lr
    assert registry.default("defense", "no-such", "lr") is None


def test_a_method_is_described_by_what_differs_from_its_defaults() -> None:
    @dataclass(frozen=True)
    class Some:
        a: int = 1
        b: float | None = None
        name = "some"

    assert registry.describe(Some(b=0.5)).label == "some(b=0.5)"
    assert registry.describe(registry.changed(Some(), {"a": 2})).label == "some(a=2)"
