"""With a poisoning rate of 0 the clean twin is the target, so no stack has an effect at all."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from harness import registry
from harness.attacks.label_flipping import LabelFlipping
from harness.attacks.protocol import Resolves
from harness.data.examples import Attribute, Column
from harness.defenses.label_only import LabelOnly
from harness.defenses.stack import Stack
from harness.defenses.strip import STRIP
from harness.experiment.evaluate import CellModels, evaluate
from harness.experiment.plan import plan
from harness.experiment.request import Request
from harness.games import poisoning
from harness.metrics.susceptibility import susceptibility
from harness.results import Cell
from harness.training.single import train_alone
from harness.types import Access, NotApplicableError, Part, Regime, Risk, ThreatModel
from zoo.entry import ModelEntry
from zoo.recipe import Recipe

OWN = ModelEntry(
    name="own", source="selftrained", purpose="benchmark", dataset="digits",
    architecture="mlp-128", input_shape=(1, 8, 8), num_classes=10, mean=(0.0,), std=(1.0,),
    licence=None, backdoored=False, artifact=None, recipe=Recipe(epochs=3),
)  # fmt: skip

TINY = {
    "memguard": {"steps": 5, "epochs": 1},
    "neo": {"regions": 8, "confirmations": 5},
    "neural-cleanse": {"epochs": 2},
    "outlier-removal": {"share": 0.05},
    "randomized-smoothing": {"sigma": 0.5, "votes": 5},
    "strip": {"overlays": 5},
}
"""Small settings, so that every pair takes a fraction of a second."""


QUICK = Recipe(lr=3e-3, epochs=10)


def _of(name):
    return registry.make("defense", name, TINY.get(name, {}))


def _is_the_same_for_the_twin(evaluation) -> None:
    metrics = evaluation.metrics
    assert evaluation.susceptibility == 0
    assert metrics["clean_model_accuracy"] == metrics["clean_accuracy"]
    if "flagged" in metrics:
        assert metrics["clean_model_flagged"] == metrics["flagged"]
        assert metrics["clean_model_anomaly"] == metrics["anomaly"]


@pytest.mark.parametrize("attack", ["label-flipping", "badnets"])
def test_the_twin_of_every_stack_is_the_same_training_as_the_target(attack, digits) -> None:
    names = sorted(registry.known("defense"))
    stacks = [(name,) for name in names] + list(itertools.combinations(names, 2))
    asked = Request(
        models=(OWN,), stacks=tuple(stacks), risks=(Risk.POISONING,), attacks=(attack,), seeds=1,
        settings={f"{attack}.rate": "0"},
    )  # fmt: skip
    found = plan(asked, {"digits": digits}, {}, is_done=lambda k: False, is_trained=lambda j: False)
    planned = [item for item in found.cells if not item.refused]
    assert len(planned) > 300  # the others cannot be composed, or want attributes or rows
    for item in planned:
        (twin,) = item.others["clean_twin"]
        assert twin.key == item.job.key


ANSWERING = sorted(
    name
    for name, kind in registry.known("defense").items()
    if kind.acts_on & {Part.OUTPUT, Part.INSPECTION}
    and name not in ("hamp", "threshold-optimizer")  # which is for two classes
)
"""Defenses that change nothing of the training: what they answer, reject and flag is all."""


@pytest.fixture(scope="module")
def few(digits):
    """A quarter of digits, each of one of two groups."""
    index = torch.arange(0, len(digits.x), 4)
    group = torch.arange(len(index)) % 2
    return replace(
        digits, x=digits.x[index], y=digits.y[index], n_train=0,
        z={"group": Attribute(group, ("a", "b"))},
    )  # fmt: skip


@pytest.fixture(scope="module")
def table(few):
    """The same as rows of a table that state the group, with two labels."""
    group, pixels = few.z["group"].values, few.x.flatten(1)
    columns = [Column("group", 0, 2, values=("a", "b"))]
    columns += [Column(f"pixel {i}", i + 2, i + 3) for i in range(pixels.shape[1])]
    return replace(
        few, name="rows", num_classes=2, x=torch.cat([F.one_hot(group), pixels], 1),
        y=(few.y > 4).long(), columns=tuple(columns),
    )  # fmt: skip


@pytest.fixture(scope="module")
def train(job_for):
    """A model of a stack, and one more of a job of its own, by the same settings."""

    def make(data, stack=(), architecture="mlp-128"):
        made = []
        for _ in range(2):
            methods = tuple(map(registry.describe, Stack.of(stack).makes_model))
            job = job_for(architecture, data=data, recipe=QUICK, stack=methods)
            made.append(train_alone(job, data.collected.take(job.index), None))
        return made

    return make


@pytest.fixture(scope="module")
def undefended(few, train):
    return train(few)


def _composable(names):
    for pair in itertools.combinations(names, 2):
        try:
            Stack.of([_of(name) for name in pair])
        except NotApplicableError:
            continue
        yield pair


@pytest.mark.parametrize(
    "names", [*((name,) for name in ANSWERING), *_composable(ANSWERING)], ids="+".join
)
def test_what_only_answers_has_no_effect_alone_and_in_pairs(names, few, undefended, measure):
    target, twin = undefended
    # Flipped labels need no trigger, so every wrong answer counts: the most that could differ.
    found, outcome = measure(
        few, target, 0, LabelFlipping(rate=0.0), stack=[_of(name) for name in names],
        others={"clean_twin": [twin.model]},
    )  # fmt: skip
    assert outcome.metrics["clean_accuracy"] < 1
    _is_the_same_for_the_twin(found)


FOR_TABLES = {"correlation-remover", "dfr", "exponentiated-gradient", "threshold-optimizer"}
CONVOLUTIONS = {"fine-pruning", "nad"}
TRAINING = [(name,) for name in registry.known("defense") if name not in ANSWERING]
PAIRS = [
    ("gaussian-noise", "randomized-smoothing"),
    ("dpsgd", "label-only"),
    ("outlier-removal", "memguard"),
    ("strip", "watermark"),
    ("hamp", "neural-cleanse"),
]


@pytest.mark.parametrize("names", TRAINING + PAIRS, ids="+".join)
def test_what_trains_has_no_effect_either(names, few, table, train, measure) -> None:
    data = table if FOR_TABLES & {*names} else few
    stack = [_of(name) for name in names]
    stack = [d.resolve(data) if isinstance(d, Resolves) else d for d in stack]
    target, twin = train(data, stack, "cnn-small" if CONVOLUTIONS & {*names} else "mlp-128")
    found, _ = measure(
        data, target, 0, LabelFlipping(rate=0.0), stack=stack, others={"clean_twin": [twin.model]}
    )
    _is_the_same_for_the_twin(found)


class Tossed(nn.Module):
    """A model that draws anew each time it is asked, from torch's global stream."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        logits = self.model(x)
        return logits + 5 * torch.randn_like(logits)


