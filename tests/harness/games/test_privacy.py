"""What a private training may claim: nothing that looks at private examples goes unsaid."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.attacks.protocol import Resolves
from harness.data.examples import Attribute, Split
from harness.defenses.dpsgd import DPSGD
from harness.defenses.protocol import (
    ChangesInputs,
    ChangesLoss,
    Cleans,
    Edits,
    FiltersInputs,
    GuardsOutputs,
    InspectsModels,
    Prepares,
    ProvesOwnership,
    ReplacesTraining,
    TellsWhatItLooksAt,
    traits_of,
)
from harness.defenses.shared.defender import trusted_index
from harness.defenses.shared.ownership import Owner
from harness.defenses.stack import Stack
from harness.games.privacy import GIVEN_SETTINGS, TRAINING, audited, claimed, left_out
from harness.target import BlackBox
from harness.training.single import defender_data, train_alone
from harness.types import Access, Covered, NotApplicableError, Part, Risk, Trait
from zoo import nets
from zoo.recipe import Recipe

DEFENSES = registry.known("defense")

COVERED = {
    "dpsgd": Covered.ACCOUNTED,
    "watermark": Covered.INDEPENDENT,
    **dict.fromkeys(
        ("adversarial-training", "fast-adversarial-training", "gaussian-noise", "hamp",
         "label-smoothing", "negative-label-smoothing", "trades"),
        Covered.PER_EXAMPLE,
    ),
    **dict.fromkeys(
        ("label-only", "randomized-smoothing", "rounding", "score-noise", "top-k"),
        Covered.POST_PROCESSING,
    ),
}  # fmt: skip
"""Each was read for what it does with examples; whoever adds one here has read it, too."""

SETTINGS = {"top-k": {"k": 1}, "randomized-smoothing": {"votes": 8}}

CHANGED = 7
"""The row of the record that is another one in the neighbouring data; the owner has checked it."""


def test_what_is_covered_was_read_one_by_one() -> None:
    said = {name: kind.looks_at for name, kind in DEFENSES.items()}
    assert {name: why for name, why in said.items() if isinstance(why, Covered)} == COVERED
    assert all(said.values())


def test_only_an_accounted_loop_may_claim_anything() -> None:
    """One's own steps are neither clipped nor noised, whatever they look at; nor are edits."""
    for name in COVERED:
        defense = registry.make("defense", name, {})
        assert not isinstance(defense, Edits | Prepares)
        assert isinstance(defense, ReplacesTraining) == (COVERED[name] is Covered.ACCOUNTED)


@pytest.fixture
def neighbours(tiny, job_for):
    """Two owners, whose data and means differ in one record, and the model that both have."""
    at, odd = torch.tensor(CHANGED), torch.arange(64) % 2
    tiny = replace(tiny, z={"odd": Attribute(odd, ("no", "yes"))})
    other = replace(
        tiny,
        x=tiny.x.index_put((at,), 1 - tiny.x[at]),
        y=tiny.y.index_put((at,), (tiny.y[at] + 1) % 3),
        z={"odd": Attribute(odd.index_put((at,), 1 - odd[at]), ("no", "yes"))},
    )
    torch.manual_seed(0)
    model = nets.build("mlp-128", tiny.input_shape, 3).eval()
    seed = next(s for s in range(99) if CHANGED in trusted_index(64, s))
    job = job_for(data=tiny, seed=seed, recipe=Recipe(lr=0.01, epochs=2, batch_size=16))
    trusted = trusted_index(64, seed)
    owners = [
        defender_data(job, d.collected, d.collected.take(trusted), None) for d in (tiny, other)
    ]
    return tiny, model, owners


