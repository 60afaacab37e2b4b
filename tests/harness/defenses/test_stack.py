"""Stacks compose by the part of the pipeline that each defense acts on."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from harness import registry
from harness.data.examples import Split
from harness.defenses.adversarial_training import AdversarialTraining
from harness.defenses.dpsgd import DPSGD
from harness.defenses.fast_adversarial_training import FastAdversarial
from harness.defenses.gaussian_noise import GaussianNoise
from harness.defenses.label_only import LabelOnly
from harness.defenses.protocol import Cleaned
from harness.defenses.randomized_smoothing import RandomizedSmoothing, Smoothed
from harness.defenses.shared.defender import DefenderData
from harness.defenses.stack import Stack
from harness.defenses.top_k import TopK
from harness.defenses.trades import TRADES
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.training.single import train_alone
from harness.types import Cause, NotApplicableError, Part, Risk, Trait
from zoo.entry import ModelEntry
from zoo.errors import ZooError
from zoo.plugins import Plugins
from zoo.recipe import Recipe


@dataclass(frozen=True)
class HalfData:
    name: ClassVar[str] = "half-data"
    guards: ClassVar[Risk] = Risk.POISONING
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA})
    reference: ClassVar[str] = ""

    def clean(self, data: Split, defender) -> Cleaned:
        keep = torch.arange(len(data)) % 2 == 0
        return Cleaned(data=Split(data.x[keep], data.y[keep]), removed=~keep)


@dataclass(frozen=True)
class ZLast:
    """By name it would come after what removes examples."""

    name: ClassVar[str] = "z-last"
    guards: ClassVar[Risk] = Risk.DISCRIMINATORY_BEHAVIOR
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.DATA})
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.HOLDS_OUT})
    reference: ClassVar[str] = ""

    def clean(self, data: Split, defender) -> Cleaned:
        held = torch.arange(len(data)) < 4
        return Cleaned(data=data.take(~held), held_out=held)

    def resolve(self, dataset):
        raise NotApplicableError("nothing is held out here.")


@dataclass(frozen=True)
class Double:
    name: ClassVar[str] = "double"
    guards: ClassVar[Risk] = Risk.EVASION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.MODEL})
    reference: ClassVar[str] = ""

    def edit(self, model: nn.Module, data: Split, defender) -> nn.Module:
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

    def guard(self, model: nn.Module, defender: DefenderData) -> nn.Module:
        class Same(nn.Module):
            def forward(self, x):
                return torch.zeros(len(x), 10)

        return Same()


@pytest.fixture
def registered(monkeypatch):
    added = {d.name: d for d in (HalfData, Double, Constant)}
    monkeypatch.setattr(registry, "_plugins", lambda kind: Plugins(added, {}, ()))


def test_each_defense_acts_at_its_place(registered, job_for, digits) -> None:
    plain = job_for()
    data = digits.all.take(plain.index)
    half = Split(data.x[::2], data.y[::2])
    expected = train_alone(plain, half, None).model
    stack = tuple(registry.describe(d) for d in (HalfData(), Double()))
    found = train_alone(job_for(stack=stack), data, None).model
    for a, b in zip(expected.parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(2 * a, b)


def test_an_output_defense_is_put_over_the_model(defender) -> None:
    guarded = Stack.of([Constant()]).guard(nn.Identity(), defender)
    assert guarded(torch.ones(3)).tolist() == [[0.0] * 10] * 3


def test_two_defenses_of_the_gradients_are_refused_with_the_reason() -> None:
    @dataclass(frozen=True)
    class Other(DPSGD):
        name: ClassVar[str] = "other"

    with pytest.raises(
        NotApplicableError, match="dpsgd and other both change the gradients"
    ) as error:
        Stack.of([DPSGD(), Other()])
    assert error.value.cause is Cause.SETTING


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ([AdversarialTraining(), TRADES()], "both change the inputs of a training step"),
        ([AdversarialTraining(), FastAdversarial()], "both change the inputs of a training step"),
        ([AdversarialTraining(), GaussianNoise()], "both change the inputs of a training step"),
        ([DPSGD(), TRADES()], "dpsgd cannot tell each example"),
    ],
)
def test_defenses_that_want_the_same_part_of_a_step_are_refused(pair, reason) -> None:
    for defenses in (pair, pair[::-1]):
        with pytest.raises(NotApplicableError, match=reason):
            Stack.of(defenses)


def test_private_and_adversarial_training_compose(defender) -> None:
    attack = AdversarialTraining()
    stack = Stack.of([DPSGD(), attack])
    assert isinstance(stack.loop, DPSGD)
    assert stack.inputs == attack.inputs
    assert stack.loss_for(defender) is None


def test_what_is_hidden_stays_hidden_behind_every_vote(defender) -> None:
    """By name, label-only would come first: the votes over it would be scores again."""
    model = nn.Linear(2, 3)
    for hides in (LabelOnly(), TopK(k=1)):
        guarded = Stack.of([hides, RandomizedSmoothing(sigma=1.0)]).guard(model, defender)
        assert isinstance(guarded.model, Smoothed)
        assert guarded.model.model is model
    certain = Stack.of([RandomizedSmoothing(sigma=1.0), LabelOnly()]).guard(model, defender)
    assert certain(torch.rand(20, 2)).softmax(1).amax(1).tolist() == [1.0] * 20


def test_what_is_held_out_is_so_before_examples_are_judged(defender) -> None:
    """Of ten examples four are held out, and of the others every second one is removed."""
    data = Split(torch.arange(10.0)[:, None], torch.arange(10) % 2 * 0)
    poisoned = torch.zeros(10, dtype=torch.bool)
    poisoned[[0, 5, 6]] = True  # one is held out, one is removed, one stays
    for stack in (Stack.of([HalfData(), ZLast()]), Stack.of([ZLast(), HalfData()])):
        ready = stack.clean(data, defender, poisoned)
        left, notes = ready.data, ready.notes
        assert ready.left_out(None).nonzero().flatten().tolist() == [0, 1, 2, 3, 5, 7, 9]
        assert left.x.flatten().tolist() == [4, 6, 8]
        assert notes["removed"] == 3
        assert (notes["removal_tpr"], notes["removal_fpr"]) == (0.5, 0.5)


def test_only_one_defense_decides_the_answers() -> None:
    class Decider(Constant):
        traits: ClassVar[frozenset[Trait]] = frozenset({Trait.DECIDES})

    with pytest.raises(NotApplicableError, match="constant and randomized-smoothing both decide"):
        Stack.of([Decider(), RandomizedSmoothing()])


@pytest.fixture
def planned(digits):
    entry = ModelEntry(
        name="own", source="selftrained", purpose="benchmark", dataset="digits",
        architecture="mlp-128", input_shape=(1, 8, 8), num_classes=10, mean=(0.0,), std=(1.0,),
        licence=None, backdoored=False, artifact=None, recipe=Recipe(epochs=1),
    )  # fmt: skip

    def make(*names, **settings):
        asked = Request(
            models=(entry,), stacks=(names,), risks=(Risk.EVASION,), attacks=("fgsm",), seeds=1,
            settings=settings,
        )  # fmt: skip
        done = {"is_done": lambda key: False, "is_trained": lambda job: False}
        return plan(asked, {"digits": digits}, {}, **done)

    return make


def test_a_defense_is_planned_with_the_settings_of_the_dataset(planned) -> None:
    found = planned("adversarial-training").cells[1]
    (method,) = found.cell.stack
    assert dict(method.params) == {
        "epsilon": 0.1, "norm": "linf", "steps": 10, "step_size": pytest.approx(0.025),
    }  # fmt: skip
    assert (found.cell.defense, found.job.stack) == ("adversarial-training", (method,))
    # What the dataset gives and what is written out are one and the same.
    same = planned("adversarial-training", **{"adversarial-training.epsilon": "0.1"}).cells[1]
    assert same.cell.key == found.cell.key
    assert same.cell.defense == "adversarial-training(epsilon=0.1)"
    with pytest.raises(ZooError, match="k of at most 8 for the 10 classes of digits, found 9"):
        planned("top-k", k="9")


def test_a_defense_that_does_not_fit_the_dataset_is_refused_with_the_reason(
    planned, monkeypatch
) -> None:
    monkeypatch.setattr(registry, "get", lambda kind, name, get=registry.get: (
        ZLast if name == "z-last" else get(kind, name)
    ))  # fmt: skip
    baseline, refused = planned("z-last").cells
    assert baseline.refused is None
    assert refused.refused == "nothing is held out here."
    assert refused.cell.defense == "z-last"


def test_output_defenses_share_the_undefended_training(planned) -> None:
    found = planned("randomized-smoothing", "label-only")
    assert len(found.cells) == 2
    assert len(found.jobs) == 1


def test_the_order_in_which_a_stack_is_named_does_not_matter() -> None:
    assert Stack.of([HalfData(), Double()]) == Stack.of([Double(), HalfData()])


def test_only_output_defenses_leave_the_training_alone() -> None:
    assert Stack.of([]).makes_model == ()
    assert Stack.of([Constant()]).makes_model == ()
    assert Stack.of([Constant(), Double()]).makes_model == (Double(),)


def test_nobody_is_sent_the_steps_of_a_training_loop_that_is_its_own(defender) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    x, y = torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0])
    for name in ("abl", "relaxloss", "knowledge-distillation"):
        stack = Stack.of([registry.make("defense", name, {})])
        with pytest.raises(NotApplicableError, match=f"{name} has a training loop of its own"):
            stack.release(model, Split(x, y), defender, seed=0)
    released = Stack.of([registry.make("defense", "early-stopping", {})]).release(
        model, Split(x, y), defender, seed=0
    )
    plain = Stack(()).release(model, Split(x, y), defender, seed=0)
    assert all(map(torch.equal, released, plain))