class Tosses:
    """Guards by tossing coins."""

    name = "tosses"
    acts_on = frozenset({Part.OUTPUT})

    def guard(self, model, defender):
        return Tossed(model)


def test_a_guard_that_draws_anew_each_time_draws_the_same_for_both(few, undefended, scenario_for):
    target, twin = (trained.model for trained in undefended)
    table = scenario_for(
        few, Tossed(target), unguarded=target, stack=Stack((Tosses(),)),
        others={"clean_twin": [twin]},
    )  # fmt: skip
    found = poisoning.play(LabelFlipping(rate=0.0), table)
    assert found.metrics["clean_accuracy"] < 0.8  # the coins do decide
    assert susceptibility(Risk.POISONING, found.metrics) == 0


def test_a_filter_that_catches_every_trigger_leaves_no_effect(
    few, undefended, measure, monkeypatch
):
    """The twin's own filter finds nothing: without the poison there is nothing to find."""
    target, twin = undefended
    monkeypatch.setattr(
        STRIP,
        "suspicious",
        lambda self, model, x, defender: torch.full((len(x),), model is target.model),
    )
    found, outcome = measure(
        few, target, 0, LabelFlipping(rate=0.0), stack=[STRIP()],
        others={"clean_twin": [twin.model]},
    )  # fmt: skip
    assert outcome.samples["rejected_triggered"].all()
    assert not outcome.samples["clean_model_rejected_triggered"].any()
    assert outcome.samples["clean_model_success"].any()
    assert found.susceptibility == 0


def test_guards_are_made_from_what_the_owner_was_given_poison_included(
    few, job_for, monkeypatch
) -> None:
    seen = []
    monkeypatch.setattr(
        LabelOnly, "guard", lambda self, model, defender: seen.append(defender.data) or model
    )
    attack = LabelFlipping(rate=0.2)
    job = job_for(data=few, poison=registry.describe(attack))
    held = few.collected.take(job.index)
    target = train_alone(job, held, None)
    cell = Cell(
        model="m", model_key="", dataset=few.name, fingerprint=few.fingerprint,
        regime=Regime.FROM_SCRATCH, stack=(registry.describe(LabelOnly()),), risk=Risk.POISONING,
        attack=registry.describe(attack), seed=0, threat=ThreatModel(access=Access.LABELS),
    )  # fmt: skip
    evaluate(
        cell, CellModels(target=target, job=job, others={"clean_twin": [target.model]}), few, None,
        architecture="mlp-128", device="cpu", provenance={},
    )  # fmt: skip
    of_target, of_twin = seen
    assert (of_target.y != held.y).sum() == round(0.2 * len(held))
    assert torch.equal(of_twin.y, held.y)