def _told(defense, model: nn.Module, defender, unseen: Split) -> dict[str, Tensor]:
    """Everything that comes of a defense, but for what it does to the changed record itself."""
    found: dict[str, Tensor] = {}

    def others(values: Tensor) -> Tensor:
        return values[torch.arange(len(values)) != CHANGED].detach().double()

    data = defender.data
    if isinstance(defense, Cleans):
        cleaned = defense.clean(data, defender)
        data = cleaned.data
        assert cleaned.removed is None
        assert cleaned.held_out is None
        found |= {"cleaned x": others(data.x), "cleaned y": others(data.y)}
        if data.weight is not None:
            found["weights"] = others(data.weight)
    stream = torch.Generator()
    if isinstance(defense, ChangesInputs):
        found["inputs"] = others(defense.inputs(model, data, stream.manual_seed(0)))
    if isinstance(defense, ChangesLoss):
        loss = defense.loss_for(defender)
        for step in range(3):  # it may remember the steps before
            found[f"loss {step}"] = others(loss(model, data, stream.manual_seed(step)))
    if isinstance(defense, GuardsOutputs):
        found["answers"] = defense.guard(model, defender)(unseen.x).detach()
    if isinstance(defense, FiltersInputs):
        found["rejected"] = defense.suspicious(model, unseen.x, defender).double()
    if isinstance(defense, InspectsModels):
        found["verdict"] = torch.tensor(defense.inspect(model, defender).score)
    if isinstance(defense, ProvesOwnership):
        owner = Owner(model=model, members=defender.data, unseen=unseen, defender=defender)
        verification = defense.verifier(owner)(BlackBox(model, Access.WEIGHTS))
        found["proof"] = torch.tensor([verification.p_value, verification.statistic])
    return found


def _moved(name: str, neighbours) -> list[str]:
    data, model, (one, other) = neighbours
    defense = registry.make("defense", name, SETTINGS.get(name, {}))
    if isinstance(defense, Resolves):
        defense = defense.resolve(data)
    unseen = Split(data.x.flip(0), data.y.flip(0))
    first, second = (_told(defense, model, defender, unseen) for defender in (one, other))
    assert first
    return [what for what in first if not torch.equal(first[what], second[what])]


@pytest.mark.parametrize("name", sorted(COVERED.keys() - {"dpsgd"}))
def test_one_record_moves_nothing_else_of_what_is_covered(name, neighbours) -> None:
    """Neither other examples' inputs, weights and losses, nor answers, verdicts and proofs."""
    assert _moved(name, neighbours) == []


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("radioactive-data", ["cleaned x", "proof"]),  # claimed the plain epsilon once
        ("reweighing", ["weights"]),
        ("group-dro", ["loss 0", "loss 1", "loss 2"]),
        ("adversarial-debiasing", ["loss 0", "loss 1", "loss 2"]),
        ("memguard", ["answers"]),
    ],
)
def test_one_record_moves_what_is_not_covered(name, moved, neighbours) -> None:
    assert _moved(name, neighbours) == moved


@dataclass(frozen=True, kw_only=True)
class SaysNothing:
    name: ClassVar[str] = "says-nothing"
    guards: ClassVar[Risk] = Risk.EVASION
    acts_on: ClassVar[frozenset[Part]] = frozenset({Part.OUTPUT})
    reference: ClassVar[str] = ""

    def guard(self, model: nn.Module, defender) -> nn.Module:
        return model


def test_a_defense_that_says_nothing_is_not_covered() -> None:
    assert not isinstance(SaysNothing(), TellsWhatItLooksAt)
    assert Stack.of([DPSGD(), SaysNothing()]).not_covered == (
        "says-nothing (it does not say what)",
    )


SPENT = {"dp_epsilon": 2.0, "dp_epsilon_rdp": 2.0, "dp_epsilon_prv": 1.5, "dp_delta": 1e-5}


@pytest.mark.parametrize("name", sorted(DEFENSES.keys() - COVERED.keys()))
def test_beside_what_is_not_covered_nothing_is_claimed(name, tiny) -> None:
    stack = Stack((DPSGD(), registry.make("defense", name, {})))
    leaves_out = left_out(stack, tiny, torch.arange(64))
    assert leaves_out == (f"{name} ({DEFENSES[name].looks_at})",)
    found = claimed(SPENT | {"steps": 3}, leaves_out)
    assert not {"dp_epsilon", "dp_epsilon_rdp", "dp_epsilon_prv"} & found.keys()
    assert (found["dp_delta"], found["steps"]) == (1e-5, 3)
    assert found["dp_epsilon_without"]["dp_epsilon"] == 2.0
    assert found["dp_epsilon_without"]["leaves_out"] == list(leaves_out)


