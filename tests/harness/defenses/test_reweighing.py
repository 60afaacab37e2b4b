"""Reweighing: the weights by hand and by another formula, and its place among the others."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pandas as pd
import pytest
import torch

from harness import registry
from harness.data import datasets
from harness.data.dataset import DataLocation
from harness.data.examples import UNKNOWN, Attribute, Split
from harness.defenses.protocol import Cleaned
from harness.defenses.reweighing import Reweighing
from harness.defenses.stack import Stack
from harness.defenses.watermark import Watermark
from harness.learning.fit import step_loss
from harness.training.single import train_alone
from harness.types import NotApplicableError, Part, Risk
from zoo.errors import UnknownNameError
from zoo.recipe import Recipe


def _data(z, y, weight=None, names=("f", "m")) -> Split:
    weight = None if weight is None else torch.tensor(weight)
    z = {"sex": Attribute(torch.tensor(z), names)}
    return Split(torch.arange(len(y)).float()[:, None] / 100, torch.tensor(y), z, weight)


def _weights(data: Split, defender) -> list[float]:
    found = Reweighing().clean(data, defender)
    assert found.removed is None
    assert found.data.weight is not None
    assert found.data.weight.dtype == torch.float32
    assert torch.equal(found.data.x, data.x)
    return found.data.weight.tolist()


@pytest.fixture
def two_classes(defender):
    return replace(defender, num_classes=2)


def test_weights_by_hand(two_classes) -> None:
    """Of ten, six are men; four men and one woman have label 1.

    P(m) = .6 and P(1) = .5, so a man with label 1 counts .3 / .4, one without .3 / .2, a woman with
    label 1 .2 / .1, and one without .2 / .3.
    """
    z = [1] * 6 + [0] * 4
    y = [1, 1, 1, 1, 0, 0, 1, 0, 0, 0]
    assert _weights(_data(z, y), two_classes) == pytest.approx(
        [0.75] * 4 + [1.5] * 2 + [2.0] + [2 / 3] * 3
    )
    notes = Reweighing().clean(_data(z, y), two_classes).notes["example_weights"]
    assert notes == {"f": pytest.approx([2 / 3, 2.0]), "m": pytest.approx([1.5, 0.75])}


def test_what_counted_more_already_is_counted_so_and_multiplied(two_classes) -> None:
    """A weight of 2 is as good as the same example twice."""
    z, y = [1, 1, 0, 0, 0], [1, 0, 1, 0, 0]
    once = _weights(_data(z, y, weight=[2.0, 1.0, 1.0, 1.0, 1.0]), two_classes)
    twice = _weights(_data([1, *z], [1, *y]), two_classes)
    assert once == pytest.approx([2 * twice[0], *twice[2:]])


def test_weights_equal_another_formula_for_many_groups_and_classes(defender) -> None:
    stream = torch.Generator().manual_seed(0)
    z = torch.randint(4, (500,), generator=stream)
    y = torch.randint(10, (500,), generator=stream).minimum(3 * z)
    given = torch.rand(500, generator=stream) + 0.5
    names = ("a", "b", "c", "d", "nobody")
    data = Split(torch.rand(500, 3), y, {"kind": Attribute(z, names)}, given)
    found = Reweighing(attribute="kind").clean(data, defender)
    rows = pd.DataFrame({"z": z, "y": y, "w": given.double()})
    total = rows.w.sum()
    expected = (
        rows.groupby("z").w.transform("sum")
        * rows.groupby("y").w.transform("sum")
        / rows.groupby(["z", "y"]).w.transform("sum")
        / total
    ) * rows.w
    assert found.data.weight is not None
    torch.testing.assert_close(
        found.data.weight.double(), torch.tensor(expected.to_numpy()), rtol=1e-5, atol=0
    )
    assert found.notes["example_weights"]["nobody"] == [None] * 10
    assert found.notes["example_weights"]["a"][1:] == [None] * 9


def test_with_every_cell_filled_label_and_group_become_independent(defender) -> None:
    stream = torch.Generator().manual_seed(1)
    z = torch.randint(3, (3000,), generator=stream)
    y = (torch.randint(4, (3000,), generator=stream) + z * (torch.rand(3000) < 0.5)) % 4
    data = Split(torch.rand(3000, 1), y, {"kind": Attribute(z, ("a", "b", "c"))})
    weight = Reweighing().clean(data, defender).data.weight
    assert weight is not None
    joint = torch.zeros(3, 4).index_put_((z, y), weight, accumulate=True) / 3000
    torch.testing.assert_close(joint, joint.sum(1, keepdim=True) * joint.sum(0), atol=1e-6, rtol=0)
    assert weight.mean().item() == pytest.approx(1)


def test_who_nobody_is_behind_is_not_counted(two_classes) -> None:
    z, y = [1, 1, 0, 0, 0], [1, 0, 1, 0, 0]
    alone = _weights(_data(z, y), two_classes)
    marked = _data([*z, UNKNOWN, UNKNOWN], [*y, 1, 1], weight=[1.0] * 5 + [3.0, 1.0])
    assert _weights(marked, two_classes) == pytest.approx([*alone, 3.0, 1.0])


def test_attributes_may_be_crossed(two_classes) -> None:
    data = _data([0, 0, 1, 1, 0, 1, 0, 1], [0, 1, 0, 1, 1, 0, 1, 1])
    race = Attribute(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), ("p", "q"))
    data = replace(data, z={**data.z, "race": race})
    found = Reweighing(attribute="sex+race").clean(data, two_classes).notes["example_weights"]
    assert found == {
        "f, p": pytest.approx([0.25 * 0.375 / 0.125, 0.25 * 0.625 / 0.125]),
        "f, q": [None, pytest.approx(0.25 * 0.625 / 0.25)],
        "m, p": pytest.approx([0.25 * 0.375 / 0.125, 0.25 * 0.625 / 0.125]),
        "m, q": pytest.approx([0.25 * 0.375 / 0.125, 0.25 * 0.625 / 0.125]),
    }


def test_a_dataset_fills_in_its_first_attribute(digits) -> None:
    tinted = datasets.load("digits-tinted", DataLocation())
    assert Reweighing().resolve(tinted) == Reweighing(attribute="tint")
    with pytest.raises(UnknownNameError, match="sensitive attribute of digits-tinted 'sex'.*tint"):
        Reweighing(attribute="sex").resolve(tinted)
    with pytest.raises(NotApplicableError, match="digits has no sensitive attributes"):
        Reweighing().resolve(digits)


@dataclass(frozen=True)
class ZeroOut:
    """A filter that comes last by name: it leaves out who has label 0 and is a woman."""

    name: ClassVar[str] = "zero-out"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA})
    reference: ClassVar[str] = ""

    def clean(self, data: Split, defender) -> Cleaned:
        removed = (data.y == 0) & (data.z["sex"].values == 0)
        return Cleaned(data=data.take(~removed), removed=removed)


@dataclass(frozen=True)
class AddOne:
    """A mark that comes first by name."""

    name: ClassVar[str] = "add-one"
    guards: ClassVar[Risk] = Risk.EXTRACTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA, Part.EVIDENCE})
    reference: ClassVar[str] = ""

    def clean(self, data: Split, defender) -> Cleaned:
        return Cleaned(data=data.with_rows(torch.ones(1, 1), torch.tensor([1])))


def test_it_sees_who_is_left_and_not_who_is_added(two_classes) -> None:
    data = _data([1] * 6 + [0] * 4, [1, 1, 1, 1, 0, 0, 1, 1, 0, 0])
    stack = Stack.of([Reweighing(), AddOne(), ZeroOut()])
    assert [d.name for d in stack.defenses] == ["zero-out", "reweighing", "add-one"]
    ready = stack.clean(data, two_classes)
    found, notes = ready.data, ready.notes
    # Left are four and two men, and two women: P(f) = 1/4, P(1) = 3/4, P(f, 1) = 1/4.
    assert found.weight is not None
    assert found.weight.tolist() == pytest.approx([1.125] * 4 + [0.75] * 2 + [0.75] * 2 + [1.0])
    assert notes["removed"] == 2


def test_its_weights_are_those_of_a_training_step(two_classes) -> None:
    data = Reweighing().clean(_data([1, 1, 0, 0, 0], [1, 0, 1, 0, 0]), two_classes).data
    assert data.weight is not None
    model = torch.nn.Linear(1, 2)
    stream = torch.Generator()
    expected = (
        torch.nn.functional.cross_entropy(model(data.x), data.y, reduction="none") * data.weight
    ).mean()
    torch.testing.assert_close(step_loss(model, data, None, stream), expected)


def test_it_is_named_where_a_privacy_budget_does_not_cover_it() -> None:
    private = registry.make("defense", "dpsgd", {})
    assert Stack.of([private, Reweighing(), Watermark()]).not_covered == (
        f"reweighing ({Reweighing.looks_at})",
    )


def test_with_others_on_real_digits(job_for) -> None:
    """Odd digits are mostly warm, so those count less, and the even ones that are warm more."""
    tinted = datasets.load("digits-tinted", DataLocation())
    names = ("dpsgd", "outlier-removal", "reweighing", "watermark")
    defenses = [registry.make("defense", name, {}) for name in names]
    stack = tuple(map(registry.describe, defenses))
    job = job_for(data=tinted, stack=stack, recipe=Recipe(epochs=1))
    trained = train_alone(job, tinted.collected.take(job.index), None)
    table = trained.evidence["example_weights"]
    assert table.keys() == {"cold", "warm"}
    even, odd = (list(filter(None, table["warm"][start::2])) for start in (0, 1))
    assert max(odd) < 1 < min(even)
    assert trained.evidence["removed"] > 0
    assert trained.evidence["triggers"] == 30
