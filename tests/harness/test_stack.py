"""Stacks compose by the part of the pipeline that each defense acts on."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from harness import registry
from harness.defenses.dpsgd import DPSGD
from harness.stack import Cleaned, NotApplicableError, Stack
from harness.training import train_alone
from harness.types import Part, Risk, Split


@dataclass(frozen=True)
class HalfData:
    name: ClassVar[str] = "half-data"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA})
    reference: ClassVar[str] = ""

    def clean(self, data: Split, shop) -> Cleaned:
        keep = torch.arange(len(data)) % 2 == 0
        return Cleaned(data=Split(data.x[keep], data.y[keep]), removed=~keep)


@dataclass(frozen=True)
class Double:
    name: ClassVar[str] = "double"
    guards: ClassVar[Risk] = Risk.EVASION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.MODEL})
    reference: ClassVar[str] = ""

    def edit(self, model: nn.Module, data: Split, shop) -> nn.Module:
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(2)
        return model


@dataclass(frozen=True)
class Constant:
    name: ClassVar[str] = "constant"
    guards: ClassVar[Risk] = Risk.EXTRACTION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    reference: ClassVar[str] = ""

    def guard(self, model: nn.Module) -> nn.Module:
        class Same(nn.Module):
            def forward(self, x):
                return torch.zeros(len(x), 10)

        return Same()


@pytest.fixture
def registered(monkeypatch):
    known = {d.name: d for d in (HalfData, Double, Constant, DPSGD)}
    monkeypatch.setattr(registry, "_known", lambda kind: known)


def test_each_defense_acts_at_its_place(registered, job_for, digits) -> None:
    plain = job_for()
    data = digits.all.take(plain.index)
    half = Split(data.x[::2], data.y[::2])
    expected = train_alone(plain, half, None).model
    stack = tuple(registry.describe(d) for d in (HalfData(), Double()))
    found = train_alone(job_for(stack=stack), data, None).model
    for a, b in zip(expected.parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(2 * a, b)


def test_an_output_defense_is_put_over_the_model() -> None:
    guarded = Stack.of([Constant()]).guard(nn.Identity())
    assert guarded(torch.ones(3)).tolist() == [[0.0] * 10] * 3


def test_two_defenses_of_the_gradients_are_refused_with_the_reason() -> None:
    @dataclass(frozen=True)
    class Other(DPSGD):
        name: ClassVar[str] = "other"

    with pytest.raises(NotApplicableError, match="dpsgd and other both change the gradients"):
        Stack.of([DPSGD(), Other()])


def test_the_order_in_which_a_stack_is_named_does_not_matter() -> None:
    assert Stack.of([HalfData(), Double()]) == Stack.of([Double(), HalfData()])


def test_only_output_defenses_leave_the_training_alone() -> None:
    assert Stack.of([]).makes_model == ()
    assert Stack.of([Constant()]).makes_model == ()
    assert Stack.of([Constant(), Double()]).makes_model == (Double(),)