def test_all_that_is_covered_together_keeps_the_claim(tiny) -> None:
    stack = Stack(tuple(registry.make("defense", name, {}) for name in COVERED))
    assert left_out(stack, tiny, torch.arange(64)) == ()
    assert claimed(SPENT, ()) == SPENT


TUNING = "the tuning (a choice among 12 settings by accuracy on private examples)"


def test_beside_the_choice_of_settings_nothing_is_claimed_and_the_training_is_audited() -> None:
    found = claimed(SPENT, (), (TUNING,))
    assert "dp_epsilon" not in found
    assert found["dp_epsilon_without"]["leaves_out"] == [TUNING]
    assert audited(found) == (2.0, "dp_epsilon of the training, without the choice of settings")


@pytest.mark.parametrize("settings", [(), (TUNING,)])
def test_beside_anything_else_nothing_is_audited(settings) -> None:
    found = claimed(SPENT, ("strip (…)",), settings)
    assert found["dp_epsilon_without"]["leaves_out"] == ["strip (…)", *settings]
    assert audited(found) == (None, None)


def test_what_is_audited_is_a_number_that_holds() -> None:
    assert audited(claimed(SPENT, ())) == (2.0, TRAINING)
    assert audited({}) == (None, None)
    endless = SPENT | {"dp_epsilon": None}  # too little noise for any number
    assert audited(claimed(endless, ())) == (None, None)
    assert audited(claimed(endless, (), (TUNING,))) == (None, None)
    stored_before = {"dp_epsilon_without": {"dp_epsilon": 2.0, "leaves_out": [TUNING]}}
    assert audited(stored_before) == (None, None)


def test_a_training_that_is_not_private_claims_nothing() -> None:
    assert claimed({"removed": 3}, ("strip (…)",)) == {"removed": 3}


def test_an_encoding_that_is_learnt_from_members_is_left_out(tiny) -> None:
    """Of whom it was learnt otherwise, such as the official training rows, no account is needed."""
    table = replace(tiny, name="people", n_fitted=20)
    (said,) = left_out(Stack.of([DPSGD()]), table, torch.arange(10, 30))
    assert said.startswith("the encoding of people")
    assert left_out(Stack.of([DPSGD()]), table, torch.arange(20, 40)) == ()
    assert left_out(Stack.of([DPSGD()]), tiny, torch.arange(40)) == ()


def test_only_a_claim_about_everything_is_stored_and_audited(digits, measure, job_for) -> None:
    private = registry.make("defense", "dpsgd", {})
    job = job_for(stack=(registry.describe(private),))
    trained = train_alone(job, digits.all.take(job.index), None)
    tuned = replace(trained, evidence={**trained.evidence, "tuning": {"tried": [{}] * 12}})
    for name, made, claims, doubted in (
        ("rounding", trained, True, TRAINING),
        ("strip", trained, False, None),
        ("rounding", tuned, False, GIVEN_SETTINGS),
        ("strip", tuned, False, None),
    ):
        stack = [private, registry.make("defense", name, {})]
        found, _ = measure(digits, made, 0, "correctness", stack=stack)
        assert ("dp_epsilon" in found.evidence) == claims
        assert ("dp_epsilon_without" in found.evidence) != claims
        asked, _ = measure(digits, made, 0, "canary-audit", stack=stack)
        spent = trained.evidence["dp_epsilon"] if doubted else None
        assert asked.metrics["dp_epsilon"] == spent
        assert asked.evidence.get("audited") == doubted
        assert ("dp_epsilon" in asked.evidence) == claims


STEPS = {Part.DATA, Part.INPUTS, Part.LOSS, Part.GRADIENTS, Part.SCHEDULE}
REFUSED = {
    **dict.fromkeys(
        ("abl", "cosine-watermark", "exponentiated-gradient"), "both change the gradients"
    ),
    **dict.fromkeys(
        ("early-stopping", "knowledge-distillation", "relaxloss"), "both have a training loop"
    ),
}
"""What has a loop of its own, which draws and weighs examples as it likes."""

CHOOSING = sorted(
    name for name, kind in DEFENSES.items() if kind.acts_on & STEPS and name not in COVERED
)
"""Whatever may weigh, draw, add or leave out examples by what it sees of them."""


def test_whoever_weighs_examples_is_among_those_that_are_tried() -> None:
    weighing = {n for n, kind in DEFENSES.items() if Trait.WEIGHS_EXAMPLES in traits_of(kind)}
    assert weighing == {"reweighing"}
    assert weighing | {"group-dro", "exponentiated-gradient", "dfr"} <= set(CHOOSING)


@pytest.mark.parametrize("name", CHOOSING)
def test_beside_what_chooses_among_examples_the_claim_is_withdrawn_or_the_pair_refused(
    name, digits, measure, job_for
) -> None:
    """Trained and stored: a weight, a count or a mean over others is in no example's clipping."""
    odd = Attribute(digits.y % 2, ("no", "yes"))
    data = replace(digits, num_classes=2, y=(digits.y > 4).long(), z={"odd": odd})
    private = registry.make("defense", "dpsgd", {"batch_size": 32, "epochs": 1})
    other: Any = registry.make("defense", name, {})
    if name in REFUSED:
        with pytest.raises(NotApplicableError, match=REFUSED[name]):
            Stack.of([private, other])
        return
    if isinstance(other, Resolves):
        other = other.resolve(data)
    stack = Stack.of([private, other])
    job = job_for(data=data, stack=tuple(map(registry.describe, stack.makes_model)))
    trained = train_alone(job, data.collected.take(job.index), None)
    assert trained.evidence["dp_epsilon"] > 0
    for attack in ("correctness", "canary-audit"):
        found, _ = measure(data, trained, 0, attack, stack=stack.defenses)
        assert "dp_epsilon" not in found.evidence
        without = found.evidence["dp_epsilon_without"]
        assert without["dp_epsilon"] == trained.evidence["dp_epsilon"]
        assert without["leaves_out"] == [f"{name} ({DEFENSES[name].looks_at})"]
        assert found.metrics.get("dp_epsilon") is None


def test_example_weights_leave_the_sampling_and_the_account_as_they_are() -> None:
    """20 examples in batches of one: a third of 200 steps draw nobody, whoever counts for more."""
    from opacus.accountants import RDPAccountant

    stream = torch.Generator().manual_seed(0)
    x, y = torch.rand(20, 4, generator=stream), torch.arange(20) % 2
    recipe = Recipe(optimizer="sgd", lr=0.1, epochs=10, batch_size=1)
    drawn: dict[str, list[list[float]]] = {"plain": [], "weighted": []}
    account = RDPAccountant()
    account.history = [(1.0, 1 / 20, 200)]
    for name, weight in (("plain", None), ("weighted", torch.logspace(-3, 3, 20))):

        def loss(model, batch, stream, name=name):
            drawn[name].append(batch.x[:, 0].tolist())
            return nn.functional.cross_entropy(model(batch.x), batch.y, reduction="none")

        model = nn.Linear(4, 2)
        data = Split(x, y, weight=weight)
        spent = DPSGD(noise_multiplier=1.0).fit(model, data, recipe, seed=0, loss=loss)
        assert (spent["steps"], spent["sample_rate"]) == (200, 1 / 20)
        assert spent["dp_epsilon"] == pytest.approx(account.get_epsilon(1e-5), rel=1e-9)
        assert all(torch.isfinite(p).all() for p in model.parameters())
    assert drawn["plain"] == drawn["weighted"]
    assert 40 < 200 - len(drawn["plain"]) < 105  # 72 expected, with a standard deviation of 7
